"""Figures of an evaluation made ready to be shown: shares, change charts, heat maps. No markup here."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from governance.unlearning.targets import Target, covered
from governance.unlearning.words import percent

MAX_ROWS = 20
"""Classes or domains shown one by one; of a larger label space the forgotten and the most changed ones."""

MAX_LISTED = 20
"""Requests or files that are named one by one before the rest is only counted."""

HEAT_STEPS = 10
"""Shades of a heat map besides white."""

_TOP, _ROW, _BOTTOM = 26, 38, 4
_NAME_LENGTH = 26


class Coverage(StrEnum):
    """How much of a class or domain is to be forgotten."""

    NONE = "none"
    PART = "part"
    ALL = "all"


@dataclass(frozen=True)
class Share:
    """A share of images that were recognised, with its 95% interval."""

    correct: int
    n: int
    low: float
    high: float

    @classmethod
    def of(cls, counts: Mapping[str, Any]) -> "Share":
        """From an entry of a report's ``counts``."""
        return cls(counts["correct"], counts["n"], counts["low"], counts["high"])

    @property
    def value(self) -> float | None:
        """The share itself, None without images."""
        return self.correct / self.n if self.n else None

    @property
    def percent(self) -> str:
        """The share as it is printed."""
        return percent(self.value)

    @property
    def interval(self) -> str:
        """The interval as it is printed."""
        return f"{percent(self.low)} to {percent(self.high)}"


@dataclass(frozen=True)
class Row:
    """A class or domain before and after the edit."""

    name: str
    coverage: Coverage
    before: Share
    after: Share

    @property
    def label(self) -> str:
        """The name, shortened to what fits into a narrow chart."""
        name = self.name
        return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"

    @property
    def change(self) -> str:
        """Percentage points gained or lost."""
        return points(self.before.value, self.after.value)

    @property
    def moved(self) -> float:
        """Fraction gained or lost."""
        return (self.after.value or 0.0) - (self.before.value or 0.0)


@dataclass(frozen=True)
class PlacedRow:
    """A row of a chart; `y` is the baseline of its name, `track` the height of its line, in pixels."""

    row: Row
    y: int
    track: int


@dataclass(frozen=True)
class Chart:
    """A change chart: one line a row from 0 to 100%, horizontal places in per cent of its width.

    Attributes:
        rows: what to draw.
        height: of the drawing, in pixels.
        omitted: how many more there are.
    """

    rows: Sequence[PlacedRow]
    height: int
    omitted: int

    @property
    def coverages(self) -> set[Coverage]:
        """What the legend must explain."""
        return {row.coverage for row in self.figures}

    @property
    def figures(self) -> list[Row]:
        """The rows without their places."""
        return [placed.row for placed in self.rows]


@dataclass(frozen=True)
class Cell:
    """A (class, domain) of a heat map; `shade` counts from 0 (none recognised) to `HEAT_STEPS` (all)."""

    before: str
    after: str
    shade: int
    forgotten: bool


@dataclass(frozen=True)
class HeatMap:
    """Share recognised by class and domain; a cell is None where there is no image."""

    domains: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell | None]]]
    omitted: int


@dataclass(frozen=True)
class Answered:
    """How many images got an answer.

    Attributes:
        n: images.
        percent: their share of all, as it is printed.
        correct: those for which the answer is right.
        classes: how many classes are counted together, if it is not one.
    """

    n: int
    percent: str
    correct: int
    classes: int | None = None


@dataclass(frozen=True)
class Answer:
    """A class that images are taken for, before and after; a side is None where it is among the others.

    Attributes:
        name: of the class; None for all that are not listed.
        before, after: how many images.
    """

    name: str | None
    before: Answered | None
    after: Answered | None


@dataclass(frozen=True)
class ConfusionTable:
    """What the images to be forgotten are taken for.

    Attributes:
        request: whose they are, in a report on a version.
        n: how many images.
        rows: answers, the most frequent after the edit first.
    """

    request: int | None
    n: int
    rows: Sequence[Answer]


def points(before: float | None, after: float | None) -> str:
    """A change in percentage points with its sign."""
    if before is None or after is None:
        return "–"
    text = f"{100 * (after - before):+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def plot_position(value: float | None) -> str:
    """Where a fraction lies on a line, in per cent of its width, for an SVG attribute."""
    return f"{100 * (value or 0.0):.2f}%"


def targets_of(record: Mapping[str, Any]) -> list[Target]:
    """Targets of a request or of a report's entry on it."""
    return [Target.from_dict(target) for target in record["targets"]]


def side_share(report: Mapping[str, Any], when: str, side: str) -> Share | None:
    """Forget or retain set of a report, None if it has no images."""
    counts = report[when]["counts"][side]
    return None if counts is None else Share.of(counts)


def measurement(
    report: Mapping[str, Any], document: Mapping[str, Any], targets: Sequence[Target], index: int
) -> dict[str, Any]:
    """One measurement as the page shows it.

    Args:
        report: an entry of the document's ``reports``.
        document: the whole.
        targets: everything that is to be forgotten.
        index: counts the measurements, for the names of the charts.
    """
    before, after = report["before"], report["after"]
    charts = [
        {"by": name, "id": f"{name}-{index}", "chart": drawn}
        for name, drawn in (
            ("class", class_chart(before, after, targets)),
            ("domain", domain_chart(before, after, targets)),
        )
        if drawn is not None
    ]
    classes = document["model"]["classes"]
    return {
        "report": report,
        "dataset": report["dataset"],
        "skipped": report["dataset"]["skipped"][:MAX_LISTED],
        "after_words": f"version {report['version']}" if document["version"] else "this edit alone",
        "sides": _sides(before, after),
        "domain_sides": _sides(before["domain_prompts"], after["domain_prompts"]),
        "domain_answers": len(classes) * len(document["model"]["domains"]),
        "chance": percent(1 / len(classes)),
        "charts": charts,
        "heat": heat_map(before, after, targets),
        "requests": _entries(report) if document["version"] else [],
        "confusions": confusion_tables(report),
    }


def confusion_tables(report: Mapping[str, Any]) -> list[ConfusionTable]:
    """What images to be forgotten are taken for: one table for a request, one for each request of a version.

    None for reports that were made before this was measured.
    """
    if found := report.get("confusion"):
        return [_confusion_table(None, found)]
    entries = report.get("requests", ())
    return [_confusion_table(e["request"], e["confusion"]) for e in entries if e.get("confusion")]


def _confusion_table(request: int | None, found: Mapping[str, Any]) -> ConfusionTable:
    before, after = (
        {entry["class"]: entry for entry in found[when]} for when in ("before", "after")
    )
    rows = [
        Answer(name, *(_answer(side, name) for side in (before, after)))
        for name in dict.fromkeys([*after, *before])
        if name is not None
    ]
    if None in before or None in after:
        rows.append(Answer(None, *(_answer(side, None) for side in (before, after))))
    return ConfusionTable(request, found["n"], rows)


def _answer(side: Mapping[str | None, Mapping[str, Any]], name: str | None) -> Answered | None:
    entry = side.get(name)
    if entry is not None:
        return Answered(entry["n"], percent(entry["share"]), entry["correct"], entry.get("classes"))
    # A class that is not listed may be among those that are counted together.
    return Answered(0, percent(0.0), 0) if None not in side else None


def _sides(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Rows of a before/after table."""
    if before is None or after is None:
        return []
    sides = []
    for key, name in (("forget", "To be forgotten"), ("retain", "To be kept")):
        was, now = before["counts"][key], after["counts"][key]
        if was is not None and now is not None:
            sides.append(_side_row(name, Share.of(was), Share.of(now)))
    return sides


def _side_row(name: str, before: Share, after: Share) -> dict[str, Any]:
    change = points(before.value, after.value)
    return {"name": name, "before": before, "after": after, "change": change}


def _entries(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            **entry,
            "scope": "; ".join(target.describe() for target in targets_of(entry)),
            **_side_row("", *(Share.of(entry["counts"][when]) for when in ("before", "after"))),
        }
        for entry in report["requests"]
    ]


def class_chart(
    before: Mapping[str, Any], after: Mapping[str, Any], targets: Sequence[Target]
) -> Chart:
    """Change of every class."""
    return _chart(_class_rows(before, after, targets))


def domain_chart(
    before: Mapping[str, Any], after: Mapping[str, Any], targets: Sequence[Target]
) -> Chart | None:
    """Change of every domain; None if the data set names none."""
    if not before["per_domain"]:
        return None
    pairs = before["per_pair"]

    def coverage(domain: str) -> Coverage:
        return _coverage(
            covered(targets, label, domain) for label, places in pairs.items() if domain in places
        )

    return _chart(_rows("per_domain", before, after, coverage))


def heat_map(
    before: Mapping[str, Any], after: Mapping[str, Any], targets: Sequence[Target]
) -> HeatMap | None:
    """Share recognised by class and domain; None if the data set names no domain."""
    if not before["per_pair"]:
        return None
    domains = list(before["per_domain"])
    chart = class_chart(before, after, targets)
    rows = [
        (
            row.name,
            [_cell(before, after, targets, row.name, domain) for domain in domains],
        )
        for row in chart.figures
        if row.name in before["per_pair"]
    ]
    return HeatMap(domains, rows, len(before["per_pair"]) - len(rows))


def hardest_hit(
    before: Mapping[str, Any], after: Mapping[str, Any], targets: Sequence[Target]
) -> Row | None:
    """Among the classes of which nothing is to be forgotten the one that changed worst; None without one."""
    rows = _class_rows(before, after, targets)
    kept = [row for row in rows if row.coverage is Coverage.NONE]
    return min(kept, key=lambda row: row.moved, default=None)


def hardest_hit_pair(
    before: Mapping[str, Any], after: Mapping[str, Any], targets: Sequence[Target]
) -> tuple[str, str, float, float] | None:
    """Of classes that are to be forgotten in part, the domain to be kept that changed worst, before and after."""
    partly = (
        row.name
        for row in _class_rows(before, after, targets)
        if row.coverage is Coverage.PART and row.name in before["per_pair"]
    )
    kept = [
        (label, domain, was, after["per_pair"][label][domain])
        for label in partly
        for domain, was in before["per_pair"][label].items()
        if not covered(targets, label, domain)
    ]
    return min(kept, key=lambda pair: pair[3] - pair[2], default=None)


def _class_rows(
    before: Mapping[str, Any], after: Mapping[str, Any], targets: Sequence[Target]
) -> list[Row]:
    pairs = before["per_pair"]
    loose = _some_without_domain(before["counts"])

    def coverage(label: str) -> Coverage:
        places: list[str | None] = list(pairs.get(label, ()))
        if loose or not places:
            places.append(None)
        return _coverage(covered(targets, label, place) for place in places)

    return _rows("per_class", before, after, coverage)


def _cell(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    targets: Sequence[Target],
    label: str,
    domain: str,
) -> Cell | None:
    was = before["per_pair"].get(label, {}).get(domain)
    now = after["per_pair"].get(label, {}).get(domain)
    if was is None or now is None:
        return None
    return Cell(
        percent(was), percent(now), round(HEAT_STEPS * now), covered(targets, label, domain)
    )


def _rows(
    place: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    coverage: Callable[[str], Coverage],
) -> list[Row]:
    counts, counts_after = before["counts"][place], after["counts"][place]
    return [
        Row(name, coverage(name), Share.of(counts[name]), Share.of(counts_after[name]))
        for name in counts
    ]


def _chart(rows: Collection[Row]) -> Chart:
    """What is to be forgotten first; where there is too much, the most changed of both sides."""
    forgotten = [row for row in rows if row.coverage is not Coverage.NONE]
    kept = [row for row in rows if row.coverage is Coverage.NONE]
    if len(rows) > MAX_ROWS:
        kept.sort(key=lambda row: -abs(row.moved))
        forgotten.sort(key=lambda row: -abs(row.moved))
        del forgotten[MAX_ROWS - min(len(kept), MAX_ROWS // 2) :]
    forgotten.sort(key=lambda row: row.coverage is Coverage.PART)
    shown = [*forgotten, *kept][:MAX_ROWS]
    placed = [
        PlacedRow(row, _TOP + _ROW * index + 15, _TOP + _ROW * index + 26)
        for index, row in enumerate(shown)
    ]
    return Chart(placed, _TOP + _ROW * len(shown) + _BOTTOM, len(rows) - len(shown))


def _coverage(hits: Iterable[bool]) -> Coverage:
    values = list(hits)
    if values and all(values):
        return Coverage.ALL
    return Coverage.PART if any(values) else Coverage.NONE


def _some_without_domain(counts: Mapping[str, Any]) -> bool:
    """Whether the data set has images of no domain."""
    sides = (counts["forget"], counts["retain"])
    total = sum(int(side["n"]) for side in sides if side is not None)
    return sum(int(entry["n"]) for entry in counts["per_domain"].values()) < total
