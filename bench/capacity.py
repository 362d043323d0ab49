"""How many concepts can be forgotten: retained self-retrieval, and the cost of composing, against their number."""

from statistics import mean
from typing import Any

import numpy as np
import torch

from bench.data import read_lvis
from bench.output import Section, Settings, figure, ratio, table
from bench.timing import one_thread, timed
from governance.unlearning.bank import PromptBank
from governance.unlearning.capacity import MAX_LOST, capacity
from governance.unlearning.composition import Edit, compose
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

COUNTS = (1, 2, 5, 10, 20, 50, 100, 150, 200, 250, 300, 350, 400, 450, 500, 600, 800, 1000)
SHOWN = (1, 10, 100, 200, 300, 400, 500, 600, 1000)
DRAWS = 3
GUARDS = {"with margin guard": Recipe(), "without margin guard": Recipe(margin=0.0)}


def run(settings: Settings) -> Section:
    """Forget random classes, one request each, and look for every class by its own text."""
    bank = read_lvis(settings.benchmark)
    size = len(bank.pairs)
    counts = settings.some([count for count in COUNTS if count < size], 3)
    entries: list[dict[str, Any]] = []
    with one_thread():
        for seed in range(2 if settings.quick else DRAWS):
            order = np.random.default_rng(seed).permutation(size)
            for count in counts:
                for name, recipe in GUARDS.items():
                    found = measure(bank, order[:count].tolist(), recipe)
                    entries.append({"seed": seed, "forgotten": count, "guard": name, **found})
    summary = [_mean(entries, count, name) for count in counts for name in GUARDS]
    _plot(settings, summary)
    tables = {f"capacity: {name}": _table(summary, name) for name in GUARDS}
    data = {"draws": entries, "means": summary}
    return Section("capacity", tables, data, ["capacity.png"])


def measure(bank: PromptBank, chosen: list[int], recipe: Recipe) -> dict[str, Any]:
    """Forget `chosen` rows, one request each; self-retrieval is top-1 of the edited row among all unedited ones."""
    names = bank.labels.classes
    edits = [Edit((Target(names[row], None),), recipe) for row in chosen]
    composition, took = timed(lambda: compose(bank, edits))
    edited = composition.projector.apply(bank.rows)
    found = (edited @ bank.rows.T).argmax(dim=1) == torch.arange(len(bank.rows))
    retained = torch.ones(len(bank.rows), dtype=torch.bool)
    retained[chosen] = False
    targets = [target for edit in edits for target in edit.targets]
    used = capacity(bank, targets, composition.projector)
    way = torch.linalg.vector_norm(composition.rows - composition.goals, dim=1)
    moved = composition.projector.apply(composition.rows)
    left = torch.linalg.vector_norm(moved - composition.goals, dim=1)
    return {
        "residual": float((left / way).max()),
        "retained": float(found[retained].double().mean()),
        "forgotten_found": float(found[~retained].double().mean()),
        "refused": used["lost"] > MAX_LOST,
        "rank": used["rank"],
        "condition": used["condition"],
        "drift": used["drift"],
        "seconds": took,
    }


def _mean(entries: list[dict[str, Any]], count: int, name: str) -> dict[str, Any]:
    mine = [e for e in entries if (e["forgotten"], e["guard"]) == (count, name)]
    retained = [e["retained"] for e in mine]
    return {
        "forgotten": count,
        "guard": name,
        "retained": mean(retained),
        "retained_min": min(retained),
        "retained_max": max(retained),
        "forgotten_found": mean(e["forgotten_found"] for e in mine),
        "refused": mean(float(e["refused"]) for e in mine),
        "residual": max(e["residual"] for e in mine),
        "drift": mean(e["drift"] for e in mine),
        "seconds": min(e["seconds"] for e in mine),
    }


def _table(summary: list[dict[str, Any]], guard: str) -> str:
    mine = [e for e in summary if e["guard"] == guard]
    rows = [
        [
            str(e["forgotten"]),
            f"{e['retained']:.4f}",
            f"{e['retained_min']:.4f}",
            e["forgotten_found"],
            e["residual"],
            e["drift"],
            f"{e['refused']:.0%}",
            ratio(e["seconds"] / mine[0]["seconds"]),
        ]
        for e in mine
        if e["forgotten"] in SHOWN or len(mine) < len(SHOWN)
    ]
    headers = ["forgotten", "retained found", "worst draw", "forgotten found", "largest residual",
               "drift", "refused", "cost of composing"]  # fmt: skip
    return table(rows, headers)


def _plot(settings: Settings, summary: list[dict[str, Any]]) -> None:
    with figure(settings.out / "capacity.png", columns=2) as (left, right):
        for name, style in zip(GUARDS, ("-", "--"), strict=True):
            mine = [e for e in summary if e["guard"] == name]
            counts = [e["forgotten"] for e in mine]
            left.plot(counts, [e["retained"] for e in mine], f"o{style}C0", markersize=3,
                      label=f"retained, {name}")  # fmt: skip
            left.fill_between(counts, [e["retained_min"] for e in mine],
                              [e["retained_max"] for e in mine], color="C0", alpha=0.2)  # fmt: skip
            left.plot(counts, [e["forgotten_found"] for e in mine], f"o{style}C1", markersize=3,
                      label=f"forgotten, {name}")  # fmt: skip
            cost = [e["seconds"] / mine[0]["seconds"] for e in mine]
            right.plot(counts, cost, f"o{style}C0", markersize=3, label=name)
        left.set_title("found by their own text", fontsize=10)
        right.set_title("cost of composing, one concept = 1", fontsize=10)
        right.set_xscale("log")
        right.set_yscale("log")
        for axis in (left, right):
            axis.set_xlabel("forgotten concepts of 1,203 (d = 512)", fontsize=8)
            axis.legend(fontsize=6, frameon=False)
