"""The same ledger on PostgreSQL: migrations, triggers, the workflow. Skipped, saying so, without its binaries."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from governance.audit.verify import verify
from governance.clip.encoder import Encoder
from governance.clip.source import parse_source
from governance.demo import LABELS_FILE, MODEL_DIR
from governance.ledger.database import VERSION_TABLE, Ledger
from governance.ledger.migrate import upgrade
from governance.ledger.tables import IMMUTABLE_TABLES, Base
from governance.policy import Gates
from governance.states import Role
from governance.unlearning.labels import parse_labels
from governance.workflow import actors, datasets, models, release, versions
from governance.workflow.tools import Tools
from tests.fakes import FakeRegistry
from tests.keys import KEYS
from tests.workflow.helpers import active, champion, gates, state
from tests.workflow.shop import PEOPLE, Shop

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def _as_owner(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root; Debian's package brings its own user."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a throw-away server on loopback."""
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed (no /usr/lib/postgresql/*/bin)")
    place = Path("/tmp") / f"governance-pg-{os.getpid()}"  # pytest's own is closed to other users
    place.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(place, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, tools = place / "data", BINARIES[-1]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place}"
    try:
        for command in (
            [f"{tools}/initdb", "-D", f"{data}", "-A", "trust", "-U", "owner"],
            [
                f"{tools}/pg_ctl",
                "-D",
                f"{data}",
                "-w",
                "-l",
                f"{place}/log",
                "-o",
                options,
                "start",
            ],
        ):
            subprocess.run(_as_owner(command), check=True, capture_output=True, cwd="/")
        yield f"postgresql+psycopg://owner@127.0.0.1:{port}/postgres"
    finally:
        stop = [f"{tools}/pg_ctl", "-D", f"{data}", "-w", "-m", "immediate", "stop"]
        subprocess.run(_as_owner(stop), check=False, capture_output=True, cwd="/")
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def shop(server: str, encoder: Encoder, images: Path) -> Iterator[Shop]:
    """A furnished workspace on it."""
    ledger = Ledger(server, KEYS)
    assert upgrade(ledger) == (None, "0001")
    registry = FakeRegistry()
    tools = Tools(ledger, registry, encoder)
    actors.found(ledger, "ada")
    for name, role in PEOPLE.items():
        actors.add(ledger, "ada", name, [role])
    labels = parse_labels(LABELS_FILE.read_text(), toml=True)
    models.register(tools, "mona", "shop", parse_source(f"local-dir:{MODEL_DIR}", None), labels)
    datasets.add(ledger, "mona", "eval", images)
    yield Shop(tools, registry)
    ledger.dispose()


def test_the_whole_path_of_a_request(shop: Shop) -> None:
    number = shop.approved("mug")
    versions.apply(shop.tools, "mona", [number])
    gates(shop.ledger, Gates(max_forget_accuracy=0.1))
    release.promote(shop.ledger, shop.registry, "mona", None, 2)
    assert champion(shop.ledger) == 2
    assert active(shop.ledger, 2) == [number]
    versions.drop(shop.tools, "mona", number, "appeal")
    assert state(shop.ledger, number) == "reinstated"
    assert verify(shop.ledger).ok


def test_the_schema_is_the_one_of_the_tables(shop: Shop) -> None:
    with shop.ledger.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, Base.metadata) == []


@pytest.mark.parametrize("table", IMMUTABLE_TABLES)
def test_facts_cannot_be_changed(shop: Shop, table: str) -> None:
    column = next(iter(Base.metadata.tables[table].columns)).name
    for statement in (
        f"UPDATE {table} SET {column} = {column}",
        f"DELETE FROM {table}",
        f"TRUNCATE {table} CASCADE",
    ):
        with (
            pytest.raises(DBAPIError, match=r"is append-only"),
            shop.ledger.engine.begin() as connection,
        ):
            connection.execute(text(statement))


def test_an_event_must_follow_the_head(shop: Shop) -> None:
    forged = (
        "INSERT INTO events SELECT seq + 1000, at, actor, action, subject, payload, 'a', 'b' "
        "FROM events LIMIT 1"
    )
    with (
        pytest.raises(DBAPIError, match="must follow the head"),
        shop.ledger.engine.begin() as connection,
    ):
        connection.execute(text(forged))


def test_roles_travel_as_json(shop: Shop) -> None:
    actors.add(shop.ledger, "ada", "both", [Role.AUDITOR, Role.MLOPS])
    with shop.ledger.connect() as connection:
        rows = connection.execute(text("SELECT roles FROM actors WHERE name = 'both'"))
        assert rows.scalar_one() == ["auditor", "mlops"]
