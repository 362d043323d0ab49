"""Whether other words find what was forgotten: synonyms and templates that were not in the fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reworded:
    """Images of one class that are recognised when its prompt is replaced by each paraphrase.

    Attributes:
        label: class number.
        n: images.
        hits: for each paraphrase of the class, how many images are assigned to it.
    """

    label: int
    n: int
    hits: tuple[int, ...]


def reword(
    features: Tensor, texts: Tensor, truth: Tensor, paraphrases: Tensor, owners: Sequence[int]
) -> list[Reworded]:
    """Replace a class's own prompt by each of its paraphrases in the classifier, one at a time.

    An image counts if the paraphrase scores higher than the prompts of all other classes.

    Args:
        features: n × d, unit length; the forget set.
        texts: C × d, the classifier.
        truth: n class numbers.
        paraphrases: m × d, unit length.
        owners: class number of each paraphrase.

    Returns:
        One entry for each class that has images and paraphrases, by class number.
    """
    logits = features @ texts.T
    logits.scatter_(1, truth.unsqueeze(1), -torch.inf)
    rivals = logits.max(dim=1).values
    owned: dict[int, list[int]] = {}
    for row, owner in enumerate(owners):
        owned.setdefault(owner, []).append(row)
    results = []
    for label in torch.unique(truth).tolist():
        if label not in owned:
            continue
        mine = truth == label
        scores = features[mine] @ paraphrases[owned[label]].T
        hits = (scores > rivals[mine].unsqueeze(1)).sum(dim=0)
        results.append(Reworded(label, int(mine.sum()), tuple(hits.tolist())))
    return results


def worst_case(reworded: Sequence[Reworded]) -> tuple[int, int]:
    """Images found by somebody who picks the best paraphrase of each class, and how many there are."""
    return sum(max(entry.hits) for entry in reworded), sum(entry.n for entry in reworded)


def mean_case(reworded: Sequence[Reworded]) -> float:
    """Share of images found by a paraphrase taken at random, the same for all images of a class."""
    found = sum(sum(entry.hits) / len(entry.hits) for entry in reworded)
    return found / sum(entry.n for entry in reworded)
