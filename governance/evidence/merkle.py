"""The Merkle tree of RFC 6962 (section 2.1) and RFC 9162 (section 2.1) over SHA-256: roots, proofs, verification.

A *subtree* (level, position) is the perfect tree over the leaves [position·2^level, (position + 1)·2^level); a leaf
hash is a subtree of level 0. A store keeps leaves and the subtrees of level 8, 16, 24, …; `subtree` computes those
between from at most 128 of them. Written here because the kept library, pymerkle, is GPL and numbers leaves from one
in a storage class of its own; tested against the vectors of the certificate-transparency reference code.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from itertools import islice
from typing import NamedTuple, Self

from governance.errors import IntegrityError, InvalidInputError

EMPTY_ROOT = sha256().digest()
"""Root of the tree without leaves."""

STORED_EVERY = 8
"""A store keeps the subtrees whose level is a multiple of this."""

BLOCK = 1 << STORED_EVERY
"""Leaves of the smallest subtrees that are stored."""

Nodes = Callable[[int, int], bytes]
"""(level, position) → hash of that subtree, 32 bytes."""

Fetch = Callable[[int, int, int], Sequence[bytes]]
"""(level, start, stop) → hashes of the stored subtrees of that level at the positions [start, stop)."""


class Subtree(NamedTuple):
    """A perfect subtree that an append completed, to be stored."""

    level: int
    position: int
    hash: bytes


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf, 32 bytes."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node, 32 bytes."""
    return sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Root of the perfect tree over a power of two of hashes, 32 bytes."""
    while len(hashes) > 1:
        hashes = [
            sha256(b"\x01" + left + right).digest()
            for left, right in zip(hashes[::2], hashes[1::2], strict=True)
        ]
    return hashes[0]


class Frontier:
    """The right edge of a growing tree: what is needed to append leaves and to know the root.

    Memory is O(log size). Leaf hashes must be 32 bytes each; that is the caller's care, as no append checks it.

    Attributes:
        size: leaves so far.
    """

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    @classmethod
    def resume(cls, size: int, fetch: Fetch) -> Self:
        """The frontier of a stored tree, read with at most 255 hashes of each stored level.

        Raises:
            IntegrityError: the store lacks some of them.
        """
        frontier = cls()
        top = max(size.bit_length() - 1, 0) // STORED_EVERY * STORED_EVERY
        for level in range(top, -1, -STORED_EVERY):
            stop = size >> level
            for offset, node in enumerate(_fetched(fetch, level, stop & -BLOCK, stop)):
                _push(frontier._peaks, offset, node)
        frontier.size = size
        return frontier

    def copy(self) -> Self:
        """An independent frontier, for appends that may be rolled back."""
        other = type(self)()
        other.size, other._peaks = self.size, self._peaks.copy()
        return other

    def append(self, leaf: bytes) -> list[Subtree]:
        """Add one leaf hash.

        Returns:
            The subtrees of level 8, 16, … that this leaf completed, lowest first; none most of the time.
        """
        size = self.size
        self.size = size + 1
        if not size & 1:
            self._peaks.append(leaf)
            return []
        if size & (BLOCK - 1) != BLOCK - 1:
            _push(self._peaks, size, leaf)
            return []
        return self._carry(0, leaf)

    def extend(self, leaves: Iterable[bytes]) -> list[Subtree]:
        """Add leaf hashes in order, faster than one by one.

        Returns:
            The subtrees of level 8, 16, … completed, in the order of their completion: one for each 256 leaves.
        """
        done: list[Subtree] = []
        source = iter(leaves)
        for leaf in islice(source, -self.size % BLOCK):
            done += self.append(leaf)
        while len(part := list(islice(source, BLOCK))) == BLOCK:
            done += self.append_block(perfect_root(part))
        for leaf in part:
            self.append(leaf)
        return done

    def append_block(self, node: bytes) -> list[Subtree]:
        """Add 256 leaves at once: `node` is their root, and `size` a multiple of 256.

        Returns:
            The subtrees of level 8, 16, … completed, this one first.
        """
        self.size += BLOCK
        done = Subtree(STORED_EVERY, (self.size >> STORED_EVERY) - 1, node)
        return [done, *self._carry(STORED_EVERY, node)]

    def _carry(self, level: int, node: bytes) -> list[Subtree]:
        """Merge a completed subtree with the peaks left of it; `size` already counts its leaves."""
        done = []
        position = (self.size >> level) - 1
        while position & 1:
            node = sha256(b"\x01" + self._peaks.pop() + node).digest()
            position >>= 1
            level += 1
            if level % STORED_EVERY == 0:
                done.append(Subtree(level, position, node))
        self._peaks.append(node)
        return done

    def root(self) -> bytes:
        """Hash of the whole tree, 32 bytes."""
        return _join(self._peaks)


def subtree(level: int, position: int, fetch: Fetch) -> bytes:
    """Hash of a subtree of any level from those that are stored: `Nodes`, once `fetch` is bound.

    Raises:
        IntegrityError: the store lacks some of them.
    """
    above = level % STORED_EVERY
    return perfect_root(_fetched(fetch, level - above, position << above, (position + 1) << above))


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """Proof that leaf `index` is in the tree of the first `size` leaves (RFC 9162, section 2.1.3.1).

    Raises:
        InvalidInputError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise InvalidInputError(f"a tree of {size} leaves has no leaf {index}")
    start, stop, path = 0, size, []
    while stop - start > 1:
        middle = start + _left_width(stop - start)
        if index < middle:
            path.append(_range_root(middle, stop, nodes))
            stop = middle
        else:
            path.append(_range_root(start, middle, nodes))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """Proof that the tree of `new` leaves begins with the tree of `old` (RFC 9162, section 2.1.4.1).

    It is empty for the same size twice, and for the empty tree, with which all begin.

    Raises:
        InvalidInputError: `old` is not in [0, new].
    """
    if not 0 <= old <= new:
        raise InvalidInputError(f"a tree of {new} leaves cannot begin with one of {old}")
    if old in (0, new):
        return []
    start, stop, path = 0, new, []
    while stop != old:
        middle = start + _left_width(stop - start)
        if old <= middle:
            path.append(_range_root(middle, stop, nodes))
            stop = middle
        else:
            path.append(_range_root(start, middle, nodes))
            start = middle
    if start:
        path.append(_range_root(start, stop, nodes))
    return path[::-1]


def root_from_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """Root that an inclusion proof leads to (RFC 9162, section 2.1.3.2).

    Args:
        index: number of the leaf, from 0.
        size: leaves of the tree.
        leaf: its leaf hash, 32 bytes.
        proof: hashes of 32 bytes, from the leaf up.

    Raises:
        IntegrityError: the tree has no such leaf, or the proof has another length.
    """
    if not 0 <= index < size:
        raise IntegrityError(f"the proof speaks of leaf {index}, which a tree of {size} lacks")
    _check_hashes("inclusion", (leaf, *proof))
    inner = (index ^ (size - 1)).bit_length()
    _check_length("inclusion", proof, inner + (index >> inner).bit_count())
    node = leaf
    for level, sibling in enumerate(proof):
        if level < inner and not index >> level & 1:
            node = node_hash(node, sibling)
        else:
            node = node_hash(sibling, node)
    return node


def verify_inclusion(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the tree of `size` leaves with this root holds the leaf hash at `index`.

    Raises:
        IntegrityError: it does not.
    """
    if root_from_inclusion(index, size, leaf, proof) != root:
        raise IntegrityError(
            f"leaf {index} is not proven to be in the tree of {size} leaves: the proof leads to another root"
        )


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of `new` leaves begins with the tree of `old` (RFC 9162, section 2.1.4.2).

    Raises:
        IntegrityError: that is not proven.
    """
    if not 0 <= old <= new:
        raise IntegrityError(f"a tree of {new} leaves cannot begin with one of {old}")
    _check_hashes("consistency", (old_root, new_root, *proof))
    if old in (0, new):
        _check_length("consistency", proof, 0)
        if old_root != (new_root if old == new else EMPTY_ROOT):
            raise IntegrityError(f"two trees of {old} leaves have different roots")
        if new == 0 and new_root != EMPTY_ROOT:
            raise IntegrityError("the empty tree has another root than it must")
        return
    # The path begins at the largest perfect subtree that ends the old tree; its hash is given, unless it is that tree.
    skipped = (old & -old).bit_length() - 1
    index = (old - 1) >> skipped
    inner = (index ^ ((new - 1) >> skipped)).bit_length()
    given = [] if index == 0 else [None]
    _check_length("consistency", proof, len(given) + inner + (index >> inner).bit_count())
    seed = proof[0] if given else old_root
    old_node = new_node = seed
    for level, sibling in enumerate(proof[len(given) :]):
        if level < inner and not index >> level & 1:
            new_node = node_hash(new_node, sibling)
        else:
            old_node = node_hash(sibling, old_node)
            new_node = node_hash(sibling, new_node)
    if old_node != old_root or new_node != new_root:
        which = "older" if old_node != old_root else "newer"
        raise IntegrityError(
            f"the tree of {new} leaves is not proven to begin with the tree of {old}: "
            f"the proof leads to another root of the {which}"
        )


def _push(peaks: list[bytes], position: int, node: bytes) -> None:
    """Add a node at `position` of its level to the peaks left of it."""
    while position & 1:
        node = sha256(b"\x01" + peaks.pop() + node).digest()
        position >>= 1
    peaks.append(node)


def _join(peaks: Sequence[bytes]) -> bytes:
    """Root over perfect subtrees of falling level."""
    if not peaks:
        return EMPTY_ROOT
    node = peaks[-1]
    for peak in peaks[-2::-1]:
        node = node_hash(peak, node)
    return node


def _left_width(width: int) -> int:
    """The largest power of two below `width`, which is at least 2."""
    return 1 << ((width - 1).bit_length() - 1)


def _range_root(start: int, stop: int, nodes: Nodes) -> bytes:
    """Root over the leaves [start, stop), where `start` is a multiple of a power of two ≥ stop − start."""
    peaks = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        peaks.append(nodes(level, start >> level))
        start += 1 << level
    return _join(peaks)


def _fetched(fetch: Fetch, level: int, start: int, stop: int) -> Sequence[bytes]:
    if start == stop:
        return []
    hashes = fetch(level, start, stop)
    if len(hashes) != stop - start:
        raise IntegrityError(
            f"the tree lacks nodes of level {level}: "
            f"{len(hashes)} of {stop - start} are stored from position {start}"
        )
    return hashes


def _check_hashes(kind: str, hashes: Iterable[bytes]) -> None:
    if any(len(value) != 32 for value in hashes):
        raise IntegrityError(f"the {kind} proof holds a hash that is not 32 bytes long")


def _check_length(kind: str, proof: Sequence[bytes], wanted: int) -> None:
    if len(proof) != wanted:
        raise IntegrityError(f"the {kind} proof has {len(proof)} hashes instead of {wanted}")
