"""The control: an edit of the same rank that knows nothing of what is to be forgotten."""

import numpy as np
import torch

from governance.unlearning.projector import Projector


def random_control(dimension: int, rank: int, seed: int) -> Projector:
    """I − U Uᵀ with U an orthonormal basis of a uniformly random subspace.

    What an edit does beyond this control is due to where it points, not to how much of the space it takes.

    Args:
        dimension: d.
        rank: width of U, at most d.
        seed: of the NumPy generator that draws a Gaussian d × rank matrix; its QR decomposition gives U.
    """
    drawn = np.random.default_rng(seed).standard_normal((dimension, rank))
    basis, _ = torch.linalg.qr(torch.from_numpy(drawn))
    return Projector(-basis.contiguous(), basis.T.contiguous(), 1.0)
