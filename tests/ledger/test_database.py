"""Opening a ledger, its two kinds of transaction, and what people are told when it cannot be used."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from governance.errors import ConflictError, UnavailableError
from governance.ledger import database
from governance.ledger.database import HEAD, VERSION_TABLE, Ledger, check_revision, current_revision
from governance.ledger.events import append
from governance.ledger.tables import Actor
from governance.ledger.types import now
from tests.audit.reading import read_log
from tests.keys import KEYS
from tests.ledger.tampering import dump, is_sqlite, raw
from tests.postgres import Server

UNSIGNED = "test.refused"
"""Kind of event that anybody can append, key or not."""


def add(ledger: Ledger, name: str, problem: BaseException | None = None) -> None:
    """Add an actor and its event, then raise."""
    with ledger.write() as session:
        session.add(Actor(name=name, roles=["admin"], added_at=now()))
        append(session, "ada", UNSIGNED, f"actor:{name}", {})
        session.flush()
        if problem is not None:
            raise problem


def names(ledger: Ledger) -> list[str]:
    with ledger.read() as session:
        return [actor.name for actor in session.query(Actor).order_by(Actor.id)]


def test_write_keeps_everything(ledger: Ledger) -> None:
    add(ledger, "ada")
    assert names(ledger) == ["ada"]
    assert len(dump(ledger)["events"]) == 1
    other = Ledger(ledger.url, KEYS)
    assert names(other) == ["ada"]
    other.dispose()


@pytest.mark.parametrize("problem", [ValueError("no"), KeyboardInterrupt(), ConflictError("no")])
def test_write_keeps_nothing_if_anything_fails(ledger: Ledger, problem: BaseException) -> None:
    add(ledger, "ada")
    before = dump(ledger)
    with pytest.raises(type(problem)):
        add(ledger, "eve", problem)
    assert dump(ledger) == before
    add(ledger, "bob")  # the lock is free again
    assert names(ledger) == ["ada", "bob"]


def test_read_keeps_nothing(ledger: Ledger) -> None:
    with ledger.read() as session:
        session.add(Actor(name="eve", roles=["admin"], added_at=now()))
        session.flush()
        assert session.query(Actor).count() == 1
    assert names(ledger) == []


def test_read_sees_one_state_while_others_write(ledger: Ledger) -> None:
    other = Ledger(ledger.url, KEYS)
    with ledger.read() as session:
        assert session.query(Actor).count() == 0
        add(other, "ada")
        assert session.query(Actor).count() == 0
    assert names(ledger) == ["ada"]
    other.dispose()


def test_times_without_a_zone_are_refused_and_come_back_as_utc(ledger: Ledger) -> None:
    moment = now()
    with ledger.write() as session:
        session.add(Actor(name="ada", roles=["admin"], added_at=moment))
    with ledger.read() as session:
        assert session.query(Actor).one().added_at == moment

    def write_naive() -> None:
        with ledger.write() as session:
            session.add(Actor(name="eve", roles=[], added_at=moment.replace(tzinfo=None)))

    with pytest.raises(Exception, match="carry a time zone"):
        write_naive()
    assert names(ledger) == ["ada"]


@pytest.mark.only("sqlite")
def test_sqlite_is_durable_and_checks_foreign_keys(ledger: Ledger) -> None:
    def pragma(name: str) -> object:
        with ledger.connect() as connection:
            return connection.execute(text(f"PRAGMA {name}")).scalar_one()

    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 2  # FULL
    assert pragma("foreign_keys") == 1


def test_writers_are_serialised(ledger: Ledger) -> None:
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def work(writer: int) -> None:
        own = Ledger(ledger.url, KEYS)
        try:
            start.wait()
            for number in range(50):
                with own.write() as session:
                    append(session, f"writer-{writer}", UNSIGNED, f"test:{number}", {})
        except BaseException as error:
            errors.append(error)
        finally:
            own.dispose()

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    log, _ = read_log(ledger)
    assert (log.count, log.fault) == (200, None)
    events = dump(ledger)["events"]
    assert [row[0] for row in events] == list(range(1, 201))
    for writer in range(4):  # each one's own appends, in its own order
        subjects = [row[4] for row in events if row[2] == f"writer-{writer}"]
        assert subjects == [f"test:{number}" for number in range(50)]


def test_a_writer_that_waits_too_long_is_told_of_the_other(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LOCK_TIMEOUT_S", 0.1)
    impatient = Ledger(ledger.url, KEYS)
    with ledger.write():  # holds the lock although nothing was written yet
        with pytest.raises(ConflictError, match=r"locked by another writer for 0\.1 s; try again"):
            add(impatient, "eve")
        assert names(impatient) == []  # reading is not held up
    add(impatient, "ada")
    impatient.dispose()


def test_a_name_taken_meanwhile_is_a_conflict(ledger: Ledger) -> None:
    add(ledger, "ada")
    with pytest.raises(ConflictError, match="another change came first"):
        add(ledger, "ada")


def test_a_database_without_a_ledger_is_refused_with_the_command_that_helps(blank: Ledger) -> None:
    for transaction in (blank.read, blank.write):
        with (
            pytest.raises(UnavailableError, match=r"holds no ledger.*`governance db upgrade`"),
            transaction(),
        ):
            pytest.fail("entered")
    with blank.connect() as connection:
        assert current_revision(connection) is None


@pytest.mark.parametrize(
    ("revision", "help_text"),
    [
        ("0000", f"at revision 0000, this program needs {HEAD}: run `governance db upgrade`"),
        ("9999", f"at revision 9999, this program needs {HEAD}: it was written by a newer version"),
    ],
)
def test_another_revision_is_refused_with_what_helps(
    ledger: Ledger, revision: str, help_text: str
) -> None:
    raw(ledger, f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'")
    for transaction in (ledger.read, ledger.write):
        with pytest.raises(UnavailableError) as caught, transaction():
            pytest.fail("entered")
        assert help_text in str(caught.value)
    with ledger.connect() as connection:
        assert current_revision(connection) == revision


SECRET = "postgresql+psycopg://governance:hunter2@db.example/ledger"
SHOWN = "postgresql+psycopg://governance:***@db.example/ledger"


@pytest.mark.parametrize(
    "statement",
    [
        f"DROP TABLE {VERSION_TABLE}",
        f"UPDATE {VERSION_TABLE} SET version_num = '0000'",
        f"UPDATE {VERSION_TABLE} SET version_num = '9999'",
    ],
)
def test_no_message_about_the_revision_shows_the_password(ledger: Ledger, statement: str) -> None:
    raw(ledger, statement)
    with ledger.connect() as connection, pytest.raises(UnavailableError) as caught:
        check_revision(connection, SECRET)
    assert SHOWN in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_no_message_about_a_failing_database_shows_the_password(ledger: Ledger) -> None:
    raw(ledger, "DROP TABLE actor_keys", "DROP TABLE actors")
    check_message(ledger)


def test_no_message_about_a_directory_shows_the_password(tmp_path: Path) -> None:
    check_message(Ledger(f"sqlite:///{tmp_path}"))


@pytest.fixture
def end_connections(ledger: Ledger, request: pytest.FixtureRequest) -> Callable[[], None]:
    """Do to those of the ledger what a restart of the server does."""
    if is_sqlite(ledger):
        pytest.skip("SQLite has no server")
    server: Server = request.getfixturevalue("postgresql")
    name = ledger.engine.url.database
    return lambda: server.execute(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
    )


def test_an_idle_connection_that_the_server_ended_is_made_anew(
    ledger: Ledger, end_connections: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_IDLE_S", 0)
    add(ledger, "ada")
    end_connections()
    add(ledger, "bob")
    end_connections()
    assert names(ledger) == ["ada", "bob"]


def test_a_connection_that_ended_at_once_fails_once(
    ledger: Ledger, end_connections: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_IDLE_S", 60)
    add(ledger, "ada")
    for number in range(2):
        end_connections()
        with pytest.raises(UnavailableError, match="connection") as caught:
            add(ledger, "lost")
        assert str(caught.value).isprintable()
        add(ledger, f"bob-{number}")
    assert names(ledger) == ["ada", "bob-0", "bob-1"]


@pytest.mark.parametrize("message", ["role", "database", "connection"])
def test_what_postgresql_says_is_one_line(postgresql: Server, message: str) -> None:
    url = {
        "role": postgresql.url("postgres", "nobody"),
        "database": postgresql.url("nowhere"),
        "connection": Server(1).url("postgres"),
    }[message]
    ledger = Ledger(url)
    with pytest.raises(UnavailableError, match=message) as caught:
        names(ledger)
    assert str(caught.value).isprintable()
    ledger.dispose()


def check_message(ledger: Ledger) -> None:
    ledger.url = SECRET
    with pytest.raises(UnavailableError) as caught:
        names(ledger)
    assert SHOWN in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_code == 7


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"This is no database at all. " * 200)
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    with pytest.raises(UnavailableError, match="file is not a database"):
        names(ledger)
    ledger.dispose()


def test_a_missing_directory_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"{tmp_path}/nowhere does not exist"):
        Ledger(f"sqlite:///{tmp_path}/nowhere/ledger.db")
    assert list(tmp_path.iterdir()) == []


def test_opening_touches_nothing(tmp_path: Path) -> None:
    Ledger(f"sqlite:///{tmp_path}/ledger.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ledger.db",
        "nosuchdatabase://u:hunter2@host/ledger",
        "sqlite+nosuchdriver:///ledger.db",
        "sqlite://u:hunter2@host/ledger.db",
        "postgresql://u:hunter2@host:port/ledger",
    ],
)
def test_a_url_that_cannot_be_used_is_unavailable(url: str) -> None:
    with pytest.raises(UnavailableError, match="URL cannot be used") as caught:
        Ledger(url)
    assert "hunter2" not in str(caught.value)
