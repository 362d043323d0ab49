"""The closed-form edit of the final image projection.

Row convention: image features z = h W, edited z' = z P with P = I + A B, A d×k and B k×d, all in float64.
Every method is a setting of one weighted least-squares problem, see `solve`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from governance.digests import digest_array, digest_mapping
from governance.errors import InvalidInputError

RANK_TOLERANCE = 1e-6
"""Directions weaker than this, relative to the strongest, do not count as rank."""


@dataclass(frozen=True)
class Projector:
    """P = I + A B.

    Attributes:
        a: d × k, float64.
        b: k × d, float64.
        condition: condition number of the normal matrix that was solved.
    """

    a: Tensor
    b: Tensor
    condition: float

    @property
    def dimension(self) -> int:
        """D."""
        return int(self.a.shape[0])

    @property
    def digest(self) -> str:
        """Digest of the two factors, bit for bit."""
        return digest_mapping({"a": digest_tensor(self.a), "b": digest_tensor(self.b)})

    @property
    def rank(self) -> int:
        """Numerical rank of P − I, at most k."""
        values = self.singular_values()
        return int((values > RANK_TOLERANCE * values.max()).sum()) if len(values) else 0

    def singular_values(self) -> Tensor:
        """Singular values of P − I, min(d, k) of them, from the factors alone."""
        if self.a.shape[1] == 0:
            return self.a.new_zeros(0)
        _, upper_a = torch.linalg.qr(self.a)
        _, upper_b = torch.linalg.qr(self.b.T)
        core = upper_a @ upper_b.T
        try:
            values: Tensor = torch.linalg.svdvals(core)
        except RuntimeError:  # it need not converge; the squares are exact enough for a rank
            values = torch.linalg.eigvalsh(core @ core.T).clamp_min(0).sqrt().flip(0)
        return values

    def apply(self, features: Tensor) -> Tensor:
        """Edited features z P, same shape; computed in the dtype of `features`."""
        a, b = self.a.to(features.dtype), self.b.to(features.dtype)
        return features + (features @ a) @ b

    def dense(self) -> Tensor:
        """P itself, d × d float64."""
        return torch.eye(self.dimension, dtype=torch.float64) + self.a @ self.b


def identity(dimension: int) -> Projector:
    """The edit that changes nothing."""
    empty = torch.zeros(dimension, 0, dtype=torch.float64)
    return Projector(empty, empty.T, 1.0)


def random_edit(dimension: int, rank: int, generator: torch.Generator) -> Projector:
    """Some edit of this rank that moves features noticeably: a fold is probed and timed with it."""
    a, b = (
        torch.randn(dimension, rank, generator=generator, dtype=torch.float64) / dimension**0.5
        for _ in range(2)
    )
    return Projector(a, b.T.contiguous(), 1.0)


def digest_tensor(tensor: Tensor) -> str:
    """Digest of a tensor's dtype, shape and bytes."""
    array = tensor.detach().cpu().contiguous()
    if array.dtype == torch.bfloat16:  # NumPy has no bfloat16; its bits are what counts
        return digest_array(
            "bfloat16", tuple(array.shape), array.view(torch.int16).numpy().tobytes()
        )
    values = array.numpy()
    return digest_array(str(values.dtype), values.shape, values.tobytes())


def solve(
    forget: Tensor,
    goals: Tensor,
    weights: Tensor,
    retain: Tensor,
    retain_weights: Tensor,
    mu: float,
) -> Projector:
    """Minimise Σᵢ wᵢ‖fᵢ P − gᵢ‖² + Σⱼ vⱼ‖rⱼ P − rⱼ‖² + μ‖P − I‖² over P.

    Its solution is P = I + (FᵀWF + RᵀVR + μI)⁻¹ FᵀW (G − F), whatever the goals; with G = 0 it is CCUP (arXiv
    2512.14137). Without retained rows and with μ = 0 it is the limit I + F⁺(G − F), for G = (1 − α)F the partial
    nullspace projection I − αUUᵀ (2512.14137; with visual prototypes among F, 2512.14113).

    Args:
        forget: F, k × d.
        goals: G, k × d, where each row should go.
        weights: the diagonal of W, k, positive.
        retain: R, r × d, possibly empty.
        retain_weights: the diagonal of V, r, positive.
        mu: μ, positive unless `retain` is empty.

    Raises:
        InvalidInputError: the weights make the problem numerically singular.
    """
    forget, goals = forget.to(torch.float64), goals.to(torch.float64)
    if forget.shape[0] == 0:
        return identity(forget.shape[1])
    if mu == 0:
        return _limit(forget, goals, weights)
    a, normal = coefficients(forget, weights, retain, retain_weights, mu)
    eigenvalues = torch.linalg.eigvalsh(normal)
    return Projector(a, goals - forget, float(eigenvalues[-1] / eigenvalues[0]))


def coefficients(
    forget: Tensor, weights: Tensor, retain: Tensor, retain_weights: Tensor, mu: float
) -> tuple[Tensor, Tensor]:
    """The factor A = (FᵀWF + RᵀVR + μI)⁻¹ FᵀW, d × k, which does not depend on the goals, and its normal matrix.

    Raises:
        InvalidInputError: the weights make the problem numerically singular.
    """
    weighted = forget.T * weights
    normal = weighted @ forget + (retain.T * retain_weights) @ retain
    normal.diagonal().add_(mu)
    return torch.cholesky_solve(weighted, cholesky(normal)).contiguous(), normal


TOO_FAR_APART = (
    "these weights are too far apart to solve for in float64; raise mu, or lower lambda-forget or "
    "lambda-retain"
)


def cholesky(matrix: Tensor, refusal: str = TOO_FAR_APART) -> Tensor:
    """The lower factor of a positive definite matrix.

    Args:
        matrix: d × d, float64.
        refusal: what the user reads where it is not definite enough.

    Raises:
        InvalidInputError: the matrix is numerically singular.
    """
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed or not torch.isfinite(factor).all():
        raise InvalidInputError(refusal)
    return factor


def _limit(forget: Tensor, goals: Tensor, weights: Tensor) -> Projector:
    """The limit μ → 0 by the pseudo-inverse: the normal equations would square the condition number."""
    root = weights.sqrt().unsqueeze(1)
    values = torch.linalg.svdvals(root * forget)
    kept = values[values > RANK_TOLERANCE * values[0]]
    if len(kept) == 0:  # only zero rows: there is no direction to forget
        return identity(forget.shape[1])
    inverse = torch.linalg.pinv(root * forget, rtol=RANK_TOLERANCE)
    return Projector(
        (inverse * root.T).contiguous(), goals - forget, float((kept[0] / kept[-1]) ** 2)
    )
