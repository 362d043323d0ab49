"""The closed-form edit of the final image projection.

Row convention: image features z = h W, edited z' = z P with P = I + A B, A d×k and B k×d, all in float64.
Every method is a setting of one weighted least-squares problem, see `solve`.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from governance.digests import digest_array, digest_mapping
from governance.errors import InvalidInputError

RANK_TOLERANCE = 1e-6
"""Directions weaker than this, relative to the strongest, do not count as rank."""


class Method(StrEnum):
    """How forgotten rows are treated."""

    REDIRECT = "redirect"
    NULLSPACE = "nullspace"


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a fit besides its rows.

    Attributes:
        method: `redirect` sends forgotten rows to an anchor and holds the retained rows in place;
            `nullspace` (arXiv 2512.14137) sends them to zero and uses no retained rows.
        strength: α in (0, 1], how far towards the anchor (partial projection, arXiv 2512.14137).
        lambda_forget: weight λf of the forgotten rows.
        lambda_retain: weight λr of the retained rows; 0 means that none are used.
        mu: weight μ of staying near the identity; 0 means the limit μ → 0.
    """

    method: Method = Method.REDIRECT
    strength: float = 1.0
    lambda_forget: float = 1e3
    lambda_retain: float = 10.0
    mu: float = 0.1

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            InvalidInputError: a value outside its range.
        """
        if not 0 < self.strength <= 1:
            raise InvalidInputError(f"strength must lie in (0, 1], not {self.strength}")
        if not 0 < self.lambda_forget < float("inf"):
            raise InvalidInputError(f"lambda-forget must be positive, not {self.lambda_forget}")
        for name, value in (("lambda-retain", self.lambda_retain), ("mu", self.mu)):
            if not 0 <= value < float("inf"):
                raise InvalidInputError(f"{name} must not be negative, not {value}")
        if self.lambda_retain > 0 and self.mu == 0:
            raise InvalidInputError("mu must be positive when retained rows are used")

    @classmethod
    def of(cls, method: str, strength: float = 1.0, **weights: float | None) -> "Recipe":
        """Defaults of `method`, with the given weights where they are not None.

        Raises:
            InvalidInputError: unknown method or a value outside its range.
        """
        try:
            chosen = Method(method)
        except ValueError:
            raise InvalidInputError(
                f"unknown method {method!r}; known: {', '.join(Method)}"
            ) from None
        defaults = {"lambda_retain": 0.0, "mu": 0.0} if chosen is Method.NULLSPACE else {}
        given = {name: value for name, value in weights.items() if value is not None}
        return cls(method=chosen, strength=strength, **(defaults | given))

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain JSON values."""
        return asdict(self) | {"method": self.method.value}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "Recipe":
        """Inverse of `to_dict`."""
        return cls(**(value | {"method": Method(value["method"])}))


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
        values: Tensor = torch.linalg.svdvals(upper_a @ upper_b.T)
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
    targets: Tensor,
    weights: Tensor,
    retain: Tensor,
    lambda_retain: float,
    mu: float,
) -> Projector:
    """Minimise Σᵢ wᵢ‖fᵢ P − gᵢ‖² + λr‖R P − R‖² + μ‖P − I‖² over P.

    Its solution is P = I + (FᵀΛF + λr RᵀR + μI)⁻¹ FᵀΛ (G − F). Without retained rows and with μ = 0 it is the
    limit I + F⁺(G − F), for G = (1 − α)F the partial nullspace projection I − αUUᵀ (arXiv 2512.14137).

    Args:
        forget: F, k × d.
        targets: G, k × d, where each row should go.
        weights: the diagonal of Λ, k, positive.
        retain: R, r × d, possibly empty.
        lambda_retain: λr.
        mu: μ, positive unless `retain` is empty or λr is 0.

    Raises:
        InvalidInputError: the weights make the problem numerically singular.
    """
    forget, targets, retain = (t.to(torch.float64) for t in (forget, targets, retain))
    difference = targets - forget
    dimension = forget.shape[1]
    if forget.shape[0] == 0:
        return identity(dimension)
    if mu == 0:
        root = weights.to(torch.float64).sqrt().unsqueeze(1)
        values = torch.linalg.svdvals(root * forget)
        kept = values[values > RANK_TOLERANCE * values[0]]
        if len(kept) == 0:  # only zero rows: there is no direction to forget
            return identity(dimension)
        inverse = torch.linalg.pinv(root * forget, rtol=RANK_TOLERANCE)
        return Projector(
            (inverse * root.T).contiguous(), difference, float((kept[0] / kept[-1]) ** 2)
        )
    weighted = forget.T * weights.to(torch.float64)
    normal = weighted @ forget + lambda_retain * (retain.T @ retain)
    normal.diagonal().add_(mu)
    factor, failed = torch.linalg.cholesky_ex(normal)
    if failed or not torch.isfinite(factor).all():
        raise InvalidInputError(
            "these weights are too far apart to solve for in float64; raise mu, or lower "
            "lambda-forget or lambda-retain"
        )
    eigenvalues = torch.linalg.eigvalsh(normal)
    a = torch.cholesky_solve(weighted, factor).contiguous()
    return Projector(a, difference, float(eigenvalues[-1] / eigenvalues[0]))
