"""Triggers that keep facts as they are, whoever asks the database: their text, and the check that they are in force.

They stop mistakes and programs, not somebody who may drop triggers; that one is found by `governance.audit.verify`.
"""

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.engine import Connection

from governance.ledger.entries import GENESIS

_Keys = dict[str, list[tuple[str, ...]]]

# On SQLite `INSERT OR REPLACE` deletes without firing delete triggers, so a further guard refuses an insert whose key
# exists; a table without an integer key has a hidden one, its rowid.
_IMMUTABLE_KEYS: _Keys = {
    "events": [("seq",), ("digest",), ("prev_digest",)],
    "tree_nodes": [("level", "position"), ("rowid",)],
    "checkpoints": [("id",)],
    "policies": [("id",)],
    "arrays": [("digest",), ("rowid",)],
    "models": [("id",), ("name",)],
    "request_targets": [("id",)],
    "projectors": [("id",)],
    "evaluation_reports": [("id",)],
    "decisions": [("id",)],
    "overrides": [("id",)],
    "model_versions": [("id",), ("model_id", "number")],
    "version_members": [("version_id", "request_id"), ("rowid",)],
    "notices": [("id",), ("kind", "subject", "occasion")],
    "delivery_attempts": [("id",)],
}

# Rows that hold a current state: they change together with an event, or as something is delivered, and never go.
_KEPT_KEYS: _Keys = {
    "actors": [("id",), ("name",)],
    "actor_keys": [("id",), ("key_id",)],
    "datasets": [("id",), ("name",)],
    "requests": [("id",)],
    "private_texts": [("id",)],
    "outboxes": [("name",), ("rowid",)],
    "deliveries": [("id",), ("outbox", "message")],
}

_ERASED = ("salt", "name", "content")
_FIXED = ("id", "request_id", "kind", "scheme", "commitment", "added_at")
_NOT_ERASURE = " OR ".join(
    [f"NEW.{column} IS NOT NULL" for column in _ERASED]
    + [f"NEW.{column} <> OLD.{column}" for column in _FIXED]
)
_NOT_NEXT = (
    "NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM events) OR NEW.prev_digest <> "
    f"COALESCE((SELECT digest FROM events ORDER BY seq DESC LIMIT 1), '{GENESIS}')"
)
_APPEND = "an event must follow the head of the log"
_ERASE = "private_texts can only be erased"


def statements(dialect: str) -> Iterator[str]:
    """What creates every guard, in order."""
    if dialect == "postgresql":
        for name, body in _functions().items():
            yield (
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $guard${body}$guard$"
            )
        for (table, name), (when, each, function) in _postgresql_triggers().items():
            yield (
                f"CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH {each} "
                f"EXECUTE FUNCTION {function}()"
            )
    else:
        yield from _sqlite_triggers().values()


def missing(connection: Connection) -> list[str]:
    """Guards that are not in force as `statements` makes them; sentences for people."""
    if connection.dialect.name == "postgresql":
        return _missing_on_postgresql(connection)
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
    found = {row.name: row.sql for row in rows}
    return [
        f"the trigger {name} is missing or was altered"
        for name, sql in _sqlite_triggers().items()
        if found.get(name) != sql
    ]


def drop_functions() -> Iterator[str]:
    """What removes the functions on PostgreSQL, after the tables."""
    for name in _functions():
        yield f"DROP FUNCTION {name}()"


def _sqlite_triggers() -> dict[str, str]:
    found: dict[str, str] = {}

    def guard(name: str, when: str, table: str, condition: str, message: str) -> None:
        where = f"WHEN {condition} " if condition else ""
        found[name] = (
            f"CREATE TRIGGER {name} BEFORE {when} ON {table} {where}"
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )

    for table, keys in {**_IMMUTABLE_KEYS, **_KEPT_KEYS}.items():
        message = _message(table)
        same_key = " OR ".join(
            "(" + " AND ".join(f"{column} = NEW.{column}" for column in key) + ")" for key in keys
        )
        if table in _IMMUTABLE_KEYS:
            guard(f"{table}_no_update", "UPDATE", table, "", message)
        guard(f"{table}_no_delete", "DELETE", table, "", message)
        taken = f"EXISTS (SELECT 1 FROM {table} WHERE {same_key})"
        guard(f"{table}_no_replace", "INSERT", table, taken, message)
    guard("private_texts_erase", "UPDATE", "private_texts", _NOT_ERASURE, _ERASE)
    guard("events_append", "INSERT", "events", _NOT_NEXT, _APPEND)
    return found


def _functions() -> dict[str, str]:
    """Bodies of the trigger functions on PostgreSQL."""
    return {
        "governance_append_only": ("BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END"),
        "governance_kept": (
            "BEGIN RAISE EXCEPTION 'rows of % are never removed', TG_TABLE_NAME; END"
        ),
        "governance_erase": (
            f"BEGIN IF {_NOT_ERASURE} THEN RAISE EXCEPTION '{_ERASE}'; END IF; RETURN NEW; END"
        ),
        # The table by its schema: a temporary one of the same name would be looked at first.
        "governance_events_append": (
            "DECLARE last record; BEGIN "
            "EXECUTE format('SELECT seq, digest FROM %I.%I ORDER BY seq DESC LIMIT 1', "
            "TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO last; "
            "IF NEW.seq <> COALESCE(last.seq, 0) + 1 "
            f"OR NEW.prev_digest <> COALESCE(last.digest, '{GENESIS}') THEN "
            f"RAISE EXCEPTION '{_APPEND}'; END IF; RETURN NEW; END"
        ),
    }


def _postgresql_triggers() -> dict[tuple[str, str], tuple[str, str, str]]:
    """(table, trigger) → event, row or statement, function."""
    found = {}
    for table in _IMMUTABLE_KEYS:
        found[table, f"{table}_no_change"] = ("UPDATE OR DELETE", "ROW", "governance_append_only")
        found[table, f"{table}_no_truncate"] = ("TRUNCATE", "STATEMENT", "governance_append_only")
    for table in _KEPT_KEYS:
        found[table, f"{table}_no_delete"] = ("DELETE", "ROW", "governance_kept")
        found[table, f"{table}_no_truncate"] = ("TRUNCATE", "STATEMENT", "governance_kept")
    found["private_texts", "private_texts_erase"] = ("UPDATE", "ROW", "governance_erase")
    found["events", "events_append"] = ("INSERT", "ROW", "governance_events_append")
    return found


# Bits of pg_trigger.tgtype, which also says that a trigger fires before the event.
_BITS = {"ROW": 1, "STATEMENT": 0, "INSERT": 4, "DELETE": 8, "UPDATE": 16, "TRUNCATE": 32}
_BEFORE = 2


def _missing_on_postgresql(connection: Connection) -> list[str]:
    triggers = connection.execute(
        text(
            "SELECT c.relname, t.tgname, p.proname, t.tgtype FROM pg_trigger t "
            "JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace AND n.oid = p.pronamespace "
            "WHERE NOT t.tgisinternal AND n.nspname = current_schema() "
            "AND t.tgenabled IN ('O', 'A') AND t.tgqual IS NULL AND t.tgattr = ''::int2vector"
        )
    )
    found = {(table, name): (function, kind) for table, name, function, kind in triggers}
    bodies = connection.execute(
        text(
            "SELECT p.proname, p.prosrc FROM pg_proc p JOIN pg_namespace n "
            "ON n.oid = p.pronamespace WHERE n.nspname = current_schema()"
        )
    )
    sources = {row.proname: row.prosrc for row in bodies}
    problems = [
        f"the function {name} is missing or was altered"
        for name, body in _functions().items()
        if sources.get(name) != body
    ]
    for (table, name), (when, each, function) in _postgresql_triggers().items():
        kind = _BEFORE | _BITS[each] | sum(_BITS[verb] for verb in when.split(" OR "))
        if found.get((table, name)) != (function, kind):
            problems.append(f"the trigger {name} is missing, disabled or was altered")
    return problems


def _message(table: str) -> str:
    if table in _IMMUTABLE_KEYS:
        return f"{table} is append-only"
    return f"rows of {table} are never removed"
