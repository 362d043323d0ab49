"""What the role that the program works as may do on PostgreSQL: all that the program does, and nothing else.

The role owns nothing. So it can neither change the schema nor disable a trigger, and what is recorded as a fact it can
add and read, but not change, remove or truncate.
"""

from sqlalchemy import Table

from governance.errors import InvalidInputError
from governance.ledger.database import VERSION_TABLE
from governance.ledger.tables import Base

_CHANGES = {
    "actor_keys": ("retired_at",),
    "actors": ("active",),
    "aliases": ("version_id",),
    "deliveries": ("state", "tries", "allowed", "due_at"),
    "outboxes": ("event_cursor", "notice_cursor", "gone_at"),
    "private_texts": ("salt", "name", "content"),
    "requests": ("state", "due_at", "held", "redacted"),
}
"""The columns that the program updates. It deletes no row of any table."""

_RESERVED = ("public", "none")
"""PostgreSQL reads these as everybody and nobody, even in quotation marks."""


def grants(role: str) -> list[str]:
    """SQL statements, to be run by the owner in the ledger's database, that give `role` what the program needs.

    They take away first what the role was given before, so that they can be repeated after each upgrade.

    Raises:
        InvalidInputError: no role can have that name, or it means more than one role.
    """
    check_role(role)
    name = quoted(role)
    tables = Base.metadata.sorted_tables
    every = ", ".join(quoted(table) for table in (*(t.name for t in tables), VERSION_TABLE))
    sequences = ", ".join(quoted(found) for table in tables for found in _sequences(table))
    statements = [
        f"REVOKE ALL ON TABLE {every} FROM {name}",
        f"REVOKE ALL ON SEQUENCE {sequences} FROM {name}",
        f"GRANT USAGE ON SCHEMA {quoted('public')} TO {name}",
        f"GRANT SELECT ON TABLE {quoted(VERSION_TABLE)} TO {name}",
    ]
    for table in tables:
        privileges = ["SELECT", "INSERT"]
        if table.name in _CHANGES:
            columns = ", ".join(quoted(column) for column in _CHANGES[table.name])
            privileges.append(f"UPDATE ({columns})")
        statements.append(f"GRANT {', '.join(privileges)} ON TABLE {quoted(table.name)} TO {name}")
    statements.append(f"GRANT USAGE ON SEQUENCE {sequences} TO {name}")
    return statements


def quoted(identifier: str) -> str:
    """An SQL identifier in quotation marks."""
    return '"' + identifier.replace('"', '""') + '"'


def check_role(role: str) -> None:
    """Accept names that PostgreSQL takes as the name of one role.

    Raises:
        InvalidInputError: the name is not of that form.
    """
    if not role or not role.isprintable() or len(role.encode()) > 63:
        raise InvalidInputError(
            f"{role!r} cannot name a role: use 1 to 63 bytes of printable characters"
        )
    if role in _RESERVED or role.startswith("pg_"):
        raise InvalidInputError(
            f"{role!r} cannot be the program's role: PostgreSQL reserves that name"
        )


def _sequences(table: Table) -> list[str]:
    """The sequence that numbers the rows, as PostgreSQL names it."""
    column = table.autoincrement_column
    return [] if column is None else [f"{table.name}_{column.name}_seq"]
