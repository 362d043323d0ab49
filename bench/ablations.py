"""What each part of the default method does: every row changes one thing of it.

On the shared benchmark's images, scope by scope; and on the largest data set of genuine CLIP embeddings, for one class
or many that are forgotten everywhere at once: settings that one class cannot tell apart differ there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.data import SCOPES, Benchmark, read_benchmark, targets_of
from bench.output import Section, Settings, table
from bench.real import everywhere, generic_of
from bench.real_data import RealData, bank_of, largest, read_all
from bench.real_scoring import RealScorer
from bench.scoring import Figures, Scorer, means, scorer_of
from bench.variants import detected_only, image_side, zeroed
from governance.errors import NotFoundError
from governance.unlearning.bank import PromptBank
from governance.unlearning.composition import Edit, compose
from governance.unlearning.projector import Projector
from governance.unlearning.prototypes import PrototypeKind, Prototypes
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

EVERYWHERE, IN_DOMAIN, WHOLE_DOMAIN = SCOPES
DEFAULT = Recipe()
KINDS = (PrototypeKind.TEXT, PrototypeKind.FEW_SHOT)
COUNTS: Mapping[int, int] = {1: 20, 50: 3, 100: 3, 300: 3}
"""How many classes are forgotten at once, and how often they are drawn."""

Fit = Callable[[PromptBank, Sequence[Target], Sequence[Prototypes]], Projector]


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Attributes:
        name: what differs from the default.
        changes: hyperparameters.
        scopes: where it can make a difference.
        kinds: likewise.
        crowded: whether it takes more classes than the shared benchmark has to make one.
        fit: what makes the edit instead of the package.
    """

    name: str
    changes: Mapping[str, Any]
    scopes: Sequence[str] = SCOPES
    kinds: Sequence[PrototypeKind] = KINDS
    crowded: bool = False
    fit: Fit | None = None

    @property
    def recipe(self) -> Recipe:
        """Its hyperparameters."""
        return replace(DEFAULT, **self.changes)

    def solve(
        self, bank: PromptBank, targets: Sequence[Target], prototypes: Sequence[Prototypes]
    ) -> Projector:
        """The edit of some targets, one request each."""
        if self.fit is not None:
            return self.fit(bank, targets, prototypes)
        edits = [Edit((target,), self.recipe, tuple(prototypes)) for target in targets]
        return compose(bank, edits).projector


def run(settings: Settings) -> Section:
    """Score every variant where it can make a difference."""
    benchmark = read_benchmark(settings.benchmark)
    scorer = scorer_of(benchmark)
    entries: list[dict[str, Any]] = []
    for scope in SCOPES:
        targets = settings.some(list(targets_of(scope, benchmark.bank.labels)))
        entries.append({"scope": scope, "variant": "base model", **scorer.base(targets)})
        for variant in VARIANTS:
            for kind in variant.kinds:
                if scope in variant.scopes and not variant.crowded:
                    found = score(benchmark, scorer, variant, kind, targets)
                    entry = {"scope": scope, "variant": variant.name, "prototypes": kind.value}
                    entries.append({**entry, **found})
    tables = {f"ablations: {scope}": _table(entries, scope) for scope in SCOPES}
    try:
        everything = read_all(settings.benchmark)
    except NotFoundError:  # the tables above do without
        everything = []
    if everything:
        data = largest(everything)
        crowded = crowd(data, everything, settings)
        entries += crowded
        tables["ablations: many classes"] = _crowd_table(crowded, data)
    return Section("ablations", tables, entries)


def _variants() -> list[Variant]:
    """The default first."""
    texts, images = (PrototypeKind.TEXT,), (PrototypeKind.FEW_SHOT,)
    pair, domain = (IN_DOMAIN,), (WHOLE_DOMAIN,)
    local = (IN_DOMAIN, WHOLE_DOMAIN)

    def of_texts(name: str, crowded: bool = False, **changes: Any) -> Variant:
        return Variant(name, changes, (EVERYWHERE,), texts, crowded)  # images play no part in it

    weight, ridge = DEFAULT.lambda_forget, DEFAULT.mu
    return [
        Variant("default", {}),
        Variant("image side: the row fit that came before", {}, fit=image_side),
        *(of_texts(f"{count} anchor{'s' * (count > 1)}", anchors=count) for count in (1, 3)),
        *(of_texts(f"{count} anchors", True, anchors=count) for count in (5, 10, 40)),
        of_texts("all retained texts as anchor", True, anchors=10**6),
        of_texts("no room terms: λf and μ the same for any number", forget_room=0.0, mu_room=0.0),
        of_texts("λf the same for any number", forget_room=0.0),
        of_texts("λf × 10", lambda_forget=10 * weight, forget_room=10 * DEFAULT.forget_room),
        of_texts("λf / 10", lambda_forget=weight / 10, forget_room=DEFAULT.forget_room / 10),
        Variant("μ × 10", {"mu": 10 * ridge, "mu_room": 10 * DEFAULT.mu_room}),
        Variant("μ / 10", {"mu": ridge / 10, "mu_room": DEFAULT.mu_room / 10}),
        of_texts("irreversible", irreversible=True),
        Variant("singular by zeroing", {}, (EVERYWHERE,), texts, True, zeroed),
        Variant("detected images only", {}, (EVERYWHERE,), texts, True, detected_only),
        Variant("strength 0.9", {"strength": 0.9}),
        *(Variant(f"λ of images {v:g}", {"lambda_image": v}, local) for v in (1.0, 3.0, 30.0)),
        *(Variant(f"μ of images {v:g}", {"mu_image": v}, local) for v in (1.0, 30.0)),
        Variant("sibling weight 1", {"sibling_weight": 1.0}, pair),
        Variant("overshoot 1", {"overshoot": 1.0}, pair),
        Variant("no scatter", {"scatter": 0.0}, local, images),
        Variant("contraction only", {"shift": 0.0}, domain),
        Variant("shift only", {"contraction": 0.0}, domain),
        Variant("contraction 1", {"contraction": 1.0}, domain),
    ]


VARIANTS = _variants()


def score(
    benchmark: Benchmark,
    scorer: Scorer,
    variant: Variant,
    kind: PrototypeKind,
    targets: Sequence[Target],
) -> Figures:
    """Mean figures of a variant."""
    return means(
        scorer.score(
            target, variant.solve(benchmark.bank, [target], benchmark.prototypes(kind, target))
        )
        for target in targets
    )


def crowd(
    data: RealData, everything: Sequence[RealData], settings: Settings
) -> list[dict[str, Any]]:
    """Every variant of the text side, with one class or many forgotten at once."""
    bank, scorer = bank_of(data, False), RealScorer(data, generic_of(data, everything))
    size, entries = len(data.labels.names), []
    for count, draws in COUNTS.items():
        if count > size / 2 or (settings.quick and count > 1):
            continue
        drawn = [
            everywhere(
                data, np.random.default_rng(seed).choice(size, count, replace=False).tolist()
            )
            for seed in range(2 if settings.quick else draws)
        ]
        for variant in VARIANTS:
            if EVERYWHERE not in variant.scopes:
                continue
            figures = [
                scorer.score(chosen.forget, None, variant.solve(bank, chosen.targets, ()))
                for chosen in drawn
                if chosen.forget.any()
            ]
            entry = {"data": data.name, "classes": count, "variant": variant.name}
            entries.append({**entry, **means(figures)})
    return entries


def _crowd_table(entries: list[dict[str, Any]], data: RealData) -> str:
    rows: dict[str, dict[int, str]] = {}
    for e in entries:
        figures = f"{e['forget_after']:.3f} / {e['retain_after']:.3f} / {e['cosine']:.3f}"
        rows.setdefault(e["variant"], {})[e["classes"]] = figures
    counts = sorted({e["classes"] for e in entries})
    heads = [f"{count} of {len(data.labels.names)}" for count in counts]
    lines = [[name, *(found.get(count) for count in counts)] for name, found in rows.items()]
    return table(lines, ["what differs (forget / retain / cosine)", *heads])


def _table(entries: list[dict[str, Any]], scope: str) -> str:
    local = scope == IN_DOMAIN
    columns = ("forget 7", "retain 7", *(("elsewhere",) if local else ()), "worst class")
    rows: dict[str, dict[str, list[Any]]] = {}
    for entry in entries:
        if entry["scope"] == scope:
            figures = [entry[name] for name in columns]
            rows.setdefault(entry["variant"], {})[entry.get("prototypes", "both")] = figures
    empty: list[Any] = [None] * len(columns)
    lines = [
        [name, *(value for k in KINDS for value in found.get("both") or found.get(k.value, empty))]
        for name, found in rows.items()
    ]
    headers = [f"{name}, {kind.value}" for kind in KINDS for name in columns]
    return table(lines, ["what differs", *headers])
