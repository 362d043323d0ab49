"""A verification reads the log once, whatever its length, and holds only a part of it in memory."""

import tracemalloc
from collections.abc import Callable

from sqlalchemy import event

from governance.audit.verify import verify
from governance.ledger.database import Ledger


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
