"""Proofs that an event is in the log, and that the log only grew: RFC 6962, section 2.1, in O(log n) reads."""

from typing import Any

from governance.errors import IntegrityError, InvalidInputError, NotFoundError
from governance.evidence.note import Checkpoint, parse
from governance.ledger.checkpoints import at_size, newest, origin
from governance.ledger.database import Session
from governance.ledger.events import entry_of, head
from governance.ledger.tables import Event
from governance.ledger.tree import prove_consistency, prove_inclusion, root

FORMAT = 1


def inclusion(session: Session, seq: int, checkpoint: int | str | None = None) -> dict[str, Any]:
    """Proof that event `seq` is below a signed tree head.

    The digest of the event is the SHA-256 of ``entry`` as UTF-8; its 32 bytes are the leaf at ``index`` of the tree
    with ``size`` leaves and the root hash ``root``, which the note ``checkpoint`` signs. Hashes are hex digits.

    Args:
        session: reads the ledger.
        seq: number of the event.
        checkpoint: size of one in the ledger, or a note; None for the newest in the ledger.

    Raises:
        NotFoundError: there is no such event or checkpoint.
        InvalidInputError: the event came after the checkpoint, or the note is none of this log.
        IntegrityError: the log does not have the root that the checkpoint signs.
    """
    event = session.get(Event, seq)
    if event is None:
        raise NotFoundError(f"the log has no event {seq}")
    signed, note = _signed(session, checkpoint)
    size = signed.size
    if seq > size:
        raise InvalidInputError(
            f"event {seq} came after the checkpoint on {size} events; take another one with "
            "`governance audit checkpoint`"
        )
    return {
        "format": FORMAT,
        "kind": "inclusion",
        "origin": origin(session),
        "seq": seq,
        "entry": entry_of(event),
        "index": seq - 1,
        "size": size,
        "root": signed.root.hex(),
        "hashes": [value.hex() for value in prove_inclusion(session, seq, size)],
        "checkpoint": note,
    }


def consistency(session: Session, old: int | str, new: int | str) -> dict[str, Any]:
    """Proof that the log under a tree head begins with the log under an older one.

    Args:
        session: reads the ledger.
        old: number of events, or a note.
        new: likewise.

    Raises:
        InvalidInputError: `old` is larger than `new`, `new` than the log, or a note is none of this log.
        IntegrityError: the log does not have the root that a note signs.
    """
    sides = [_head(session, old), _head(session, new)]
    hashes = prove_consistency(session, sides[0]["size"], sides[1]["size"])
    return {
        "format": FORMAT,
        "kind": "consistency",
        "origin": origin(session),
        "old": sides[0],
        "new": sides[1],
        "hashes": [value.hex() for value in hashes],
    }


def _head(session: Session, named: int | str) -> dict[str, Any]:
    """A tree head with its note, if there is one on it."""
    if isinstance(named, int):
        _check_size(session, named)
        row = at_size(session, named)
        note = None if row is None else row.note
        return {"size": named, "root": root(session, named).hex(), "checkpoint": note}
    signed, note = _signed(session, named)
    return {"size": signed.size, "root": signed.root.hex(), "checkpoint": note}


def _signed(session: Session, named: int | str | None) -> tuple[Checkpoint, str]:
    """A checkpoint and its note, if it is on the log as it stands; its signature is not looked at."""
    if isinstance(named, str):
        note = named
    else:
        row = newest(session) if named is None else at_size(session, named)
        if row is None:
            which = "checkpoint yet" if named is None else f"checkpoint on {named} events"
            raise NotFoundError(
                f"the ledger holds no {which}; take one with `governance audit checkpoint`"
            )
        note = row.note
    signed, _ = parse(note)
    if signed.origin != origin(session):
        raise InvalidInputError(f"the checkpoint is of another log, {signed.origin}")
    _check_size(session, signed.size)
    if root(session, signed.size) != signed.root:
        raise IntegrityError(
            f"the first {signed.size} events are others than those the checkpoint vouches for"
        )
    return signed, note


def _check_size(session: Session, size: int) -> None:
    count = head(session)[0]
    if size > count:
        raise InvalidInputError(f"the log has {count} events, not {size}")
    if size < 0:
        raise InvalidInputError("a log has no negative number of events")
