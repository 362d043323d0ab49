"""Tree heads that were signed, as the ledger keeps them."""

from collections.abc import Iterator

from sqlalchemy import select

from governance.errors import NotFoundError
from governance.ledger.database import Session
from governance.ledger.tables import CheckpointRecord, Event


def origin_of(first_digest: str) -> str:
    """Identity of a log, from the digest of its first event."""
    return f"clip-governance/ledger/{first_digest.removeprefix('sha256:')[:16]}"


def origin(session: Session) -> str:
    """Identity of this log.

    Raises:
        NotFoundError: it has no event yet.
    """
    digest = session.scalars(select(Event.digest).where(Event.seq == 1)).first()
    if digest is None:
        raise NotFoundError("the log has no event yet")
    return origin_of(digest)


def key_name(origin: str, actor: str) -> str:
    """Name under which an actor signs notes; a plus, which names may hold, means something in notes."""
    return f"{origin}/{actor.replace('+', '%2B')}"


def stored(session: Session) -> Iterator[CheckpointRecord]:
    """Every checkpoint, oldest first."""
    yield from session.scalars(select(CheckpointRecord).order_by(CheckpointRecord.id))
