"""The append-only log: writing an event, reading, and checking the chain."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from governance.digests import canonical_json, digest_json, load_json
from governance.ledger.tables import Event
from governance.ledger.types import now

GENESIS = "sha256:" + "0" * 64
"""Previous digest of the first event."""


@dataclass(frozen=True)
class ChainFault:
    """The first place where the chain does not hold."""

    seq: int
    problem: str


def event_digest(
    seq: int, at: str, actor: str, action: str, subject: str, payload: Any, prev_digest: str
) -> str:
    """Digest of an event: canonical JSON of all its fields and its predecessor's digest."""
    return digest_json(
        {
            "seq": seq,
            "at": at,
            "actor": actor,
            "action": action,
            "subject": subject,
            "payload": payload,
            "prev_digest": prev_digest,
        }
    )


def head(session: Session) -> Event | None:
    """The newest event."""
    return session.scalars(select(Event).order_by(Event.seq.desc()).limit(1)).first()


def append(
    session: Session, actor: str, action: str, subject: str, payload: Mapping[str, Any]
) -> Event:
    """Add an event to the transaction of `session`, which must be a `Ledger.write` one.

    Args:
        session: the transaction that also makes the change the event speaks of.
        actor: who acts.
        action: ``subject.verb``, e.g. ``request.approved``.
        subject: what it is about, e.g. ``request:1``.
        payload: JSON values; digests rather than contents, and never personal data.
    """
    last = head(session)
    seq, prev_digest = (1, GENESIS) if last is None else (last.seq + 1, last.digest)
    at = now().isoformat(timespec="microseconds")
    digest = event_digest(seq, at, actor, action, subject, dict(payload), prev_digest)
    row = Event(
        seq=seq,
        at=at,
        actor=actor,
        action=action,
        subject=subject,
        payload=canonical_json(dict(payload)),
        prev_digest=prev_digest,
        digest=digest,
    )
    session.add(row)
    session.flush()
    return row


def stream(session: Session, subject: str | None = None) -> Iterator[Event]:
    """Events in order, all of them or one subject's, without loading them at once."""
    query = select(Event).order_by(Event.seq).execution_options(yield_per=1000)
    if subject is not None:
        query = query.where(Event.subject == subject)
    with session.scalars(query) as found:  # a cursor on the server, to be closed by who stops early
        yield from found


def check_chain(session: Session) -> tuple[int, ChainFault | None]:
    """Recompute every digest and link.

    Returns:
        Number of events read, and the first fault or None.
    """
    expected_seq, prev_digest, count = 1, GENESIS, 0
    for event in stream(session):
        if event.seq != expected_seq:
            return count, ChainFault(
                expected_seq, f"event {expected_seq} is missing; the next one is {event.seq}"
            )
        if event.prev_digest != prev_digest:
            return count, ChainFault(event.seq, "does not follow its predecessor's digest")
        if not _holds(event):
            return count, ChainFault(event.seq, "was altered: its content has another digest")
        count += 1
        expected_seq, prev_digest = event.seq + 1, event.digest
    return count, None


def _holds(event: Event) -> bool:
    try:
        payload = load_json(event.payload)
        if canonical_json(payload) != event.payload:
            return False
    except (ValueError, TypeError):
        return False
    recomputed = event_digest(
        event.seq, event.at, event.actor, event.action, event.subject, payload, event.prev_digest
    )
    return recomputed == event.digest
