"""A week of a company, with crashes, races, bad releases and meddling, and whether it can all be accounted for."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from governance.demo.scenes import write_dataset
from governance.states import State
from tests.week.company import Company
from tests.week.recount import recount
from tests.week.script import CASES, week
from tests.zygote import Zygote

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Company]:
    """The company at the end of its week."""
    place = tmp_path_factory.mktemp("week")
    write_dataset(place / "images", per_pair=6, seed=4711)
    write_dataset(place / "complaints", per_pair=3, seed=99)
    with Zygote(tmp_path_factory.mktemp("zygote")) as zygote:
        company = Company(zygote, place / "home", {})
        week(company, place / "images", place / "complaints")
        yield company


def test_it_ends_clean(house: Company) -> None:
    house.run("otto", "doctor")
    house.run("otto", "audit verify")


def test_every_figure_of_the_final_report_comes_out_again(house: Company) -> None:
    served = house.record("otto", "version show 10 --model shop")
    assert served["aliases"] == ["candidate", "champion"]
    house.run("otto", "audit remeasure version 10 --model shop --tolerance 0")
    house.run("otto", "audit remeasure version 6 --model search --tolerance 0")
    for number in served["active_requests"]:
        house.run("otto", f"audit remeasure request {number} --tolerance 0")
    home = house.home
    assert recount(home / "report.json", home / "served", home.parent / "images") == 42


def test_the_evidence_holds_without_us(house: Company, tmp_path: Path) -> None:
    bundle = house.home / "evidence.zip"
    with zipfile.ZipFile(bundle) as archive:
        archive.extract("verify_bundle.py", tmp_path)
    line = [sys.executable, "-I", str(tmp_path / "verify_bundle.py"), str(bundle), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["ok"]


def test_the_states_are_what_the_events_come_to(house: Company) -> None:
    """Counted from the auditor's own list of events, and as the metrics say."""
    with zipfile.ZipFile(house.home / "evidence.zip") as archive:
        lines = csv.DictReader(io.StringIO(archive.read("events.csv").decode()))
        events = [(line["action"], line["subject"]) for line in lines]
        stated = csv.DictReader(io.StringIO(archive.read("requests.csv").decode()))
        states = Counter(line["state"] for line in stated)
    assert sum(action == "request.filed" for action, _ in events) == len(CASES)
    moves = {f"request.{state}": state for state in State}
    last = {subject: moves[action] for action, subject in events if action in moves}
    assert Counter(last.values()) == states
    shown = house.run("otto", "metrics")
    for state in states:
        metric = f'state="{state}"'
        named = [line for line in shown.splitlines() if "governance_requests{" in line]
        assert sum(float(line.split()[-1]) for line in named if metric in line) == states[state]


def test_the_meddling_and_the_bad_releases_are_on_record(house: Company) -> None:
    events = house.record("otto", "audit log")
    actions = Counter(event["action"] for event in events)
    assert actions["version.rolled_back"] >= 1
    assert actions["doctor.repaired"] == 2
    shown = house.record("otto", "version show 7 --model shop")
    assert shown["overrides"]
    assert "the board wants it today" in (house.home / "report.html").read_text()
