"""Verification finds every change that somebody with the database file can make, and says where."""

import json
import subprocess
import sys

import pytest

from governance.audit.verify import Fault, Verification, verify
from governance.digests import digest_json
from governance.ledger.database import VERSION_TABLE, Ledger
from governance.ledger.events import append
from governance.ledger.tables import OPERATIONAL_TABLES
from tests.ledger.tampering import dump, raw, tamper


def places(ledger: Ledger) -> list[str]:
    return [fault.where for fault in verify(ledger).faults]


def seq_of(ledger: Ledger, action: str) -> int:
    """Number of the newest event of that action."""
    return int(raw(ledger, ("SELECT MAX(seq) FROM events WHERE action = ?", [action]))[0][0])


NOT_COUNTED = {
    "events", "tree_nodes", "aliases", "request_targets", "version_members",
    VERSION_TABLE, *OPERATIONAL_TABLES,
}  # fmt: skip
"""Tables that are counted as something else, or with the records that their rows belong to, or not read."""


def test_an_untouched_ledger_holds(cases: Ledger) -> None:
    tables = dump(cases)
    result = verify(cases)
    assert result.faults == ()
    assert result.ok
    assert result.events == len(tables["events"])
    assert result.head == tables["events"][-1][-1]
    assert result.checked == {
        name.replace("_", " "): len(rows)
        for name, rows in tables.items()
        if name not in NOT_COUNTED
    } | {"signatures": len(tables["events"]), "certificates": len(tables["projectors"])}
    assert dump(cases) == tables


def test_the_case_is_worth_verifying(cases: Ledger) -> None:
    """So that no test below passes on a ledger in which there is nothing to find."""
    states = raw(cases, "SELECT id, state FROM requests ORDER BY id")
    assert states == [(1, "released"), (2, "rejected"), (3, "prepared")]
    assert raw(cases, "SELECT ruling FROM decisions ORDER BY id") == [("approval",), ("rejection",)]
    assert raw(cases, "SELECT version_id FROM aliases") == [(2,)]
    empty = {name for name, rows in dump(cases).items() if not rows}
    assert empty == {"overrides", "tree_nodes", *OPERATIONAL_TABLES}


def test_an_empty_ledger_holds(ledger: Ledger) -> None:
    result = verify(ledger)
    assert result == Verification(0, None, result.checked, ())
    assert set(result.checked.values()) == {0}


def test_the_outcome_as_json(cases: Ledger) -> None:
    assert verify(cases).to_dict() | {"checked": {}, "events": 0, "head": None} == {
        "ok": True,
        "first_bad": None,
        "faults": [],
        "checked": {},
        "events": 0,
        "head": None,
        "not_checked": {},
        "outside_checkpoints": 0,
        "anchored_events": 0,
    }
    tamper(cases, "UPDATE evaluation_reports SET content = '{}'")
    value = json.loads(json.dumps(verify(cases).to_dict()))
    assert value["ok"] is False
    assert value["first_bad"] == {"where": "report 1", "problem": "its content has another digest"}
    assert [fault["where"] for fault in value["faults"]] == [
        f"report {number}" for number in (1, 1, 2, 2, 3, 3)
    ]  # it has another digest, and is about nothing


CHAIN_CHANGES: list[tuple[str, int]] = [
    ("UPDATE events SET actor = 'eve' WHERE seq = 3", 3),
    ("UPDATE events SET at = '2020' || substr(at, 5) WHERE seq = 1", 1),
    ("UPDATE events SET payload = replace(payload, 'mona', 'eve') || ' ' WHERE seq = 5", 5),
    ("DELETE FROM events WHERE seq = 4", 4),
    ("DELETE FROM events WHERE seq < 4", 1),
]


@pytest.mark.parametrize(("change", "seq"), CHAIN_CHANGES)
def test_a_changed_log_is_found(cases: Ledger, change: str, seq: int) -> None:
    tamper(cases, change)
    result = verify(cases)
    assert [fault.where for fault in result.faults] == [f"event {seq}"]
    assert result.events == seq - 1


def test_swapped_events_are_found(cases: Ledger) -> None:
    tamper(
        cases,
        "UPDATE events SET seq = -1 WHERE seq = 2",
        "UPDATE events SET seq = 2 WHERE seq = 4",
        "UPDATE events SET seq = 4 WHERE seq = -1",
    )
    assert places(cases) == ["event 2"]


def test_a_cut_tail_moves_the_head_and_leaves_a_record_without_an_event(cases: Ledger) -> None:
    before = verify(cases)
    last = seq_of(cases, "actor.added")
    assert last == before.events
    tamper(cases, f"DELETE FROM events WHERE seq = {last}")
    after = verify(cases)
    assert after.events == before.events - 1
    assert after.head != before.head  # what a checkpoint kept elsewhere tells
    assert [fault.where for fault in after.faults] == ["actor zoe", "key 5 of zoe"]
    tamper(cases, "DELETE FROM actor_keys WHERE id = 5", "DELETE FROM actors WHERE name = 'zoe'")
    assert verify(
        cases
    ).ok  # log and tables rewritten alike: only a checkpoint kept elsewhere tells


def test_a_cut_tail_that_moved_a_request_contradicts_its_state(cases: Ledger) -> None:
    tamper(cases, f"DELETE FROM events WHERE seq >= {seq_of(cases, 'request.prepared')}")
    assert Fault("request 3", "it is prepared, but the log says filed") in verify(cases).faults


def test_a_cut_tail_with_a_filing_and_a_decision_contradicts_both(cases: Ledger) -> None:
    tamper(cases, f"DELETE FROM events WHERE seq >= {seq_of(cases, 'request.rejected')}")
    found = verify(cases).faults
    assert Fault("request 3", "the log knows no such record") in found
    assert Fault("request 2", "it is rejected, but the log says filed") in found
    assert Fault("decision 2 on request 2", "the log knows no such record") in found


def test_a_cut_tail_with_a_promotion_contradicts_the_alias(cases: Ledger) -> None:
    tamper(cases, f"DELETE FROM events WHERE seq >= {seq_of(cases, 'version.promoted')}")
    problem = "it is at version 2, but the log says 1"
    assert Fault("alias champion of shop", problem) in verify(cases).faults


def test_a_step_that_was_never_allowed_is_found(cases: Ledger) -> None:
    with cases.write() as session:
        append(
            session, "mona", "request.released", "request:3", {"from": "applied", "to": "released"}
        )
    last = seq_of(cases, "request.released")
    found = Fault(f"event {last}", "request.released was not allowed at that point")
    assert found in verify(cases).faults


@pytest.mark.parametrize(
    "change", ["data = zeroblob(length(data))", "shape = '[1]'", "dtype = 'f'"]
)
def test_a_changed_array_is_found(cases: Ledger, change: str) -> None:
    digest, data = raw(cases, "SELECT digest, data FROM arrays WHERE length(data) > 0 LIMIT 1")[0]
    assert data.strip(b"\0")
    tamper(cases, (f"UPDATE arrays SET {change} WHERE digest = ?", [digest]))
    assert places(cases) == [f"array {digest}"]


def test_one_flipped_bit_of_any_array_is_found(cases: Ledger) -> None:
    rows = raw(cases, "SELECT digest, data FROM arrays WHERE length(data) > 0")
    assert len(rows) >= 6
    for digest, data in rows:
        flipped = bytes([data[0] ^ 1]) + data[1:]
        tamper(cases, ("UPDATE arrays SET data = ? WHERE digest = ?", [flipped, digest]))
        assert places(cases) == [f"array {digest}"]
        tamper(cases, ("UPDATE arrays SET data = ? WHERE digest = ?", [data, digest]))


FOUND: list[tuple[str, str, str]] = [
    (
        "a label renamed",
        """UPDATE models SET labels = replace(labels, '"mug"', '"jug"')""",
        "model shop",
    ),
    (
        "a recipe changed",
        "UPDATE projectors SET recipe = replace(recipe, '0.018', '0.02') WHERE id = 1",
        "projector 1 of request 1",
    ),
    (
        "factors swapped",
        "UPDATE projectors SET factor_a = factor_b, factor_b = factor_a WHERE id = 2",
        "projector 2 of request 3",
    ),
    (
        "factors of another",
        "UPDATE projectors SET factor_a = (SELECT factor_a FROM projectors WHERE id = 2) "
        "WHERE id = 1",
        "projector 1 of request 1",
    ),
    (
        "a report's figures",
        "UPDATE evaluation_reports SET content = replace(content, '0.', '0.9') WHERE id = 1",
        "report 1",
    ),
    (
        "a version's factors",
        "UPDATE model_versions SET factor_b = (SELECT factor_b FROM projectors WHERE id = 2) "
        "WHERE number = 2",
        "version 2 of shop",
    ),
    ("a member dropped", "DELETE FROM version_members", "version 2 of shop"),
    (
        "a member added",
        "INSERT INTO version_members VALUES (2, 3, 2)",
        "version 2 of shop",
    ),
    ("a state advanced", "UPDATE requests SET state = 'approved' WHERE id = 3", "request 3"),
    ("a state reopened", "UPDATE requests SET state = 'filed' WHERE id = 2", "request 2"),
    ("a request deleted", "DELETE FROM requests WHERE id = 3", "request 3"),
    (
        "an alias moved",
        "UPDATE aliases SET version_id = 1",
        "alias champion of shop",
    ),
    ("an alias deleted", "DELETE FROM aliases", "alias champion of shop"),
    (
        "an alias added",
        "INSERT INTO aliases VALUES (1, 'candidate', 1)",
        "alias candidate of shop",
    ),
    (
        "a decision's actor",
        "UPDATE decisions SET actor = 'eve' WHERE id = 1",
        "decision 1 on request 1",
    ),
    (
        "a decision's projector",
        "UPDATE decisions SET projector_digest = (SELECT digest FROM projectors WHERE id = 2) "
        "WHERE id = 1",
        "decision 1 on request 1",
    ),
    (
        "a decision's report",
        "UPDATE decisions SET report_digest = NULL WHERE id = 1",
        "decision 1 on request 1",
    ),
    (
        "a decision moved",
        "UPDATE decisions SET request_id = 3 WHERE id = 1",
        "decision 1 on request 3",
    ),
    (
        "a decision added",
        "INSERT INTO decisions SELECT 3, 3, ruling, actor, projector_id, projector_digest, "
        "report_digest, policy_digest, break_glass, comment_id, decided_at "
        "FROM decisions WHERE id = 1",
        "decision 3 on request 3",
    ),
    (
        "a reason",
        "UPDATE private_texts SET content = zeroblob(1) WHERE id = 3",
        "private text 3 of request 2",
    ),
    (
        "a subject",
        "UPDATE private_texts SET content = NULL, salt = NULL WHERE id = 4",
        "private text 4 of request 2",
    ),
    ("a salt", "UPDATE private_texts SET salt = 'x' WHERE id = 4", "private text 4 of request 2"),
]


@pytest.mark.parametrize(
    ("change", "where"), [row[1:] for row in FOUND], ids=[row[0] for row in FOUND]
)
def test_a_changed_record_is_found_and_named(cases: Ledger, change: str, where: str) -> None:
    before = dump(cases)
    tamper(cases, change)
    assert dump(cases) != before
    assert where in places(cases)
    others = {"projector 2 of request 3", "request_targets of 3"}  # of a request that is gone
    others.add("a decision on request 1")  # whence one was moved
    assert set(places(cases)) <= {where, *others}


def test_a_request_that_was_never_filed_is_found(cases: Ledger) -> None:
    tamper(
        cases,
        "INSERT INTO requests SELECT 9, model_id, state, basis, due_at, filed_by, filed_at, "
        "retention, held, redacted FROM requests WHERE id = 1",
    )
    assert set(places(cases)) == {"request 9"}


def test_a_label_space_with_a_fitting_digest_is_found_all_the_same(cases: Ledger) -> None:
    labels = json.loads(raw(cases, "SELECT labels FROM models")[0][0])
    labels["classes"][0] = "jug"
    tamper(
        cases,
        (
            "UPDATE models SET labels = ?, labels_digest = ?",
            [json.dumps(labels), digest_json(labels)],
        ),
    )
    assert places(cases) == ["model shop", "version 1 of shop", "version 2 of shop"]


def test_verifying_imports_no_model_library(cases: Ledger) -> None:
    script = (
        "import sys; from governance.ledger.database import Ledger; "
        "from governance.audit.verify import verify; result = verify(Ledger(sys.argv[1])); "
        "print(result.ok, sorted({'torch', 'mlflow', 'open_clip', 'alembic'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, cases.url], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "True []", done.stderr
