"""What still leaks at full strength, beside the unedited model and a random edit of the same rank."""

from collections.abc import Mapping
from typing import Any

from bench.data import SCOPES, targets_of
from bench.methods import combinations, load
from bench.output import Section, Settings, table
from bench.scoring import means
from governance.unlearning.assessment import assess
from governance.unlearning.recipe import Recipe

SHOTS = 5
FIGURES = (
    "forget 7",
    "nearest prototype",
    "text replaced",
    "probe AUC",
    "membership AUC",
    "RUS",
    "drift",
)
"""Forget accuracy; share of the forget images that an attacker with five labelled images of each class finds by nearest
prototype, or by putting prototypes in place of the forgotten classes' texts; AUC of a linear probe (forget against
retain images) and of class membership (forget against neighbour images); RUS; Jensen–Shannon drift on neighbours."""


def run(settings: Settings) -> Section:
    """Assess every method on every choice."""
    benchmark = load(settings)
    entries: list[dict[str, Any]] = []
    for scope in SCOPES:
        targets = settings.some(list(targets_of(scope, benchmark.bank.labels)), 1)
        views: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for method, kind in settings.some(combinations(benchmark)[::-1]):
            for target in targets:
                projector = benchmark.fit(target, Recipe.of(method), kind)
                found = assess(
                    benchmark.samples, benchmark.bank, [target], projector, benchmark.logit_scale
                )
                key = (method.value, kind.value)
                views.setdefault(("unedited", ""), []).append(figures(found["before"]))
                views.setdefault(("random subspace", "rank of each"), []).append(
                    figures(found["control"])
                )
                views.setdefault(key, []).append(figures(found["after"]))
        for (name, kind_name), rows in views.items():
            entry = {"scope": scope, "method": name, "prototypes": kind_name, "choices": len(rows)}
            entries.append(entry | means(rows))
    tables = {f"leakage: {scope}": _table(entries, scope) for scope in SCOPES}
    return Section("leakage", tables, entries)


def figures(view: Mapping[str, Any]) -> dict[str, float | None]:
    """The `FIGURES` of one view of an assessment."""
    attacks = {
        attack["mix"]: attack["recovered"]
        for attack in view["relearning"]
        if attack["shots"] == SHOTS
    }
    values = (
        _value(view["zero_shot"]["forget"]),
        attacks.get(None),
        attacks.get(1.0),
        _value(view["probe_auc"]),
        _value(view["membership_auc"]),
        view["rus"],
        view["drift"],
    )
    return dict(zip(FIGURES, values, strict=True))


def _value(share: Mapping[str, Any] | None) -> float | None:
    return None if share is None else float(share["value"])


def _table(entries: list[dict[str, Any]], scope: str) -> str:
    mine = [e for e in entries if e["scope"] == scope]
    order = [*mine[:2], *mine[2:][::-1]]
    rows = [[e["method"], e["prototypes"], *(e[name] for name in FIGURES)] for e in order]
    return table(rows, ["method", "prototypes", *FIGURES])
