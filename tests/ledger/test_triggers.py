"""Facts cannot be changed, removed or replaced, whoever asks the database."""

import pytest

from governance.digests import digest_bytes
from governance.errors import ConflictError
from governance.ledger.database import Ledger
from governance.ledger.events import GENESIS
from governance.ledger.tables import IMMUTABLE_TABLES, Base, Event
from tests.ledger.tampering import REFUSED, dump, is_sqlite, raw


def refused(ledger: Ledger, *statements: str) -> None:
    """Each is refused, and nothing is changed by all of them."""
    before = dump(ledger)
    for statement in statements:
        with pytest.raises(REFUSED, match=r"append-only|follow the head|is taken"):
            raw(ledger, statement)
    assert dump(ledger) == before


@pytest.mark.parametrize("table", IMMUTABLE_TABLES)
def test_no_column_of_a_fact_can_be_updated(full: Ledger, table: str) -> None:
    assert dump(full)[table]
    ways = ("UPDATE", "UPDATE OR REPLACE") if is_sqlite(full) else ("UPDATE",)
    columns = Base.metadata.tables[table].columns.keys()
    refused(full, *(f"{way} {table} SET {column} = {column}" for way in ways for column in columns))


@pytest.mark.parametrize("table", IMMUTABLE_TABLES)
def test_no_fact_can_be_deleted(full: Ledger, table: str) -> None:
    refused(full, f"DELETE FROM {table}")


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("table", IMMUTABLE_TABLES)
def test_no_table_of_facts_can_be_emptied(cases: Ledger, table: str) -> None:
    refused(cases, f"TRUNCATE {table} CASCADE")


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("table", IMMUTABLE_TABLES)
def test_no_fact_can_be_replaced(full: Ledger, table: str) -> None:
    same = [
        f"INTO {table} SELECT * FROM {table} LIMIT 1 OFFSET {row}"
        for row in range(len(dump(full)[table]))
    ]
    assert same
    refused(full, *(f"{way} {row}" for row in same for way in ("INSERT OR REPLACE", "REPLACE")))


@pytest.mark.parametrize("table", IMMUTABLE_TABLES)
def test_no_fact_can_be_upserted(full: Ledger, table: str) -> None:
    key = [column.name for column in Base.metadata.tables[table].primary_key]
    column = key[0]
    refused(
        full,
        f"INSERT INTO {table} SELECT * FROM {table} WHERE true "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {column} = excluded.{column}",
    )


@pytest.mark.only("sqlite")
def test_a_version_number_cannot_be_taken_twice(cases: Ledger) -> None:
    table = Base.metadata.tables["model_versions"]
    rest = ", ".join(column for column in table.columns.keys() if column != "id")  # noqa: SIM118
    refused(
        cases,
        f"INSERT OR REPLACE INTO model_versions (id, {rest}) "
        f"SELECT 99, {rest} FROM model_versions WHERE number = 2",
    )


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("table", ["arrays", "version_members"])
def test_no_fact_can_be_replaced_by_its_rowid(cases: Ledger, table: str) -> None:
    columns = [*Base.metadata.tables[table].columns.keys()]
    other = {
        "arrays": ("digest", f"'{digest_bytes(b'other')}'"),
        "version_members": ("request_id", "3"),
    }
    changed = [other[table][1] if column == other[table][0] else column for column in columns]
    refused(
        cases,
        f"INSERT OR REPLACE INTO {table} (rowid, {', '.join(columns)}) "
        f"SELECT rowid, {', '.join(changed)} FROM {table} LIMIT 1",
    )


@pytest.mark.only("sqlite")
def test_no_event_can_be_replaced_by_one_with_its_digest(cases: Ledger) -> None:
    # It follows the head in both numbers that the trigger looks at, and takes the place of event 2.
    refused(
        cases,
        "INSERT OR REPLACE INTO events SELECT head.seq + 1, old.at, old.actor, old.action, "
        "old.subject, old.payload, head.digest, old.key_id, old.signature, old.digest "
        "FROM events AS old, events AS head WHERE old.seq = 2 AND head.seq = (SELECT MAX(seq) FROM events)",
    )


def event(seq: int, prev_digest: str) -> Event:
    return Event(
        seq=seq,
        at="2026-01-01T00:00:00.000000+00:00",
        actor="ada",
        action="actor.added",
        subject="actor:eve",
        payload="{}",
        prev_digest=prev_digest,
        digest=digest_bytes(f"{seq} {prev_digest}".encode()),
    )


def insert(ledger: Ledger, row: Event) -> None:
    with ledger.write() as session:
        session.add(row)
        session.flush()


@pytest.mark.parametrize("step", [-1, 0, 2, 10])
def test_an_event_with_another_number_than_the_next_is_refused(cases: Ledger, step: int) -> None:
    before = dump(cases)
    seq, _, *_, head = before["events"][-1]
    with pytest.raises(ConflictError, match=r"follow the head|append-only"):
        insert(cases, event(seq + step, head))
    assert dump(cases) == before


@pytest.mark.parametrize("steps_back", [2, 3])
def test_an_event_that_follows_another_one_than_the_head_is_refused(
    cases: Ledger, steps_back: int
) -> None:
    before = dump(cases)
    other = before["events"][-steps_back][-1]
    with pytest.raises(ConflictError, match="must follow the head"):
        insert(cases, event(before["events"][-1][0] + 1, other))
    assert dump(cases) == before


@pytest.mark.parametrize(("seq", "prev"), [(0, GENESIS), (2, GENESIS), (1, digest_bytes(b""))])
def test_the_first_event_must_be_number_one_and_follow_genesis(
    ledger: Ledger, seq: int, prev: str
) -> None:
    with pytest.raises(ConflictError, match="must follow the head"):
        insert(ledger, event(seq, prev))
    assert dump(ledger)["events"] == []


def test_an_event_that_follows_the_head_is_accepted(cases: Ledger) -> None:
    seq, *_, head = dump(cases)["events"][-1]
    insert(cases, event(seq + 1, head))
    assert dump(cases)["events"][-1][0] == seq + 1
