"""The tables of the part `real`: what `bench.real` measured, for people."""

from collections.abc import Iterable
from typing import Any

from bench.output import table
from bench.real_data import RealData
from governance.unlearning.recipe import Method

ONE, MANY, IN_DOMAIN = "one class", "many classes", "class in one domain"


def tables_of(everything: Iterable[RealData], entries: list[dict[str, Any]]) -> dict[str, str]:
    """Every table that has rows, by name."""
    tables = {"real: data": _data(everything), f"real: {ONE}": _alone(entries)}
    for name in dict.fromkeys(e["data"] for e in entries if e["case"] == MANY):
        tables[f"real: {MANY}, {name}"] = _at_once(entries, name)
    tables |= {
        "real: turning": _turning(entries),
        "real: certificate": _certified(entries),
        "real: inversion": _inverted(entries),
        f"real: {IN_DOMAIN}": _in_domain(entries),
    }
    return {name: text for name, text in tables.items() if text}


def _data(everything: Iterable[RealData]) -> str:
    rows = []
    for data in everything:
        sizes: tuple[Any, ...] = (None, None, None, None)
        used = "turning" if data.only_images else "nothing: no labels, names or texts"
        if data.classes is not None:
            domains = len(data.domains.names) if data.domains is not None else None
            shots = len(data.shots.label) if data.shots is not None else None
            other = "yes" if data.classes.other_text is not None else "no"
            sizes, used = (len(data.classes.names), domains, shots, other), "forgetting"
        images, width = data.image.shape
        rows.append([data.name, str(images), str(width), *sizes, used])
    headers = ["data", "images", "width", "classes", "domains", "few-shot images",
               "other phrasing", "used for"]  # fmt: skip
    return table(rows, headers)


def _alone(entries: list[dict[str, Any]]) -> str:
    rows = [
        [*_named(e), e["forget_after"], e["retain_after"], e["cosine"], e["alt_forget_after"]]
        for e in entries
        if e["case"] == ONE
    ]
    headers = ["data", "method", "prototypes", "forget", "retain", "cosine",
               "forget, other phrasing"]  # fmt: skip
    return table(rows, headers) if rows else ""


def _at_once(entries: list[dict[str, Any]], name: str) -> str:
    mine = [e for e in entries if (e["data"], e["case"]) == (name, MANY)]
    counts = sorted({e["classes"] for e in mine})
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for e in mine:
        texts = rows.setdefault((e["method"], e["prototypes"] or ""), {})
        texts[e["classes"]] = f"{e['forget_after']:.3f} / {e['retain_after']:.3f}"
    return table(
        [[*key, *(texts.get(count) for count in counts)] for key, texts in rows.items()],
        ["method", "prototypes", *map(str, counts)],
    )


def _turning(entries: list[dict[str, Any]]) -> str:
    rows = [
        [e["data"], e["prototypes"], str(e["classes"]), e["cosine"], e["neighbour_before"],
         e["neighbour_after"]]
        for e in sorted(entries, key=lambda e: (e["data"], str(e["prototypes"]), e["classes"]))
        if e["case"] in (ONE, MANY) and e["method"] == Method.REDIRECT
    ]  # fmt: skip
    headers = ["data", "prototypes", "classes at once", "cosine", "neighbours before",
               "neighbours after"]  # fmt: skip
    return table(rows, headers) if rows else ""


def _certified(entries: list[dict[str, Any]]) -> str:
    rows = []
    for e in _ordered(entries):
        found = e["certificate"]
        if found is None or "excess_median" not in found or e["prototypes"] != "text":
            continue
        names = ("excess_median", "excess_worst", "margin_median", "certified", "change_median",
                 "estimated_excess_median", "estimated_change_median")  # fmt: skip
        rows.append(
            [e["data"], e["method"], str(e["classes"]), *(found.get(name) for name in names)]
        )
    headers = ["data", "method", "classes at once", "excess, median", "worst", "margin, median",
               "certified", "change of retained, median", "excess, estimated",
               "change, estimated"]  # fmt: skip
    return table(rows, headers, 4) if rows else ""


def _inverted(entries: list[dict[str, Any]]) -> str:
    rows = [
        [e["data"], e["method"], str(e["classes"]), e["forget_before"], e["forget_after"],
         e["inverted_plain"], e["inverted_informed"], e["retain_after"] - e["retain_before"]]
        for e in _ordered(entries)
        if e.get("inverted_plain") is not None
    ]  # fmt: skip
    headers = ["data", "method", "classes at once", "before", "after", "inverted",
               "with other images", "retain, change"]  # fmt: skip
    return table(rows, headers) if rows else ""


def _ordered(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    mine = [e for e in entries if e["case"] in (ONE, MANY)]
    return sorted(mine, key=lambda e: (e["data"], e["method"], e["classes"]))


def _in_domain(entries: list[dict[str, Any]]) -> str:
    mine = sorted(
        (e for e in entries if e["case"] == IN_DOMAIN),
        key=lambda e: (e["data"], e["domain"] is not None, e["domain"] or ""),
    )
    rows = [
        [e["data"], e["domain"] or "all", e["method"], e["prototypes"] or "", e["forget_after"],
         e["retain_after"], e["elsewhere_after"], e["cosine"]]
        for e in mine
    ]  # fmt: skip
    headers = ["data", "domain", "method", "prototypes", "forget", "retain",
               "same class elsewhere", "cosine"]  # fmt: skip
    return table(rows, headers) if rows else ""


def _named(entry: dict[str, Any]) -> list[str]:
    return [entry["data"], entry["method"], entry["prototypes"] or ""]
