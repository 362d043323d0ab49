"""The log: what a digest is made of, and that no edit of it goes unseen."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from governance.ledger.database import Ledger
from governance.ledger.events import GENESIS, ChainFault, append, check_chain, head, stream
from governance.ledger.lookup import find_request
from governance.states import Action
from governance.workflow import transition
from tests.ledger.tampering import dump, tamper

PAYLOADS: list[dict[str, Any]] = [
    {"roles": ["admin"]},
    {"z": 1, "a": {"y": None, "b": [True, 2.5]}},
    {},
    {"name": "Zoë – “quoted” \\ \n"},
    {"rank": 3},
]


@pytest.fixture
def log(ledger: Ledger) -> Ledger:
    """Five events."""
    for number, payload in enumerate(PAYLOADS, start=1):
        with ledger.write() as session:
            append(session, "ada", "test.done", f"test:{number % 2}", payload)
    return ledger


def check(ledger: Ledger) -> tuple[int, ChainFault | None]:
    with ledger.read() as session:
        return check_chain(session)


def digest_by_hand(row: tuple[Any, ...]) -> str:
    """The digest from the file's own columns, without any of the program's code."""
    seq, at, actor, action, subject, payload, prev_digest, _ = row
    fields = {
        "seq": seq,
        "at": at,
        "actor": actor,
        "action": action,
        "subject": subject,
        "payload": json.loads(payload),
        "prev_digest": prev_digest,
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_digests_chain_over_all_fields(log: Ledger) -> None:
    rows = dump(log)["events"]
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5]
    assert [json.loads(row[5]) for row in rows] == PAYLOADS
    assert [row[-1] for row in rows] == [digest_by_hand(row) for row in rows]
    assert [row[-2] for row in rows] == [GENESIS, *(row[-1] for row in rows[:-1])]
    assert check(log) == (5, None)


def test_several_events_of_one_transaction_chain(ledger: Ledger) -> None:
    with ledger.write() as session:
        first = append(session, "ada", "test.done", "test:1", {})
        second = append(session, "ada", "test.done", "test:1", {})
        assert second.prev_digest == first.digest
    assert check(ledger) == (2, None)


def test_an_empty_log_holds(ledger: Ledger) -> None:
    assert check(ledger) == (0, None)
    with ledger.read() as session:
        assert head(session) is None


def test_head_and_stream(log: Ledger) -> None:
    with log.read() as session:
        newest = head(session)
        assert newest is not None
        assert newest.seq == 5
        assert [event.seq for event in stream(session)] == [1, 2, 3, 4, 5]
        assert [event.seq for event in stream(session, "test:1")] == [1, 3, 5]


@pytest.mark.parametrize("column", ["at", "actor", "action", "subject"])
def test_an_edited_column_is_found(log: Ledger, column: str) -> None:
    tamper(log, f"UPDATE events SET {column} = 'x' || substr({column}, 2) WHERE seq = 3")
    assert check(log) == (2, ChainFault(3, "was altered: its content has another digest"))


@pytest.mark.parametrize(
    "payload",
    ['{"rank":4}', '{"rank": 3}', '{"rank":3.0}', '{"rank":3,"rank":3}', "[]", "", "{", "NaN"],
)
def test_an_edited_payload_is_found_even_if_it_means_the_same(log: Ledger, payload: str) -> None:
    tamper(log, ("UPDATE events SET payload = ? WHERE seq = 5", [payload]))
    assert check(log) == (4, ChainFault(5, "was altered: its content has another digest"))


def test_an_edit_with_a_fitting_digest_breaks_the_next_link(log: Ledger) -> None:
    row = list(dump(log)["events"][1])
    row[2] = "eve"
    tamper(
        log, ("UPDATE events SET actor = 'eve', digest = ? WHERE seq = 2", [digest_by_hand(row)])
    )
    assert check(log) == (2, ChainFault(3, "does not follow its predecessor's digest"))


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_a_deleted_event_is_found(log: Ledger, seq: int) -> None:
    tamper(log, f"DELETE FROM events WHERE seq = {seq}")
    problem = f"event {seq} is missing; the next one is {seq + 1}"
    assert check(log) == (seq - 1, ChainFault(seq, problem))


def test_a_deleted_event_is_found_even_if_the_rest_moves_up(log: Ledger) -> None:
    tamper(
        log,
        "DELETE FROM events WHERE seq = 2",
        "UPDATE events SET seq = seq - 1 WHERE seq = 3",
        "UPDATE events SET seq = seq - 1 WHERE seq = 4",
        "UPDATE events SET seq = seq - 1 WHERE seq = 5",
    )
    assert check(log) == (1, ChainFault(2, "does not follow its predecessor's digest"))


def test_swapped_events_are_found(log: Ledger) -> None:
    tamper(
        log,
        "UPDATE events SET seq = 99 WHERE seq = 2",
        "UPDATE events SET seq = 2 WHERE seq = 3",
        "UPDATE events SET seq = 3 WHERE seq = 99",
    )
    assert check(log) == (1, ChainFault(2, "does not follow its predecessor's digest"))


def test_swapped_payloads_are_found(log: Ledger) -> None:
    rows = dump(log)["events"]
    tamper(
        log,
        ("UPDATE events SET payload = ? WHERE seq = 2", [rows[3][5]]),
        ("UPDATE events SET payload = ? WHERE seq = 4", [rows[1][5]]),
    )
    assert check(log) == (1, ChainFault(2, "was altered: its content has another digest"))


def test_an_inserted_event_is_found(log: Ledger) -> None:
    rows = dump(log)["events"]
    forged = [3, rows[2][1], "eve", "test.done", "test:9", "{}", rows[1][-1], ""]
    forged[-1] = digest_by_hand(tuple(forged))
    moves = [f"UPDATE events SET seq = {seq + 1} WHERE seq = {seq}" for seq in (5, 4, 3)]
    # The unique key on prev_digest forbids a fork outright; somebody with the file can drop it.
    tamper(log, *moves, ("UPDATE events SET prev_digest = ? WHERE seq = 4", [forged[-1]]))
    tamper(log, ("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", forged))
    assert check(log) == (3, ChainFault(4, "was altered: its content has another digest"))


def test_a_cut_tail_holds_but_has_another_head(log: Ledger) -> None:
    with log.read() as session:
        before = head(session)
    tamper(log, "DELETE FROM events WHERE seq >= 4")
    assert check(log) == (3, None)  # only a checkpoint kept elsewhere can tell
    with log.read() as session:
        after = head(session)
    assert before is not None
    assert after is not None
    assert (before.seq, after.seq) == (5, 3)
    assert before.digest != after.digest


def test_a_failing_append_leaves_the_state_as_it_was(
    cases: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(cases)

    def fail(*args: object) -> None:
        raise OSError("disk full")

    def extend(payload: Mapping[str, Any]) -> None:
        with cases.write() as session:
            request = find_request(session, 3)
            transition.advance(session, request, Action.APPROVE, "dmitri", payload)

    with monkeypatch.context() as broken:
        broken.setattr(transition, "append", fail)
        with pytest.raises(OSError, match="disk full"):
            extend({})
    assert dump(cases) == before
    with pytest.raises(ValueError, match="nan"):
        extend({"accuracy": float("nan")})
    assert dump(cases) == before
    extend({"comment": None})
    assert dump(cases)["requests"] != before["requests"]
