"""The log: what a digest is made of, and that no edit of it goes unseen."""

import hashlib
import json
from base64 import b64decode
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy import select

from governance.audit.fault import Fault
from governance.digests import canonical_json
from governance.errors import RefusedError, UnavailableError
from governance.evidence.keys import PublicKey
from governance.evidence.merkle import Frontier, leaf_hash, verify_consistency, verify_inclusion
from governance.ledger import events, tree
from governance.ledger.database import Ledger
from governance.ledger.events import GENESIS, append, entry, head, signed_bytes, stream
from governance.ledger.lookup import find_request
from governance.ledger.tables import Actor, ActorKey
from governance.ledger.types import now
from governance.states import Action
from governance.workflow import transition
from tests.audit.reading import read_log
from tests.keys import KEYS
from tests.ledger.tampering import dump, raw, tamper

PAYLOADS: list[dict[str, Any]] = [
    {"roles": ["admin"]},
    {"z": 1, "a": {"y": None, "b": [True, 2.5]}},
    {},
    {"name": "Zoë – “quoted” \\ \n"},
    {"rank": 3},
]


def introduce(ledger: Ledger, name: str) -> None:
    """Somebody who can sign, without an event."""
    key = KEYS.create(name).public
    row = ActorKey(key_id=key.key_id, public_key=key.to_base64(), added_at=now())
    with ledger.write() as session:
        session.add(Actor(name=name, roles=["admin"], active=True, added_at=now(), keys=[row]))


@pytest.fixture
def log(ledger: Ledger) -> Ledger:
    """Five events."""
    introduce(ledger, "ada")
    for number, payload in enumerate(PAYLOADS, start=1):
        with ledger.write() as session:
            append(session, "ada", "test.done", f"test:{number % 2}", payload)
    return ledger


def check(ledger: Ledger) -> tuple[int, Fault | None]:
    found, _ = read_log(ledger)
    return found.count, found.fault


def digest_by_hand(row: tuple[Any, ...]) -> str:
    """The digest from the file's own columns, without any of the program's code."""
    seq, at, actor, action, subject, payload, prev_digest, key_id, signature, _ = row
    fields = {
        "seq": seq,
        "at": at,
        "actor": actor,
        "action": action,
        "subject": subject,
        "payload": json.loads(payload),
        "prev_digest": prev_digest,
        "key_id": key_id,
        "signature": signature,
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_digests_chain_over_all_fields(log: Ledger) -> None:
    rows = dump(log)["events"]
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5]
    assert [json.loads(row[5]) for row in rows] == PAYLOADS
    assert [row[-1] for row in rows] == [digest_by_hand(row) for row in rows]
    assert [row[6] for row in rows] == [GENESIS, *(row[-1] for row in rows[:-1])]
    assert check(log) == (5, None)


def test_several_events_of_one_transaction_chain(ledger: Ledger) -> None:
    introduce(ledger, "ada")
    with ledger.write() as session:
        first = append(session, "ada", "test.done", "test:1", {})
        second = append(session, "ada", "test.done", "test:1", {})
        assert second.prev_digest == first.digest
    assert check(ledger) == (2, None)


def test_an_empty_log_holds(ledger: Ledger) -> None:
    assert check(ledger) == (0, None)
    with ledger.read() as session:
        assert head(session) == (0, GENESIS, "")


def test_head_and_stream(log: Ledger) -> None:
    with log.read() as session:
        assert head(session)[0] == 5
        assert [event.seq for event in stream(session)] == [1, 2, 3, 4, 5]
        assert [event.seq for event in stream(session, "test:1")] == [1, 3, 5]


@pytest.mark.parametrize("column", ["at", "actor", "action", "subject", "key_id", "signature"])
def test_an_edited_column_is_found(log: Ledger, column: str) -> None:
    tamper(log, f"UPDATE events SET {column} = '#' || substr({column}, 2) WHERE seq = 3")
    assert check(log) == (2, Fault("event 3", "was altered: its content has another digest"))


@pytest.mark.parametrize(
    "payload",
    ['{"rank":4}', '{"rank": 3}', '{"rank":3.0}', '{"rank":3,"rank":3}', "[]", "", "{", "NaN"],
)
def test_an_edited_payload_is_found_even_if_it_means_the_same(log: Ledger, payload: str) -> None:
    tamper(log, ("UPDATE events SET payload = ? WHERE seq = 5", [payload]))
    assert check(log) == (4, Fault("event 5", "was altered: its content has another digest"))


def test_an_edit_with_a_fitting_digest_breaks_the_next_link(log: Ledger) -> None:
    row = list(dump(log)["events"][1])
    row[2] = "eve"
    tamper(
        log, ("UPDATE events SET actor = 'eve', digest = ? WHERE seq = 2", [digest_by_hand(row)])
    )
    assert check(log) == (2, Fault("event 3", "does not follow its predecessor's digest"))


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_a_deleted_event_is_found(log: Ledger, seq: int) -> None:
    tamper(log, f"DELETE FROM events WHERE seq = {seq}")
    problem = f"event {seq} is missing; the next one is {seq + 1}"
    assert check(log) == (seq - 1, Fault(f"event {seq}", problem))


def test_a_deleted_event_is_found_even_if_the_rest_moves_up(log: Ledger) -> None:
    tamper(
        log,
        "DELETE FROM events WHERE seq = 2",
        "UPDATE events SET seq = seq - 1 WHERE seq = 3",
        "UPDATE events SET seq = seq - 1 WHERE seq = 4",
        "UPDATE events SET seq = seq - 1 WHERE seq = 5",
    )
    assert check(log) == (1, Fault("event 2", "does not follow its predecessor's digest"))


def test_swapped_events_are_found(log: Ledger) -> None:
    tamper(
        log,
        "UPDATE events SET seq = 99 WHERE seq = 2",
        "UPDATE events SET seq = 2 WHERE seq = 3",
        "UPDATE events SET seq = 3 WHERE seq = 99",
    )
    assert check(log) == (1, Fault("event 2", "does not follow its predecessor's digest"))


def test_swapped_payloads_are_found(log: Ledger) -> None:
    rows = dump(log)["events"]
    tamper(
        log,
        ("UPDATE events SET payload = ? WHERE seq = 2", [rows[3][5]]),
        ("UPDATE events SET payload = ? WHERE seq = 4", [rows[1][5]]),
    )
    assert check(log) == (1, Fault("event 2", "was altered: its content has another digest"))


def test_an_inserted_event_is_found(log: Ledger) -> None:
    rows = dump(log)["events"]
    forged = [3, rows[2][1], "eve", "test.done", "test:9", "{}", rows[1][-1], None, None, ""]
    forged[-1] = digest_by_hand(tuple(forged))
    moves = [f"UPDATE events SET seq = {seq + 1} WHERE seq = {seq}" for seq in (5, 4, 3)]
    # The unique key on prev_digest forbids a fork outright; somebody with the file can drop it.
    tamper(log, *moves, ("UPDATE events SET prev_digest = ? WHERE seq = 4", [forged[-1]]))
    tamper(log, ("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", forged))
    assert check(log) == (3, Fault("event 4", "was altered: its content has another digest"))


def test_a_cut_tail_holds_but_has_another_head(log: Ledger) -> None:
    with log.read() as session:
        before = head(session)
    tamper(log, "DELETE FROM events WHERE seq >= 4")
    assert check(log) == (3, None)  # only a checkpoint kept elsewhere can tell
    with log.read() as session:
        after = head(session)
    assert (before[0], after[0]) == (5, 3)
    assert before[1] != after[1]


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


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(actor=TEXT, subject=TEXT, payload=st.dictionaries(TEXT, TEXT | st.integers(-9, 9)))
@effort(max_examples=200, deadline=None)
def test_an_entry_is_canonical_json(actor: str, subject: str, payload: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "action": "a.b", "actor": actor, "at": "2026-01-01", "key_id": None, "prev_digest": GENESIS,
        "seq": 7, "subject": subject,
    }  # fmt: skip
    text = canonical_json(payload)
    signed = canonical_json({**fields, "payload": payload})
    assert signed_bytes(payload=text, **fields) == b"governance.event.v1\n" + signed.encode()
    for signature in (None, "c2ln"):
        whole = canonical_json({**fields, "payload": payload, "signature": signature})
        assert entry(payload=text, signature=signature, **fields) == whole


def test_an_event_is_signed_with_a_key_that_the_ledger_knows(log: Ledger) -> None:
    with log.read() as session:
        event = next(stream(session))
        (key,) = session.scalars(select(ActorKey))
    said = signed_bytes(
        event.action, event.actor, event.at, event.key_id, event.payload, event.prev_digest,
        event.seq, event.subject,
    )  # fmt: skip
    assert event.key_id == key.key_id
    assert event.signature is not None
    PublicKey.from_base64(key.public_key).verify(said, b64decode(event.signature))


def test_who_has_no_key_here_cannot_append_but_is_refused_on_record(log: Ledger) -> None:
    before = dump(log)
    with pytest.raises(RefusedError, match="'eve' has no signing key"), log.write() as session:
        append(session, "eve", "test.done", "test:1", {})
    assert dump(log) == before
    with log.write() as session:
        event = append(session, "eve", "test.refused", "test:1", {})
    assert (event.key_id, event.signature) == (None, None)
    assert check(log) == (6, None)


def test_time_never_goes_backwards(log: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    late = now() + timedelta(days=1)
    with monkeypatch.context() as wrong, log.write() as session:
        at = late.isoformat(timespec="microseconds")
        wrong.setattr(events, "head_now", lambda session, _: (*head(session)[:2], at, None))
        append(session, "ada", "test.done", "test:1", {})
    with log.write() as session:
        event = append(session, "ada", "test.done", "test:1", {})
    assert event.at == late.isoformat(timespec="microseconds")
    assert check(log) == (7, None)
    tamper(log, "UPDATE events SET at = '2020-01-01T00:00:00.000000+00:00' WHERE seq = 3")
    assert check(log)[1] == Fault("event 3", "was altered: its content has another digest")


def test_full_subtrees_are_stored_and_give_the_root(ledger: Ledger) -> None:
    introduce(ledger, "ada")
    leaves = []
    with ledger.write() as session:
        for number in range(600):
            digest = append(session, "ada", "test.done", "test:1", {"n": number}).digest
            leaves.append(leaf_hash(bytes.fromhex(digest.removeprefix("sha256:"))))
    with ledger.read() as session:
        assert sorted(tree.stored_nodes(session)) == [(8, 0), (8, 1)]
        for size in (0, 1, 255, 256, 257, 512, 600):
            frontier = Frontier()
            frontier.extend(leaves[:size])
            assert tree.root(session, size) == frontier.root()
        root = tree.root(session, 600)
        for seq in (1, 256, 257, 599, 600):
            proof = tree.prove_inclusion(session, seq, 600)
            verify_inclusion(seq - 1, 600, leaves[seq - 1], proof, root)
        proof = tree.prove_consistency(session, 300, 600)
        verify_consistency(300, 600, tree.root(session, 300), root, proof)
    tamper(
        ledger,
        "UPDATE tree_nodes SET hash = (SELECT hash FROM tree_nodes WHERE position = 0) WHERE position = 1",
    )
    found, _ = read_log(ledger)
    assert found.node_faults == [Fault("tree node 8/1", "has another hash than its events give")]


def test_a_database_that_fails_while_the_log_is_read_is_one_line(log: Ledger) -> None:
    raw(log, "ALTER TABLE events RENAME TO gone")
    with pytest.raises(UnavailableError, match=r"the ledger .* (cannot be used|failed)") as caught:
        check(log)
    assert len(str(caught.value).splitlines()) == 1
