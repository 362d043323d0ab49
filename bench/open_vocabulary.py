"""Domain forgetting fitted with five classes, scored on the other two (the setting of arXiv 2609.31356)."""

from itertools import combinations
from typing import Any

from bench.data import Benchmark, read_benchmark, those
from bench.output import Section, Settings, table
from bench.scoring import Figures, means
from governance.unlearning.bank import PromptBank
from governance.unlearning.composition import Edit, compose
from governance.unlearning.evaluation import Predictions, predict
from governance.unlearning.labels import LabelSpace
from governance.unlearning.prototypes import PrototypeKind
from governance.unlearning.recipe import Method, Recipe
from governance.unlearning.targets import Target

HELD_OUT = 2
FIGURES = tuple(
    f"{name} {side}" for side in ("seen", "unseen") for name in ("forget", "retain")
) + tuple(f"{name} 28 {side}" for side in ("seen", "unseen") for name in ("forget", "retain"))


def run(settings: Settings) -> Section:
    """Every choice of two held-out classes, every domain."""
    benchmark = read_benchmark(settings.benchmark)
    labels = benchmark.bank.labels
    pairs = settings.some(list(combinations(labels.classes, HELD_OUT)))
    domains = settings.some(labels.domains)
    untouched = predict(benchmark.samples, benchmark.bank, None)
    choices = [(unseen, domain) for unseen in pairs for domain in domains]
    base = means(_figures(benchmark, untouched, *choice) for choice in choices)
    entries: list[dict[str, Any]] = [{"method": "base", "prototypes": "", **base}]
    for method, kind in (
        (Method.CCUP, PrototypeKind.TEXT),
        (Method.CCUP, PrototypeKind.FEW_SHOT),
        (Method.REDIRECT, PrototypeKind.TEXT),
        (Method.REDIRECT, PrototypeKind.FEW_SHOT),
    ):
        found = [_score(benchmark, Recipe.of(method), kind, *choice) for choice in choices]
        entries.append({"method": method.value, "prototypes": kind.value, **means(found)})
        for domain in domains:
            mine = [f for f, (_, d) in zip(found, choices, strict=True) if d == domain]
            entries.append(
                {"method": method.value, "prototypes": kind.value, "domain": domain, **means(mine)}
            )
    rows = [
        [e["method"], e["prototypes"], *(e[name] for name in FIGURES)]
        for e in entries
        if "domain" not in e
    ]
    each = [
        [e["method"], e["prototypes"], e["domain"], *(e[name] for name in FIGURES[:4])]
        for e in entries
        if "domain" in e and e["method"] == Method.REDIRECT
    ]
    tables = {
        "open-vocabulary": table(rows, ["method", "prototypes", *FIGURES]),
        "open-vocabulary: by domain": table(each, ["method", "prototypes", "domain", *FIGURES[:4]]),
    }
    return Section("open-vocabulary", tables, entries)


def restrict(bank: PromptBank, classes: tuple[str, ...]) -> PromptBank:
    """The bank of a customer who knows fewer classes."""
    kept = [n for n, (label, _) in enumerate(bank.pairs) if label in classes]
    labels = LabelSpace(classes, bank.labels.domains, domain_templates=bank.labels.domain_templates)
    return PromptBank(labels, bank.rows[kept], bank.scores[kept])


def _score(
    benchmark: Benchmark, recipe: Recipe, kind: PrototypeKind, unseen: tuple[str, ...], domain: str
) -> Figures:
    """Fit without the unseen classes, score over all."""
    target = Target(None, domain)
    seen = tuple(label for label in benchmark.bank.labels.classes if label not in unseen)
    prototypes = tuple(
        those(chosen, lambda pair: pair[0] not in unseen)
        for chosen in benchmark.prototypes(kind, target)
    )
    fitted = compose(restrict(benchmark.bank, seen), [Edit((target,), recipe, prototypes)])
    found = predict(benchmark.samples, benchmark.bank, fitted.projector)
    return _figures(benchmark, found, unseen, domain)


def _figures(
    benchmark: Benchmark, found: Predictions, unseen: tuple[str, ...], domain: str
) -> Figures:
    samples = benchmark.samples
    result: Figures = {}
    for hits, name in ((found.plain, ""), (found.by_domain, " 28")):
        for side in ("seen", "unseen"):
            for part in ("forget", "retain"):
                mine = [
                    n
                    for n, (label, where) in enumerate(
                        zip(samples.labels, samples.domains, strict=True)
                    )
                    if (label in unseen) == (side == "unseen")
                    and (where == domain) == (part == "forget")
                ]
                value = None if hits is None else float(hits[mine].double().mean())
                result[f"{part}{name} {side}"] = value
    return result
