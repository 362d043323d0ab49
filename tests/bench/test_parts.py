"""Every part runs, quickly, on a benchmark of the same shape as the real one."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.__main__ import PARTS, main


def run_bench(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize("part", PARTS)
def test_a_quick_run_writes_every_result(small_benchmark: Path, tmp_path: Path, part: str) -> None:
    places = ["--out", tmp_path / "out", "--cache", tmp_path / "cache"]
    code, output = run_bench(part, "--quick", "--benchmark", small_benchmark, *places)
    assert code == 0, output
    written = (tmp_path / "out" / f"{part}.json").read_text(encoding="utf-8")
    assert json.loads(written), "no figures"
    assert "NaN" not in written
    tables = (tmp_path / "out" / f"{part}.md").read_text(encoding="utf-8")
    assert tables.count("### ") >= 1
    assert tables.count("|:-") >= tables.count("### ")
    if part in ("methods", "capacity"):
        assert (tmp_path / "out" / f"{part}.png").stat().st_size > 5000


def test_parts_that_lack_the_benchmark_say_so_in_one_line_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOVERNANCE_BENCHMARK", raising=False)
    places = ["--out", tmp_path / "out", "--cache", tmp_path / "cache"]
    code, output = run_bench("methods", "capacity", "versions", "--quick", *places)
    assert code == 1
    lines = output.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["methods", "capacity", "versions"]
    assert "left out: this part needs the shared benchmark's embeddings.npz" in lines[0]
    assert "left out: this part needs the shared benchmark's real/*.npz" in lines[1]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"versions.json", "versions.md"}


def test_the_document_quotes_the_tables_of_this_run(small_benchmark: Path, tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(
        "before\n<!-- open-vocabulary -->\nold\n<!-- end -->\nafter\n", encoding="utf-8"
    )
    code, output = run_bench(
        "open-vocabulary", "--quick", "--benchmark", small_benchmark, "--out", tmp_path / "out",
        "--cache", tmp_path / "cache", "--document", document,
    )  # fmt: skip
    assert code == 0, output
    text = document.read_text(encoding="utf-8")
    assert "old" not in text
    assert "| redirect " in text
    assert text.startswith("before\n<!-- open-vocabulary -->")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "not quoted: open-vocabulary: by domain" in output
