"""The migrations make exactly the schema that the program knows, triggers included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from governance.errors import UnavailableError
from governance.ledger import migrate
from governance.ledger.database import HEAD, VERSION_TABLE, Ledger
from governance.ledger.tables import IMMUTABLE_TABLES, Base
from governance.settings import CONFIG_NAME, config_text
from tests.ledger.tampering import dump, raw, schema, tamper

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("schema-sqlite.sql")


KEPT_TABLES = ("actors", "actor_keys", "datasets", "requests", "private_texts")
"""Tables whose rows change but never go."""


def make_schema(path: Path) -> str:
    ledger = Ledger(f"sqlite:///{path}")
    try:
        migrate.upgrade(ledger)
        return schema(ledger)
    finally:
        ledger.dispose()


def test_there_is_one_head_and_the_program_knows_it(ledger: Ledger) -> None:
    scripts = ScriptDirectory.from_config(migrate.config(ledger))
    assert scripts.get_heads() == [HEAD]
    assert migrate.head_revision() == HEAD
    assert migrate.migrations_dir() == ROOT / "migrations"


def test_upgrade_of_an_empty_database(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    assert migrate.upgrade(ledger) == (None, HEAD)
    with ledger.read():
        pass
    ledger.dispose()


def test_upgrade_at_head_changes_nothing(cases: Ledger) -> None:
    before = dump(cases), schema(cases)
    assert migrate.upgrade(cases) == (HEAD, HEAD)
    assert (dump(cases), schema(cases)) == before


def test_an_upgrade_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    raw(ledger, "CREATE TABLE version_members (id INTEGER)")  # the last table of the migration
    with pytest.raises(UnavailableError, match="already exists"):
        migrate.upgrade(ledger)
    assert list(dump(ledger)) == ["version_members"]
    raw(ledger, "DROP TABLE version_members")
    assert migrate.upgrade(ledger) == (None, HEAD)
    ledger.dispose()


@pytest.mark.parametrize("problem", ["no database", "a newer revision"])
def test_an_upgrade_that_cannot_be_done_is_explained(ledger: Ledger, problem: str) -> None:
    if problem == "no database":
        assert ledger.engine.url.database is not None
        Path(ledger.engine.url.database).write_bytes(b"This is no database at all. " * 200)
    else:
        raw(ledger, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(UnavailableError):
        migrate.upgrade(ledger)


def test_the_schema_is_the_golden_one(ledger: Ledger) -> None:
    """After a wanted change write it anew: ``python -m tests.ledger.test_migrations``, and look at the difference."""
    assert schema(ledger) == GOLDEN.read_text(encoding="utf-8")


def test_every_fact_has_its_triggers(ledger: Ledger) -> None:
    rows = raw(ledger, "SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger'")
    for table in IMMUTABLE_TABLES:
        names = {name for owner, name in rows if owner == table}
        assert {f"{table}_no_update", f"{table}_no_delete", f"{table}_no_replace"} <= names
    for table in KEPT_TABLES:
        names = {name for owner, name in rows if owner == table}
        assert {f"{table}_no_delete", f"{table}_no_replace"} <= names
    assert {table for table, _ in rows} == {*IMMUTABLE_TABLES, *KEPT_TABLES}
    assert Base.metadata.tables.keys() - {table for table, _ in rows} == {"aliases"}


def differences(ledger: Ledger) -> list[object]:
    with ledger.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        return list(compare_metadata(context, Base.metadata))


def test_the_tables_in_python_are_the_migrated_ones(ledger: Ledger) -> None:
    assert differences(ledger) == []
    tamper(ledger, "DROP INDEX ix_events_action", "ALTER TABLE actors ADD COLUMN extra TEXT")
    assert len(differences(ledger)) == 2  # it does look


def test_the_program_needs_no_more_tables_than_the_migrations_make(ledger: Ledger) -> None:
    assert set(dump(ledger)) == {*Base.metadata.tables, VERSION_TABLE}


def test_downgrade_of_an_empty_ledger_and_up_again(ledger: Ledger) -> None:
    command.downgrade(migrate.config(ledger), "base")
    assert dump(ledger) == {VERSION_TABLE: []}
    assert raw(ledger, "SELECT name FROM sqlite_master WHERE type = 'trigger'") == []
    assert migrate.upgrade(ledger) == (None, HEAD)
    assert schema(ledger) == GOLDEN.read_text(encoding="utf-8")


def test_downgrade_of_a_ledger_with_events_refuses_and_keeps_everything(cases: Ledger) -> None:
    before = dump(cases), schema(cases)
    assert before[0]["events"]
    with pytest.raises(RuntimeError, match="holds events and will not be dropped"):
        command.downgrade(migrate.config(cases), "base")
    assert (dump(cases), schema(cases)) == before


@pytest.mark.parametrize("named_by", ["workspace", "environment"])
def test_alembic_itself_works_from_the_repository(tmp_path: Path, named_by: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    config = home / CONFIG_NAME
    config.write_text(config_text("ada", None, None), encoding="utf-8")
    environment = os.environ | {"GOVERNANCE_HOME": str(home)}
    path = home / "ledger.db"
    if named_by == "environment":
        path = tmp_path / "elsewhere.db"
        environment["GOVERNANCE_DATABASE_URL"] = f"sqlite:///{path}"
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ledger = Ledger(f"sqlite:///{path}")
    assert schema(ledger) == GOLDEN.read_text(encoding="utf-8")
    assert dump(ledger)[VERSION_TABLE] == [(HEAD,)]
    ledger.dispose()
    assert {p.name for p in home.iterdir() if p.name != CONFIG_NAME} <= {"ledger.db"}


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        GOLDEN.write_text(make_schema(Path(directory) / "ledger.db"), encoding="utf-8")
