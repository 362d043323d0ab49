"""The figures, and the form in which Prometheus takes them."""

import importlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from governance.checks import AUDIT, Check, make_check
from governance.errors import FourEyesError, GateError, RefusedError
from governance.ledger.database import Ledger
from governance.notifications import Endpoint, Notifications
from governance.reports.metrics import Family, Sample, collect, exposition
from governance.states import Role
from governance.unlearning.recipe import Recipe
from governance.workflow import actors, prepare, requests
from governance.workflow.refusals import recorded
from governance.workflow.tools import Tools
from tests.fakes import FakeRegistry
from tests.ledger.case import RandomEncoder, case_template, cases
from tests.ledger.full_case import full, full_template
from tests.ledger.tampering import raw

__all__ = ["case_template", "cases", "full", "full_template"]

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"')
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?[0-9.e+-]+)")

Read = dict[str, dict[tuple[tuple[str, str], ...], float]]


def parse(text: str) -> Read:
    """A strict reader of the exposition format: every line, every order, every escape."""
    assert text == "" or text.endswith("\n")
    found: Read = {}
    current, kind = "", ""
    for number, line in enumerate(text.splitlines()):
        if line.startswith("# HELP "):
            name, _, words = line.removeprefix("# HELP ").partition(" ")
            assert NAME.fullmatch(name)
            assert name not in found, "a family comes twice"
            assert words
            found[name], current = {}, name
        elif line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split(" ")
            assert text.splitlines()[number - 1].startswith(f"# HELP {name} ")
            assert kind in ("gauge", "counter")
            assert name.endswith("_total") == (kind == "counter")
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == current
            labels = LABEL.findall(match[2] or "")
            assert ",".join(f'{name}="{value}"' for name, value in labels) == (match[2] or "")
            key = tuple(sorted(labels))
            assert key not in found[current], "a sample comes twice"
            assert kind != "counter" or float(match[3]) >= 0
            found[current][key] = float(match[3])
    return found


def read(
    ledger: Ledger,
    notifications: Notifications | None = None,
    checks: Mapping[str, Check] | None = None,
) -> Read:
    with ledger.read() as session:
        text = exposition(collect(session, notifications or Notifications(), checks or {}))
    try:
        parser = importlib.import_module("prometheus_client.parser")
    except ImportError:
        pass
    else:
        assert list(parser.text_string_to_metric_families(text))
    return parse(text)


def key(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def test_every_figure_of_a_full_ledger(full: Ledger) -> None:
    found = read(full, Notifications((Endpoint("log", file=Path("x")),)))
    states = found["governance_requests"]
    assert len(states) == 9 * 3
    with full.read() as session:
        sql = session.connection().exec_driver_sql
        for state, count in sql("SELECT state, count(*) FROM requests GROUP BY state"):
            assert states[key(model="shop", state=state)] == count
        events = sql("SELECT count(*) FROM events").scalar_one()
    assert sum(states.values()) == 6
    assert found["governance_events_total"][()] == events
    versions = found["governance_versions"]
    assert versions[key(model="shop", state="champion")] == 1
    assert versions[key(model="shop", state="candidate")] == 0  # the champion is the candidate too
    assert versions[key(model="shop", state="retired")] == 2
    assert versions[key(model="shop", state="unreleased")] == 0
    assert found["governance_refusals_total"] == {
        key(subject="request", attempt="approve", cause="workflow"): 720
    }
    told = found["governance_notifications"]
    assert told == {
        key(endpoint="log", state="delivered"): 0, key(endpoint="log", state="failed"): 0,
        key(endpoint="log", state="pending"): 0, key(endpoint="team", state="delivered"): 1,
        key(endpoint="team", state="failed"): 0, key(endpoint="team", state="pending"): 1,
    }  # fmt: skip
    assert found["governance_last_verification_success"] == {}


def test_deadlines(cases: Ledger) -> None:
    def counts() -> tuple[float, float]:
        found = read(cases)
        names = ("governance_requests_overdue", "governance_requests_due_soon")
        overdue, soon = (found[name][key(model="shop")] for name in names)
        return overdue, soon

    assert counts() == (0, 0)
    for days, expected in ((3, (0, 1)), (-1, (1, 0)), (8, (0, 0))):
        due = datetime.now(UTC) + timedelta(days=days)
        raw(cases, f"UPDATE requests SET due_at = '{due:%Y-%m-%d %H:%M:%S.%f}'")
        assert counts() == expected


def test_a_refusal_says_its_cause(cases: Ledger) -> None:
    with pytest.raises(RefusedError):
        requests.reject(cases, "carla", 3)
    actors.add(cases, "ada", "both", [Role.MLOPS, Role.APPROVER])
    tools = Tools(cases, FakeRegistry(), RandomEncoder())  # type: ignore[arg-type]
    prepare.prepare(tools, "both", 3, "eval", Recipe.of("nullspace"))
    with pytest.raises(FourEyesError):
        requests.approve(cases, "both", 3)

    @recorded("promote", "version", "model", "number")
    def promote(ledger: Ledger, actor: str, model: str, number: int) -> None:
        raise GateError("a figure fails")

    with pytest.raises(GateError):
        promote(cases, "mona", "shop", 2)
    assert read(cases)["governance_refusals_total"] == {
        key(subject="version", attempt="promote", cause="gate"): 1,
        key(subject="request", attempt="reject", cause="workflow"): 1,
        key(subject="request", attempt="approve", cause="four eyes"): 1,
    }


def test_the_last_verification(cases: Ledger) -> None:
    at = "2026-01-02T03:04:05+00:00"
    checks = {AUDIT: make_check(AUDIT, at, [("event 1", "x")], 3, 1.5)}
    found = read(cases, checks=checks)
    by = key(by=AUDIT)
    assert found["governance_last_verification_success"][by] == 0
    assert found["governance_last_verification_faults"][by] == 1
    assert found["governance_last_verification_duration_seconds"][by] == 1.5
    seconds = datetime.fromisoformat(at).timestamp()
    assert found["governance_last_verification_timestamp_seconds"][by] == seconds


def test_labels_are_escaped() -> None:
    family = Family("governance_x", "gauge", 'a\\b\n"c"', (Sample({"l": 'a\\b\n"c"'}, 0.25),))
    text = exposition([family])
    assert text.splitlines()[0] == '# HELP governance_x a\\\\b\\n"c"'
    assert text.splitlines()[2] == 'governance_x{l="a\\\\b\\n\\"c\\""} 0.25'
    assert parse(text) == {"governance_x": {key(l='a\\\\b\\n\\"c\\"'): 0.25}}


@pytest.mark.parametrize(
    "text",
    ["# HELP x\n# TYPE x gauge\n", "# HELP x y\n# TYPE x counter\n", "x 1\n",
     '# HELP x y\n# TYPE x gauge\nx{a="b} 1\n', "# HELP x y\n# TYPE x gauge\nx 1\nx 2\n"],
)  # fmt: skip
def test_the_reader_of_these_tests_is_strict(text: str) -> None:
    with pytest.raises(AssertionError):
        parse(text)
