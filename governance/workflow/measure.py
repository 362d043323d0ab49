"""What reports are made from: embedded data sets, and the identity of what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from governance.clip.encoder import BaseModel
from governance.datasets import DatasetRole, Manifest
from governance.digests import canonical_json, digest_json
from governance.errors import InvalidInputError
from governance.ledger import arrays
from governance.ledger.database import Session
from governance.ledger.lookup import every, with_column
from governance.ledger.tables import Dataset, ProjectorRecord, Report, Request
from governance.ledger.types import now
from governance.unlearning.bank import PromptBank
from governance.unlearning.composition import Edit
from governance.unlearning.evaluation import Samples
from governance.unlearning.guard import guard_figures
from governance.unlearning.labels import fill
from governance.unlearning.projector import Projector, digest_tensor
from governance.unlearning.targets import Target
from governance.workflow.tools import Tools

FORMAT = 2
"""Of the content of reports. Those of the first, which do not name theirs, lack ``confusion``, and their relearning
attacks put prototypes in the place of texts without centring."""


@dataclass(frozen=True)
class EvalSet:
    """A data set read out of the ledger, free of its session."""

    id: int
    name: str
    digest: str
    location: Path
    manifest: Manifest

    def to_dict(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "name": self.name,
            "digest": self.digest,
            "images": len(self.manifest.items),
            "skipped": list(self.manifest.skipped),
        }


@dataclass(frozen=True)
class Member:
    """A request of an active set with its approved projector, free of its session."""

    request: int
    projector_id: int
    projector_digest: str
    tolerance: float
    edit: Edit
    dataset_id: int

    @property
    def targets(self) -> tuple[Target, ...]:
        """What it forgets."""
        return self.edit.targets


def read_eval_set(dataset: Dataset) -> EvalSet:
    """Data set for scoring."""
    return EvalSet(
        dataset.id,
        dataset.name,
        dataset.digest,
        Path(dataset.location),
        Manifest.from_json(dataset.manifest),
    )


def read_members(session: Session, requests: Sequence[Request]) -> list[Member]:
    """Requests with their newest projectors; all of them have one."""
    return [read_member(session, request.id, _newest(request)) for request in requests]


def read_member(session: Session, request_id: int, projector: ProjectorRecord) -> Member:
    """One request with a given projector."""
    return Member(
        request_id,
        projector.id,
        projector.digest,
        projector.tolerance,
        arrays.load_edit(session, projector),
        projector.report.dataset_id,
    )


def embed(tools: Tools, base: BaseModel, dataset: EvalSet) -> Samples:
    """Embeddings of a data set, from the cache where it has them."""
    items = dataset.manifest.items
    features = tools.encoder.features(base, dataset.digest, dataset.location, items, tools.meter)
    return Samples(features, [item.label for item in items], [item.domain for item in items])


def read_guards(session: Session) -> list[EvalSet]:
    """Every data set of classes that no fit mentions."""
    return [
        read_eval_set(dataset)
        for dataset in every(session, Dataset, loads=[with_column(Dataset.manifest)])
        if dataset.role == DatasetRole.GUARD
    ]


def measure_guards(
    tools: Tools,
    base: BaseModel,
    bank: PromptBank,
    guards: Sequence[EvalSet],
    projector: Projector,
    text: Projector | None,
) -> list[dict[str, Any]]:
    """What an edit does to classes that no fit mentions; images of classes of the label space are left out."""
    found = []
    for guard in guards:
        samples = embed(tools, base, guard)
        kept = [n for n, label in enumerate(samples.labels) if label not in bank.labels.classes]
        if not kept:
            continue
        from governance.clip.encode import encode_texts

        labels = [samples.labels[number] for number in kept]
        classes = sorted(set(labels))
        prompts = [fill(bank.labels.score_template, label) for label in classes]
        rows = encode_texts(tools.encoder.model(base), prompts)
        figures = guard_figures(
            samples.features[kept], labels, classes, rows, bank, projector, text
        )
        found.append({"dataset": guard.to_dict(), **figures})
    return found


def text_factors(text: Projector | None) -> dict[str, str] | None:
    """What a recipe says of the text side: digests of its factors."""
    return None if text is None else {"a": digest_tensor(text.a), "b": digest_tensor(text.b)}


def store_report(
    session: Session,
    purpose: str,
    dataset: EvalSet,
    content: Mapping[str, Any],
    projector_id: int | None = None,
    version_id: int | None = None,
) -> Report:
    """Keep a report on a projector or on a version; its digest is that of its canonical JSON."""
    report = Report(
        purpose=purpose,
        projector_id=projector_id,
        version_id=version_id,
        dataset_id=dataset.id,
        content=canonical_json(dict(content)),
        digest=digest_json(dict(content)),
        created_at=now(),
    )
    session.add(report)
    session.flush()
    return report


def _newest(request: Request) -> ProjectorRecord:
    projector = request.projector
    if projector is None:
        raise InvalidInputError(f"request {request.id} is not prepared")
    return projector
