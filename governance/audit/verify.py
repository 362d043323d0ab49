"""Recomputing everything the ledger claims. Needs no model, no MLflow and no torch."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from governance.audit.checkpoints import Checkpoints
from governance.audit.contents import contents
from governance.audit.fault import UNREADABLE, Fault, readable
from governance.audit.log import Log, walk
from governance.audit.replay import Replay, read_payload
from governance.audit.shadow import Shadows, states
from governance.audit.signatures import Signatures
from governance.audit.world import Said
from governance.ledger.database import Ledger
from governance.ledger.events import Entry
from governance.ledger.guards import missing


@dataclass(frozen=True)
class Verification:
    """Outcome of a verification.

    Attributes:
        events: number of events whose digest and link hold.
        head: digest of the newest event, None in an empty ledger.
        checked: number of records of each kind.
        faults: everything that does not hold, in the order of checking.
    """

    events: int
    head: str | None
    checked: Mapping[str, int]
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        return {
            "ok": self.ok,
            "first_bad": self.faults[0].to_dict() if self.faults else None,
            "faults": [fault.to_dict() for fault in self.faults],
            "events": self.events,
            "head": self.head,
            "checked": dict(self.checked),
        }


def verify(
    ledger: Ledger, notes: Mapping[str, str] | None = None, signatures: bool = True
) -> Verification:
    """Check the whole ledger in one consistent read that streams: no table is held in memory.

    Args:
        ledger: what is checked.
        notes: signed checkpoints found outside the ledger, by where they were found.
        signatures: verify them; without, only that they are there, with keys that were valid.
    """
    with ledger.read() as session:
        checkpoints = Checkpoints(session, notes or {})
        log, replay = Log(checkpoints.sizes), Replay()
        signed, shadows = Signatures(signatures), Shadows(session)
        checked: Counter[str] = Counter()
        faults: list[Fault] = []
        # 1. The log: every digest, link, time and tree node; every signature; every event makes sense and was
        #    allowed where it stands; and the tables hold, in the same order, what it says.
        for event in walk(session, log):
            for found in _read(event, signed, replay):
                faults.extend([found] if isinstance(found, Fault) else shadows.expect(found))
        if log.fault is not None:
            faults.append(log.fault)
        else:
            faults.extend(log.node_faults)
            faults.extend(shadows.finish())
            faults.extend(readable("the current states", states(session, replay)))
            # 2. What lies in the tables has the digests it claims.
            faults.extend(contents(session, replay, checked))
        # 3. The guards that keep facts as they are.
        faults.extend(Fault("the schema", problem) for problem in missing(session.connection()))
        # 4. Every known tree head is one of this log.
        faults.extend(checkpoints.check(log, signed))
        checked.update(shadows.counts)
        checked["signatures"], checked["checkpoints"] = signed.checked, len(checkpoints)
        head = log.head if log.count else None
        return Verification(log.count, head, checked, tuple(faults))


def _read(event: Entry, signed: Signatures, replay: Replay) -> Iterator[Fault | Said]:
    where = f"event {event.seq}"
    try:
        payload = read_payload(event.payload)
    except (ValueError, RecursionError):
        yield Fault(where, "its payload is not canonical JSON")
        return
    try:
        problem = signed.read(event, payload)
    except UNREADABLE:
        problem = f"{event.action} makes no sense there"
    if problem is not None:
        yield Fault(where, problem)
    yield from replay.read(event, payload)
