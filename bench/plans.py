"""How a database finds what it is asked for: the statements of a piece of work, and their query plans."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event

LARGE = (
    "arrays",
    "checkpoints",
    "decisions",
    "evaluation_reports",
    "events",
    "model_versions",
    "overrides",
    "private_texts",
    "projectors",
    "request_targets",
    "requests",
    "tree_nodes",
    "version_members",
)
"""Tables that grow with what is done; actors, policies, models, data sets and aliases stay few."""


@dataclass
class Statements:
    """What was asked.

    Attributes:
        asked: every SELECT with its parameters, in order.
        count: of all statements.
    """

    asked: list[tuple[str, Any]] = field(default_factory=list)
    count: int = 0


@contextmanager
def watched(engine: Engine) -> Iterator[Statements]:
    """Note the statements of a piece of work."""
    found = Statements()

    def note(_c: Any, _u: Any, statement: str, parameters: Any, _x: Any, many: bool) -> None:
        found.count += 1
        if statement.lstrip().startswith(("SELECT", "WITH")) and "FROM" in statement and not many:
            found.asked.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


def plans(engine: Engine, statements: Statements, settled: bool = True) -> dict[str, list[str]]:
    """Plan of each different statement, line by line.

    Args:
        engine: where.
        statements: what was asked.
        settled: take the plans as they are; otherwise PostgreSQL, which reads small tables as a whole whatever indexes
            they have, is told to do that only if there is no other way.
    """
    found: dict[str, list[str]] = {}
    with engine.connect() as connection:
        postgresql = connection.dialect.name == "postgresql"
        if postgresql and not settled:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        for statement, parameters in statements.asked:
            if statement in found:
                continue
            ask = "EXPLAIN (COSTS OFF) " if postgresql else "EXPLAIN QUERY PLAN "
            rows = connection.exec_driver_sql(ask + statement, parameters)
            found[statement] = [row[0 if postgresql else 3] for row in rows]
    return found


def scans(statement: str, plan: list[str]) -> list[str]:
    """Lines of a plan that read a large table from one end to the other.

    A statement that takes the first rows in the order of an index, and nothing else, reads only those.
    """
    first_rows = "LIMIT" in statement and "WHERE" not in statement
    if first_rows and not any("TEMP B-TREE" in line or "Sort" in line for line in plan):
        return []
    found = []
    for number, line in enumerate(plan):
        words = line.strip().removeprefix("->").strip()
        if words.startswith("SCAN"):  # SQLite
            whole = _table(words.split()[1]) in LARGE
        elif " on " in words and "Scan" in words:  # PostgreSQL
            name = _table(words.split(" on ")[1].split()[0])
            bounded = any("Index Cond" in rest for rest in _details(plan[number + 1 :]))
            whole = name in LARGE and not bounded and "Bitmap Heap" not in words
        else:
            whole = False
        if whole:
            found.append(words)
    return found


def _table(name: str) -> str:
    """The table behind an alias of a loader, ``requests_1``."""
    return re.sub(r"_\d+$", "", name)


def _details(rest: list[str]) -> Iterator[str]:
    """Lines that belong to the step before them."""
    for line in rest:
        if "->" in line:
            return
        yield line


def accesses(plan: list[str]) -> list[str]:
    """The lines of a plan that say how a table is read."""
    lines = (line.strip().removeprefix("->").strip() for line in plan)
    return [line for line in lines if line.startswith(("SCAN ", "SEARCH ")) or "Scan" in line]
