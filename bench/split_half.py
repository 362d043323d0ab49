"""Whether the defaults are fitted to the very images that they are scored on.

The hyperparameters of `GRIDS` are chosen on one half of the test images and scored on the other half, beside the
defaults on that other half. The defaults were chosen with all images in view. If that had flattered them, settings
chosen without the scored half would fall behind them; how far is the optimism of the published figures.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from statistics import harmonic_mean, mean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data import SCOPES, Benchmark, read_benchmark, targets_of
from bench.output import Section, Settings, table
from bench.scoring import Sets, sets_of
from governance.unlearning.evaluation import predict
from governance.unlearning.prototypes import PrototypeKind
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    SCOPES[0]: {"mu": (0.002, 0.006, 0.018, 0.06, 0.2), "anchors": (1, 3, 20)},
    SCOPES[1]: {"overshoot": (1.0, 1.6, 1.9, 2.5, 3.0), "lambda_image": (3.0, 10.0, 30.0)},
    SCOPES[2]: {
        "lambda_image": (3.0, 10.0, 30.0),
        "contraction": (0.5, 0.7, 0.9),
        "shift": (0.7, 0.95, 1.2),
    },
}
"""For each scope the hyperparameters that matter there and the values to choose from, beside the defaults."""

SPLITS = 20


def run(settings: Settings) -> Section:
    """Choose on one half, score on the other, both ways, over random halves."""
    benchmark = read_benchmark(settings.benchmark)
    rows: list[list[Any]] = []
    data = []
    for scope in SCOPES:
        targets = settings.some(list(targets_of(scope, benchmark.bank.labels)))
        sets = [sets_of(benchmark.samples, target) for target in targets]
        grid = settings.some([{}, *_choices(GRIDS[scope])])
        for kind in (PrototypeKind.TEXT, PrototypeKind.FEW_SHOT):
            hits = [_hits(benchmark, kind, targets, replace(Recipe(), **c)) for c in grid]
            for seed in range(2 if settings.quick else SPLITS):
                half = _half(benchmark, seed)
                for chosen_on, scored_on in ((half, ~half), (~half, half)):
                    on_first = [objective(found, sets, chosen_on) for found in hits]
                    best = max(range(len(grid)), key=on_first.__getitem__)
                    data.append(
                        {
                            "scope": scope,
                            "prototypes": kind.value,
                            "seed": seed,
                            "chosen": grid[best],
                            "chosen_h_same_half": on_first[best],
                            **_named("chosen", hits[best], sets, scored_on),
                            **_named("default", hits[0], sets, scored_on),
                        }
                    )
            mine = [e for e in data if (e["scope"], e["prototypes"]) == (scope, kind.value)]
            rows.append([scope, kind.value, *_summary(mine)])
    headers = [
        "scope", "prototypes", "chosen: H where chosen", "chosen: H on the other half",
        "defaults: H there", "chosen: forget / retain", "defaults: forget / retain",
        "chosen most often",
    ]  # fmt: skip
    return Section("split-half", {"split-half": table(rows, headers)}, data)


def objective(hits: Sequence[Tensor], sets: Sequence[Sets], part: Tensor) -> float:
    """Mean over choices of the harmonic mean of 1 − forget, retain and (where there is one) elsewhere, 7-way.

    Args:
        hits: for each choice, n booleans, which images are classified right.
        sets: for each choice, which images are what.
        part: n booleans, the images that count.
    """
    return mean(
        _harmonic(*_shares(found, each, part)) for found, each in zip(hits, sets, strict=True)
    )


def _harmonic(forget: float, *kept: float) -> float:
    return float(harmonic_mean([1 - forget, *kept]))


def _shares(hits: Tensor, sets: Sets, part: Tensor) -> list[float]:
    """Forget accuracy, retain accuracy, and accuracy of the class elsewhere if it is retained there."""
    masks = [sets.forget, ~sets.forget, *([sets.elsewhere] if sets.elsewhere.any() else [])]
    return [float(hits[part & mask].double().mean()) for mask in masks]


def _named(
    name: str, hits: Sequence[Tensor], sets: Sequence[Sets], part: Tensor
) -> dict[str, float]:
    shares = [_shares(found, each, part) for found, each in zip(hits, sets, strict=True)]
    return {
        f"{name}_h": mean(_harmonic(*each) for each in shares),
        f"{name}_forget": mean(each[0] for each in shares),
        f"{name}_retain": mean(each[1] for each in shares),
    }


def _choices(grid: dict[str, tuple[float, ...]]) -> list[dict[str, float]]:
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _hits(
    benchmark: Benchmark, kind: PrototypeKind, targets: Sequence[Target], recipe: Recipe
) -> list[Tensor]:
    """For each choice, n booleans: which images the edited model classifies right."""
    return [
        predict(benchmark.samples, benchmark.bank, benchmark.fit(target, recipe, kind)).plain
        for target in targets
    ]


def _half(benchmark: Benchmark, seed: int) -> Tensor:
    """A random half of the images of each (class, domain), n booleans."""
    generator = np.random.default_rng(seed)
    pairs = list(zip(benchmark.samples.labels, benchmark.samples.domains, strict=True))
    half = torch.zeros(len(pairs), dtype=torch.bool)
    for pair in dict.fromkeys(pairs):
        mine = np.array([n for n, other in enumerate(pairs) if other == pair])
        half[torch.from_numpy(generator.permutation(mine)[: len(mine) // 2])] = True
    return half


def _summary(entries: list[dict[str, Any]]) -> list[Any]:
    def over(name: str) -> float:
        return float(mean(entry[name] for entry in entries))

    names = [", ".join(f"{k} {v:g}" for k, v in e["chosen"].items()) or "default" for e in entries]
    favourite = max(dict.fromkeys(names), key=names.count)
    return [
        over("chosen_h_same_half"),
        over("chosen_h"),
        over("default_h"),
        f"{over('chosen_forget'):.3f} / {over('chosen_retain'):.3f}",
        f"{over('default_forget'):.3f} / {over('default_retain'):.3f}",
        f"{favourite} ({names.count(favourite)} of {len(names)})",
    ]
