"""Time and memory of fitting, composing, folding and evaluating against d, k, r and the number of active requests.

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
        k: classes that a fit forgets, rank of the edit that is folded and evaluated.
        r: classes that a fit retains; classes of the composed bank.
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
    "row fit": ("d", "k", "r"),
    "compose": ("d", "r", "requests"),
    "compose in domains": ("d", "r", "requests"),
    "fold": ("d", "k"),
    "evaluate": ("d", "k"),
}
"""Which sizes each step depends on; the others are left out.

*fit*: one request for k classes everywhere. *row fit*: what the papers' methods solve. *compose*: requests for a class
everywhere each. *compose in domains*: in a label space of five domains, so six times the rows, half of the requests for
a class everywhere and half for a class in one domain.
"""

DOMAINS = ("photo", "cartoon", "sketch", "painting", "infograph")


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
    asked = range(min(size.requests, size.r - 1))
    everywhere = [Edit((Target(str(n), None),), Recipe()) for n in asked]
    halved = [
        Edit((Target(str(n), None if n % 2 else DOMAINS[n // 2 % 5]),), Recipe()) for n in asked
    ]
    one = Edit(tuple(Target(str(n), None) for n in range(size.k)), Recipe())
    plain, larger = _bank(rows(size.r)), _bank(rows(size.k + size.r))
    by_domain = _bank(rows(size.r * (1 + len(DOMAINS))), DOMAINS)
    edit = random_edit(size.d, size.k, generator)
    projection = torch.randn(WIDTH, size.d, generator=generator)
    features = torch.randn(size.images, size.d, generator=generator)
    texts = rows(size.classes)
    steps: dict[str, Callable[[], Any]] = {
        "fit": partial(compose, larger, [one]),
        "row fit": partial(solve, forget, goals, weights, retain, held, 1.0),
        "compose": partial(compose, plain, everywhere),
        "compose in domains": partial(compose, by_domain, halved),
        "fold": lambda: edit.apply(projection.double()).float(),
        "evaluate": lambda: edited_logits(features, texts, edit).argmax(dim=1),
    }
    return {name: work for name, work in steps.items() if sweep in USES[name]}


def _bank(rows: torch.Tensor, domains: tuple[str, ...] = ()) -> PromptBank:
    classes = tuple(map(str, range(len(rows) // (1 + len(domains)))))
    templates = dict.fromkeys(domains, ("a {class}",))
    return PromptBank(LabelSpace(classes, domains, domain_templates=templates), rows, rows)


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
