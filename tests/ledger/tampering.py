"""Reaching around the program, as somebody with the database file in hand would."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from governance.ledger.database import Ledger

Rows = list[tuple[Any, ...]]


def raw(ledger: Ledger, *statements: str | tuple[str, Sequence[Any]]) -> Rows:
    """Run statements with the triggers in force, in one transaction; the rows of the last one."""
    return _run(ledger, statements)


def tamper(ledger: Ledger, *statements: str | tuple[str, Sequence[Any]]) -> Rows:
    """Run statements with the triggers dropped and foreign keys off, then make the triggers again, so that only the
    change can give it away; the rows of the last statement."""
    with closing(_connect(ledger)) as connection, connection, unguarded(connection):
        return _execute(connection, statements)


@contextmanager
def unguarded(connection: sqlite3.Connection) -> Iterator[None]:
    """No trigger is in force meanwhile."""
    found = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    triggers = connection.execute(found).fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    yield
    for _, sql in triggers:
        connection.execute(sql)


def dump(ledger: Ledger) -> dict[str, Rows]:
    """Every row of every table."""
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    with closing(_connect(ledger)) as connection:
        return {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY rowid").fetchall()
            for (name,) in connection.execute(tables).fetchall()
        }


def schema(ledger: Ledger) -> str:
    """Tables, indexes and triggers as SQL, in alphabetical order."""
    rows = raw(ledger, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name")
    return "".join(f"{sql};\n" for (sql,) in rows)


def _connect(ledger: Ledger) -> sqlite3.Connection:
    path = ledger.engine.url.database
    assert path is not None
    return sqlite3.connect(path)


def _run(ledger: Ledger, statements: Sequence[str | tuple[str, Sequence[Any]]]) -> Rows:
    with closing(_connect(ledger)) as connection, connection:
        return _execute(connection, statements)


def _execute(
    connection: sqlite3.Connection, statements: Sequence[str | tuple[str, Sequence[Any]]]
) -> Rows:
    rows: Rows = []
    for statement in statements:
        query, values = (statement, ()) if isinstance(statement, str) else statement
        rows = connection.execute(query, values).fetchall()
    return rows
