"""A week of a company, with crashes, races, bad releases and meddling, and whether it can all be accounted for."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from governance.demo.scenes import write_dataset
from governance.states import State
from tests.databases import PostgresDatabases, as_program, make_template
from tests.week.company import Company
from tests.week.recount import recount
from tests.week.script import CASES, week
from tests.zygote import Zygote

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["files", "servers"])
def test_a_week(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """One long test, so that the week is lived through once; on SQLite alone, and on PostgreSQL and MLflow's server."""
    environ = {} if kind == "files" else _servers(request)
    write_dataset(tmp_path / "images", per_pair=6, seed=4711)
    write_dataset(tmp_path / "complaints", per_pair=3, seed=99)
    (tmp_path / "zygote").mkdir()
    with Zygote(tmp_path / "zygote") as zygote:
        house = Company(zygote, tmp_path / "home", environ)
        week(house, tmp_path / "images", tmp_path / "complaints")
        _ends_clean(house)
        _every_figure_comes_out_again(house)
        _the_evidence_holds_without_us(house)
        _the_states_are_what_the_events_come_to(house)
        _meddling_and_bad_releases_are_on_record(house)


def _servers(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where a ledger on PostgreSQL and an MLflow server are, both empty."""
    databases = PostgresDatabases(request.getfixturevalue("postgresql"))
    ledger = make_template(databases, lambda ledger: None)
    return {
        "GOVERNANCE_DATABASE_URL": as_program(ledger),
        "MLFLOW_TRACKING_URI": request.getfixturevalue("mlflow").url,
    }


def _ends_clean(house: Company) -> None:
    house.run("otto", "doctor")
    house.run("otto", "audit verify")


def _every_figure_comes_out_again(house: Company) -> None:
    served = house.record("otto", "version show 10 --model shop")
    assert served["aliases"] == ["candidate", "champion"]
    house.run("otto", "audit remeasure version 10 --model shop --tolerance 0")
    house.run("otto", "audit remeasure version 6 --model search --tolerance 0")
    for number in served["active_requests"]:
        house.run("otto", f"audit remeasure request {number} --tolerance 0")
    home = house.home
    assert recount(home / "report.json", home / "served", home.parent / "images") == 42


def _the_evidence_holds_without_us(house: Company) -> None:
    bundle = house.home / "evidence.zip"
    with zipfile.ZipFile(bundle) as archive:
        archive.extract("verify_bundle.py", house.home.parent)
    line = [
        sys.executable,
        "-I",
        str(house.home.parent / "verify_bundle.py"),
        str(bundle),
        "--json",
    ]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["ok"]


def _the_states_are_what_the_events_come_to(house: Company) -> None:
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


def _meddling_and_bad_releases_are_on_record(house: Company) -> None:
    events = house.record("otto", "audit log")
    actions = Counter(event["action"] for event in events)
    assert actions["request.reinstated"] == 7
    assert actions["version.abandoned"] == actions["version.restored"] == 1
    assert actions["doctor.repaired"] == 2
    shown = house.record("otto", "version show 7 --model shop")
    reasons = [
        override["reason"] for override in shown["overrides"]
    ]  # of the approval and of the promotion
    assert reasons == ["the board wants it today"] * 2
    assert "the board wants it today" in house.run("otto", "report version 7 --model shop -o -")
