"""Recomputing everything the ledger claims. Needs no model, no MLflow and no torch."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from governance.audit.checkpoints import Checkpoints
from governance.audit.fault import Fault
from governance.audit.log import Log, walk
from governance.audit.mirror import Mirror, Registry
from governance.audit.replay import Replay, Said
from governance.audit.shadow import Shadows, states
from governance.audit.signatures import Signatures
from governance.digests import digest_array, digest_bytes, digest_json, load_json
from governance.errors import UnavailableError
from governance.ledger.database import Ledger, Session
from governance.ledger.events import Entry, head
from governance.ledger.guards import missing
from governance.ledger.identity import (
    factors_digest,
    projector_digest,
    prototype_digests,
    text_digests,
    version_digest,
)
from governance.ledger.lookup import every, model_names
from governance.ledger.private import commitment
from governance.ledger.tables import (
    Array,
    Dataset,
    Model,
    ModelVersion,
    PolicyRecord,
    PrivateText,
    ProjectorRecord,
    Report,
)
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
    with ledger.read() as session:
        mirror = None
        if registry is not None and (models := model_names(session)):
            try:
                mirror = Mirror.read(registry(), models)
            except UnavailableError as error:
                unchecked["MLflow"] = str(error)
        outside = {**(notes or {}), **(mirror.notes if mirror else {})}
        checkpoints = Checkpoints(session, outside)
        log, replay = Log(checkpoints.sizes), Replay()
        signed, shadows = Signatures(signatures), Shadows(session)
        checked: Counter[str] = Counter()
        faults: list[Fault] = []
        # 1. The log: every digest, link, time and tree node; every signature; every event makes sense and was
        #    allowed where it stands; and the tables hold, in the same order, what it says.
        for event in _metered(walk(session, log), head(session)[0], meter):
            for found in _read(event, signed, replay):
                faults.extend(
                    [found] if isinstance(found, Fault) else _readable(shadows.expect(found))
                )
        if log.fault is not None:
            faults.append(log.fault)
        else:
            faults.extend(log.node_faults)
            faults.extend(_readable(shadows.finish()))
            faults.extend(_readable(states(session, replay)))
            # 2. What lies in the tables has the digests it claims.
            faults.extend(_readable(_contents(session, checked)))
        # 3. The guards that keep facts as they are.
        faults.extend(Fault("the schema", problem) for problem in missing(session.connection()))
        # 4. Every known tree head is one of this log.
        faults.extend(checkpoints.check(log, signed))
        anchored = checkpoints.anchored(outside, {fault.where for fault in faults}, log.count)
        checked |= shadows.counts | {"signatures": signed.checked, "checkpoints": len(checkpoints)}
        # 5. MLflow says the same.
        if mirror is not None:
            faults.extend(_readable(mirror.check(session)))
        newest = log.head if log.count else None
        return Verification(
            log.count, newest, checked, tuple(faults), unchecked, len(outside), anchored
        )


def _metered(events: Iterator[Entry], total: int, meter: Meter) -> Iterator[Entry]:
    with meter("reading the log", total) as advance:
        for count, event in enumerate(events, start=1):
            yield event
            if count % _STEP == 0:
                advance(_STEP)


def _read(event: Entry, signed: Signatures, replay: Replay) -> Iterator[Fault | Said]:
    try:
        problem = signed.read(event, load_json(event.payload))
    except (KeyError, TypeError, ValueError, AttributeError):
        problem = f"{event.action} makes no sense there"
    if problem is not None:
        yield Fault(f"event {event.seq}", problem)
    yield from replay.read(event)


def _readable(faults: Iterator[Fault]) -> Iterator[Fault]:
    """The faults, and one more where a row cannot even be read as what it should be."""
    try:
        yield from faults
    except (ValueError, TypeError, AttributeError) as error:
        yield Fault("a damaged row", f"it cannot be read: {str(error).splitlines()[0]}")


def _contents(session: Session, checked: Counter[str]) -> Iterator[Fault]:
    """Rows whose content does not have the digest beside it."""
    known: set[str] = set()
    for array in every(session, Array, chunk=50):
        checked["arrays"] += 1
        known.add(array.digest)
        if digest_array(array.dtype, tuple(array.shape), array.data) != array.digest:
            yield Fault(f"array {array.digest}", "its bytes have another digest")
    for model in every(session, Model):
        if digest_json(model.labels) != model.labels_digest:
            yield Fault(f"model {model.name}", "its label space has another digest")
        bank = (model.bank_rows, model.bank_scores, model.bank_paraphrases)
        yield from _missing(f"model {model.name}", known, *bank)
    for dataset in every(session, Dataset):
        if digest_bytes(dataset.manifest.encode()) != dataset.digest:
            yield Fault(f"data set {dataset.name}", "its manifest has another digest")
    for policy in every(session, PolicyRecord):
        if digest_bytes(policy.content.encode()) != policy.digest:
            yield Fault(f"policy {policy.id}", "its content has another digest")
    for text in every(session, PrivateText, chunk=50):
        yield from _text(text)
    for projector in every(session, ProjectorRecord):
        name = f"projector {projector.id} of request {projector.request_id}"
        factors = factors_digest(projector.factor_a, projector.factor_b)
        if projector_digest(projector.recipe, factors) != projector.digest:
            yield Fault(name, "recipe or factors have another digest")
        yield from _missing(name, known, projector.factor_a, projector.factor_b)
        other = [*prototype_digests(projector.recipe), *text_digests(projector.recipe)]
        yield from _missing(name, known, *other)
    for report in every(session, Report, chunk=100):
        if digest_bytes(report.content.encode()) != report.digest:
            yield Fault(f"report {report.id}", "its content has another digest")
    for version in every(session, ModelVersion):
        yield from _version(version, known)


def _text(text: PrivateText) -> Iterator[Fault]:
    """A private text is what the log committed to, or it was erased as a whole."""
    name = f"private text {text.id} of request {text.request_id}"
    if text.salt is None or text.content is None:
        if (text.salt, text.content, text.name) != (None, None, None):
            yield Fault(name, "it was erased in part only")
    elif commitment(text.salt, text.kind, text.content, text.name) != text.commitment:
        yield Fault(name, "it is not what the log committed to")


def _version(version: ModelVersion, known: set[str]) -> Iterator[Fault]:
    if version.model is None or any(member.projector is None for member in version.members):
        yield Fault(f"version {version.number}", "its model or a projector of it is missing")
        return
    name = f"version {version.number} of {version.model.name}"
    expected = version_digest(
        version.model.weights_digest,
        version.model.labels_digest,
        factors_digest(version.factor_a, version.factor_b),
        [member.projector.digest for member in version.members],
        text_digests(version.recipe),
    )
    if expected != version.digest:
        yield Fault(name, "active set or factors have another digest")
    factors = (version.factor_a, version.factor_b, *text_digests(version.recipe))
    yield from _missing(name, known, *factors)


def _missing(name: str, known: set[str], *digests: str) -> Iterator[Fault]:
    for digest in digests:
        if digest not in known:
            yield Fault(name, f"its array {digest} is missing")
