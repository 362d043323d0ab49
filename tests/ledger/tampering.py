"""Reaching around the program, as somebody with the database in hand would: its file, or its owner's password."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import psycopg
from psycopg.types.json import set_json_loads
from sqlalchemy.engine import make_url

from governance.ledger.database import Ledger
from tests.databases import as_owner

Rows = list[tuple[Any, ...]]
Statement = str | tuple[str, Sequence[Any]]

REFUSED = (sqlite3.IntegrityError, psycopg.errors.RaiseException, psycopg.errors.UniqueViolation)
"""What the drivers raise when a trigger or a key forbids a statement."""

_SQLITE_WORDS = (
    "CREATE OR REPLACE FUNCTION zeroblob(integer) RETURNS bytea LANGUAGE sql AS "
    "$$ SELECT decode(repeat('00', $1), 'hex') $$",
    "CREATE OR REPLACE FUNCTION replace(json, text, text) RETURNS json LANGUAGE sql AS "
    "$$ SELECT replace($1::text, $2, $3)::json $$",
)
"""Two functions that SQLite has, so that one statement serves both databases."""


def raw(ledger: Ledger, *statements: Statement) -> Rows:
    """Run statements with the triggers in force, in one transaction; the rows of the last one."""
    return _run(ledger, statements)


def tamper(ledger: Ledger, *statements: Statement) -> Rows:
    """Drop every trigger, then run statements with foreign keys off; the rows of the last one."""
    if is_sqlite(ledger):
        drops = [f"DROP TRIGGER {name}" for _, name in triggers(ledger)]
        return _run(ledger, [*drops, *statements])
    drops = [f"DROP TRIGGER {name} ON {table}" for table, name in triggers(ledger)]
    off = "SET session_replication_role = replica"
    return _run(ledger, [*drops, off, *_SQLITE_WORDS, *statements])


def triggers(ledger: Ledger) -> Rows:
    """Table and name of every trigger."""
    if is_sqlite(ledger):
        query = "SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger'"
    else:
        query = "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal"
    return raw(ledger, query)


def dump(ledger: Ledger) -> dict[str, Rows]:
    """Every row of every table, in the order of their keys."""
    if is_sqlite(ledger):
        names = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        order: Callable[[str], str] = lambda table: "rowid"  # noqa: E731
    else:
        names = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
        order = lambda table: _key(connection, table)  # noqa: E731
    with closing(_connect(ledger)) as connection:
        return {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY {order(name)}").fetchall()
            for (name,) in connection.execute(names).fetchall()
        }


def schema(ledger: Ledger) -> str:
    """Tables, indexes, triggers and functions as SQL, in a fixed order."""
    if not is_sqlite(ledger):
        return "".join(f"{line}\n" for query in _CATALOGUE for (line,) in raw(ledger, query))
    rows = raw(ledger, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name")
    return "".join(f"{sql};\n" for (sql,) in rows)


def is_sqlite(ledger: Ledger) -> bool:
    """Whether the ledger is a SQLite file."""
    return ledger.engine.dialect.name == "sqlite"


_CATALOGUE = (
    # Columns.
    "SELECT format('%s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), "
    "CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END, "
    "coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')) "
    "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
    "LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
    "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' "
    "AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum",
    # Constraints; newer servers list NOT NULL among them.
    "SELECT format('%s CONSTRAINT %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) "
    "FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN "
    "('c', 'f', 'p', 'u', 'x') ORDER BY conrelid::regclass::text, conname",
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname",
    # Triggers that are not in force (not 'O') are named as such.
    "SELECT format('%s [%s]', pg_get_triggerdef(oid), tgenabled) FROM pg_trigger "
    "WHERE NOT tgisinternal ORDER BY tgrelid::regclass::text, tgname",
    "SELECT format('FUNCTION %s RETURNS %s LANGUAGE %s%s AS %s', p.oid::regprocedure, "
    "p.prorettype::regtype, l.lanname, coalesce(' SET ' || p.proconfig::text, ''), p.prosrc) "
    "FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang "
    "WHERE p.pronamespace = 'public'::regnamespace ORDER BY p.oid::regprocedure::text",
)


def _connect(ledger: Ledger) -> Any:
    """The driver's own connection, as the owner, with JSON columns as text on both databases."""
    if is_sqlite(ledger):
        path = ledger.engine.url.database
        assert path is not None
        return sqlite3.connect(path)
    url = make_url(as_owner(ledger.engine.url.render_as_string(hide_password=False)))
    connection = psycopg.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False)
    )
    set_json_loads(lambda found: found if isinstance(found, str) else found.decode(), connection)
    return connection


def _run(ledger: Ledger, statements: Sequence[Statement]) -> Rows:
    rows: Rows = []
    with closing(_connect(ledger)) as connection, connection:
        for statement in statements:
            query, values = (statement, ()) if isinstance(statement, str) else statement
            if not is_sqlite(ledger):
                query = query.replace("%", "%%").replace("?", "%s") if values else query
            cursor = connection.execute(query, values) if values else connection.execute(query)
            rows = cursor.fetchall() if cursor.description else []
    return rows


def _key(connection: Any, table: str) -> str:
    """The columns of a table's primary key, or its rows' places if it has none."""
    query = (
        "SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY array_position(i.indkey, a.attnum)) "
        "FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
        "AND a.attnum = ANY(i.indkey) WHERE i.indisprimary AND i.indrelid = to_regclass(%s)"
    )
    ((columns,),) = connection.execute(query, [table]).fetchall()
    return columns or "ctid"
