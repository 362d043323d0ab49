"""What was tried for the default method: every row changes one thing of the default."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.data import SCOPES, Benchmark, read_benchmark, targets_of, those
from bench.output import Section, Settings, table
from bench.scoring import Figures, Scorer, means, scorer_of
from bench.variants import (
    Change,
    Problem,
    hold_covariance,
    move_in_class_direction,
    move_to_zero,
    problem,
    sink_class,
    weight_by_cosine,
)
from governance.unlearning.anchors import class_directions
from governance.unlearning.prototypes import PrototypeKind
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

CLASS_SCOPES, DOMAIN_SCOPE = SCOPES[:2], SCOPES[2:]
DEFAULT = Recipe()
KINDS = (PrototypeKind.TEXT, PrototypeKind.FEW_SHOT)


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: what differs from the default.
        recipe: hyperparameters.
        change: what else is changed.
        forgotten_only: leave out the prototypes of what is retained.
        scopes: where it can make a difference.
        kinds: likewise.
    """

    name: str
    recipe: Recipe = DEFAULT
    change: Change | None = None
    forgotten_only: bool = False
    scopes: Sequence[str] = SCOPES
    kinds: Sequence[PrototypeKind] = KINDS


def run(settings: Settings) -> Section:
    """Score every variant on every scope, from text and from few-shot prototypes."""
    benchmark = read_benchmark(settings.benchmark)
    scorer = scorer_of(benchmark)
    variants = list(all_variants(benchmark))
    entries: list[dict[str, Any]] = []
    for scope in SCOPES:
        targets = settings.some(list(targets_of(scope, benchmark.bank.labels)))
        entries.append({"scope": scope, "variant": "base model", **scorer.base(targets)})
        for variant in variants:
            for kind in variant.kinds:
                if scope in variant.scopes:
                    found = score(benchmark, scorer, variant, kind, targets)
                    entry = {"scope": scope, "variant": variant.name, "prototypes": kind.value}
                    entries.append({**entry, **found})
    tables = {f"ablations: {scope}": _table(entries, scope) for scope in SCOPES}
    return Section("ablations", tables, entries)


def all_variants(benchmark: Benchmark) -> Iterator[Variant]:
    """The default first."""
    default = DEFAULT
    few_shot = (PrototypeKind.FEW_SHOT,)
    local = SCOPES[1]
    yield Variant("default")
    yield Variant(
        "first defaults: λr 10, μ 0.1, no overshoot, no sibling weight, no margin guard, no shift",
        replace(
            default,
            lambda_retain=10.0, mu=0.1, overshoot=1.0, sibling_weight=1.0, margin=0.0,
            contraction=1.0, shift=0.0,
        ),
    )  # fmt: skip
    for mu in (0.1, 0.3, 3.0):
        yield Variant(f"μ {mu:g}", replace(default, mu=mu))
    for weight in (1.0, 10.0):
        yield Variant(f"λr {weight:g}", replace(default, lambda_retain=weight))
    for value in (1.0, 1.3, 1.5, 2.0):
        yield Variant(f"overshoot {value:g}", replace(default, overshoot=value), scopes=(local,))
    for value in (1.0, 3.0):
        recipe = replace(default, sibling_weight=value)
        yield Variant(f"sibling weight {value:g}", recipe, scopes=(local,))
    for value in (0.0, 0.3):
        yield Variant(f"margin {value:g}", replace(default, margin=value))
    for weight in (100.0, 300.0):
        yield Variant(
            f"covariance of retained images, λ {weight:g}",
            change=hold_covariance(benchmark, weight),
            kinds=few_shot,
        )
    for power in (1.0, 2.0):
        yield Variant(f"weights (1 − cos²)^{power:g}", change=weight_by_cosine(power))
    yield Variant(
        "only in the class's dual direction", change=move_in_class_direction, scopes=CLASS_SCOPES
    )
    yield Variant("zero anchor", change=move_to_zero)
    yield Variant("prototypes of the forgotten only", forgotten_only=True, kinds=few_shot)
    for contraction in (0.0, 0.25, 0.5, 0.75, 1.0):
        for shift in (0.0, 0.5, 0.7, 0.9):
            if (contraction, shift) not in ((0.0, 0.0), (default.contraction, default.shift)):
                yield Variant(
                    f"contraction {contraction:g}, shift {shift:g}",
                    replace(default, contraction=contraction, shift=shift),
                    scopes=DOMAIN_SCOPE,
                )
    lengths = torch.linalg.vector_norm(class_directions(benchmark.bank), dim=1)
    for number in lengths.argsort().tolist():
        label = benchmark.bank.labels.classes[number]
        yield Variant(
            f"sink {label} (length {float(lengths[number]):.2f})",
            change=sink_class(number),
            scopes=DOMAIN_SCOPE,
        )


def score(
    benchmark: Benchmark,
    scorer: Scorer,
    variant: Variant,
    kind: PrototypeKind,
    targets: Sequence[Target],
) -> Figures:
    """Mean figures of a variant."""
    return means(
        scorer.score(target, fit(benchmark, variant, kind, target).solve()) for target in targets
    )


def fit(benchmark: Benchmark, variant: Variant, kind: PrototypeKind, target: Target) -> Problem:
    """The problem that a variant states."""
    prototypes = benchmark.prototypes(kind, target)
    if variant.forgotten_only:
        prototypes = tuple(those(p, lambda pair: target.covers(*pair)) for p in prototypes)
    stated = problem(benchmark.bank, target, variant.recipe, prototypes)
    return variant.change(stated) if variant.change else stated


def _table(entries: list[dict[str, Any]], scope: str) -> str:
    local = scope == SCOPES[1]
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
