"""The demo keeps its promise: the whole workflow, with figures measured as it goes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Workspace and output of one run, as `make demo` does it."""
    place = tmp_path_factory.mktemp("demo")
    hostile = {"GOVERNANCE_ACTOR": "nobody", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-m", "governance", "demo", "--keep", "kept"],
        cwd=place,
        env=os.environ | hostile,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "kept", done.stdout


def ask(home: Path, *args: str) -> object:
    """What a later command says of the kept workspace."""
    done = subprocess.run(
        [sys.executable, "-m", "governance", *args, "--home", str(home), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_forgotten_retained_and_brought_back(demo: tuple[Path, str]) -> None:
    home, _ = demo
    found = {}
    for number in (2, 3, 4):
        version = ask(home, "version", "show", str(number))
        report = version["reports"][0]  # type: ignore[index]
        entries = {entry["request"]: entry for entry in report["requests"]}
        found[number] = report, entries
        kept = report["after"]["retain_accuracy"] - report["before"]["retain_accuracy"]
        assert kept >= -0.01
        assert report["before"]["retain_accuracy"] >= 0.9
    for number in (2, 3):
        entry = found[number][1][1]
        assert entry["before"] >= 0.9
        assert entry["after"] <= 0.02
    back = found[4][1][1]
    assert back["active"] is False
    assert back["after"] >= back["before"] - 0.02
    for number in (3, 4):
        entry = found[number][1][2]
        assert entry["before"] >= 0.9
        assert entry["after"] <= 0.2


def test_it_ends_with_a_table_and_the_path_of_a_report(demo: tuple[Path, str]) -> None:
    home, out = demo
    table = out[out.index("# Accuracy before and after") :]
    assert re.search(r"^2 +forget mug everywhere +[01]\.\d{3} +0\.0\d{2}$", table, re.M)
    assert re.search(r"^3 +forget mug everywhere +[01]\.\d{3} +0\.0\d{2}$", table, re.M)
    assert re.search(
        r"^4 \(candidate, champion\) +forget cat in sketch +[01]\.\d{3} +[01]\.\d{3}$", table, re.M
    )
    assert re.search(r"^ +back again: mug everywhere +[01]\.\d{3} +[01]\.\d{3}$", table, re.M)
    report = home / "demo-report.html"
    assert f"Report: {report}" in out
    assert report.read_text(encoding="utf-8").startswith("<!")


def test_the_record_holds_and_knows_who_did_what(demo: tuple[Path, str]) -> None:
    home, _ = demo
    assert ask(home, "audit", "verify")["ok"] is True  # type: ignore[index, call-overload]
    events = ask(home, "audit", "log")
    by_action = {event["action"]: event["actor"] for event in events}  # type: ignore[attr-defined]
    assert by_action["request.filed"] == "carla"
    assert by_action["request.prepared"] == "mona"
    assert by_action["request.approved"] == "dmitri"
    assert by_action["request.reinstated"] == "mona"


def test_the_readme_shows_what_the_demo_prints(demo: tuple[Path, str]) -> None:
    """The table in the README, to rounding between machines."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    start = "# Accuracy before and after"
    shown = readme[readme.index(start) : readme.index("```", readme.index(start))]
    printed = demo[1][demo[1].index(start) : demo[1].index("\nReport:")]
    number = re.compile(r"\d\.\d{3}")
    assert number.sub("#", shown).split() == number.sub("#", printed).split()
    for ours, theirs in zip(number.findall(shown), number.findall(printed), strict=True):
        assert abs(float(ours) - float(theirs)) <= 0.02


def test_a_place_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = subprocess.run(
        [sys.executable, "-m", "governance", "demo", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
