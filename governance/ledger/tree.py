"""The Merkle tree over the events: its stored nodes, its root at any size, proofs.

The leaf of an event is its digest, 32 bytes. Only the roots of full subtrees of 256, 65 536, … leaves are stored,
each by the append that fills it, so an append costs almost nothing more and a proof reads some hundred hashes.
"""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from governance.evidence.merkle import (
    STORED_EVERY,
    Fetch,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    subtree,
)
from governance.ledger.tables import Event, TreeNode


def leaf(digest: str) -> bytes:
    """Leaf hash of the event with this digest."""
    return leaf_hash(bytes.fromhex(digest.removeprefix("sha256:")))


def grow(session: Session, size: int) -> None:
    """Store the subtrees that the newest event, number `size`, has filled."""
    level, fetch = STORED_EVERY, _fetch(session)
    while size % (1 << level) == 0:
        position = (size >> level) - 1
        halves = (subtree(level - 1, 2 * position + half, fetch) for half in (0, 1))
        value = node_hash(*halves)
        session.add(TreeNode(level=level, position=position, hash=value.hex()))
        session.flush()
        level += STORED_EVERY


def stored_nodes(session: Session) -> dict[tuple[int, int], str]:
    """Every stored subtree: (level, position) → hash, 64 hex digits."""
    rows = session.execute(select(TreeNode.level, TreeNode.position, TreeNode.hash))
    return {(level, position): value for level, position, value in rows}


def root(session: Session, size: int) -> bytes:
    """Root of the tree over the first `size` events, 32 bytes."""
    return Frontier.resume(size, _fetch(session)).root()


def prove_inclusion(session: Session, seq: int, size: int) -> list[bytes]:
    """Proof that event `seq` is among the first `size`; RFC 9162, section 2.1.3.

    Raises:
        InvalidInputError: it is not.
    """
    return Prover(session).inclusion(seq, size)


def prove_consistency(session: Session, old: int, new: int) -> list[bytes]:
    """Proof that the first `new` events begin with the first `old`; RFC 9162, section 2.1.4.

    Raises:
        InvalidInputError: `old` is larger than `new`.
    """
    return Prover(session).consistency(old, new)


class Prover:
    """Many proofs of one session: hashes are read a block at a time, and each is read or computed once."""

    def __init__(self, session: Session) -> None:
        """Begin with nothing read."""
        self._session = session
        self._blocks: dict[tuple[int, int], Sequence[bytes]] = {}
        self._known: dict[tuple[int, int], bytes] = {}

    def inclusion(self, seq: int, size: int) -> list[bytes]:
        """See `prove_inclusion`."""
        return inclusion_proof(seq - 1, size, self._node)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """See `prove_consistency`."""
        return consistency_proof(old, new, self._node)

    def _node(self, level: int, position: int) -> bytes:
        place = (level, position)
        if place not in self._known:
            self._known[place] = subtree(level, position, self._fetch)
        return self._known[place]

    def _fetch(self, level: int, start: int, stop: int) -> Sequence[bytes]:
        """Hashes at [start, stop), which never cross a block, since they make up one subtree."""
        first = start >> STORED_EVERY << STORED_EVERY
        if (level, first) not in self._blocks:
            last = first + (1 << STORED_EVERY)
            self._blocks[level, first] = _stored(self._session, level, first, last)
        return self._blocks[level, first][start - first : stop - first]


def _fetch(session: Session) -> Fetch:
    return partial(_stored, session)


def _stored(session: Session, level: int, start: int, stop: int) -> Sequence[bytes]:
    """Hashes of the stored subtrees of a level at the positions [start, stop); level 0 are the leaves."""
    if level == 0:
        query = select(Event.digest).where(Event.seq > start, Event.seq <= stop)
        return [leaf(digest) for digest in session.scalars(query.order_by(Event.seq))]
    query = select(TreeNode.hash).where(
        TreeNode.level == level, TreeNode.position >= start, TreeNode.position < stop
    )
    return [bytes.fromhex(value) for value in session.scalars(query.order_by(TreeNode.position))]
