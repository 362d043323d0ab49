"""Recomputing everything the ledger claims. Needs no model, no MLflow and no torch."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from governance.audit.compare import compare
from governance.audit.fault import Fault
from governance.audit.replay import replay
from governance.digests import digest_array, digest_bytes, digest_json
from governance.ledger.database import Ledger, Session
from governance.ledger.events import check_chain, head
from governance.ledger.identity import (
    factors_digest,
    projector_digest,
    prototype_digests,
    text_digests,
    version_digest,
)
from governance.ledger.lookup import every
from governance.ledger.tables import (
    Array,
    Dataset,
    Model,
    ModelVersion,
    ProjectorRecord,
    Report,
    Request,
)


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


def verify(ledger: Ledger) -> Verification:
    """Check the whole ledger in one consistent read."""
    with ledger.read() as session:
        # 1. The log: every digest, every link, no gap.
        events, broken = check_chain(session)
        faults = [] if broken is None else [Fault(f"event {broken.seq}", broken.problem)]
        checked: Counter[str] = Counter()
        if broken is None:
            # 2. Every event makes sense where it stands.
            log = replay(session)
            faults.extend(log.faults)
            # 3. What lies in the tables has the digests it claims.
            faults.extend(_readable(_contents(session, checked)))
            # 4. The tables hold what the log says: no more, no less, nothing else.
            faults.extend(_readable(compare(session, log)))
        last = head(session)
        return Verification(events, last.digest if last else None, checked, tuple(faults))


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
        checked["models"] += 1
        if digest_json(model.labels) != model.labels_digest:
            yield Fault(f"model {model.name}", "its label space has another digest")
        bank = (model.bank_rows, model.bank_scores, model.bank_paraphrases)
        yield from _missing(f"model {model.name}", known, *bank)
    for dataset in every(session, Dataset):
        checked["data sets"] += 1
        if digest_bytes(dataset.manifest.encode()) != dataset.digest:
            yield Fault(f"data set {dataset.name}", "its manifest has another digest")
    checked["requests"] = sum(1 for _ in every(session, Request))
    for projector in every(session, ProjectorRecord):
        checked["projectors"] += 1
        name = f"projector {projector.id} of request {projector.request_id}"
        factors = factors_digest(projector.factor_a, projector.factor_b)
        if projector_digest(projector.recipe, factors) != projector.digest:
            yield Fault(name, "recipe or factors have another digest")
        yield from _missing(name, known, projector.factor_a, projector.factor_b)
        other = [*prototype_digests(projector.recipe), *text_digests(projector.recipe)]
        yield from _missing(name, known, *other)
    for report in every(session, Report, chunk=100):
        checked["reports"] += 1
        if digest_bytes(report.content.encode()) != report.digest:
            yield Fault(f"report {report.id}", "its content has another digest")
    for version in every(session, ModelVersion):
        checked["versions"] += 1
        yield from _version(version, known)


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
