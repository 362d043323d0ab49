"""Recomputing everything the ledger claims. Needs no model, no MLflow and no torch."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from governance.audit.checkpoints import Checkpoints
from governance.audit.contents import LOCKED, contents
from governance.audit.fault import Fault, readable
from governance.audit.log import Log, walk
from governance.audit.mirror import Mirror, Registry
from governance.audit.replay import Replay, read_payload
from governance.audit.shadow import Shadows, states
from governance.audit.signatures import UNREAD, Signatures
from governance.audit.world import Said
from governance.digests import digest_bytes, load_json
from governance.errors import UnavailableError
from governance.ledger.database import Ledger, Session
from governance.ledger.events import Entry, head
from governance.ledger.guards import missing
from governance.ledger.lookup import model_names, report_content
from governance.progress import Meter, silent

_STEP = 1000
"""Events between two reports of progress."""


@dataclass(frozen=True)
class Verification:
    """Outcome of a verification.

    Attributes:
        events: number of events whose digest and link hold.
        head: digest of the newest event, None in an empty ledger.
        checked: number of records of each kind.
        faults: everything that does not hold, in the order of checking.
        unchecked: what was not looked at, and why.
        outside: number of tree heads that were found outside the ledger.
        anchored: for how many events, from the first on, those that hold vouch.
    """

    events: int
    head: str | None
    checked: Mapping[str, int]
    faults: tuple[Fault, ...]
    unchecked: Mapping[str, str] = field(default_factory=dict)
    outside: int = 0
    anchored: int = 0

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
            "not_checked": dict(self.unchecked),
            "outside_checkpoints": self.outside,
            "anchored_events": self.anchored,
        }


def verify(
    ledger: Ledger,
    notes: Mapping[str, str] | None = None,
    signatures: bool = True,
    registry: Callable[[], Registry] | None = None,
    meter: Meter = silent,
) -> Verification:
    """Check the whole ledger in one consistent read that streams: no table is held in memory.

    Args:
        ledger: what is checked.
        notes: signed checkpoints found outside the ledger, by where they were found.
        signatures: verify them; without, only that they are there, with keys that were valid.
        registry: opens MLflow, whose tags and aliases are compared; asked only if there is a model. None leaves
            it out.
        meter: shows the progress.
    """
    unchecked: dict[str, str] = {}
    with ledger.read() as session, ExitStack() as reading:
        mirror = None
        if registry is not None and (models := model_names(session)):
            try:
                mirror = Mirror.read(registry(), models)
            except UnavailableError as error:
                unchecked["MLflow"] = str(error)
        outside = {**(notes or {}), **(mirror.notes if mirror else {})}
        checkpoints = Checkpoints(session, outside)
        log, replay = Log(checkpoints.sizes), Replay(report_of=partial(_report, session))
        signed, shadows = Signatures(signatures), reading.enter_context(closing(Shadows(session)))
        checked: Counter[str] = Counter()
        faults: list[Fault] = []
        # 1. The log: every digest, link, time and tree node; every signature; every event makes sense and was
        #    allowed where it stands; and the tables hold, in the same order, what it says.
        events = _metered(walk(session, log), head(session)[0], meter)
        for found in _read(events, signed, replay):
            faults.extend([found] if isinstance(found, Fault) else shadows.expect(found))
        if log.fault is not None:
            faults.append(log.fault)
        else:
            faults.extend(log.node_faults)
            faults.extend(shadows.finish())
            faults.extend(readable("the current states", states(session, replay)))
            # 2. What lies in the tables has the digests it claims.
            faults.extend(contents(session, replay, checked))
            if locked := checked.pop(LOCKED, 0):
                unchecked["private texts"] = f"{locked} are encrypted, and the data key is not here"
        # 3. The guards that keep facts as they are.
        faults.extend(Fault("the schema", problem) for problem in missing(session.connection()))
        # 4. Every known tree head is one of this log.
        faults.extend(checkpoints.check(log, signed))
        checked.update(shadows.counts)
        checked["checkpoints"] = len(checkpoints)
        if signatures:
            checked["signatures"] = signed.checked
        anchored = checkpoints.anchored(outside, {fault.where for fault in faults}, log.count)
        # 5. MLflow says the same.
        if mirror is not None:
            faults.extend(readable("MLflow", mirror.check(session)))
        newest = log.head if log.count else None
        return Verification(
            log.count, newest, checked, tuple(faults), unchecked, len(outside), anchored
        )


def _report(session: Session, digest: str) -> Any:
    """Content of a report, None if it is gone or was altered, which is found elsewhere."""
    content = report_content(session, digest)
    if content is None or digest_bytes(content.encode()) != digest:
        return None
    return load_json(content)


def _metered(events: Iterator[Entry], total: int, meter: Meter) -> Iterator[Entry]:
    with meter("reading the log", total) as advance:
        for count, event in enumerate(events, start=1):
            yield event
            if count % _STEP == 0:
                advance(_STEP)


def _read(events: Iterator[Entry], signed: Signatures, replay: Replay) -> Iterator[Fault | Said]:
    """What the events say, and what is wrong with them, in their order."""
    for event, payload, problem in signed.read((event, _payload(event)) for event in events):
        where = f"event {event.seq}"
        if payload is UNREAD:
            yield Fault(where, "its payload is not canonical JSON")
            continue
        if problem is not None:
            yield Fault(where, problem)
        yield from replay.read(event, payload)


def _payload(event: Entry) -> Any:
    try:
        return read_payload(event.payload)
    except (ValueError, RecursionError):
        return UNREAD
