"""What reports are made from: embedded data sets, and the identity of what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from governance.clip.encoder import BaseModel
from governance.datasets import DatasetRole, Manifest
from governance.digests import canonical_json, digest_json, load_json
from governance.errors import InvalidInputError
from governance.ledger import arrays
from governance.ledger.database import Session
from governance.ledger.lookup import every, with_column
from governance.ledger.tables import Dataset, ModelVersion, ProjectorRecord, Report, Request
from governance.ledger.types import now
from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.certificate import DIGITS, Prompts, certificate, forgotten_texts
from governance.unlearning.composition import Block, Composition, Edit, reference_of
from governance.unlearning.evaluation import Samples
from governance.unlearning.guard import guard_figures
from governance.unlearning.labels import fill
from governance.unlearning.projector import Projector, digest_tensor
from governance.unlearning.targets import Target, covering
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
    """A request of an active set with its approved projector, free of its session.

    Attributes:
        request, projector_id, projector_digest: which.
        tolerance: residual that a composition may leave it.
        edit: what is solved for.
        dataset_id: of the data set that it was prepared on.
        approved: by data set, the share of the forgotten images that was recognised after the edit when it was measured
            alone.
    """

    request: int
    projector_id: int
    projector_digest: str
    tolerance: float
    edit: Edit
    dataset_id: int
    approved: Mapping[int, float | None] = field(default_factory=dict)

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


def read_members(
    session: Session, requests: Sequence[Request], measured: bool = True
) -> list[Member]:
    """Requests with their newest projectors; all of them have one. `measured` as in `read_member`."""
    return [read_member(session, request.id, _newest(request), measured) for request in requests]


def read_member(
    session: Session, request_id: int, projector: ProjectorRecord, measured: bool = True
) -> Member:
    """One request with a given projector.

    Args:
        session: where to read.
        request_id: the request.
        projector: its projector.
        measured: read what its reports found, too, which only measuring a version needs.
    """
    reports = projector.reports if measured else ()
    return Member(
        request_id,
        projector.id,
        projector.digest,
        projector.tolerance,
        arrays.load_edit(session, projector),
        projector.report.dataset_id,
        {r.dataset_id: load_json(r.content)["after"]["forget_accuracy"] for r in reports},
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


@dataclass(frozen=True)
class Solved:
    """An edit as it is measured.

    Attributes:
        projector: the matrix of the image features.
        text: that of the text features, None if only images are edited.
        blocks: what the columns of the factors are, as recipes say it.
        moment: second moment of the unlabelled images that the fit used, d × d, None without any.
    """

    projector: Projector
    text: Projector | None
    blocks: Sequence[Mapping[str, Any]]
    moment: Tensor | None

    @classmethod
    def of(cls, composition: Composition, edits: Sequence[Edit]) -> "Solved":
        """What `compose` made of some edits."""
        blocks = [block.to_dict() for block in composition.blocks]
        return cls(composition.projector, composition.text, blocks, _moment(edits))

    @classmethod
    def read(
        cls, session: Session, record: ProjectorRecord | ModelVersion, edits: Sequence[Edit]
    ) -> "Solved":
        """What the ledger holds of a request's projector or of a version."""
        problem = record.recipe.get("problem") or {"image": {}}
        return cls(
            arrays.load_projector(session, record),
            arrays.load_text(session, record),
            problem["image"].get("blocks", ()),
            _moment(edits),
        )

    def prompts(self, bank: PromptBank) -> Prompts:
        """The prompts that its certificate is about."""
        return Prompts.of(bank.labels, bank.scores.numpy(), bank.paraphrases.numpy())

    def certificate(self, bank: PromptBank) -> dict[str, Any]:
        """What holds of it for every image."""
        prompts = self.prompts(bank)
        a, b = self.projector.a.numpy(), self.projector.b.numpy()
        moment = None if self.moment is None else self.moment.numpy()
        return certificate(prompts, self.blocks, a, b, moment)


def certified_images(
    samples: Samples, bank: PromptBank, targets: Sequence[Target], solved: Solved
) -> dict[str, Any] | None:
    """For how many forgotten images the certificate alone decides.

    It does where the best retained class leads the anchor by more than the excess that the certificate allows: whatever
    else the image is, it is not given the forgotten class.

    Returns:
        ``n``, ``decided`` and the ``median_lead`` of the best retained class over the anchor, on the unnormalised score
        of unit embeddings; None if no image belongs to a class that is forgotten everywhere.
    """
    forgotten = forgotten_texts(solved.prompts(bank), solved.blocks)
    anchors = {label: n for n, label in reversed(list(enumerate(forgotten.labels)))}
    everywhere = {target.label for target in targets if target.domain is None}
    chosen = [n for n, c in enumerate(samples.labels) if c in everywhere and c in anchors]
    if not chosen:
        return None
    places = [anchors[samples.labels[n]] for n in chosen]
    difference = torch.from_numpy(forgotten.texts - forgotten.anchors)
    kept = [c not in anchors for c in bank.labels.classes]
    edited = solved.projector.apply(unit(samples.features[chosen]))
    transposed = Projector(solved.projector.b.T, solved.projector.a.T, 1.0)
    excess = torch.linalg.vector_norm(transposed.apply(difference), dim=1)[places]
    anchor = (edited * torch.from_numpy(forgotten.anchors)[places]).sum(dim=1)
    lead = (edited @ bank.plain_scores[kept].T).max(dim=1).values - anchor
    return {
        "n": len(chosen),
        "decided": int((lead > excess).sum()),
        "median_lead": round(float(lead.median()), DIGITS),
    }


def _moment(edits: Sequence[Edit]) -> Tensor | None:
    reference = reference_of(edits)
    return None if reference is None else reference.moment


def problem_of(composition: Composition, edits: Sequence[tuple[int, Edit]]) -> dict[str, Any]:
    """What was solved on each side: what each block of the factors is, and whose.

    With it an auditor sees that P − I is the sum of one block for each row of a request, and that the factors solve the
    problem that the requests pose.

    Args:
        composition: what was solved.
        edits: the requests and what each asked for.
    """
    tower, both = composition.tower, [(n, e) for n, e in edits if e.recipe.both_sides]
    return {
        "image": {"blocks": _blocks(composition.blocks, edits)},
        "text": None if tower is None else {"blocks": _blocks(tower.blocks, both)},
    }


def _blocks(blocks: Sequence[Block], edits: Sequence[tuple[int, Edit]]) -> list[dict[str, Any]]:
    asking: dict[tuple[str | None, str | None], list[int]] = {}
    for request, edit in edits:
        for target in edit.targets:
            asking.setdefault((target.label, target.domain), []).append(request)
    order = {request: place for place, (request, _) in enumerate(edits)}
    return [
        {
            **block.to_dict(),
            "requests": sorted(
                {number for name in covering(*block.pair) for number in asking.get(name, ())},
                key=order.__getitem__,
            ),
        }
        for block in blocks
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
