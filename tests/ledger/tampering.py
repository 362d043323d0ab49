"""Reaching around the program, as somebody with the database file in hand would."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from governance.ledger.database import Ledger

Rows = list[tuple[Any, ...]]


def raw(ledger: Ledger, *statements: str | tuple[str, Sequence[Any]]) -> Rows:
    """Run statements with the triggers in force, in one transaction; the rows of the last one."""
    return _run(ledger, statements)


def tamper(ledger: Ledger, *statements: str | tuple[str, Sequence[Any]]) -> Rows:
    """Drop every trigger, then run statements with foreign keys off; the rows of the last one."""
    names = raw(ledger, "SELECT name FROM sqlite_master WHERE type = 'trigger'")
    drops = [f"DROP TRIGGER {name}" for (name,) in names]
    return _run(ledger, [*drops, *statements])


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
    rows: Rows = []
    with closing(_connect(ledger)) as connection, connection:
        for statement in statements:
            query, values = (statement, ()) if isinstance(statement, str) else statement
            rows = connection.execute(query, values).fetchall()
    return rows
