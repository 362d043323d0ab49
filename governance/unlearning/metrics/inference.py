"""Whether two groups of images can be told apart: a linear probe, cross-validated, and its AUC with an interval."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from governance.unlearning.intervals import wilson

RIDGE = 0.05
"""Weight of the penalty, relative to the mean variance of the features."""


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve: how often a positive scores above a negative, ties counting half.

    Attributes:
        value: mean over the held-out folds, in [0, 1].
        positives: how many images of the group that is looked for.
        negatives: how many others.
    """

    value: float
    positives: int
    negatives: int

    @property
    def interval(self) -> tuple[float, float]:
        """95% score interval on the bound A(1 − A) / min(positives, negatives) of the variance (van Dantzig 1951).

        Wider than Hanley and McNeil's, but never a point, not even at an AUC of 1.
        """
        return wilson(self.value, min(self.positives, self.negatives))


def area_under_curve(scores: Tensor, positive: Tensor) -> float:
    """AUC by the Mann–Whitney statistic.

    Args:
        scores: n.
        positive: n booleans, some of both.
    """
    others = scores[~positive].sort().values
    below = torch.searchsorted(others, scores[positive], side="left")
    not_above = torch.searchsorted(others, scores[positive], side="right")
    return float((below + not_above).double().mean()) / (2 * len(others))


def stratified_folds(positive: Tensor, folds: int, seed: int) -> Tensor:
    """Fold number of each image, n int64: both groups are shuffled and dealt out evenly."""
    numbers = torch.empty(len(positive), dtype=torch.int64)
    generator = np.random.default_rng(seed)
    for group in (positive, ~positive):
        places = torch.from_numpy(generator.permutation(group.nonzero().flatten().numpy()))
        numbers[places] = torch.arange(len(places)) % folds
    return numbers


def probe(features: Tensor, positive: Tensor, folds: int, seed: int) -> Auc | None:
    """AUC of a linear probe on images that it was not fitted to.

    The probe is ridge regression on the labels ±1 with an intercept, penalty `RIDGE` times the number of images times
    the mean variance of a feature. It is fitted to all folds but one and scored on that one.

    Args:
        features: n × p, any scale.
        positive: n booleans.
        folds: how many; each group needs as many images.
        seed: of the folds.

    Returns:
        None if a group has fewer images than folds.
    """
    counts = int(positive.sum()), int((~positive).sum())
    if min(counts) < folds:
        return None
    fold = stratified_folds(positive, folds, seed)
    areas = []
    for held_out in range(folds):
        train, test = fold != held_out, fold == held_out
        weights, centre = _fit_ridge(features[train].double(), positive[train])
        areas.append(area_under_curve((features[test].double() - centre) @ weights, positive[test]))
    return Auc(sum(areas) / folds, *counts)


def _fit_ridge(features: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and centre of the probe."""
    centre = features.mean(dim=0)
    centred = features - centre
    signs = 2.0 * positive.double() - 1
    gram = centred.T @ centred
    # A feature that does not vary must not make the system singular.
    penalty = RIDGE * float(gram.diagonal().mean()) or 1.0
    gram.diagonal().add_(penalty)
    return torch.linalg.solve(gram, centred.T @ (signs - signs.mean())), centre
