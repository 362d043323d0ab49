"""What lies in the tables: it has the digests beside it, and says the same as the records it belongs to."""

from collections import Counter
from collections.abc import Iterator

from governance.audit.fault import Fault, readable
from governance.audit.world import World
from governance.digests import digest_array, digest_bytes, digest_json, load_json
from governance.errors import IntegrityError
from governance.ledger.database import Session
from governance.ledger.identity import (
    factors_digest,
    projector_digest,
    prototype_digests,
    text_digests,
    version_digest,
)
from governance.ledger.lookup import (
    every,
    every_text,
    misplaced_decisions,
    orphans,
    with_column,
    with_its,
)
from governance.ledger.private import PLAIN, commitment, is_locked, opened
from governance.ledger.tables import (
    Array,
    Dataset,
    Model,
    ModelVersion,
    PolicyRecord,
    PrivateText,
    ProjectorRecord,
    Report,
    Request,
    VersionMember,
)

LOCKED = "locked texts"
"""Among what was counted: private texts that could not be opened, since the data key is not here."""


def contents(session: Session, world: World, checked: Counter[str]) -> Iterator[Fault]:
    """Rows whose content does not have the digest beside it, or belongs to something else."""
    known: set[str] = set()
    for table, faults in {
        "arrays": _arrays(session, known, checked),
        "models": _models(session, known),
        "datasets": _datasets(session),
        "policies": _policies(session),
        "private_texts": _texts(session, world, checked),
        "projectors": _projectors(session, known),
        "decisions": _decisions(session),
        "evaluation_reports": _reports(session),
        "model_versions": _versions(session, known),
        "version_members": _orphans(session),
    }.items():
        yield from readable(f"table {table}", faults)


def _arrays(session: Session, known: set[str], checked: Counter[str]) -> Iterator[Fault]:
    for array in every(session, Array, chunk=10):
        checked["arrays"] += 1
        known.add(array.digest)
        name = f"array {array.digest}"
        yield from readable(name, _array(name, array))


def _array(name: str, array: Array) -> Iterator[Fault]:
    if digest_array(array.dtype, tuple(array.shape), array.data) != array.digest:
        yield Fault(name, "its bytes have another digest")


def _models(session: Session, known: set[str]) -> Iterator[Fault]:
    for model in every(session, Model):
        if digest_json(model.labels) != model.labels_digest:
            yield Fault(f"model {model.name}", "its label space has another digest")
        bank = (model.bank_rows, model.bank_scores, model.bank_paraphrases)
        yield from _missing(f"model {model.name}", known, *bank)


def _datasets(session: Session) -> Iterator[Fault]:
    for dataset in every(session, Dataset, chunk=10, loads=[with_column(Dataset.manifest)]):
        if digest_bytes(dataset.manifest.encode()) != dataset.digest:
            yield Fault(f"data set {dataset.name}", "its manifest has another digest")


def _policies(session: Session) -> Iterator[Fault]:
    for policy in every(session, PolicyRecord):
        if digest_bytes(policy.content.encode()) != policy.digest:
            yield Fault(f"policy {policy.id}", "its content has another digest")


def _projectors(session: Session, known: set[str]) -> Iterator[Fault]:
    request = ProjectorRecord.request
    loads = [with_its(request, Request.model), with_its(request, Request.targets)]
    for projector in every(session, ProjectorRecord, chunk=100, loads=loads):
        name = f"projector {projector.id} of request {projector.request_id}"
        yield from readable(name, _projector(name, projector, known))


def _decisions(session: Session) -> Iterator[Fault]:
    for number, request in misplaced_decisions(session):
        name = f"decision {number} on request {request}"
        yield Fault(name, "it points at another projector than it names")


def _reports(session: Session) -> Iterator[Fault]:
    loads = [with_its(Report.projector), with_its(Report.version)]
    for report in every(session, Report, chunk=100, loads=loads):
        yield from readable(f"report {report.id}", _report(f"report {report.id}", report))


def _versions(session: Session, known: set[str]) -> Iterator[Fault]:
    members = with_its(ModelVersion.members, VersionMember.projector)
    for version in every(session, ModelVersion, chunk=100, loads=[members]):
        model = version.model.name if version.model else "a missing model"
        name = f"version {version.number} of {model}"
        yield from readable(name, _version(name, version, known))


def _orphans(session: Session) -> Iterator[Fault]:
    for table, owner in orphans(session):
        yield Fault(f"{table} of {owner}", "there is no such record")


def _texts(session: Session, world: World, checked: Counter[str]) -> Iterator[Fault]:
    """A private text is what the log committed to, or was erased as a whole when its request was redacted."""
    seen: Counter[int] = Counter()
    for text in every_text(session):
        seen[text.request_id] += 1
        case = world.cases.get(text.request_id)
        erased = case is not None and seen[text.request_id] <= case.erased
        problem = _text(text, erased)
        if problem is not None:
            yield Fault(f"private text {text.id} of request {text.request_id}", problem)
        elif is_locked(text):
            checked[LOCKED] += 1


def _text(text: PrivateText, erased: bool) -> str | None:
    if text.content is None:
        if (text.salt, text.name) != (None, None):
            return "it was erased in part only"
        return None if erased else "it is erased, but the log says otherwise"
    if erased:
        return "it is still there, but the log says otherwise"
    if text.scheme == PLAIN and text.salt is None:
        return "it was erased in part only"
    if is_locked(text):
        return None
    try:
        found = opened(text)
    except IntegrityError as error:
        return str(error).partition(": ")[2]
    said = found and commitment(found.salt, text.kind, found.content, found.name)
    return None if said == text.commitment else "it is not what the log committed to"


def _projector(name: str, projector: ProjectorRecord, known: set[str]) -> Iterator[Fault]:
    """A projector has its digest, and was fitted to what its request asks for, on its model."""
    recipe, request = projector.recipe, projector.request
    factors = factors_digest(projector.factor_a, projector.factor_b)
    if projector_digest(recipe, factors) != projector.digest:
        yield Fault(name, "recipe or factors have another digest")
    if request is None:
        yield Fault(name, "its request is missing")
        return
    if recipe["targets"] != [{"class": t.label, "domain": t.domain} for t in request.targets]:
        yield Fault(name, "it forgets something else than its request asks for")
    model = request.model
    made_of = (recipe["model_weights"], recipe["bank_rows"], recipe["bank_scores"])
    if made_of != (model.weights_digest, model.bank_rows, model.bank_scores):
        yield Fault(name, "it was fitted to another model or prompt bank")
    yield from _missing(name, known, projector.factor_a, projector.factor_b)
    yield from _missing(name, known, *prototype_digests(recipe), *text_digests(recipe))


def _report(name: str, report: Report) -> Iterator[Fault]:
    """A report has its digest, and is about what it lies beside."""
    if digest_bytes(report.content.encode()) != report.digest:
        yield Fault(name, "its content has another digest")
    said, projector, version = load_json(report.content), report.projector, report.version
    if version is not None:
        about = ("version", version.number) == (said["kind"], said["version"])
    else:
        found = (said["kind"], said["projector_digest"])
        about = projector is not None and found == ("request", projector.digest)
    if not about:
        yield Fault(name, "it is about something else than it belongs to")


def _version(name: str, version: ModelVersion, known: set[str]) -> Iterator[Fault]:
    if version.model is None or any(member.projector is None for member in version.members):
        yield Fault(name, "its model or a projector of it is missing")
        return
    expected = version_digest(
        version.model.weights_digest,
        version.model.labels_digest,
        factors_digest(version.factor_a, version.factor_b),
        [member.projector.digest for member in version.members],
        text_digests(version.recipe),
    )
    if expected != version.digest:
        yield Fault(name, "active set or factors have another digest")
    active = {(entry["request"], entry["projector_digest"]) for entry in version.recipe["active"]}
    if active != {_member(member) for member in version.members}:
        yield Fault(name, "its recipe names other requests or projectors than its active set")
    factors = (version.factor_a, version.factor_b, *text_digests(version.recipe))
    yield from _missing(name, known, *factors)


def _member(member: VersionMember) -> tuple[int, str]:
    return member.request_id, member.projector.digest


def _missing(name: str, known: set[str], *digests: str) -> Iterator[Fault]:
    for digest in digests:
        if digest not in known:
            yield Fault(name, f"its array {digest} is missing")
