"""What the program's role may do on PostgreSQL: everything that the program does, nothing beyond it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from governance.audit.verify import verify
from governance.errors import InvalidInputError, UnavailableError
from governance.ledger.database import HEAD, Ledger
from governance.ledger.events import GENESIS
from governance.ledger.grants import _CHANGES, grants
from governance.ledger.migrate import upgrade
from governance.ledger.tables import IMMUTABLE_TABLES, Base
from governance.workflow import requests
from tests.keys import KEYS
from tests.ledger.case import build
from tests.postgres import Server

OWNER = "plain owner"
PROGRAM = 'the "program"'
"""Names that need quotation marks."""


@dataclass(frozen=True)
class Place:
    """A database as docs/postgresql.md sets it up: its owner is no superuser, the program owns nothing."""

    owner: Ledger
    program: Ledger

    def give(self) -> None:
        """What the owner runs after an upgrade."""
        with self.owner.engine.begin() as connection:
            for statement in grants(PROGRAM):
                connection.exec_driver_sql(statement)

    def refused(self, *statements: str) -> None:
        """The program's role may not do the last one."""
        with self.program.engine.connect() as connection:
            for statement in statements[:-1]:
                connection.exec_driver_sql(statement)
            with pytest.raises(Exception, match=r"permission denied|must be owner") as caught:
                connection.exec_driver_sql(statements[-1])
        assert isinstance(caught.value.__cause__, psycopg.errors.InsufficientPrivilege)


@pytest.fixture(scope="module")
def place(postgresql: Server) -> Iterator[Place]:
    names = {"owner": sql.Identifier(OWNER), "program": sql.Identifier(PROGRAM)}
    setup = (
        "CREATE ROLE {owner} LOGIN",
        "CREATE ROLE {program} LOGIN",
        "CREATE DATABASE granted OWNER {owner}",
        "REVOKE ALL ON DATABASE granted FROM PUBLIC",
        "GRANT CONNECT ON DATABASE granted TO {program}",
    )
    postgresql.execute(*(sql.SQL(line).format(**names) for line in setup))
    postgresql.execute(
        sql.SQL("ALTER SCHEMA public OWNER TO {owner}").format(**names), database="granted"
    )
    owner = Ledger(postgresql.url("granted", OWNER), KEYS)
    program = Ledger(postgresql.url("granted", PROGRAM), KEYS)
    yield Place(owner, program)
    owner.dispose()
    program.dispose()
    postgresql.drop("granted")
    postgresql.execute(*(sql.SQL("DROP ROLE {}").format(name) for name in names.values()))


@pytest.fixture(scope="module")
def case(place: Place) -> Place:
    """With one released request, one rejected and one prepared: all made as the program's role."""
    assert upgrade(place.owner) == (None, HEAD)
    with (
        pytest.raises(UnavailableError, match="permission denied for table"),
        place.program.read(),
    ):
        pytest.fail("entered")
    place.give()
    build(place.program)
    return place


def test_the_program_does_its_work_and_the_owner_upgrades_again(case: Place) -> None:
    assert verify(case.program).ok
    assert upgrade(case.owner) == (HEAD, HEAD)
    case.give()
    requests.withdraw(case.program, "carla", 3, "settled")
    assert verify(case.program).ok
    assert upgrade(case.program) == (HEAD, HEAD)  # as `governance init` does


@pytest.mark.parametrize("table", IMMUTABLE_TABLES)
def test_the_program_cannot_change_facts_or_their_guards(case: Place, table: str) -> None:
    for column in Base.metadata.tables[table].columns.keys():  # noqa: SIM118
        case.refused(f"UPDATE {table} SET {column} = {column}")
    for statement in (
        f"DELETE FROM {table}",
        f"TRUNCATE {table} CASCADE",
        f"ALTER TABLE {table} DISABLE TRIGGER ALL",
        f"ALTER TABLE {table} DISABLE TRIGGER {table}_no_change",
        f"DROP TRIGGER {table}_no_change ON {table}",
        f"ALTER TABLE {table} ADD COLUMN more integer",
        f"CREATE RULE quiet AS ON INSERT TO {table} DO INSTEAD NOTHING",
        f"DROP TABLE {table} CASCADE",
    ):
        case.refused(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION governance_append_only() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN RETURN NEW; END'",
        "DROP FUNCTION governance_append_only() CASCADE",
        "CREATE TABLE public.events_too (seq integer)",
        "CREATE SCHEMA mine",
        f'SET ROLE "{OWNER}"',
        "UPDATE governance_alembic_version SET version_num = '9999'",
        "SELECT setval('requests_id_seq', 1)",
        "UPDATE requests SET basis = basis",
        "UPDATE actors SET roles = roles",
        "UPDATE private_texts SET commitment = commitment",
        "DELETE FROM private_texts",
        "DELETE FROM aliases",
    ],
)
def test_the_program_can_do_nothing_that_it_does_not_do(case: Place, statement: str) -> None:
    case.refused(statement)


def test_the_program_cannot_hide_the_log_behind_a_table_of_its_own(case: Place) -> None:
    """A temporary table would be found before the real one by the trigger that looks for the head."""
    case.refused("CREATE TEMPORARY TABLE events (seq integer, digest text)")


def test_the_triggers_hold_for_the_program_as_well(case: Place) -> None:
    forged = (
        "INSERT INTO events (seq, at, actor, action, subject, payload, prev_digest, digest) "
        f"VALUES (1000, '', 'eve', 'a.b', 'c:1', '{{}}', '{GENESIS}', 'x')"
    )
    with (
        pytest.raises(Exception, match="must follow the head"),
        case.program.engine.begin() as connection,
    ):
        connection.execute(text(forged))


def test_every_table_is_given_exactly_what_is_written_down(case: Place) -> None:
    whole = text(
        "SELECT table_name, privilege_type FROM information_schema.role_table_grants "
        "WHERE grantee = :role"
    )
    columns = text(
        "SELECT table_name, column_name FROM information_schema.role_column_grants "
        "WHERE grantee = :role AND privilege_type NOT IN ('SELECT', 'INSERT')"
    )
    case.give()
    case.give()  # repeating it adds nothing
    with case.program.connect() as connection:
        given = {tuple(row) for row in connection.execute(whole, {"role": PROGRAM})}
        changed = {tuple(row) for row in connection.execute(columns, {"role": PROGRAM})}
    version = {("governance_alembic_version", "SELECT")}
    assert given == version | {
        (table, verb) for table in Base.metadata.tables for verb in ("SELECT", "INSERT")
    }
    assert changed == {(table, column) for table, names in _CHANGES.items() for column in names}
    assert not _CHANGES.keys() & set(IMMUTABLE_TABLES)


def test_what_was_given_before_is_taken_away(case: Place) -> None:
    with case.owner.engine.begin() as connection:
        connection.exec_driver_sql(f"GRANT ALL ON aliases TO {PROGRAM_QUOTED}")
        connection.exec_driver_sql(f"GRANT ALL ON SEQUENCE requests_id_seq TO {PROGRAM_QUOTED}")
    case.give()
    case.refused("DELETE FROM aliases")
    case.refused("SELECT setval('requests_id_seq', 1)")


def test_the_document_names_every_column_that_may_change() -> None:
    page = (Path(__file__).parents[2] / "docs" / "postgresql.md").read_text(encoding="utf-8")
    rows = {line for line in page.splitlines() if " | update " in line}
    assert rows == {
        f"| `{table}` | update {', '.join(f'`{name}`' for name in names)} |"
        for table, names in _CHANGES.items()
    }


PROGRAM_QUOTED = '"the ""program"""'


def test_names_are_quoted() -> None:
    assert all(line.endswith(f" {PROGRAM_QUOTED}") for line in grants(PROGRAM))
    assert all(line.endswith(' "x; DROP TABLE events"') for line in grants("x; DROP TABLE events"))


@pytest.mark.parametrize(
    "role", ["", "a\n", "a\0b", "x" * 64, "ä" * 32, "public", "none", "pg_monitor", "\ud800"]
)
def test_names_that_are_no_role_of_their_own_are_refused(role: str) -> None:
    with pytest.raises(InvalidInputError, match="role"):
        grants(role)
