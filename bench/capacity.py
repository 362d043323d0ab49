"""How many classes can be forgotten at once, and what that does to images.

On the largest data set of genuine CLIP embeddings, one request a class: accuracy on its images, how far images that no
request is about turn, and what the certificate predicts of either without any image. That texts still find texts, as
was counted before, says next to nothing of images, which lie elsewhere; the last table shows it on LVIS.
"""

from collections.abc import Sequence
from functools import partial
from statistics import mean
from typing import Any

import numpy as np
import torch

from bench.data import read_lvis
from bench.output import Section, Settings, figure, ratio, table
from bench.real import certificate_of, everywhere, generic_of, mean_certificate
from bench.real_data import RealData, bank_of, largest, read_all
from bench.real_scoring import RealScorer
from bench.timing import one_thread, timed
from governance.errors import NotFoundError
from governance.unlearning.bank import PromptBank
from governance.unlearning.composition import Composition, Edit, compose, tolerance
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

COUNTS = (1, 10, 50, 100, 200, 300, 500)
ALONE, DRAWS = 20, 3
"""How often one class is drawn, and several."""

Entry = dict[str, Any]


def run(settings: Settings) -> Section:
    """Forget random classes, one request each."""
    everything = read_all(settings.benchmark)
    data = largest(everything)
    entries: list[Entry] = []
    with one_thread():
        scorer, bank = RealScorer(data, generic_of(data, everything)), bank_of(data, False)
        generic = generic_of(data, everything)
        for count in settings.some([n for n in COUNTS if n <= len(data.labels.names) / 2], 3):
            for seed in range(2 if settings.quick else ALONE if count == 1 else DRAWS):
                chosen = everywhere(data, _drawn(len(data.labels.names), count, seed))
                if not chosen.forget.any():
                    continue
                composition, took = timed(partial(compose, bank, _edits(chosen.targets)))
                entries.append(
                    {
                        "seed": seed,
                        "forgotten": count,
                        **scorer.score(chosen.forget, None, composition.projector),
                        **_solved(bank, composition, chosen.targets),
                        "certificate": certificate_of(composition, bank, generic),
                        "seconds": took,
                    }
                )
        texts = _texts(settings)
    summary = [_mean(entries, count) for count in dict.fromkeys(e["forgotten"] for e in entries)]
    _plot(settings, summary, data)
    tables = {
        "capacity: images": _images(summary),
        "capacity: certificate": _certificates(summary),
    }
    if texts:
        tables["capacity: texts that find texts"] = _found(texts)
    return Section(
        "capacity", tables, {"draws": entries, "means": summary, "texts": texts}, ["capacity.png"]
    )


def _drawn(size: int, count: int, seed: int) -> list[int]:
    chosen: list[int] = np.random.default_rng(seed).choice(size, count, replace=False).tolist()
    return chosen


def _edits(targets: Sequence[Target]) -> list[Edit]:
    return [Edit((target,), Recipe()) for target in targets]


def _solved(bank: PromptBank, composition: Composition, targets: Sequence[Target]) -> Entry:
    """Rank, and how much the worst request has left beside what a version may leave it."""
    worst, refused = 0.0, False
    for edit in _edits(targets):
        left = composition.residual(edit)
        worst = max(worst, left)
        # Alone a request leaves next to nothing, so the smallest tolerance is its own.
        refused = refused or left > tolerance(0.0)
    return {"rank": composition.projector.rank, "residual": worst, "refused": refused}


def _mean(entries: list[Entry], count: int) -> Entry:
    mine = [e for e in entries if e["forgotten"] == count]
    averaged = ("forget_before", "forget_after", "retain_before", "retain_after", "cosine", "rank",
                "alt_forget_before", "alt_forget_after")  # fmt: skip
    given = {name: [e[name] for e in mine if e[name] is not None] for name in averaged}
    return {
        "forgotten": count,
        "draws": len(mine),
        **{name: mean(values) if values else None for name, values in given.items()},
        "worst_change": min(e["retain_after"] - e["retain_before"] for e in mine),
        "residual": max(e["residual"] for e in mine),
        "refused": mean(float(e["refused"]) for e in mine),
        "certificate": mean_certificate(e["certificate"] for e in mine),
        "seconds": min(e["seconds"] for e in mine),
    }


def _images(summary: list[Entry]) -> str:
    rows = [
        [
            str(e["forgotten"]),
            e["forget_before"],
            e["forget_after"],
            e["retain_before"],
            e["retain_after"],
            f"{e['worst_change']:+.3f}",
            e["cosine"],
            e["residual"],
            f"{e['refused']:.0%}",
            ratio(e["seconds"] / summary[0]["seconds"]),
        ]
        for e in summary
    ]
    headers = ["forgotten", "forget before", "after", "retain before", "after", "worst draw",
               "cosine of other images", "largest residual", "refused", "cost of composing"]  # fmt: skip
    return table(rows, headers)


def _certificates(summary: list[Entry]) -> str:
    names = ("excess_median", "excess_worst", "margin_median", "certified", "change_median",
             "change_worst", "estimated_excess_median", "estimated_change_median")  # fmt: skip
    rows = [
        [str(e["forgotten"]), *((e["certificate"] or {}).get(name) for name in names)]
        for e in summary
    ]
    headers = ["forgotten", "excess, median", "worst", "margin, median", "certified",
               "change of retained, median", "worst", "excess, estimated", "change, estimated"]  # fmt: skip
    return table(rows, headers, 4)


def _texts(settings: Settings) -> list[Entry]:
    """LVIS classes by their own texts, as if those were images; nothing where there are none."""
    try:
        bank = read_lvis(settings.benchmark)
    except NotFoundError:
        return []
    names, found = bank.labels.classes, []
    for count in settings.some([n for n in COUNTS if n <= len(names) / 2], 3):
        chosen = _drawn(len(names), count, 0)
        targets = [Target(names[row], None) for row in chosen]
        composition = compose(bank, _edits(targets))
        edited = composition.projector.apply(bank.rows)
        own = (edited @ bank.rows.T).argmax(dim=1) == torch.arange(len(names))
        kept = torch.ones(len(names), dtype=torch.bool)
        kept[chosen] = False
        found.append(
            {
                "forgotten": count,
                "retained": float(own[kept].double().mean()),
                "forgotten_found": float(own[~kept].double().mean()),
                **_solved(bank, composition, targets),
            }
        )
    return found


def _found(texts: list[Entry]) -> str:
    rows = [
        [str(e["forgotten"]), f"{e['retained']:.4f}", e["forgotten_found"], e["residual"]]
        for e in texts
    ]
    return table(rows, ["forgotten", "retained found", "forgotten found", "largest residual"])


def _plot(settings: Settings, summary: list[Entry], data: RealData) -> None:
    counts = [e["forgotten"] for e in summary]
    with figure(settings.out / "capacity.png", columns=2) as (left, right):
        for name, colour in (("retain", "C0"), ("forget", "C1")):
            for when, style in (("before", ":"), ("after", "-")):
                left.plot(counts, [e[f"{name}_{when}"] for e in summary], f"o{style}{colour}",
                          markersize=3, label=f"{name}, {when}")  # fmt: skip
        right.plot(counts, [e["cosine"] for e in summary], "o-C0", markersize=3)
        left.set_title("accuracy on images", fontsize=10)
        left.legend(fontsize=6, frameon=False)
        right.set_title("cosine of other images, before and after", fontsize=10)
        for axis in (left, right):
            axis.set_ylim(bottom=0)
            label = f"forgotten classes of {len(data.labels.names)} (d = {data.image.shape[1]})"
            axis.set_xlabel(label, fontsize=8)
