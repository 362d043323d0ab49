"""Reading the whole log once, in constant memory: digests, links, times and the Merkle tree."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from governance.audit.fault import Fault, unreadable
from governance.evidence.merkle import Frontier, leaf_hash
from governance.ledger.database import Session
from governance.ledger.events import GENESIS, Entry, entries, entry
from governance.ledger.tree import stored_nodes


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
    """

    wanted: Collection[int] = ()
    count: int = 0
    head: str = GENESIS
    first: str | None = None
    roots: dict[int, bytes] = field(default_factory=dict)
    fault: Fault | None = None
    node_faults: list[Fault] = field(default_factory=list)


def walk(session: Session, log: Log) -> Iterator[Entry]:
    """The events that hold, in order; `log` says in the end what there was."""
    frontier = Frontier()
    nodes = stored_nodes(session)
    stops = sorted({size for size in log.wanted if size > 0}, reverse=True)
    if 0 in log.wanted:
        log.roots[0] = frontier.root()
    stop = stops.pop() if stops else None
    count, head, before = 0, GENESIS, ""
    for chunk in _chunks(session, log):
        leaves: list[bytes] = []
        for event in chunk:
            found = _digest(event)
            seq, at, digest = event.seq, event.at, event.digest
            # One test for what is nearly always so; which part of it fails is found out afterwards.
            if (
                found is None
                or digest != f"sha256:{found.hex()}"
                or (event.prev_digest, seq) != (head, count + 1)
                or at < before
            ):
                log.fault = Fault(f"event {count + 1}", _problem(event, found, count, head))
                break
            count, head, before = seq, digest, at
            log.count, log.head = seq, digest
            leaves.append(leaf_hash(found))
            if seq == 1:
                log.first = digest
            if seq == stop:
                _grow(frontier, leaves, nodes, log)
                log.roots[stop] = frontier.root()
                leaves, stop = [], stops.pop() if stops else None
            yield event
        _grow(frontier, leaves, nodes, log)
        if log.fault is not None:
            return
    log.roots[log.count] = frontier.root()
    log.node_faults.extend(
        Fault(f"tree node {level}/{position}", "the log has no such subtree")
        for level, position in nodes
    )


def _chunks(session: Session, log: Log) -> Iterator[list[Entry]]:
    try:
        yield from entries(session)
    except ValueError as error:
        log.fault = unreadable(f"event {log.count + 1} or one soon after it", error)


def _digest(event: Entry) -> bytes | None:
    """Digest of an event's entry, 32 bytes; None if a field has another type, as SQLite allows."""
    seq, at, actor, action, subject, payload, prev_digest, key_id, signature, _ = event
    try:
        text = entry(action, actor, at, key_id, payload, prev_digest, seq, signature, subject)
    except TypeError:
        return None
    return sha256(text.encode()).digest()


def _problem(event: Entry, found: bytes | None, count: int, head: str) -> str:
    """Why an event does not hold behind `count` others."""
    if found is None:
        return "cannot be read: a field has another type than it must"
    if event.seq != count + 1:
        return f"event {count + 1} is missing; the next one is {event.seq}"
    if event.prev_digest != head:
        return "does not follow its predecessor's digest"
    if event.digest != f"sha256:{found.hex()}":
        return "was altered: its content has another digest"
    return f"is dated {event.at}, before its predecessor"


def _grow(
    frontier: Frontier, leaves: list[bytes], nodes: dict[tuple[int, int], str], log: Log
) -> None:
    """Add leaves and hold the subtrees they complete against the stored ones, which are used up."""
    for level, position, value in frontier.extend(leaves):
        stored = nodes.pop((level, position), None)
        if stored != value.hex():
            what = "is missing" if stored is None else "has another hash than its events give"
            log.node_faults.append(Fault(f"tree node {level}/{position}", what))
