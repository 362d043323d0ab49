"""The append-only log: writing an event, and reading."""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC
from typing import Any, NamedTuple

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from governance.digests import canonical_json, digest_bytes
from governance.errors import GovernanceError
from governance.ledger.clock import CLOCK, present
from governance.ledger.database import APPENDED
from governance.ledger.driver import decoded, driver_rows, translated
from governance.ledger.entries import (
    COLUMNS,
    GENESIS,
    Entry,
    check_signature,
    entry,
    entry_of,
    rows_query,
    signed_bytes,
)
from governance.ledger.signers import VALID, signing_key
from governance.ledger.tables import Event
from governance.ledger.tree import grow
from governance.telemetry import Appended

__all__ = [
    "GENESIS",
    "Entry",
    "append",
    "check_signature",
    "entry",
    "entry_of",
    "head",
    "signed_bytes",
    "stream",
]

REFUSED = ".refused"
"""End of the actions that may be unsigned: a refusal is recorded even if its actor has no valid key."""

INTENDED = "intended"
"""End of the actions that open an intent."""


_INSERT = f"INSERT INTO events ({COLUMNS}) VALUES ({', '.join('?' for _ in Entry._fields)})"
_NEWEST = "FROM events ORDER BY seq DESC LIMIT 1"
_HEAD = f"SELECT seq, digest, at {_NEWEST}"
_HEAD_CLOCK_AND_KEYS = f"SELECT seq, digest, at, {CLOCK}, ARRAY({VALID}) {_NEWEST}"


def head(session: Session) -> tuple[int, str, str]:
    """Number, digest and time of the newest event; 0, `GENESIS` and no time in an empty log."""
    for seq, digest, at in driver_rows(session.connection(), _HEAD):
        return seq, digest, at
    return 0, GENESIS, ""


class Now(NamedTuple):
    """What an event that is appended now begins from.

    Attributes:
        seq: number of the newest event, 0 in an empty log.
        digest: of that event, or `GENESIS`.
        at: the present moment, which is never before that event's; by one clock for all writers, a server's own.
        valid: see `signers.signer_of`; None where asking for them here would save no journey.
    """

    seq: int
    digest: str
    at: str
    valid: list[str] | None


def head_now(session: Session, actor: str) -> Now:
    """The end of the log for this actor; PostgreSQL is asked once for all, since writers wait for each other."""
    connection = session.connection()
    rows = []
    if _is_postgresql(connection):
        rows = driver_rows(connection, _HEAD_CLOCK_AND_KEYS, actor)
    if rows:
        ((seq, digest, before, time, valid),) = rows
    else:
        seq, digest, before = head(session)
        time, valid = present(session), None
    at = time.astimezone(UTC).isoformat(timespec="microseconds")
    return Now(seq, digest, max(at, before), valid)


def append(
    session: Session, actor: str, action: str, subject: str, payload: Mapping[str, Any]
) -> Entry:
    """Add an event, signed by its actor, to the transaction of `session`, which must be a `Ledger.write` one.

    Args:
        session: the transaction that also makes the change the event speaks of.
        actor: who acts.
        action: ``subject.verb``, e.g. ``request.approved``.
        subject: what it is about, e.g. ``request:1``.
        payload: JSON values; digests rather than contents, and never personal data.

    Raises:
        RefusedError: the actor has no key here that the ledger knows and that is valid.
    """
    session.flush()  # what follows goes past the unit of work, which would take most of the time
    last, prev_digest, at, valid = head_now(session, actor)
    key = None
    try:
        key = signing_key(session, actor, valid)
    except GovernanceError:
        if not action.endswith(
            REFUSED
        ):  # that there is none, or none that can be read, is why it was refused
            raise
    seq = last + 1
    content = canonical_json(dict(payload))
    key_id = None if key is None else key.key_id
    signature = None
    if key is not None:
        said = signed_bytes(action, actor, at, key_id, content, prev_digest, seq, subject)
        signature = b64encode(key.sign(said)).decode()
    text = entry(action, actor, at, key_id, content, prev_digest, seq, signature, subject)
    row = Entry(
        seq=seq,
        at=at,
        actor=actor,
        action=action,
        subject=subject,
        payload=content,
        prev_digest=prev_digest,
        key_id=key_id,
        signature=signature,
        digest=digest_bytes(text.encode()),
    )
    driver_rows(session.connection(), _INSERT, *row)
    grow(session, seq)
    intent = row.digest if action.endswith(INTENDED) else payload.get("intent")
    session.info.setdefault(APPENDED, []).append(Appended(seq, action, subject, intent))
    return row


def entries(session: Session, chunk: int = 1024) -> Iterator[list[Entry]]:
    """The whole log in order, some events at a time; for whoever reads all of it.

    Raises:
        ValueError: a row holds text that is not Unicode, which SQLite takes.
    """
    with _executed(
        session, f"SELECT {COLUMNS} FROM events ORDER BY seq", "governance_entries"
    ) as cursor:
        while rows := cursor.fetchmany(chunk):
            yield list(map(Entry._make, rows))


def rows_between(
    session: Session, first: int | None, last: int, limit: int
) -> Iterator[tuple[Any, ...]]:
    """The fields of some events in order, of whatever type the database holds there.

    Args:
        session: reads the ledger.
        first: number from which on; None for whatever stands first, even if no event may have its number.
        last: number up to which.
        limit: how many at most.

    Raises:
        ValueError: the next row holds text that is not Unicode, which SQLite takes.
    """
    with _executed(session, rows_query(first, last, limit)) as cursor:
        # One by one, SQLite gives those before a row that cannot be read; PostgreSQL has no such rows and is slow so.
        yield from cursor.fetchall() if _is_postgresql(session.connection()) else cursor


@contextmanager
def _executed(session: Session, query: str, name: str | None = None) -> Iterator[Any]:
    """A cursor of the driver: rows of SQLAlchemy would take more time than all a verification does with them.

    Args:
        session: reads the ledger.
        query: plain SQL.
        name: makes it one of the server's on PostgreSQL, without which all rows come at once.
    """
    connection = session.connection()
    driver: Any = connection.connection.driver_connection
    cursor = driver.cursor(name) if name and _is_postgresql(connection) else driver.cursor()
    with decoded(), translated(connection, query), closing(cursor):
        cursor.execute(query)
        yield cursor


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def stream(
    session: Session,
    subject: str | None = None,
    action: str | None = None,
    actor: str | None = None,
    since: int | None = None,
    limit: int | None = None,
) -> Iterator[Event]:
    """Events in order without loading them at once: all, or those of one subject, action and actor.

    Args:
        session: reads the ledger.
        subject: ``kind:name``.
        action: ``kind.verb``.
        actor: who acted.
        since: number of the first event.
        limit: how many at most.
    """
    query = select(Event).order_by(Event.seq).execution_options(yield_per=1000)
    for column, wanted in ((Event.subject, subject), (Event.action, action), (Event.actor, actor)):
        if wanted is not None:
            query = query.where(column == wanted)
    if since is not None:
        query = query.where(Event.seq >= since)
    with session.scalars(
        query.limit(limit)
    ) as found:  # a server's cursor, to be closed by who stops early
        yield from found
