"""What the method `redirect` was before: a row fit on the image side. Kept to show why it went."""

from collections.abc import Sequence

import torch
from torch import Tensor

from governance.unlearning.anchors import domain_mean
from governance.unlearning.bank import PromptBank
from governance.unlearning.projector import Projector, solve
from governance.unlearning.prototypes import Prototypes
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


def _weights(rows: Sequence[int], weight: float) -> Tensor:
    return torch.full((len(rows),), weight, dtype=torch.float64)
