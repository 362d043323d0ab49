"""Opening the ledger: engine, transactions, and the check that its schema is the one this program knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import uniform
from sqlite3 import OperationalError
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InvalidatePoolError,
    NoSuchModuleError,
)
from sqlalchemy.exc import OperationalError as DatabaseDown
from sqlalchemy.orm import Session

from governance.errors import ConflictError, UnavailableError
from governance.ledger.direct import Access, said
from governance.ledger.driver import driver_rows, rows_of_last, translated
from governance.ledger.private import CIPHER
from governance.ledger.signers import KEYS
from governance.telemetry import committed

if TYPE_CHECKING:
    from governance.evidence.cipher import Cipher
    from governance.evidence.keyring import Keys

__all__ = [
    "APPENDED",
    "HEAD",
    "VERSION_TABLE",
    "Ledger",
    "Session",
    "check_revision",
    "current_revision",
    "explained",
]

VERSION_TABLE = "governance_alembic_version"
"""Our own: MLflow owns ``alembic_version`` if somebody points both at one database."""

HEAD = "0001"
"""The migration this program was written for; a test compares it with the migrations themselves."""

APPENDED = "appended"
"""Where a session holds what was added to the log in it."""

_LOCK_TIMEOUT_S = 30
_IDLE_S = 1.0
"""After so long without use a connection to a server is tried before it is used."""

_LEFT = "left"
_SQLITE_BUSY = (
    "somebody reads the ledger, so the erased bytes may still stand in its write-ahead log; run "
    "`governance db scrub` when nobody does"
)
_NOT_OWNER = (
    "the erased bytes may still stand in dead rows until the owner of the table runs VACUUM FULL private_texts, or "
    "`governance db scrub` is run with the owner's --database URL"
)
_LOCKED_TABLE = (
    "others use the table, so the erased bytes may still stand in dead rows; run "
    "`governance db scrub` when nobody does"
)
_PAUSES_S = (0.001, 0.01)
_WRITE = "governance_write"
_BEGIN = "BEGIN IMMEDIATE"
_LOCK = "SELECT pg_advisory_xact_lock(7161702512)"
_REVISION = f"SELECT version_num FROM {VERSION_TABLE}"
_RAISED = "P0001"
"""SQLSTATE of what our triggers raise on PostgreSQL; SQLite's driver calls the same an integrity error."""


class Ledger:
    """A database with the ledger's schema.

    `read` and `write` are the two kinds of transaction. Long computations run between them, so that no lock is
    held while images are encoded.
    """

    def __init__(
        self, url: str, keys: "Keys | None" = None, cipher: "Cipher | None" = None
    ) -> None:
        """Open `url` without touching it.

        Args:
            url: of the database.
            keys: private keys with which events are signed; without them the ledger can only be read.
            cipher: data keys with which private texts are encrypted; without them new ones are stored as they are.

        Raises:
            UnavailableError: the URL cannot be used.
        """
        self.url = url
        self.keys = keys
        self.cipher = cipher
        try:
            self.engine = _make_engine(url)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
            problem = str(error).splitlines()[0]
            raise UnavailableError(f"the ledger database URL cannot be used: {problem}") from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading one consistent state; nothing it does is kept.

        Raises:
            UnavailableError: the database cannot be reached or is at another revision.
        """
        options = {}
        if self.engine.dialect.name == "postgresql":
            # By default every statement would see another state.
            options["isolation_level"] = "REPEATABLE READ"
        with explained(self.url), self._session() as session:
            check_revision(session.connection(execution_options=options), self.url)
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session for one all-or-nothing change; commits at the end, rolls back on any exception.

        Writers are serialised: SQLite by ``BEGIN IMMEDIATE``, PostgreSQL by an advisory lock taken before anything
        is read.

        Raises:
            UnavailableError: the database cannot be reached or is at another revision.
            ConflictError: another writer held the lock too long or changed the same thing.
        """
        with explained(self.url), self._session() as session:
            connection = session.connection(execution_options={_WRITE: True})
            if connection.dialect.name == "postgresql":
                _check(_revision_under_lock(connection), self.url)
            else:
                check_revision(connection, self.url)
            yield session
            session.commit()
            committed(session.info.get(APPENDED, ()))

    def _session(self) -> Session:
        info = {KEYS: self.keys, CIPHER: self.cipher}
        return Session(self.engine, expire_on_commit=False, info=info)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A bare connection, whatever revision the schema is at.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        with explained(self.url), self.engine.connect() as connection:
            yield connection

    def scrub(self) -> str | None:
        """Take what was erased out of the database's files, where SQL leaves its bytes behind.

        SQLite overwrites erased content itself (``secure_delete``), but its write-ahead log still holds it: the log is
        emptied. PostgreSQL keeps dead rows, and a plain VACUUM their bytes: the table is written anew.

        Returns:
            Why bytes may still be there and what to do; None if they are not.
        """
        with explained(self.url):
            if self.engine.dialect.name == "postgresql":
                return _scrub_postgresql(self.engine)
            raw = self.engine.raw_connection()
            try:
                busy = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                raw.close()
            return _SQLITE_BUSY if busy else None

    def access(self) -> Access:
        """What another process must know to read it."""
        dialect = self.engine.dialect
        arguments, options = dialect.create_connect_args(self.engine.url)
        # SQLAlchemy adds objects of its own, to convert types that events do not have.
        plain: dict[str, Any] = {
            name: value for name, value in options.items() if isinstance(value, str | int)
        }
        at_once = dialect.name == "postgresql"
        if at_once:
            plain |= {"autocommit": True}
            begin = "BEGIN ISOLATION LEVEL REPEATABLE READ"
        else:
            plain |= {"isolation_level": None, "timeout": _LOCK_TIMEOUT_S}
            begin = "BEGIN"
        shown = self.engine.url.render_as_string(hide_password=True)
        driver = dialect.loaded_dbapi.__name__
        return Access(driver, list(arguments), plain, begin, at_once, shown)

    def dispose(self) -> None:
        """Close pooled connections."""
        self.engine.dispose()


def current_revision(connection: Connection) -> str | None:
    """Revision recorded in the database, None if it has no ledger."""
    # Every transaction asks; that the table is there, a connection needs to find out only once.
    if not connection.info.get(VERSION_TABLE):
        if not connection.dialect.has_table(connection, VERSION_TABLE):
            return None
        connection.info[VERSION_TABLE] = True
    return _only(driver_rows(connection, _REVISION))


def _only(rows: list[tuple[Any, ...]]) -> str | None:
    return str(rows[0][0]) if rows else None


def _revision_under_lock(connection: Connection) -> str | None:
    """Wait for PostgreSQL's lock of those who write; then the revision, in the same journey if the table is known."""
    lock = f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'; {_LOCK}"
    if not connection.info.get(VERSION_TABLE):
        rows_of_last(connection, lock)
        return current_revision(connection)
    return _only(rows_of_last(connection, f"{lock}; {_REVISION}"))


def check_revision(connection: Connection, url: str) -> None:
    """Refuse to work on a schema other than `HEAD`.

    Raises:
        UnavailableError: with the command that helps.
    """
    _check(current_revision(connection), url)


def _check(revision: str | None, url: str) -> None:
    if revision == HEAD:
        return
    where = make_url(url).render_as_string(hide_password=True)
    if revision is None:
        raise UnavailableError(
            f"{where} holds no ledger; create it with `governance db upgrade`, or make a new "
            "workspace with `governance init`"
        )
    hint = (
        "run `governance db upgrade`"
        if revision < HEAD
        else "it was written by a newer version of this program; install that version"
    )
    raise UnavailableError(
        f"the ledger in {where} is at revision {revision}, this program needs {HEAD}: {hint}"
    )


def _make_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _looked_after(create_engine(url))
    if parsed.database and parsed.database != ":memory:":
        parent = Path(parsed.database).parent
        if not parent.is_dir():
            raise UnavailableError(f"the directory of the ledger database {parent} does not exist")
    engine = create_engine(url, connect_args={"timeout": _LOCK_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def _configure(dbapi_connection, _record):  # type: ignore[no-untyped-def]
        # The driver's own transaction handling would start transactions late and as readers.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA secure_delete=ON")  # what is erased is overwritten with zeros
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_WRITE, False):
            _begin_writing(connection)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _looked_after(engine: Engine) -> Engine:
    """Let a server's connection that was idle be tried before it is used.

    SQLAlchemy's own `pool_pre_ping` does so before each use, which takes a sixth of the time of an append.
    """

    @event.listens_for(engine, "checkin")
    def _left(_connection: Any, record: Any) -> None:
        record.info[_LEFT] = monotonic()

    @event.listens_for(engine, "checkout")
    def _tried(connection: Any, record: Any, _proxy: object) -> None:
        if monotonic() - record.info.get(_LEFT, monotonic()) < _IDLE_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError("the server has ended it") from error

    return engine


def _scrub_postgresql(engine: Engine) -> str | None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Without the right VACUUM only warns. PostgreSQL 17 has a privilege for it.
        owner = connection.scalar(
            text(
                "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class "
                "WHERE oid = 'private_texts'::regclass"
            )
        )
        newer = (connection.dialect.server_version_info or ()) >= (17,)
        may = "SELECT has_table_privilege('private_texts', 'MAINTAIN')"
        allowed = owner or (newer and connection.scalar(text(may)))
        if not allowed:
            return _NOT_OWNER
        connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT_S}s'"))
        try:
            connection.execute(text("VACUUM (FULL) private_texts"))
        except DatabaseDown as error:
            if "lock timeout" not in str(error.orig):
                raise
            return _LOCKED_TABLE
        finally:
            connection.execute(text("RESET lock_timeout"))
        return None


def _begin_writing(connection: Connection) -> None:
    """Take SQLite's lock for writing, asking often.

    Its own way of waiting pauses for up to 0.1 s, so that whoever has waited long comes off worst: of sixteen busy
    writers one waited for 8.6 s. Short pauses of random length give each the same chance at any moment.
    """
    deadline = monotonic() + _LOCK_TIMEOUT_S
    # It asks the driver itself: three statements of SQLAlchemy take as long as the rest of a short transaction.
    driver: Any = connection.connection.driver_connection
    with translated(connection, _BEGIN):
        driver.execute("PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    driver.execute(_BEGIN)
                    return
                except OperationalError as error:
                    if "locked" not in str(error) or monotonic() > deadline:
                        raise
                sleep(uniform(*_PAUSES_S))
        finally:
            driver.execute(f"PRAGMA busy_timeout = {int(_LOCK_TIMEOUT_S * 1000)}")


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn the driver's errors into ours.

    Raises:
        ConflictError: another writer came first.
        UnavailableError: the database cannot be used.
    """
    try:
        yield
    except IntegrityError as error:
        raise ConflictError(
            f"another change came first ({said(error.orig)}); look at the record again and retry"
        ) from error
    except DatabaseDown as error:
        if "locked" in str(error.orig) or "lock timeout" in str(error.orig):
            raise ConflictError(
                f"the ledger was locked by another writer for {_LOCK_TIMEOUT_S} s; try again"
            ) from error
        where = make_url(url).render_as_string(hide_password=True)
        raise UnavailableError(f"the ledger {where} cannot be used: {said(error.orig)}") from error
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _RAISED:
            raise ConflictError(
                f"another change came first ({said(error.orig)}); look at the record again and retry"
            ) from error
        where = make_url(url).render_as_string(hide_password=True)
        raise UnavailableError(f"the ledger {where} failed: {said(error.orig)}") from error
