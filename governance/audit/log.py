"""Reading the whole log once, in constant memory: digests, links, times and the Merkle tree."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from governance.audit.fault import Fault, unreadable
from governance.evidence.merkle import Frontier
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
    at = ""
    for chunk in _chunks(session, log):
        leaves: list[bytes] = []
        for event in chunk:
            problem = _problem(event, log.count, log.head, at)
            if problem is not None:
                log.fault = Fault(f"event {log.count + 1}", problem)
                break
            log.first = log.first or event.digest
            log.count, log.head, at = event.seq, event.digest, event.at
            leaves.append(sha256(b"\x00" + bytes.fromhex(event.digest[7:])).digest())
            if stops and stops[-1] == event.seq:
                _grow(frontier, leaves, nodes, log)
                log.roots[stops.pop()] = frontier.root()
                leaves = []
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


def _problem(event: Entry, count: int, head: str, at: str) -> str | None:
    """Why an event does not hold behind `count` others."""
    try:
        return _broken(event, count, head, at)
    except TypeError:  # a database that takes anything in any column
        return "cannot be read: a field has another type than it must"


def _broken(event: Entry, count: int, head: str, at: str) -> str | None:
    if event.seq != count + 1:
        return f"event {count + 1} is missing; the next one is {event.seq}"
    if event.prev_digest != head:
        return "does not follow its predecessor's digest"
    text = entry(
        event.action,
        event.actor,
        event.at,
        event.key_id,
        event.payload,
        event.prev_digest,
        event.seq,
        event.signature,
        event.subject,
    )
    if event.digest != f"sha256:{sha256(text.encode()).hexdigest()}":
        return "was altered: its content has another digest"
    if event.at < at:
        return f"is dated {event.at}, before its predecessor"
    return None


def _grow(
    frontier: Frontier, leaves: list[bytes], nodes: dict[tuple[int, int], str], log: Log
) -> None:
    """Add leaves and hold the subtrees they complete against the stored ones, which are used up."""
    for level, position, value in frontier.extend(leaves):
        stored = nodes.pop((level, position), None)
        if stored != value.hex():
            what = "is missing" if stored is None else "has another hash than its events give"
            log.node_faults.append(Fault(f"tree node {level}/{position}", what))
