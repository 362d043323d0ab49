"""The migrations make exactly the schema that the program knows, triggers included."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from governance.errors import UnavailableError
from governance.ledger import migrate
from governance.ledger.database import HEAD, VERSION_TABLE, Ledger
from governance.ledger.tables import IMMUTABLE_TABLES, Base
from governance.settings import CONFIG_NAME, config_text
from tests.ledger.tampering import dump, is_sqlite, raw, schema, tamper, triggers
from tests.postgres import serve

ROOT = Path(__file__).parents[2]


KEPT_TABLES = (
    "actors", "actor_keys", "datasets", "requests", "private_texts", "outboxes", "deliveries",
)  # fmt: skip
"""Tables whose rows change but never go."""


def golden(ledger: Ledger) -> str:
    """The schema as it should be on that kind of database."""
    return golden_file(ledger).read_text(encoding="utf-8")


def golden_file(ledger: Ledger) -> Path:
    return Path(__file__).with_name(f"schema-{ledger.engine.dialect.name}.sql")


def write_golden(url: str) -> None:
    ledger = Ledger(url)
    migrate.upgrade(ledger)
    golden_file(ledger).write_text(schema(ledger), encoding="utf-8")
    ledger.dispose()


def test_there_is_one_head_and_the_program_knows_it(ledger: Ledger) -> None:
    scripts = ScriptDirectory.from_config(migrate.config(ledger))
    assert scripts.get_heads() == [HEAD]
    assert migrate.head_revision() == HEAD
    assert migrate.migrations_dir() == ROOT / "migrations"


def test_upgrade_of_an_empty_database(blank: Ledger) -> None:
    assert migrate.upgrade(blank) == (None, HEAD)
    with blank.read():
        pass


def test_upgrade_at_head_changes_nothing(cases: Ledger) -> None:
    before = dump(cases), schema(cases)
    assert migrate.upgrade(cases) == (HEAD, HEAD)
    assert (dump(cases), schema(cases)) == before


def test_an_upgrade_that_fails_leaves_nothing_behind(blank: Ledger) -> None:
    raw(blank, "CREATE TABLE version_members (id INTEGER)")  # the last table of the migration
    with pytest.raises(UnavailableError, match="already exists"):
        migrate.upgrade(blank)
    assert list(dump(blank)) == ["version_members"]
    raw(blank, "DROP TABLE version_members")
    assert migrate.upgrade(blank) == (None, HEAD)


def test_an_upgrade_of_a_newer_ledger_is_explained(ledger: Ledger) -> None:
    raw(ledger, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(UnavailableError, match="install the version that wrote it"):
        migrate.upgrade(ledger)


def test_an_upgrade_of_what_is_no_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"This is no database at all. " * 200)
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    with pytest.raises(UnavailableError, match="not a database"):
        migrate.upgrade(ledger)
    ledger.dispose()


def test_the_schema_is_the_golden_one(ledger: Ledger) -> None:
    """After a wanted change write it anew: ``python -m tests.ledger.test_migrations``, and look at the difference."""
    assert schema(ledger) == golden(ledger)


def test_every_fact_has_its_triggers(ledger: Ledger) -> None:
    rows = triggers(ledger)
    forbidden = ("update", "delete", "replace") if is_sqlite(ledger) else ("change", "truncate")
    for table in IMMUTABLE_TABLES:
        names = {name for owner, name in rows if owner == table}
        assert {f"{table}_no_{verb}" for verb in forbidden} <= names
    kept = ("delete", "replace") if is_sqlite(ledger) else ("delete", "truncate")
    for table in KEPT_TABLES:
        names = {name for owner, name in rows if owner == table}
        assert {f"{table}_no_{verb}" for verb in kept} <= names
    assert {table for table, _ in rows} == {*IMMUTABLE_TABLES, *KEPT_TABLES}
    assert Base.metadata.tables.keys() - {table for table, _ in rows} == {"aliases"}


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("table", IMMUTABLE_TABLES)
def test_a_batch_migration_loses_triggers_and_only_the_golden_schema_tells(
    ledger: Ledger, table: str
) -> None:
    with ledger.engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        with operations.batch_alter_table(table, recreate="always"):
            pass
    lost = {f"{table}_no_update", f"{table}_no_delete", f"{table}_no_replace"}
    assert not lost & {name for _, name in triggers(ledger)}
    assert differences(ledger) == []
    assert schema(ledger) != golden(ledger)


def differences(ledger: Ledger) -> list[object]:
    with ledger.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        return list(compare_metadata(context, Base.metadata))


def test_the_tables_in_python_are_the_migrated_ones(ledger: Ledger) -> None:
    assert differences(ledger) == []
    tamper(ledger, "DROP INDEX ix_events_action_seq", "ALTER TABLE actors ADD COLUMN extra TEXT")
    assert len(differences(ledger)) == 2  # it does look


def test_the_program_needs_no_more_tables_than_the_migrations_make(ledger: Ledger) -> None:
    assert set(dump(ledger)) == {*Base.metadata.tables, VERSION_TABLE}


def test_downgrade_of_an_empty_ledger_and_up_again(blank: Ledger) -> None:
    migrate.upgrade(blank)
    command.downgrade(migrate.config(blank), "base")
    assert dump(blank) == {VERSION_TABLE: []}
    assert triggers(blank) == []
    assert migrate.upgrade(blank) == (None, HEAD)
    assert schema(blank) == golden(blank)


def test_downgrade_of_a_ledger_with_events_refuses_and_keeps_everything(
    cases: Ledger, as_owner: Callable[[Ledger], Ledger]
) -> None:
    before = dump(cases), schema(cases)
    assert before[0]["events"]
    with pytest.raises(RuntimeError, match="holds events and will not be dropped"):
        command.downgrade(migrate.config(as_owner(cases)), "base")
    assert (dump(cases), schema(cases)) == before


def test_alembic_itself_works_from_the_repository(blank: Ledger) -> None:
    alembic_upgrade({"GOVERNANCE_DATABASE_URL": blank.url})
    assert schema(blank) == golden(blank)
    assert dump(blank)[VERSION_TABLE] == [(HEAD,)]


def test_alembic_itself_finds_the_ledger_of_a_workspace(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    config = home / CONFIG_NAME
    config.write_text(config_text("ada", None, None), encoding="utf-8")
    alembic_upgrade({"GOVERNANCE_HOME": str(home)})
    ledger = Ledger(f"sqlite:///{home}/ledger.db")
    assert schema(ledger) == golden(ledger)
    ledger.dispose()
    assert {p.name for p in home.iterdir() if p.name != CONFIG_NAME} <= {"ledger.db"}


def alembic_upgrade(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        write_golden(f"sqlite:///{directory}/ledger.db")
    with serve() as server:
        server.create("ledger")
        write_golden(server.url("ledger"))
