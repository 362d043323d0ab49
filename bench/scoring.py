"""What an edit does to the benchmark's images, averaged over all choices of a scope."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

import torch
from torch import Tensor

from bench.data import Benchmark
from governance.unlearning.bank import PromptBank
from governance.unlearning.evaluation import Predictions, Samples, predict
from governance.unlearning.projector import Projector
from governance.unlearning.targets import Target, covered

Map = Callable[[Tensor], Tensor]
"""An edit as a function of image features, n × d → n × d."""

FIGURES = ("forget 7", "retain 7", "forget 28", "retain 28", "elsewhere", "worst class")
"""Forget and retain accuracy over plain prompts and over (class, domain) prompts; the forgotten class in the other
domains; the lowest accuracy of a class among the retained images. In documents the numbers are those of the prompts."""

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Sets:
    """Images of one choice, n booleans each.

    Attributes:
        forget: those to forget; the others are retained.
        elsewhere: retained images of the forgotten class.
        classes: retained images of each class that has some.
    """

    forget: Tensor
    elsewhere: Tensor
    classes: tuple[Tensor, ...]


def sets_of(samples: Samples, target: Target) -> Sets:
    """Sort the images for one choice."""
    pairs = list(zip(samples.labels, samples.domains, strict=True))
    forget = torch.tensor([covered([target], *pair) for pair in pairs])
    own = torch.tensor([label == target.label for label, _ in pairs])
    each = [
        ~forget & torch.tensor([label == name for label, _ in pairs])
        for name in sorted({label for label, _ in pairs})
    ]
    return Sets(forget, own & ~forget, tuple(mask for mask in each if mask.any()))


def figures_of(sets: Sets, found: Predictions) -> Figures:
    """The `FIGURES` of one choice."""

    def share(hits: Tensor | None, mask: Tensor) -> float | None:
        if hits is None or not mask.any():
            return None
        return float(hits[mask].double().mean())

    plain, pairs = found.plain, found.by_domain
    worst = [share(plain, mask) for mask in sets.classes]
    values = (
        share(plain, sets.forget),
        share(plain, ~sets.forget),
        share(pairs, sets.forget),
        share(pairs, ~sets.forget),
        share(plain, sets.elsewhere),
        min(value for value in worst if value is not None),
    )
    return dict(zip(FIGURES, values, strict=True))


def means(entries: Iterable[Figures]) -> Figures:
    """Mean of each figure over the choices that have it."""
    rows = list(entries)
    result: Figures = {}
    for name in rows[0]:
        given = [value for row in rows if (value := row[name]) is not None]
        result[name] = mean(given) if given else None
    return result


class Scorer:
    """Scores edits on one set of images, keeping what does not depend on the edit."""

    def __init__(self, samples: Samples, bank: PromptBank) -> None:
        self.samples, self.bank = samples, bank
        self._sets: dict[Target, Sets] = {}
        self._base = predict(samples, bank, None)

    def sets(self, target: Target) -> Sets:
        """Images of a choice."""
        if target not in self._sets:
            self._sets[target] = sets_of(self.samples, target)
        return self._sets[target]

    def base(self, targets: Sequence[Target]) -> Figures:
        """Mean figures of the unedited model."""
        return means(figures_of(self.sets(target), self._base) for target in targets)

    def score(self, target: Target, edit: Projector | Map) -> Figures:
        """Figures of one edit."""
        if isinstance(edit, Projector):
            found = predict(self.samples, self.bank, edit)
        else:
            moved = Samples(edit(self.samples.features), self.samples.labels, self.samples.domains)
            found = predict(moved, self.bank, None)
        return figures_of(self.sets(target), found)


def scorer_of(benchmark: Benchmark) -> Scorer:
    """A scorer of the benchmark's test images."""
    return Scorer(benchmark.samples, benchmark.bank)
