"""Lists of requests and versions: what is found, in which order, page by page, and in how many queries."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench.plans import watched
from governance.ledger.database import Ledger
from governance.ledger.listing import Wanted, requests_page, versions_page
from governance.ledger.lookup import find_model, find_version
from governance.ledger.retention import due, ended_at
from governance.ledger.tables import Request
from governance.paging import ALL, Page
from governance.policy import Retention
from governance.reports.records import (
    listed_record,
    listed_records,
    version_record,
    version_records,
)
from governance.states import ENDED_STATES, OPEN_STATES, Basis, State
from governance.unlearning.targets import Target
from governance.workflow import requests

FAR = datetime.now(UTC) + timedelta(days=3650)


def every(ledger: Ledger) -> list[dict[str, Any]]:
    with ledger.read() as session:
        rows, more = requests_page(session, Wanted(), ALL)
        assert not more
        return listed_records(session, rows)


def numbers(ledger: Ledger, page: Page = ALL, **wanted: Any) -> list[int]:
    with ledger.read() as session:
        model = wanted.pop("model", None)
        of_model = find_model(session, model) if model else None
        rows, _ = requests_page(session, Wanted(model=of_model, **wanted), page)
        return [row.id for row in rows]


CASES: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = {
    "state": ({"states": frozenset({State.PREPARED})}, lambda r: r["state"] == "prepared"),
    "states": (
        {"states": frozenset({State.RELEASED, State.REJECTED})},
        lambda r: r["state"] in ("released", "rejected"),
    ),
    "model": ({"model": "shop"}, lambda r: r["model"] == "shop"),
    "another model": ({"model": "street-search"}, lambda r: r["model"] == "street-search"),
    "basis": ({"basis": Basis.BIAS.value}, lambda r: r["basis"] == "bias"),
    "another basis": ({"basis": Basis.LICENCE.value}, lambda r: r["basis"] == "licence"),
    "person": ({"filed_by": "carla"}, lambda r: r["filed_by"] == "carla"),
    "class": ({"label": "cat"}, lambda r: any(t["class"] == "cat" for t in r["targets"])),
    "domain": ({"domain": "sketch"}, lambda r: any(t["domain"] for t in r["targets"])),
    "class in domain": (
        {"label": "cat", "domain": "sketch"},
        lambda r: {"class": "cat", "domain": "sketch"} in r["targets"],
    ),
    "class and state": (
        {"label": "cat", "states": frozenset({State.REJECTED})},
        lambda r: r["state"] == "rejected" and any(t["class"] == "cat" for t in r["targets"]),
    ),
    "due": ({"due_before": FAR}, lambda r: State(r["state"]) in OPEN_STATES),
    "due and state": (
        {"due_before": FAR, "states": frozenset({State.REJECTED})}, lambda r: False
    ),
    "held": ({"held": True}, lambda r: bool(r["held"])),
    "redactable": (
        {"redactable": True},
        lambda r: r["state"] in ENDED_STATES and not r["held"] and not r["redacted"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_filter_gives_what_the_records_say_page_by_page(full: Ledger, case: str) -> None:
    wanted, holds = CASES[case]
    requests.file(
        full, "carla", "shop", [Target("cat", None), Target("cat", "sketch")], Basis.LICENCE, "x"
    )
    expected = [r["id"] for r in every(full) if holds(r)]
    assert numbers(full, **wanted) == expected
    assert numbers(full, Page(limit=None, newest=True), **wanted) == expected[::-1]
    for newest in (False, True):
        found: list[int] = []
        while page := numbers(full, Page(2, found[-1] if found else None, newest), **wanted):
            assert len(page) <= 2
            found += page
        assert found == (expected[::-1] if newest else expected)


def test_overdue_is_what_is_due_before_now(full: Ledger) -> None:
    assert numbers(full, due_before=datetime.now(UTC)) == []
    soon = datetime.now(UTC) + timedelta(days=1)
    number = requests.file(
        full, "carla", "shop", [Target("oak", None)], Basis.BIAS, "x", None, soon
    )
    assert numbers(full, due_before=soon + timedelta(seconds=1)) == [number.number]


def test_a_page_says_whether_more_follow(full: Ledger) -> None:
    count = len(every(full))
    with full.read() as session:
        for limit in (1, count - 1, count, count + 1):
            rows, more = requests_page(session, Wanted(), Page(limit))
            assert (len(rows), more) == (min(limit, count), limit < count)


def test_a_list_says_of_a_request_what_it_says_alone(full: Ledger) -> None:
    listed = every(full)
    with full.read() as session:
        alone = [listed_record(session.get_one(Request, r["id"])) for r in listed]
    assert listed == alone
    assert any(r["keep_until"] for r in listed)
    assert any(r["break_glass"] for r in listed)
    assert any(d["comment"] for r in listed for d in r["decisions"])
    assert any(r["reason"] for r in listed)


def test_a_list_says_of_a_version_what_it_says_alone(full: Ledger) -> None:
    with full.read() as session:
        model = find_model(session, "shop")
        listed, more = version_records(session, model, ALL)
        assert not more
        alone = [
            version_record(session, find_version(session, model, r["version"])) for r in listed
        ]
        assert listed == alone
        assert len(listed) >= 3
        newest, more = version_records(session, model, Page(1, newest=True))
        assert (newest, more) == (listed[-1:], True)
        after, _ = version_records(session, model, Page(50, after=listed[0]["version"]))
        assert after == listed[1:]
        assert versions_page(session, model, Page(50, after=99))[0] == []


def test_a_page_takes_the_same_number_of_queries_however_long_it_is(full: Ledger) -> None:
    def asked() -> int:
        with watched(full.engine) as found:
            every(full)
        return found.count

    for number in range(3):
        requests.file(full, "carla", "shop", [Target("cat", None)], Basis.BIAS, f"{number}", "c")
    requests.reject(full, "dmitri", numbers(full)[-1], "no ground")
    before, count = asked(), len(every(full))
    for number in range(12):
        target = [Target("mug" if number % 2 else "cat", None)]
        requests.file(full, "carla", "shop", target, Basis.BIAS, f"again {number}", "c")
        if number % 3:
            requests.reject(full, "dmitri", numbers(full)[-1], "no ground")
    assert len(every(full)) == count + 12
    assert asked() == before
    assert before < 20


def test_what_is_due_for_redaction_takes_few_queries(full: Ledger) -> None:
    for number in range(5):
        requests.file(full, "carla", "shop", [Target("cat", None)], Basis.BIAS, f"{number}")
        requests.reject(full, "dmitri", numbers(full)[-1], "no ground")
    rules = Retention(default="standard", days={"standard": 30})
    with full.read() as session, watched(full.engine) as found:
        later = datetime.now(UTC) + timedelta(days=31)
        rows = [request.id for request, _ in due(session, rules, later)]
        assert list(due(session, rules, datetime.now(UTC))) == []
    assert rows == numbers(full, redactable=True)
    assert len(rows) >= 5
    assert found.count <= 4


def test_the_end_of_a_request_is_the_time_of_its_event(full: Ledger) -> None:
    before = datetime.now(UTC)
    number = requests.file(full, "carla", "shop", [Target("cat", None)], Basis.BIAS, "x").number
    requests.withdraw(full, "carla", number, "no longer asked for")
    with full.read() as session:
        rows, _ = requests_page(session, Wanted(), ALL)
        ends = ended_at(session, rows)
    assert before <= ends[number] <= datetime.now(UTC)
    assert set(ends) == {row.id for row in rows if row.state in ENDED_STATES}
