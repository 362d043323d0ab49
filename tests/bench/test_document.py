"""docs/benchmarks.md quotes every table that the parts write, and nothing that was typed by hand."""

import re
from pathlib import Path

from click.testing import CliRunner

from bench.__main__ import PARTS, main

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
MARK = re.compile(r"<!-- (?!end)(.+?) -->\n\n(.+?)\n\n<!-- end -->", re.DOTALL)


def test_the_document_quotes_every_part() -> None:
    quoted = dict(MARK.findall(DOCUMENT.read_text(encoding="utf-8")))
    assert {name.partition(":")[0].replace("strengths", "methods") for name in quoted} == set(PARTS)
    for name, content in quoted.items():
        lines = content.splitlines()
        assert len(lines) >= 3, name
        assert all(line.startswith("|") for line in lines), name


def test_outside_the_marks_there_is_no_table() -> None:
    rest = MARK.sub("", DOCUMENT.read_text(encoding="utf-8"))
    assert not [line for line in rest.splitlines() if line.startswith("|")]


def test_its_pictures_are_there() -> None:
    names = re.findall(r"\]\((benchmarks/.+?)\)", DOCUMENT.read_text(encoding="utf-8"))
    assert len(names) == 2
    for name in names:
        assert (DOCUMENT.parent / name).stat().st_size > 5000


def test_its_command_is_the_one_that_there_is() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert "make bench BENCHMARK=" in text
    usage = CliRunner().invoke(main, ["--help"]).output
    for option in re.findall(r"`(--[a-z-]+)", text):
        assert option in usage
