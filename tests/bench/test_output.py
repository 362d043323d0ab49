import json
import math
from pathlib import Path

import pytest

from bench.output import Section, cell, quote, ratio, table


def test_cells() -> None:
    assert cell(0.12345) == "0.123"
    assert cell(12.345) == "12.3"
    assert cell(None) == cell(math.nan) == "–"
    assert cell("dog") == "dog"


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1 ×"), (0.934, "0.93 ×"), (42.4, "42 ×"), (1234.5, "1,200 ×")]
)
def test_ratios_have_two_digits(value: float, text: str) -> None:
    assert ratio(value) == text


def test_a_table_is_markdown() -> None:
    lines = table([["dog", 0.5], ["cat", None]], ["class", "found"]).splitlines()
    assert lines[0].replace(" ", "") == "|class|found|"
    assert lines[2].replace(" ", "") == "|dog|0.500|"
    assert lines[3].replace(" ", "") == "|cat|–|"


def test_results_are_valid_json_without_nan(tmp_path: Path) -> None:
    Section("part", {"one": "| a |"}, [{"x": math.nan, "y": (1, 0.1234567)}]).write(tmp_path)
    assert json.loads((tmp_path / "part.json").read_text()) == [{"x": None, "y": [1, 0.123457]}]
    assert (tmp_path / "part.md").read_text() == "### one\n\n| a |\n"


def test_quoting_replaces_only_what_is_marked_and_brings_the_plots(tmp_path: Path) -> None:
    document, out = tmp_path / "d.md", tmp_path / "out"
    out.mkdir()
    (out / "p.png").write_bytes(b"picture")
    document.write_text("a\n<!-- one -->old<!-- end -->\nb\n<!-- two -->kept<!-- end -->\n")
    section = Section("part", {"one": "new", "three": "lost"}, [], ["p.png"])
    assert quote(document, section, out) == ["three"]
    text = document.read_text()
    assert text == "a\n<!-- one -->\n\nnew\n\n<!-- end -->\nb\n<!-- two -->kept<!-- end -->\n"
    assert (tmp_path / "d" / "p.png").read_bytes() == b"picture"
