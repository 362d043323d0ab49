"""Forgetting on embeddings of genuine CLIP models, where images lie far from texts.

Every ``.npz`` of ``DIR/real`` that has labels, names and texts is measured in three cases: one class, many classes at
once (one request each, composed as a version composes them), and one class in one domain. A figure is the mean over the
choices of a case. How far an edit turns images is measured on the data sets of the same width that are only images.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.baselines import STEPS, Classifier, ascend, leace
from bench.output import Section, Settings
from bench.real_data import LOGIT_SCALE, RealData, bank_of, prototypes_of, read_all
from bench.real_scoring import RealScorer
from bench.real_tables import IN_DOMAIN, MANY, ONE, tables_of
from bench.scoring import Figures, Map, means
from bench.timing import one_thread, timed
from governance.unlearning.bank import PromptBank
from governance.unlearning.certificate import Prompts, certificate
from governance.unlearning.composition import Composition, Edit, compose
from governance.unlearning.projector import Projector
from governance.unlearning.prototypes import PrototypeKind
from governance.unlearning.recipe import Method, Recipe
from governance.unlearning.targets import Cover, Target, covering

ALL_ALONE = 64
"""Label spaces up to this size have every class forgotten on its own, larger ones `ALONE` of them."""
ALONE, ALONE_SEED = 60, 7
COUNTS = (10, 50, 100, 200, 300, 500)
SMALL, SMALL_COUNTS = 100, (2, 5, 10, 20)
"""Label spaces below this size have these counts as well; of none is more than half forgotten."""
DRAWS = 10

IRREVERSIBLE = "redirect, irreversible"
TEXT, FEW_SHOT = PrototypeKind.TEXT.value, PrototypeKind.FEW_SHOT.value

Certificate = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """Something to forget.

    Attributes:
        targets: one request each.
        forget: which images that are, n booleans.
        elsewhere: images of the same class in the other domains, n booleans; None outside that case.
    """

    targets: tuple[Target, ...]
    forget: Tensor
    elsewhere: Tensor | None = None


@dataclass(frozen=True)
class Case:
    """Choices whose figures are averaged.

    Attributes:
        name: one of the three.
        classes: how many are forgotten at once.
        choices: with at least one image to forget each.
    """

    name: str
    classes: int
    choices: Sequence[Choice]


@dataclass(frozen=True)
class Approach:
    """One row of the tables.

    Attributes:
        method: its name.
        prototypes: what its fit sees, None for the unedited model.
        fit: the edit of a choice (None for the unedited model) and its certificate, if it has one.
        visual: whether its fit needs few-shot images, see `Fitter.seen`.
        inverted: whether an attacker inverts it.
    """

    method: str
    prototypes: str | None
    fit: Callable[[Choice], tuple[Projector | Map | None, Certificate | None]]
    visual: bool = False
    inverted: bool = False


@dataclass(frozen=True)
class Outcome:
    """What an approach makes of one choice.

    Attributes:
        choice: what is forgotten.
        figures: before and after.
        certificate: of the edit, if it has one.
        seconds: processor time of the fit.
    """

    choice: Choice
    figures: Figures
    certificate: Certificate | None
    seconds: float

    @property
    def domain(self) -> str | None:
        """Of the one target in one domain."""
        return self.choice.targets[0].domain


def run(settings: Settings) -> Section:
    """Every data set, case and method."""
    everything = read_all(settings.benchmark)
    entries: list[dict[str, Any]] = []
    with one_thread():
        for data in everything:
            if data.classes is not None:
                entries += _measure(data, generic_of(data, everything), settings)
    return Section("real", tables_of(everything, entries), entries)


def generic_of(data: RealData, everything: Iterable[RealData]) -> Tensor:
    """Images whose turning is measured: all that are only images and as wide, else the data set's own."""
    width = data.image.shape[1]
    images = [d.image for d in everything if d.only_images and d.image.shape[1] == width]
    return torch.cat(images) if images else data.image


def certificate_of(
    composition: Composition, bank: PromptBank, images: Tensor
) -> Certificate | None:
    """What holds of an edit for every image there could be, and estimates from unlabelled ones.

    Args:
        composition: the edit.
        bank: what it was fitted to.
        images: g × d unlabelled unit rows, of which the estimates use the second moment.
    """
    projector = composition.projector
    prompts = Prompts.of(bank.labels, bank.scores.numpy(), bank.paraphrases.numpy())
    found = certificate(
        prompts,
        [block.to_dict() for block in composition.blocks],
        projector.a.numpy(),
        projector.b.numpy(),
        (images.T @ images / len(images)).numpy(),
    )
    flat: Certificate = {}
    forgotten, retained, estimate = (found[part] for part in ("forgotten", "retained", "estimate"))
    if forgotten is not None:
        flat["certified"] = forgotten["certified"] / forgotten["texts"]
        figures = {name: forgotten[name] for name in ("excess", "from_anchor", "margin")}
    else:
        figures = {}
    if retained is not None:
        figures["change"] = retained["change"]
    figures |= {f"estimated_{name}": value for name, value in estimate.items()}
    for name, value in figures.items():
        flat |= {f"{name}_{part}": value[part] for part in ("median", "worst")}
    return flat


def mean_certificate(found: Iterable[Certificate | None]) -> Certificate | None:
    """Mean of each number of several certificates; None without any."""
    given = [certificate for certificate in found if certificate is not None]
    if not given:
        return None
    numbers = {
        key: [c[key] for c in given if isinstance(c.get(key), int | float)] for key in given[0]
    }
    return {key: mean(values) for key, values in numbers.items() if values}


def cases_of(data: RealData, settings: Settings) -> Iterator[Case]:
    """Every case that the data set has images for."""
    size = len(data.labels.names)
    alone = list(range(size))
    if size > ALL_ALONE:
        alone = np.random.default_rng(ALONE_SEED).choice(size, ALONE, replace=False).tolist()
    yield Case(ONE, 1, settings.some(_with_images(everywhere(data, [c]) for c in alone)))
    counts = {*COUNTS, *(SMALL_COUNTS if size < SMALL else ())}
    for count in settings.some(sorted(n for n in counts if n <= size / 2)):
        drawn = [
            np.random.default_rng(seed).choice(size, count, replace=False).tolist()
            for seed in settings.some(range(DRAWS))
        ]
        yield Case(MANY, count, _with_images(everywhere(data, chosen) for chosen in drawn))
    if data.domains is not None and data.pairs:
        pairs = sorted(set(data.pairs), key=str)
        yield Case(IN_DOMAIN, 1, settings.some(_with_images(_in_one(data, *p) for p in pairs)))


def _with_images(choices: Iterable[Choice]) -> list[Choice]:
    return [choice for choice in choices if choice.forget.any()]


def everywhere(data: RealData, chosen: Sequence[int]) -> Choice:
    """Some classes, by their numbers, one request each."""
    targets = tuple(Target(data.labels.names[number], None) for number in chosen)
    return Choice(targets, torch.isin(data.labels.label, torch.tensor(chosen)))


def _in_one(data: RealData, label: str, domain: str | None) -> Choice:
    assert data.domains is not None
    own = data.labels.label == data.labels.names.index(label)
    there = data.domains.domain == data.domains.names.index(str(domain))
    return Choice((Target(label, domain),), own & there, own & ~there)


class Fitter:
    """Makes the edits of one data set, with its domains or without."""

    def __init__(self, data: RealData, with_domains: bool, generic: Tensor, steps: int) -> None:
        self._data, self._generic, self._steps = data, generic, steps
        self._with_domains = with_domains
        self._bank = bank_of(data, with_domains)
        self._few_shot = prototypes_of(data, with_domains)
        self._shots = data.shots_of(with_domains)
        self._pairs = set(self._shots.pairs) if self._shots is not None else set()
        self._named = {named for pair in self._pairs for named in covering(*pair)}

    def approaches(self, case: Case) -> list[Approach]:
        """The unedited model, the package's methods, and what a user would otherwise pick.

        No text names a domain, so within one domain only few-shot images can say what is to be forgotten. What is
        slow to fit is left out where many classes of a large label space are forgotten.
        """
        found = [Approach("base", None, lambda _: (None, None))]
        if not self._with_domains:
            found += [self._ours(m, TEXT) for m in (Method.NULLSPACE, Method.CCUP, Method.REDIRECT)]
            fit = partial(self._compose, Recipe(irreversible=True), False)
            found.append(Approach(IRREVERSIBLE, TEXT, fit, False, True))
        if self._few_shot:
            visual = [Method.MULTIMODAL, Method.REDIRECT]
            if self._with_domains:
                visual.insert(0, Method.CCUP)
            found += [self._ours(method, FEW_SHOT) for method in visual]
            if case.name != MANY or len(self._data.labels.names) < SMALL:
                found.append(Approach("leace", FEW_SHOT, self._leace, True))
                found.append(Approach("gradient ascent", FEW_SHOT, self._ascent, True))
        return found

    def seen(self, choice: Choice) -> bool:
        """Whether there are few-shot images of each class to be forgotten, and of another."""
        cover = Cover(choice.targets)
        mine = all((target.label, target.domain) in self._named for target in choice.targets)
        return mine and not all(cover.covers(*pair) for pair in self._pairs)

    def _ours(self, method: Method, prototypes: str) -> Approach:
        visual = prototypes == FEW_SHOT
        fit = partial(self._compose, Recipe.of(method), visual)
        ours = method is Method.REDIRECT
        return Approach(method.value, prototypes, fit, visual, ours and not visual)

    def _compose(
        self, recipe: Recipe, visual: bool, choice: Choice
    ) -> tuple[Projector, Certificate | None]:
        prototypes = self._few_shot if visual else ()
        edits = [Edit((target,), recipe, prototypes) for target in choice.targets]
        found = compose(self._bank, edits)
        return found.projector, certificate_of(
            found, self._bank, self._generic
        ) if recipe.anchored else None

    def _leace(self, choice: Choice) -> tuple[Map, None]:
        assert self._shots is not None
        return leace(self._shots, *choice.targets), None

    def _ascent(self, choice: Choice) -> tuple[Projector, None]:
        assert self._shots is not None
        assert self._data.shots is not None
        text = self._data.labels.text.float()
        answer = Classifier(text, self._data.shots.label, LOGIT_SCALE)
        cover = Cover(choice.targets)
        forget = torch.tensor([cover.covers(*pair) for pair in self._shots.pairs])
        return ascend(self._shots.features.float(), [answer], forget, self._steps), None


def _measure(data: RealData, generic: Tensor, settings: Settings) -> list[dict[str, Any]]:
    """The records of one data set."""
    scorer, steps = RealScorer(data, generic), 3 if settings.quick else STEPS
    fitters: dict[bool, Fitter] = {}
    entries = []
    for case in cases_of(data, settings):
        by_domain = case.name == IN_DOMAIN
        if by_domain not in fitters:
            fitters[by_domain] = Fitter(data, by_domain, generic, steps)
        fitter = fitters[by_domain]
        for approach in fitter.approaches(case):
            choices = [c for c in case.choices if not approach.visual or fitter.seen(c)]
            if not choices:
                continue
            outcomes = [_outcome(approach, choice, scorer) for choice in choices]
            entries.append(_record(data, case, approach, outcomes, None))
            if by_domain:
                for domain in dict.fromkeys(outcome.domain for outcome in outcomes):
                    mine = [outcome for outcome in outcomes if outcome.domain == domain]
                    entries.append(_record(data, case, approach, mine, domain))
    return entries


def _outcome(approach: Approach, choice: Choice, scorer: RealScorer) -> Outcome:
    (edit, certificate), took = timed(partial(approach.fit, choice))
    figures = scorer.score(choice.forget, choice.elsewhere, edit, approach.inverted)
    return Outcome(choice, figures, certificate, took)


def _record(
    data: RealData,
    case: Case,
    approach: Approach,
    outcomes: Sequence[Outcome],
    domain: str | None,
) -> dict[str, Any]:
    return {
        "data": data.name,
        "case": case.name,
        "classes": case.classes,
        "domain": domain,
        "method": approach.method,
        "prototypes": approach.prototypes,
        "choices": len(outcomes),
        **means(outcome.figures for outcome in outcomes),
        "certificate": mean_certificate(outcome.certificate for outcome in outcomes),
        "seconds": mean(outcome.seconds for outcome in outcomes),
    }
