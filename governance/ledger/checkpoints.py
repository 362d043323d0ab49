"""Tree heads that were signed, as the ledger keeps them."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select

from governance.errors import NotFoundError
from governance.evidence.note import Checkpoint
from governance.ledger.database import Session
from governance.ledger.events import append, head_now
from governance.ledger.facts import checkpoint_facts
from governance.ledger.signers import signing_key
from governance.ledger.tables import CheckpointRecord, Event
from governance.ledger.tree import root


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


def take(session: Session, actor: str) -> CheckpointRecord:
    """Sign the head of the tree over all events so far, store it and record it, in the transaction of `session`.

    Raises:
        RefusedError: the actor has no key here that the ledger knows and that is valid.
    """
    size, _, time, valid = head_now(session, actor)
    key = signing_key(session, actor, valid)
    log = origin(session)
    signed = Checkpoint(log, size, root(session, size), time)
    row = CheckpointRecord(
        size=size,
        root=signed.root.hex(),
        key_id=key.key_id,
        note=signed.sign(key, key_name(log, actor)),
        taken_at=datetime.fromisoformat(time),
    )
    session.add(row)
    session.flush()
    payload = {"checkpoint": checkpoint_facts(row)}
    append(session, actor, "checkpoint.taken", f"checkpoint:{size}", payload)
    return row


def stored(session: Session) -> Iterator[CheckpointRecord]:
    """Every checkpoint, oldest first."""
    yield from session.scalars(select(CheckpointRecord).order_by(CheckpointRecord.id))


def newest(session: Session) -> CheckpointRecord | None:
    """The checkpoint that was taken last, if any was."""
    query = select(CheckpointRecord).order_by(CheckpointRecord.id.desc()).limit(1)
    return session.scalars(query).first()


def at_size(session: Session, size: int) -> CheckpointRecord | None:
    """The checkpoint on the first `size` events, if one was taken there."""
    query = select(CheckpointRecord).where(CheckpointRecord.size == size)
    return session.scalars(query.limit(1)).first()
