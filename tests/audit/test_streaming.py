"""A verification reads the log once, whatever its length, and holds only a part of it in memory."""

import tracemalloc
from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, event, insert

from governance.audit.verify import verify
from governance.evidence.merkle import Frontier
from governance.ledger.database import Ledger
from governance.ledger.tables import Event, TreeNode
from governance.ledger.tree import leaf
from governance.workflow import actors
from tests.audit.hostile import Values, peek, seal


def lengthen(ledger: Ledger, length: int) -> None:
    """Append unsigned refusals until the log has so many events."""
    events = peek(ledger, "events")
    last, new = events[-1], []
    digests = [row["digest"] for row in events]
    for seq in range(last["seq"] + 1, length + 1):
        said: Values = {
            "seq": seq,
            "at": last["at"],
            "actor": "ada",
            "action": "policy.refused",
            "subject": "policy:ledger",
            "payload": '{"attempt":"adopt","problem":"this policy is in force already"}',
            "prev_digest": last["digest"],
        }
        last = seal(said, None)
        digests.append(last["digest"])
        new.append(last)
    nodes = Frontier().extend([leaf(digest) for digest in digests])
    engine = create_engine(ledger.engine.url)
    with engine.begin() as connection:
        connection.execute(insert(Event), new)
        if nodes:
            connection.execute(insert(TreeNode), [
                {"level": level, "position": position, "hash": value.hex()}
                for level, position, value in nodes
            ])  # fmt: skip
    engine.dispose()


@pytest.fixture
def long_ledger(make_ledger: Callable[[], Ledger]) -> Callable[[int], Ledger]:
    """Ledgers whose log has so many events."""

    def make(length: int) -> Ledger:
        ledger = make_ledger()
        actors.found(ledger, "ada")
        lengthen(ledger, length)
        return ledger

    return make


def peak(ledger: Ledger) -> int:
    """Bytes that a verification holds at most."""
    tracemalloc.start()
    try:
        assert verify(ledger).ok
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_log(long_ledger: Callable[[int], Ledger]) -> None:
    short, long = long_ledger(5_000), long_ledger(20_000)
    assert verify(short).ok  # what is loaded once
    assert peak(long) < 1.3 * peak(short)


def test_queries_do_not_grow_with_the_log(long_ledger: Callable[[int], Ledger]) -> None:
    counts = []
    for length in (600, 5_000):
        ledger, statements = long_ledger(length), []
        event.listen(
            ledger.engine, "before_cursor_execute", lambda *args, s=statements: s.append(args[2])
        )
        assert verify(ledger).ok
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_queries_do_not_grow_with_the_records(full: Ledger) -> None:
    """No query for each row, but for aliases, of which a model has two."""
    statements: list[str] = []
    event.listen(full.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert verify(full).ok
    assert max(statements.count(statement) for statement in statements) <= 8
    assert len(statements) < 80
