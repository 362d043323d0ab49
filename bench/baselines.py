"""What a user would otherwise pick, on the same three scopes, with its time beside ours; and a bound.

- LEACE (arXiv 2306.03819, library `concept-erasure`): the affine map after which no linear probe finds the concept.
  Fitted to the 16-shot training images or to the training prompts of all (class, domain) pairs, the concept being what
  is forgotten. Applied to unit image features, with its bias, which most CLIP towers could not hold.
- Gradient ascent: the final projection (a d × d map, from the identity) is trained with Adam on the 16-shot images:
  ascent on the cross-entropy of those to forget, descent on that of the others, over plain and (class, domain) prompts.
- Lipschitz: the same map is trained on synthesised images, after the idea of "Zero-Shot Class Unlearning in CLIP with
  Synthetic Samples" (2024): the change of the class scores under small random perturbations of what is forgotten is
  driven to zero. The perturbations are of the embeddings, since everything before the final projection is frozen (the
  paper trains inside the encoders); retained synthesised images are held in place by a squared error.
- Oracle: the same map trained with the labels of the *test* images. No user can do this; it shows what a linear map
  can reach.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.data import SCOPES, Benchmark, Shots, targets_of
from bench.methods import load
from bench.output import Section, Settings, ratio, table
from bench.scoring import FIGURES, Figures, Map, means, scorer_of
from bench.timing import one_thread, timed
from governance.errors import NotFoundError
from governance.unlearning.bank import Pair, unit
from governance.unlearning.projector import Projector
from governance.unlearning.prototypes import PrototypeKind
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target, covered

STEPS = 100
LEARNING_RATE = 3e-3
BATCH = 256
ASCENT_LIMIT = 5.0
"""Nats beyond which an image is forgotten enough; without a limit, ascent destroys everything. Chance is 1.9."""
NOISE = 0.5
"""Length of the perturbations, for unit embeddings."""

Fit = Callable[[Benchmark, Target, int], Projector | Map]
"""(benchmark, what to forget, training steps) → the edit."""


@dataclass(frozen=True)
class Baseline:
    """One row of the table.

    Attributes:
        name: of the method.
        uses: what its fit sees.
        fit: how it is made.
    """

    name: str
    uses: str
    fit: Fit


@dataclass(frozen=True)
class Classifier:
    """A zero-shot classifier, and what it should say of labelled images.

    Attributes:
        texts: C × d float32, unit length.
        truth: the right column of each of the n images.
        logit_scale: of the model.
    """

    texts: Tensor
    truth: Tensor
    logit_scale: float

    def errors(self, features: Tensor, batch: Tensor) -> Tensor:
        """Cross-entropy of each image of a batch, nats.

        Args:
            features: b × d, the edited embeddings, any length.
            batch: which images they are, b numbers.
        """
        logits = self.logit_scale * torch.nn.functional.normalize(features, dim=1) @ self.texts.T
        return torch.nn.functional.cross_entropy(logits, self.truth[batch], reduction="none")


def run(settings: Settings) -> Section:
    """Fit and score every baseline on every scope; times are processor time on one thread."""
    benchmark = load(settings)
    scorer = scorer_of(benchmark)
    steps = 3 if settings.quick else STEPS
    entries: list[dict[str, Any]] = []
    with one_thread():
        for scope in SCOPES:
            targets = settings.some(list(targets_of(scope, benchmark.bank.labels)))
            entries.append({"scope": scope, "method": "base", "uses": "", **scorer.base(targets)})
            for baseline in baselines(benchmark):
                baseline.fit(benchmark, targets[0], 1)  # nothing is timed cold
                found: list[Figures] = []
                spent = 0.0
                for target in targets:
                    edit, took = timed(partial(baseline.fit, benchmark, target, steps))
                    spent += took
                    found.append(scorer.score(target, edit))
                entry = {"scope": scope, "method": baseline.name, "uses": baseline.uses}
                entries.append({**entry, "seconds": spent / len(targets), **means(found)})
    tables = {f"baselines: {scope}": _table(entries, scope) for scope in SCOPES}
    tables["baselines: ours instead"] = _instead(entries)
    return Section("baselines", tables, entries)


def baselines(benchmark: Benchmark) -> list[Baseline]:
    """Ours first; what needs synthesised images is left out where there are none."""
    found = [
        Baseline(f"redirect (ours), {kind.value}", _USES[kind], _ours(kind))
        for kind in benchmark.kinds
    ]
    found += [
        Baseline("LEACE, images", "448 images", lambda given, t, _: leace(given.shots, t)),
        Baseline("LEACE, prompts", "text", lambda given, t, _: leace(given.prompts, t)),
        Baseline("gradient ascent", "448 images", gradient_ascent),
    ]
    if benchmark.synthesised is not None:
        found.append(Baseline("Lipschitz", "synthesised images", lipschitz))
    return [*found, Baseline("oracle", "labels of the test images", oracle)]


_USES = {
    PrototypeKind.TEXT: "text",
    PrototypeKind.SYNTHESISED: "text, synthesised images",
    PrototypeKind.FEW_SHOT: "text, 448 images",
}


def _ours(kind: PrototypeKind) -> Fit:
    return lambda benchmark, target, _: benchmark.fit(target, Recipe(), kind)


def leace(shots: Shots, *targets: Target) -> Map:
    """LEACE of one binary concept for each target, whether a row is covered by it.

    Raises:
        NotFoundError: the library is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it uses torch.jit.script
            from concept_erasure import LeaceFitter
    except ImportError as error:
        raise NotFoundError("LEACE needs the package concept-erasure (extra `bench`)") from error
    rows = unit(shots.features)
    concept = torch.tensor(
        [[float(target.covers(*pair)) for target in targets] for pair in shots.pairs]
    )
    fitter = LeaceFitter.fit(rows, concept.to(rows.dtype))

    def apply(features: Tensor) -> Tensor:
        erased: Tensor = fitter.eraser(unit(features))
        return erased

    return apply


def gradient_ascent(benchmark: Benchmark, target: Target, steps: int) -> Projector:
    """Ascent on what is to be forgotten, descent on the rest, 16-shot images."""
    rows, answers, forget = _labelled(benchmark, benchmark.shots, target)
    return ascend(rows, answers, forget, steps)


def ascend(rows: Tensor, answers: Sequence[Classifier], forget: Tensor, steps: int) -> Projector:
    """Gradient ascent on some labelled rows, descent on the others.

    Args:
        rows: n × d float32, unit length.
        answers: the classifiers whose cross-entropies count, with the right columns of the rows.
        forget: n booleans.
        steps: of training.
    """

    def loss(change: Tensor, batch: Tensor) -> Tensor:
        lost = forget[batch]
        errors = [answer.errors(rows[batch] @ change, batch) for answer in answers]
        kept = sum(error[~lost].mean() for error in errors)
        gone = sum(error[lost].clamp_max(ASCENT_LIMIT).mean() for error in errors)
        return torch.as_tensor(kept - gone)

    return _train(rows, forget, loss, steps)


def lipschitz(benchmark: Benchmark, target: Target, steps: int) -> Projector:
    """Scores that do not change around synthesised images of what is forgotten."""
    assert benchmark.synthesised is not None
    rows, _, forget = _labelled(benchmark, benchmark.synthesised, target)
    texts = benchmark.bank.plain_scores.float()
    generator = torch.Generator().manual_seed(0)

    def scores(features: Tensor, change: Tensor) -> Tensor:
        edited: Tensor = torch.nn.functional.normalize(features @ change, dim=1) @ texts.T
        return edited

    def loss(change: Tensor, batch: Tensor) -> Tensor:
        lost = rows[batch][forget[batch]]
        noise = NOISE * torch.nn.functional.normalize(
            torch.randn(lost.shape, generator=generator), dim=1
        )
        moved = scores(lost + noise, change) - scores(lost, change)
        kept = rows[batch][~forget[batch]]
        stay = (kept @ change - kept).square().sum(dim=1).mean()
        return torch.as_tensor(torch.linalg.vector_norm(moved, dim=1).mean() / NOISE + stay)

    return _train(rows, forget, loss, steps)


def oracle(benchmark: Benchmark, target: Target, steps: int) -> Projector:
    """Trained on the test images themselves: unlikelihood of their class for those to forget."""
    samples = benchmark.samples
    pairs: list[Pair] = list(zip(samples.labels, samples.domains, strict=True))
    rows, answers, forget = _labelled(benchmark, Shots(samples.features, tuple(pairs)), target)

    def loss(change: Tensor, batch: Tensor) -> Tensor:
        lost = forget[batch]
        errors = [answer.errors(rows[batch] @ change, batch) for answer in answers]
        kept = sum(error[~lost].mean() for error in errors)
        unlikely = sum(-torch.log(-torch.expm1(-e[lost].clamp_min(1e-6))).mean() for e in errors)
        return torch.as_tensor(kept + unlikely)

    return _train(rows, forget, loss, 2 * steps)


def _labelled(
    benchmark: Benchmark, shots: Shots, target: Target
) -> tuple[Tensor, tuple[Classifier, Classifier], Tensor]:
    """Unit rows, the classifiers over plain and over (class, domain) prompts, and which are to be forgotten."""
    labels, bank = benchmark.bank.labels, benchmark.bank
    plain = [labels.classes.index(label) for label, _ in shots.pairs]
    places = [labels.domains.index(str(domain)) for _, domain in shots.pairs]
    pairs = [p * len(labels.classes) + c for p, c in zip(places, plain, strict=True)]
    answers = (
        Classifier(bank.plain_scores.float(), torch.tensor(plain), benchmark.logit_scale),
        Classifier(bank.domain_scores.float(), torch.tensor(pairs), benchmark.logit_scale),
    )
    forget = torch.tensor([covered([target], *pair) for pair in shots.pairs])
    return unit(shots.features).float(), answers, forget


def _train(
    rows: Tensor, forget: Tensor, loss: Callable[[Tensor, Tensor], Tensor], steps: int
) -> Projector:
    """Adam on a d × d map from the identity; half of each batch is to be forgotten.

    The learning rate falls as a cosine.
    """
    generator = torch.Generator().manual_seed(0)
    change = torch.eye(rows.shape[1], requires_grad=True)
    optimiser = torch.optim.Adam([change], lr=LEARNING_RATE)
    groups = [mask.nonzero().flatten() for mask in (forget, ~forget)]
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * step / steps)) / 2
        batch = torch.cat(
            [g[torch.randint(len(g), (BATCH // 2,), generator=generator)] for g in groups]
        )
        optimiser.zero_grad()
        loss(change, batch).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    edit = change.detach().double()
    identity = torch.eye(len(edit), dtype=torch.float64)
    return Projector(edit - identity, identity, math.nan)


def _table(entries: list[dict[str, Any]], scope: str) -> str:
    mine = [e for e in entries if e["scope"] == scope]
    ours = next(e["seconds"] for e in mine if "seconds" in e)
    names = [name for name in FIGURES if mine[0][name] is not None]
    rows = [
        [
            e["method"],
            e["uses"],
            *(e[name] for name in names),
            ratio(e["seconds"] / ours) if "seconds" in e else "",
        ]
        for e in mine
    ]
    return table(rows, ["method", "its fit sees", *names, "time to fit"])


SLACK = 0.005
"""Differences of accuracy that count as equal."""


def _instead(entries: list[dict[str, Any]]) -> str:
    """For each baseline, which of ours is at least as good in forget 7 and retain 7, and what it saves."""
    rows = []
    for e in entries:
        if "seconds" not in e or e["method"].startswith(("redirect", "oracle")):
            continue
        ours = [o for o in entries if o["scope"] == e["scope"] and "ours" in o["method"]]
        as_good = [
            o
            for o in ours
            if o["forget 7"] <= e["forget 7"] + SLACK and o["retain 7"] >= e["retain 7"] - SLACK
        ]
        cheapest = min(as_good, key=lambda o: float(o["seconds"]), default=None)
        rows.append(
            [
                e["scope"],
                e["method"],
                f"{e['forget 7']:.3f} / {e['retain 7']:.3f}",
                cheapest["method"] if cheapest else "none",
                f"{cheapest['forget 7']:.3f} / {cheapest['retain 7']:.3f}" if cheapest else None,
                ratio(e["seconds"] / cheapest["seconds"]) if cheapest else None,
            ]
        )
    headers = ["scope", "baseline", "forget / retain", "ours, at least as good", "forget / retain",
               "its time to ours"]  # fmt: skip
    return table(rows, headers)
