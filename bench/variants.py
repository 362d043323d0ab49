"""Fits that the package does not offer: what `redirect` was before, and what was tried in its place."""

from collections.abc import Sequence

import torch
from torch import Tensor

from governance.unlearning.anchors import domain_mean
from governance.unlearning.bank import PromptBank
from governance.unlearning.composition import Edit, compose
from governance.unlearning.projector import Projector, solve
from governance.unlearning.prototypes import Prototypes
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Cover, Target

FORGET, RETAIN, MU = 1e3, 10.0, 0.1


def image_side(
    bank: PromptBank, targets: Sequence[Target], prototypes: Sequence[Prototypes] = ()
) -> Projector:
    """Texts and prototypes stand in for images: forgotten rows go to the mean of the retained texts of their domain.

    Nothing forbids that images, which lie far from texts, answer these rows' directions too.
    """
    cover = Cover(targets)
    pairs = [*bank.pairs, *(pair for chosen in prototypes for pair in chosen.pairs)]
    rows = torch.cat([bank.rows, *(chosen.rows for chosen in prototypes)])
    lost = [n for n, pair in enumerate(pairs) if cover.covers(*pair)]
    kept = [n for n, pair in enumerate(pairs) if not cover.covers(*pair)]
    owned = {n for n, pair in enumerate(bank.pairs) if cover.covers(*pair)}
    means = {pairs[n][1]: domain_mean(bank, owned, pairs[n][1]) for n in lost}
    goals = torch.stack([means[pairs[n][1]] for n in lost])
    return solve(rows[lost], goals, _weights(lost, FORGET), rows[kept], _weights(kept, RETAIN), MU)


OVER, DETECTED, STAY = 6.0, 10.0, 1.0


def detected_only(
    bank: PromptBank, targets: Sequence[Target], prototypes: Sequence[Prototypes] = ()
) -> Projector:
    """Two-sided rows for a class everywhere: only images that a detector of its texts answers change their score.

    P = I + Ax E Atᵀ as for a class in one domain, with the texts as image rows. No bound over all images follows.
    """
    cover, rows, classes = Cover(targets), bank.rows, len(bank.labels.classes)
    lost = [n for n, pair in enumerate(bank.pairs) if cover.covers(*pair)]
    weights = torch.ones(len(rows), dtype=torch.float64)
    weights[lost] = DETECTED
    density = len(rows) / bank.dimension
    eye = torch.eye(bank.dimension, dtype=torch.float64)
    normal = (rows.T * weights) @ rows + STAY * density * eye
    detectors = torch.linalg.solve(normal, (rows.T * weights)[:, lost])
    duals = torch.linalg.solve(rows.T @ rows + Recipe().mu * density * eye, rows.T)[:, lost]
    leads = []
    for row in lost:
        block = range(row - row % classes, row - row % classes + classes)
        others = rows[row] @ rows[[n for n in block if not cover.covers(*bank.pairs[n])]].T
        own = rows[row] @ rows[row]
        leads.append(torch.maximum(own - others.max(), (own - others.mean()) / 2).clamp_min(0))
    return Projector(-OVER * detectors * torch.stack(leads), duals.T.contiguous(), 1.0)


def zeroed(
    bank: PromptBank, targets: Sequence[Target], prototypes: Sequence[Prototypes] = ()
) -> Projector:
    """Another singular form than `irreversible`: a smallest singular value becomes 0 for each forgotten row."""
    edit = compose(bank, [Edit((target,), Recipe(), tuple(prototypes)) for target in targets])
    projector = edit.projector
    dense = projector.dense()
    _, vectors = torch.linalg.eigh(dense @ dense.T)  # z → z u uᵀ P is what is taken away
    null = vectors[:, : projector.a.shape[1]]
    a = torch.cat([projector.a, -null], dim=1)
    return Projector(a, torch.cat([projector.b, null.T @ dense]), projector.condition)


def _weights(rows: Sequence[int], weight: float) -> Tensor:
    return torch.full((len(rows),), weight, dtype=torch.float64)
