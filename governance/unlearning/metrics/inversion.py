"""Inversion: what of the forgotten classes comes back from edited vectors, for somebody who holds the factors.

P is a matrix: where it can be inverted, z = (z P) P⁻¹ is the vector before the edit, and nothing was deleted. Where it
is singular, what it nulled is gone from the vector itself; but the rest of an image says a lot about it, so an attacker
who knows how images are distributed fills it in. Both are mounted, on vectors rounded to half precision.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from governance.unlearning.projector import Projector

SINGULAR = 1e-6
"""Singular values below this share of the largest count as zero."""

NOISE = 2.0**-11
"""Relative rounding error of half precision."""


@dataclass(frozen=True)
class Inversion:
    """Vectors that the two attacks restore, and what they had to invert.

    Attributes:
        plain: n × d, by the pseudo-inverse of P.
        informed: n × d, by the best linear reconstruction given the second moment of images.
        smallest: the smallest singular values of P, up to three, ascending.
    """

    plain: Tensor
    informed: Tensor
    smallest: tuple[float, ...]


def invert(features: Tensor, projector: Projector, moment: Tensor) -> Inversion:
    """Mount both attacks.

    Args:
        features: n × d embeddings before the edit, unit length.
        projector: the edit, which the attacker knows.
        moment: M, d × d float64, second moment of images that the attacker has.
    """
    dense = projector.dense()
    edited = projector.apply(features.double()).to(torch.float16).double()
    # By eigenvectors of P Pᵀ: LAPACK's singular value decomposition need not converge where so many values are equal.
    squares, vectors = torch.linalg.eigh(dense @ dense.T)
    kept = squares > SINGULAR**2 * squares[-1]
    inverse = dense.T @ (vectors[:, kept] / squares[kept]) @ vectors[:, kept].T
    seen = dense.T @ moment @ dense
    seen.diagonal().add_(float(seen.diagonal().mean()) * NOISE**2 + 1e-12)
    restore = torch.linalg.solve(seen, dense.T @ moment)
    smallest = squares[:3].clamp_min(0).sqrt()
    return Inversion(edited @ inverse, edited @ restore, tuple(smallest.tolist()))
