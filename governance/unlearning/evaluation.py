"""Zero-shot accuracy before and after an edit, from cached image embeddings.

An edit is a rank-k correction of the logits, E P Tᵀ = E Tᵀ + (E A)(B Tᵀ), so no image is ever encoded again.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from governance.errors import InvalidInputError
from governance.unlearning.bank import PromptBank
from governance.unlearning.intervals import wilson
from governance.unlearning.projector import Projector, identity
from governance.unlearning.targets import Cover, Target

CHUNK = 4096
"""Images classified at a time, so that memory does not grow with the data set times the label space."""

TOP = 5
"""How many best classes count for the top-5 accuracy."""


@dataclass(frozen=True)
class Proportion:
    """A share of samples with its 95% Wilson score interval."""

    correct: int
    n: int

    @property
    def value(self) -> float:
        """The share itself; not a number without samples."""
        return self.correct / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson score interval, see `wilson`."""
        return wilson(self.value, self.n)

    def to_dict(self) -> dict[str, Any]:
        """Counts and interval as plain JSON values."""
        low, high = self.interval
        return {"n": self.n, "correct": self.correct, "low": low, "high": high}


@dataclass(frozen=True)
class Samples:
    """Embedded images of a data set.

    Attributes:
        features: n × d image embeddings before the edit, float32, any length.
        labels: class name of each.
        domains: domain name of each, or None.
    """

    features: Tensor
    labels: Sequence[str]
    domains: Sequence[str | None]


@dataclass(frozen=True)
class Predictions:
    """Which images a version of the model classifies right.

    Attributes:
        plain: n booleans; argmax over all classes with the score template.
        by_domain: n booleans; argmax over all (class, domain) prompts, both must be right. None where an image has no
            domain of the label space.
        top5: n booleans; the right class is among the five best with the score template. None for a label space of five
            classes or fewer, where it always is.
        answers: n class numbers; argmax over all classes with the score template, the first of equals. Empty where only
            hits are known.
    """

    plain: Tensor
    by_domain: Tensor | None
    top5: Tensor | None = None
    answers: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))


def predict(samples: Samples, bank: PromptBank, projector: Projector | None) -> Predictions:
    """Classify every image zero-shot with a version of the model.

    Args:
        samples: embedded images.
        bank: prompts of the model's label space.
        projector: the edit, None for the unedited model.

    Raises:
        InvalidInputError: the data set does not fit the label space or the width of the bank.
    """
    edit = projector or identity(bank.dimension)
    classes, domains = bank.labels.classes, bank.labels.domains
    truth = class_numbers(samples, bank)
    count = TOP if len(classes) > TOP else 1
    best = _best(samples.features, bank.plain_scores, edit, count)
    answers, right = best[:, 0], best == truth.unsqueeze(1)
    plain, top5 = right[:, 0], right.any(dim=1) if count == TOP else None
    if not names_domains(samples, bank):
        return Predictions(plain, None, top5, answers)
    places = torch.tensor([domains.index(str(domain)) for domain in samples.domains])
    pair = _best(samples.features, bank.domain_scores, edit, 1)[:, 0]
    return Predictions(plain, pair == places * len(classes) + truth, top5, answers)


def class_numbers(samples: Samples, bank: PromptBank) -> Tensor:
    """For each image the number of its class in the label space, n int64.

    Raises:
        InvalidInputError: the data set does not fit the label space or the width of the bank.
    """
    _check_fit(samples, bank)
    number = {label: index for index, label in enumerate(bank.labels.classes)}
    return torch.tensor([number[label] for label in samples.labels])


def names_domains(samples: Samples, bank: PromptBank) -> bool:
    """Whether every image has a domain of the label space, so that (class, domain) prompts can score it."""
    domains = bank.labels.domains
    return bool(domains) and all(domain in domains for domain in samples.domains)


def _best(features: Tensor, texts: Tensor, edit: Projector, count: int) -> Tensor:
    """Numbers of the `count` best texts of every image, n × count, the best first.

    Of equally good ones the first text counts as the best, on every machine; which of them `topk` gives is open.
    """
    found = []
    for part in torch.split(features, CHUNK):
        logits = edited_logits(part, texts, edit)
        best = logits.argmax(dim=1, keepdim=True)
        if count > 1:
            others = logits.scatter(1, best, -torch.inf).topk(count - 1, dim=1).indices
            best = torch.cat([best, others], dim=1)
        found.append(best)
    return torch.cat(found)


def summarise(
    samples: Samples, predictions: Predictions, targets: Sequence[Target]
) -> dict[str, Any]:
    """Accuracies of a version; images that `targets` cover are the forget set, the others the retain set.

    Returns:
        ``forget_accuracy``, ``retain_accuracy`` (None for an empty set), ``per_class``, ``per_domain``, ``per_pair``,
        ``retain_per_class`` (fractions; the last one of the retain set alone), ``counts`` (the same places with n,
        correct and 95% Wilson interval), and under ``domain_prompts`` the same for the (class, domain) prompts and
        under ``top5`` for the five best classes, each of them or None.
    """
    result = _measure(samples, targets, predictions.plain)
    for key, hits in (("domain_prompts", predictions.by_domain), ("top5", predictions.top5)):
        result[key] = None if hits is None else _measure(samples, targets, hits)
    return result


def forget_share(
    samples: Samples, predictions: Predictions, targets: Sequence[Target]
) -> Proportion:
    """Share of the images that `targets` cover which are still recognised."""
    pairs = zip(samples.labels, samples.domains, strict=True)
    cover = Cover(targets)
    mask = torch.tensor([cover.covers(label, domain) for label, domain in pairs])
    return Proportion(int(predictions.plain[mask].sum()), int(mask.sum()))


def edited_logits(features: Tensor, texts: Tensor, projector: Projector) -> Tensor:
    """E P Tᵀ by the low-rank correction, n × m float32, without the logit scale.

    Args:
        features: E, n × d.
        texts: T, m × d.
        projector: P.
    """
    precision = torch.float32
    features = features.to(precision)
    correction = (features @ projector.a.to(precision)) @ (projector.b @ texts.T).to(precision)
    return features @ texts.T.to(precision) + correction


def check_targets_measured(
    pairs: Iterable[tuple[str, str | None]], targets: Sequence[Target]
) -> None:
    """Make sure that a data set can measure these targets, before it is encoded.

    Args:
        pairs: (class, domain) of its images.
        targets: what is to be forgotten.

    Raises:
        InvalidInputError: it has no image of a target, or none that is to be retained.
    """
    present = set(pairs)
    for target in targets:
        if not any(target.covers(label, domain) for label, domain in present):
            raise InvalidInputError(
                f"the data set has no image of {target.describe()!r}, so nothing can measure that "
                "it is forgotten; use a data set that has such images"
            )
    cover = Cover(targets)
    if all(cover.covers(label, domain) for label, domain in present):
        raise InvalidInputError(
            "every image of the data set is to be forgotten, so nothing can measure what is "
            "retained; use a data set with other images too"
        )


def _check_fit(samples: Samples, bank: PromptBank) -> None:
    unknown = sorted(set(samples.labels) - set(bank.labels.classes))
    if unknown:
        raise InvalidInputError(
            f"the data set has images of {', '.join(map(repr, unknown))}, which the model's label "
            "space lacks; register the model with these labels, or use another data set"
        )
    if samples.features.shape[1] != bank.dimension:
        raise InvalidInputError(
            f"embeddings of width {samples.features.shape[1]} do not fit a model of {bank.dimension}"
        )


def _measure(samples: Samples, targets: Sequence[Target], correct: Tensor) -> dict[str, Any]:
    cover = Cover(targets)
    kinds = ("set", "class", "kept class", "domain", "pair")
    groups: dict[str, dict[Any, list[bool]]] = {kind: {} for kind in kinds}
    for label, domain, hit in zip(samples.labels, samples.domains, correct.tolist(), strict=True):
        side = "forget" if cover.covers(label, domain) else "retain"
        groups["set"].setdefault(side, []).append(hit)
        groups["class"].setdefault(label, []).append(hit)
        if side == "retain":
            groups["kept class"].setdefault(label, []).append(hit)
        if domain is not None:
            groups["domain"].setdefault(domain, []).append(hit)
            groups["pair"].setdefault((label, domain), []).append(hit)
    shares = {
        name: {key: Proportion(sum(hits), len(hits)) for key, hits in group.items()}
        for name, group in groups.items()
    }
    by_class, by_domain = _sorted(shares["class"]), _sorted(shares["domain"])
    kept = _sorted(shares["kept class"])
    per_pair: dict[str, dict[str, float]] = {}
    for (label, domain), share in _sorted(shares["pair"]).items():
        per_pair.setdefault(label, {})[domain] = share.value
    forget, retain = shares["set"].get("forget"), shares["set"].get("retain")
    return {
        "forget_accuracy": None if forget is None else forget.value,
        "retain_accuracy": None if retain is None else retain.value,
        "per_class": {key: share.value for key, share in by_class.items()},
        "retain_per_class": {key: share.value for key, share in kept.items()},
        "per_domain": {key: share.value for key, share in by_domain.items()},
        "per_pair": per_pair,
        "counts": {
            "forget": None if forget is None else forget.to_dict(),
            "retain": None if retain is None else retain.to_dict(),
            "per_class": {key: share.to_dict() for key, share in by_class.items()},
            "retain_per_class": {key: share.to_dict() for key, share in kept.items()},
            "per_domain": {key: share.to_dict() for key, share in by_domain.items()},
        },
    }


def _sorted(shares: Mapping[Any, Proportion]) -> dict[Any, Proportion]:
    return dict(sorted(shares.items()))
