"""Where results go: JSON with everything, Markdown tables to quote, plots."""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

MISSING = "–"


@dataclass(frozen=True)
class Settings:
    """How to run.

    Attributes:
        benchmark: directory of the shared benchmark, None if there is none.
        out: where results are written.
        cache: what is worth keeping between runs.
        quick: as little as shows that everything works.
        steps: gradient steps of each synthesised image, None for the package's default.
        synthesised: whether to synthesise prototypes where the model is there.
    """

    benchmark: Path | None
    out: Path
    cache: Path
    quick: bool = False
    steps: int | None = None
    synthesised: bool = True

    def some(self, items: Sequence[Any], count: int = 2) -> list[Any]:
        """All of `items`, or the first few in a quick run."""
        return list(items[:count] if self.quick else items)


@dataclass(frozen=True)
class Section:
    """What a part found.

    Attributes:
        name: of the part.
        tables: Markdown by name, each is quoted on its own.
        data: JSON values.
        plots: names of files in the output directory.
    """

    name: str
    tables: Mapping[str, str]
    data: Any
    plots: Sequence[str] = ()

    def write(self, out: Path) -> None:
        """``NAME.json`` and ``NAME.md`` in the output directory."""
        text = json.dumps(finite(self.data), indent=1, ensure_ascii=False)
        (out / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")
        parts = [f"### {title}\n\n{table}" for title, table in self.tables.items()]
        parts += [f"![{name}]({name})" for name in self.plots]
        (out / f"{self.name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def table(rows: Sequence[Sequence[Any]], headers: Sequence[str], digits: int = 3) -> str:
    """A Markdown table; numbers with a fixed count of digits, None as a dash."""
    texts = [[cell(value, digits) for value in row] for row in rows]
    align = ["left" if isinstance(v, str) else "right" for v in rows[0]]
    return tabulate(texts, headers, tablefmt="pipe", disable_numparse=True, colalign=align)


def cell(value: Any, digits: int = 3) -> str:
    """One cell: .123 for a share, 12.3 for more."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, float):
        return f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)


def ratio(value: float) -> str:
    """A ratio for people: two significant digits."""
    return f"{value:.2g} ×" if value < 100 else f"{round(value, 2 - len(str(int(value)))):,.0f} ×"


def finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(entry) for key, entry in value.items()}
    return [finite(entry) for entry in value] if isinstance(value, list | tuple) else value


def quote(document: Path, section: Section, out: Path) -> list[str]:
    """Put tables between ``<!-- NAME -->`` and ``<!-- end -->``, and plots into the folder beside the document.

    Args:
        document: Markdown; the folder has its name without suffix.
        section: the part.
        out: where the plots are.

    Returns:
        Names of tables that the document does not quote.
    """
    text, unquoted = document.read_text(encoding="utf-8"), []
    for name, content in section.tables.items():
        head, start, rest = text.partition(f"<!-- {name} -->")
        _, end, tail = rest.partition("<!-- end -->")
        if start and end:
            text = f"{head}{start}\n\n{content}\n\n{end}{tail}"
        else:
            unquoted.append(name)
    document.write_text(text, encoding="utf-8")
    for plot in section.plots:
        document.with_suffix("").mkdir(exist_ok=True)
        shutil.copyfile(out / plot, document.with_suffix("") / plot)
    return unquoted


@contextmanager
def figure(path: Path, columns: int = 1, width: float = 4.2) -> Iterator[Any]:
    """Axes to draw on, one for each column; saved as a small PNG at the end."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(1, columns, figsize=(width * columns, 3.4), squeeze=False)
    try:
        yield list(axes[0])
        for axis in axes[0]:
            axis.spines[["top", "right"]].set_visible(False)
        drawing.tight_layout()
        drawing.savefig(path, dpi=110)
    finally:
        pyplot.close(drawing)


Part = Callable[[Settings], Section]
