"""Putting the segments of the log together: that each follows the one before it, and the Merkle tree over all."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from governance.audit.fault import Fault
from governance.audit.segments import START, Segment
from governance.evidence.merkle import Frontier, Subtree
from governance.ledger.entries import GENESIS, Entry


@dataclass
class Log:
    """What a reading of the log found.

    Attributes:
        wanted: sizes at which the root of the tree is needed.
        count: events that hold.
        head: digest of the last of them.
        first: digest of the first, which names the log.
        roots: root of the tree, 32 bytes, at each wanted size that was reached, and at the end.
        fault: the first event that does not hold; nothing after it was read.
        node_faults: stored subtrees that are not those of the events.
    """

    wanted: Collection[int] = ()
    count: int = 0
    head: str = GENESIS
    first: str | None = None
    roots: dict[int, bytes] = field(default_factory=dict)
    fault: Fault | None = None
    node_faults: list[Fault] = field(default_factory=list)


class Checked(NamedTuple):
    """An event that holds.

    Attributes:
        event: as it stands in the table.
        payload: its JSON, or `segments.UNREAD`.
        signed: whether its signature is by the key it names, None if that was not looked at.
    """

    event: Entry
    payload: Any
    signed: bool | None


def follow(
    segments: Iterable[Segment], nodes: Mapping[tuple[int, int], str], log: Log
) -> Iterator[list[Checked]]:
    """The wanted events of each segment, of those that hold, in order; `log` says in the end what there was.

    Args:
        segments: of the whole log, in order.
        nodes: the stored subtrees, see `ledger.tree.stored_nodes`.
        log: is filled.
    """
    tree = _Tree(nodes, log)
    position = START
    for segment in segments:
        if segment.before != position:
            log.fault = Fault(f"event {position.seq + 1}", "was altered while the log was read")
            return
        position = segment.end
        log.count, log.head = position.seq, position.digest
        log.first = log.first or segment.first
        tree.grow(segment.hashes)
        yield [Checked(Entry._make(row), *rest) for row, *rest in segment.events]
        if segment.problem is not None:
            log.fault = Fault(f"event {log.count + 1}", segment.problem)
            return
    tree.finish()


class _Tree:
    """Holds the tree over the events against the one that is stored."""

    def __init__(self, nodes: Mapping[tuple[int, int], str], log: Log) -> None:
        self._frontier = Frontier()
        self._stored = dict(nodes)
        self._log = log
        self._note()

    def grow(self, hashes: Iterable[bytes | list[bytes]]) -> None:
        for found in hashes:
            if isinstance(found, bytes):
                self._hold(self._frontier.append_block(found))
                self._note()
                continue
            for leaf in found:
                self._hold(self._frontier.append(leaf))
                self._note()

    def finish(self) -> None:
        log = self._log
        log.roots[log.count] = self._frontier.root()
        log.node_faults.extend(
            Fault(f"tree node {level}/{position}", "the log has no such subtree")
            for level, position in self._stored
        )

    def _note(self) -> None:
        size = self._frontier.size
        if size in self._log.wanted:
            self._log.roots[size] = self._frontier.root()

    def _hold(self, subtrees: Iterable[Subtree]) -> None:
        """Hold the subtrees that were completed against those that are stored, which are used up."""
        for level, position, value in subtrees:
            stored = self._stored.pop((level, position), None)
            if stored != value.hex():
                what = "is missing" if stored is None else "has another hash than its events give"
                self._log.node_faults.append(Fault(f"tree node {level}/{position}", what))
