"""Time and memory of fit, compose, fold and evaluate against d, k, r and the number of active requests.

Random rows: what is measured is arithmetic. One size varies at a time, everything relative to its smallest value.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from bench.output import Section, Settings, ratio, table
from bench.timing import one_thread, peak_memory, seconds
from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.composition import Edit, compose
from governance.unlearning.evaluation import edited_logits
from governance.unlearning.labels import LabelSpace
from governance.unlearning.projector import random_edit, solve
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

WIDTH = 768
"""Of the image tower before the final projection."""


@dataclass(frozen=True)
class Size:
    """One point.

    Attributes:
        d: width of the joint embedding.
        k: forgotten rows of a fit, rank of the edit that is folded and evaluated.
        r: retained rows of a fit; classes of the composed bank.
        requests: active requests that are composed.
        images: of an evaluation.
        classes: of an evaluation.
    """

    d: int = 512
    k: int = 10
    r: int = 1200
    requests: int = 10
    images: int = 10_000
    classes: int = 1000


SMALL = Size(d=64, r=50, images=100, classes=20)
SWEEPS: dict[str, tuple[int, ...]] = {
    "d": (256, 512, 768, 1024),
    "k": (1, 10, 100, 1000),
    "r": (20, 100, 1200, 5000),
    "requests": (1, 10, 100, 1000),
}
USES = {
    "fit": ("d", "k", "r"),
    "compose": ("d", "r", "requests"),
    "fold": ("d", "k"),
    "evaluate": ("d", "k"),
}
"""Which sizes each step depends on; the others are left out."""


def run(settings: Settings) -> Section:
    """Measure each step along each sweep."""
    entries: list[dict[str, Any]] = []
    with one_thread():
        for name, values in SWEEPS.items():
            for value in settings.some(values):
                size = replace(SMALL if settings.quick else Size(), **{name: value})
                for step, work in _steps(size, name).items():
                    work()
                    took = seconds(work, 1 if settings.quick else 5)
                    entry = {"sweep": name, "value": value, "step": step, "seconds": took}
                    entries.append({**entry, "peak_bytes": peak_memory(work)})
    tables = {f"scaling: {name}": _table(entries, name) for name in SWEEPS}
    return Section("scaling", tables, entries)


def _steps(size: Size, sweep: str) -> dict[str, Callable[[], Any]]:
    generator = torch.Generator().manual_seed(0)

    def rows(count: int) -> torch.Tensor:
        return unit(torch.randn(count, size.d, generator=generator))

    forget, retain = rows(size.k), rows(size.r)
    goals = retain.mean(dim=0).expand_as(forget)
    weights, held = (torch.full((n,), w).double() for n, w in ((size.k, 1e3), (size.r, 3.0)))
    bank_rows = rows(size.r)
    bank = PromptBank(LabelSpace(tuple(map(str, range(size.r)))), bank_rows, bank_rows)
    edits = [Edit((Target(str(n), None),), Recipe()) for n in range(min(size.requests, size.r - 1))]
    edit = random_edit(size.d, size.k, generator)
    projection = torch.randn(WIDTH, size.d, generator=generator)
    features = torch.randn(size.images, size.d, generator=generator)
    texts = rows(size.classes)
    steps: dict[str, Callable[[], Any]] = {
        "fit": partial(solve, forget, goals, weights, retain, held, 1.0),
        "compose": partial(compose, bank, edits),
        "fold": lambda: edit.apply(projection.double()).float(),
        "evaluate": lambda: edited_logits(features, texts, edit).argmax(dim=1),
    }
    return {name: work for name, work in steps.items() if sweep in USES[name]}


def _table(entries: list[dict[str, Any]], sweep: str) -> str:
    mine = [e for e in entries if e["sweep"] == sweep]
    steps = [step for step, sizes in USES.items() if sweep in sizes]
    rows = []
    for value in dict.fromkeys(e["value"] for e in mine):
        row: list[Any] = [str(value)]
        for step in steps:
            points = [e for e in mine if e["step"] == step]
            point = next(e for e in points if e["value"] == value)
            memory = point["peak_bytes"]
            row.append(ratio(point["seconds"] / points[0]["seconds"]))
            row.append(f"{memory / 2**20:.1f} MB" if memory is not None else None)
        rows.append(row)
    heads = [head for step in steps for head in (f"{step}, time", f"{step}, extra memory")]
    return table(rows, [sweep, *heads])
