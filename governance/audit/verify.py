"""Recomputing everything the ledger claims. Needs no model, no MLflow and no torch."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from governance.audit.certificates import SAMPLED, certificates
from governance.audit.checkpoints import Checkpoints
from governance.audit.contents import LOCKED, contents
from governance.audit.fault import Fault, readable
from governance.audit.log import Checked, Log, follow
from governance.audit.mirror import Mirror, Registry
from governance.audit.readers import segments
from governance.audit.replay import Replay
from governance.audit.segments import UNREAD, Plan
from governance.audit.shadow import Shadows, states
from governance.audit.signatures import Signatures
from governance.audit.world import Said
from governance.digests import digest_bytes, load_json
from governance.errors import UnavailableError
from governance.ledger.database import Ledger, Session
from governance.ledger.events import head, rows_between
from governance.ledger.guards import missing
from governance.ledger.lookup import model_names, report_content
from governance.ledger.signers import public_keys
from governance.ledger.tree import stored_nodes
from governance.progress import Meter, silent


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
    log_only: bool = False,
    processes: int = 1,
) -> Verification:
    """Check the whole ledger in one consistent read that streams: no table is held in memory.

    Other processes read events of that state only, which nobody can change without its being found.

    Args:
        ledger: what is checked.
        notes: signed checkpoints found outside the ledger, by where they were found.
        signatures: verify those of the events; without, only that they are there, with keys that were valid.
        registry: opens MLflow, whose tags and aliases are compared; asked only if there is a model. None leaves
            it out.
        meter: shows the progress.
        log_only: only digests, links, times, the tree and the tree heads; not what the events say, nor `registry`.
        processes: how many read a long log at the same time; see `readers`.

    Raises:
        UnavailableError: the database cannot be read, or a process that reads it was killed.
    """
    unchecked: dict[str, str] = {}
    signatures = signatures and not log_only
    with ledger.read() as session, ExitStack() as reading:
        mirror = None
        if registry is not None and not log_only and (models := model_names(session)):
            try:
                mirror = Mirror.read(registry(), models)
            except UnavailableError as error:
                unchecked["MLflow"] = str(error)
        outside = {**(notes or {}), **(mirror.notes if mirror else {})}
        checkpoints = Checkpoints(session, outside)
        plan = Plan(
            head(session)[0],
            checkpoints.sizes,
            public_keys(session) if signatures else None,
            log_only,
        )
        log, signed = Log(plan.sizes), Signatures(signatures)
        rows = partial(rows_between, session)
        found = reading.enter_context(closing(segments(rows, ledger.access(), plan, processes)))
        events = _metered(follow(found, stored_nodes(session), log), log, plan.until, meter)
        checked: Counter[str] = Counter()
        # 1. The log: every digest, link, time and tree node; and what its events say.
        if log_only:
            faults = list(_keys(events, signed)) + _ends(log)
        else:
            faults = _records(session, events, log, signed, checked)
            if locked := checked.pop(LOCKED, 0):
                unchecked["private texts"] = f"{locked} are encrypted, and the data key is not here"
            if not faults:  # what is broken elsewhere says nothing about a certificate
                faults = list(certificates(session, str(log.head), checked))
            if skipped := checked.pop(SAMPLED, 0):
                unchecked["certificates"] = (
                    f"{skipped} were left out; those of a sample were computed again"
                )
            if signatures:
                checked["signatures"] = signed.checked
        # 2. The guards that keep facts as they are.
        faults.extend(Fault("the schema", problem) for problem in missing(session.connection()))
        # 3. Every known tree head is one of this log.
        faults.extend(checkpoints.check(log, signed))
        checked["checkpoints"] = len(checkpoints)
        anchored = checkpoints.anchored(outside, {fault.where for fault in faults}, log.count)
        # 4. MLflow says the same.
        if mirror is not None:
            faults.extend(readable("MLflow", mirror.check(session)))
        newest = log.head if log.count else None
        return Verification(
            log.count, newest, checked, tuple(faults), unchecked, len(outside), anchored
        )


def _records(
    session: Session,
    events: Iterator[list[Checked]],
    log: Log,
    signed: Signatures,
    checked: Counter[str],
) -> list[Fault]:
    """What is wrong with the log and with the tables that it speaks of; counts what it looked at."""
    faults: list[Fault] = []
    replay = Replay(report_of=partial(_report, session))
    with closing(Shadows(session)) as shadows:
        # Every signature; every event makes sense and was allowed where it stands; and the tables hold, in the same
        # order, what it says.
        for found in _read(events, signed, replay):
            faults.extend([found] if isinstance(found, Fault) else shadows.expect(found))
        faults.extend(_ends(log))
        if log.fault is None:
            faults.extend(shadows.finish())
            faults.extend(readable("the current states", states(session, replay)))
            # What lies in the tables has the digests it claims.
            faults.extend(contents(session, replay, checked))
        checked.update(shadows.counts)
    return faults


def _ends(log: Log) -> list[Fault]:
    """What is wrong with the log itself; of a tree over half a log nothing can be said."""
    return log.node_faults if log.fault is None else [log.fault]


def _report(session: Session, digest: str) -> Any:
    """Content of a report, None if it is gone or was altered, which is found elsewhere."""
    content = report_content(session, digest)
    if content is None or digest_bytes(content.encode()) != digest:
        return None
    return load_json(content)


def _metered(
    events: Iterator[list[Checked]], log: Log, total: int, meter: Meter
) -> Iterator[list[Checked]]:
    before = 0
    with meter("reading the log", total) as advance:
        for some in events:
            yield some
            advance(log.count - before)
            before = log.count


def _read(
    events: Iterator[list[Checked]], signed: Signatures, replay: Replay
) -> Iterator[Fault | Said]:
    """What the events say, and what is wrong with them, in their order."""
    for found in chain.from_iterable(events):
        event, payload, _ = found
        where = f"event {event.seq}"
        if payload is UNREAD:
            yield Fault(where, "its payload is not canonical JSON")
            continue
        if (problem := signed.check(found)) is not None:
            yield Fault(where, problem)
        yield from replay.read(event, payload)


def _keys(events: Iterator[list[Checked]], signed: Signatures) -> Iterator[Fault]:
    """Follow whose keys are valid, and what is wrong with the events that say so."""
    for found in chain.from_iterable(events):
        if (problem := signed.check(found)) is not None:
            yield Fault(f"event {found.event.seq}", problem)
