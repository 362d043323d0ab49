"""Which classes the images to be forgotten are taken for."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from governance.unlearning.evaluation import Predictions, Samples
from governance.unlearning.targets import Cover, Target

LISTED = 10
"""Classes that are listed one by one; the others are counted together."""


def confusions(
    samples: Samples,
    classes: Sequence[str],
    predictions: tuple[Predictions, Predictions],
    targets: Sequence[Target],
) -> dict[str, Any]:
    """`confusion` of the unedited model and of a version.

    Returns:
        ``n`` (images that `targets` cover), ``before`` and ``after``.
    """
    before, after = (confusion(samples, classes, p.answers, targets) for p in predictions)
    return {"n": sum(entry["n"] for entry in before), "before": before, "after": after}


def confusion(
    samples: Samples, classes: Sequence[str], answers: Tensor, targets: Sequence[Target]
) -> list[dict[str, Any]]:
    """What the model calls the images that `targets` cover.

    Args:
        samples: the images.
        classes: names of the label space.
        answers: n class numbers, the answer to each image (`Predictions.answers`).
        targets: what is to be forgotten.

    Returns:
        One entry for each of the `LISTED` most frequent answers, most frequent first, equally frequent ones in the
        order of the label space: ``class``, ``n`` (images), ``share`` (of all that the targets cover) and ``correct``
        (of these ``n``, those that are of that class). If there are more answers, one more entry counts them
        together: its ``class`` is None and its ``classes`` says how many they are. Empty without images.
    """
    cover = Cover(targets)
    pairs = zip(samples.labels, samples.domains, strict=True)
    places = [place for place, (c, d) in enumerate(pairs) if cover.covers(c, d)]
    counts, right = [0] * len(classes), [0] * len(classes)
    for place, answer in zip(
        places, answers[torch.tensor(places, dtype=torch.int64)].tolist(), strict=True
    ):
        counts[answer] += 1
        right[answer] += samples.labels[place] == classes[answer]
    given = sorted((c for c in range(len(classes)) if counts[c]), key=lambda c: (-counts[c], c))
    entries: list[dict[str, Any]] = [
        {"class": classes[c], "n": counts[c], "share": counts[c] / len(places), "correct": right[c]}
        for c in given[:LISTED]
    ]
    if rest := given[LISTED:]:
        n = sum(counts[c] for c in rest)
        correct = sum(right[c] for c in rest)
        entries.append(
            {
                "class": None,
                "classes": len(rest),
                "n": n,
                "share": n / len(places),
                "correct": correct,
            }
        )
    return entries


def taker_share(entries: Sequence[dict[str, Any]]) -> float:
    """Share of the images that the class has which took most of other classes' images; 0 if all are recognised."""
    shares = [
        entry["share"] * (entry["n"] - entry["correct"]) / entry["n"]
        for entry in entries
        if entry["class"] is not None
    ]
    return max(shares, default=0.0)
