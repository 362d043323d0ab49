"""Methods × scopes × prototypes × strengths on real images."""

from typing import Any

from bench.data import SCOPES, Benchmark, read_benchmark, synthesise_all, targets_of
from bench.output import Section, Settings, figure, table
from bench.scoring import FIGURES, Figures, Scorer, means, scorer_of
from governance.unlearning.prototypes import PrototypeKind
from governance.unlearning.recipe import Method, Recipe
from governance.unlearning.targets import Target

STRENGTHS = (0.25, 0.5, 0.75, 0.9, 1.0)


def run(settings: Settings) -> Section:
    """The main table, the trade-off, and its plot."""
    benchmark = load(settings)
    scorer = scorer_of(benchmark)
    entries: list[dict[str, Any]] = []
    for scope in SCOPES:
        targets = settings.some(list(targets_of(scope, benchmark.bank.labels)))
        entries.append({"scope": scope, "method": "base", **scorer.base(targets)})
        for method, kind in combinations(benchmark):
            for strength in settings.some(STRENGTHS[::-1])[::-1]:
                recipe = Recipe.of(method, strength)
                found = [score(benchmark, scorer, target, recipe, kind) for target in targets]
                entry = {"scope": scope, "method": method.value, "prototypes": kind.value}
                entries.append({**entry, "strength": strength, **means(found)})
    tables = {f"methods: {scope}": _table(entries, scope) for scope in SCOPES}
    tables |= {f"strengths: {scope}": _strengths(entries, scope) for scope in SCOPES}
    _plot(settings, entries)
    return Section("methods", tables, entries, ["methods.png"])


def load(settings: Settings) -> Benchmark:
    """The benchmark, with synthesised prototypes if wanted and possible."""
    benchmark = read_benchmark(settings.benchmark)
    if settings.synthesised and settings.benchmark and (settings.benchmark / "clip_real").is_dir():
        made = synthesise_all(settings.benchmark, benchmark.bank, settings.cache, settings.steps)
        return Benchmark(**(vars(benchmark) | {"synthesised": made}))
    return benchmark


def combinations(benchmark: Benchmark) -> list[tuple[Method, PrototypeKind]]:
    """Methods with the prototypes that they can use; `nullspace` with prototypes is `multimodal`."""
    found = []
    for method in (Method.NULLSPACE, Method.MULTIMODAL, Method.CCUP, Method.REDIRECT):
        for kind in benchmark.kinds:
            visual = kind is not PrototypeKind.TEXT
            if not (method is Method.NULLSPACE and visual) and (
                visual or method is not Method.MULTIMODAL
            ):
                found.append((method, kind))
    return found


def score(
    benchmark: Benchmark, scorer: Scorer, target: Target, recipe: Recipe, kind: PrototypeKind
) -> Figures:
    """Fit one choice and score it."""
    return scorer.score(target, benchmark.fit(target, recipe, kind))


def _table(entries: list[dict[str, Any]], scope: str) -> str:
    rows = [
        [e["method"], e.get("prototypes", ""), *(e[name] for name in FIGURES)]
        for e in entries
        if e["scope"] == scope and e.get("strength", 1.0) == 1.0
    ]
    return table(rows, ["method", "prototypes", *FIGURES])


def _strengths(entries: list[dict[str, Any]], scope: str) -> str:
    rows: dict[tuple[str, str], list[str]] = {}
    for e in entries:
        if e["scope"] == scope and e["method"] != "base":
            texts = rows.setdefault((e["method"], e["prototypes"]), [])
            texts.append(f"{e['forget 7']:.3f} / {e['retain 7']:.3f}")
    strengths = sorted({e["strength"] for e in entries if "strength" in e})
    headers = ["method", "prototypes", *(f"α = {value:g}" for value in strengths)]
    return table([[*key, *texts] for key, texts in rows.items()], headers)


_STYLES = {"text": "-", "synthesised": ":", "few-shot": "--"}
_COLOURS = {"nullspace": "C7", "multimodal": "C1", "ccup": "C2", "redirect": "C0"}


def _plot(settings: Settings, entries: list[dict[str, Any]]) -> None:
    with figure(settings.out / "methods.png", columns=len(SCOPES)) as axes:
        for axis, scope in zip(axes, SCOPES, strict=True):
            mine = [e for e in entries if e["scope"] == scope]
            base = next(e for e in mine if e["method"] == "base")
            curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
            for e in mine:
                if e["method"] != "base":
                    curve = curves.setdefault((e["method"], e["prototypes"]), [])
                    curve.append((e["forget 7"], e["retain 7"]))
            for (method, kind), curve in curves.items():
                points = [(base["forget 7"], base["retain 7"]), *curve]
                axis.plot(
                    *zip(*points, strict=True),
                    _STYLES[kind],
                    color=_COLOURS[method],
                    marker="o",
                    markersize=2.5,
                    linewidth=1.2,
                    label=f"{method}, {kind}",
                )
            axis.set_title(scope, fontsize=10)
            axis.set_xlabel("forget accuracy (lower is better)", fontsize=8)
            axis.set_ylim(0.7, 0.92)
        axes[0].set_ylabel("retain accuracy", fontsize=8)
        axes[0].legend(fontsize=6, loc="lower right", frameon=False, ncols=2)
