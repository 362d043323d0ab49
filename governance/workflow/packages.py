"""What MLflow gets of a version: figures, the delta, a model card, and the files that make it a model that serves.

All of it is signed by whoever makes the version; the signed statement is recorded in the ledger.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governance.clip.encoder import BaseModel
from governance.clip.source import Source
from governance.digests import canonical_json, load_json
from governance.errors import IntegrityError, NotFoundError
from governance.evidence.artifact import (
    SIGNATURE_NAME,
    SignedModel,
    sign_directory,
    verify_directory,
)
from governance.ledger.database import Session
from governance.ledger.identity import text_digests
from governance.ledger.lookup import find_request, newest_events, overrides_of_request
from governance.ledger.names import subject_of
from governance.ledger.tables import ModelVersion, ProjectorRecord
from governance.registry import Artifacts, Registry
from governance.reports.card import CardRequest, model_card
from governance.serving.contents import (
    CARD,
    CHANGED,
    CLASSIFIER,
    FACTORS,
    LABELS,
    RECIPE,
    UNSIGNED,
    Identity,
    factor_tensors,
)
from governance.unlearning.bank import PromptBank
from governance.unlearning.projector import Projector
from governance.unlearning.targets import Target, describe_all

if TYPE_CHECKING:
    from torch import Tensor

    from governance.evidence.keys import SigningKey

REGISTERED, MODEL_REGISTERED = "version.registered", "model.registered"
"""Events that record the artifacts of a version, and of the base model as the first one."""

_REPORT, _JSON = "report-", ".json"


def package(
    identity: Identity, contents: Artifacts, card: str, hugging_face: bool, key: "SigningKey"
) -> Artifacts:
    """All files of a version and its tags, signed; whoever logs it adds parameters and metrics.

    Args:
        identity: which version it is.
        contents: what `derived` gives.
        card: its model card.
        hugging_face: whether serving needs transformers.
        key: of whoever makes it.
    """

    def finish(directory: Path) -> None:
        from governance.serving.flavor import write_flavor

        write_flavor(directory, hugging_face)
        sign_directory(directory, identity.name, identity.facts(), key)

    return replace(contents, texts={CARD: card}, finish=finish)


def derived(
    identity: Identity,
    bank: PromptBank,
    projector: Projector,
    text: Projector | None,
    changed: "Mapping[str, Tensor]",
    recipe: Mapping[str, Any],
    reports: Mapping[str, Mapping[str, Any]],
) -> Artifacts:
    """The files that follow from ledger and base model, and the tags.

    They are the same to the last byte whether they come from what was just computed or from what the ledger gave back,
    so records take the way through canonical JSON.

    Args:
        identity: which version it is.
        bank: of the base model.
        projector: P of the image features.
        text: P of the text features, None if only images are edited.
        changed: tensors that the edit changes, at fp32.
        recipe: how the version was made.
        reports: contents of its reports by name of the data set.
    """
    records = {
        RECIPE: dict(recipe),
        LABELS: bank.labels.to_dict(),
        **{f"{_REPORT}{name}{_JSON}": content for name, content in reports.items()},
    }
    return Artifacts(
        records={name: load_json(canonical_json(record)) for name, record in records.items()},
        tensors={
            FACTORS: {
                name: tensor.contiguous()
                for name, tensor in factor_tensors(projector, text).items()
            },
            CHANGED: changed,
            CLASSIFIER: {"rows": bank.edited(text).plain_scores.float().contiguous()},
        },
        tags=version_tags(identity),
    )


def version_tags(identity: Identity) -> dict[str, str]:
    """Tags by which MLflow knows what a version is."""
    return {
        "governance.digest": identity.digest,
        "governance.weights_digest": identity.weights_digest,
        "governance.active_requests": canonical_json(list(identity.active)),
    }


def is_derived(name: str) -> bool:
    """Whether a file is one of `derived`; the others the log holds itself."""
    report = name.startswith(_REPORT) and name.endswith(_JSON)
    return report or name in (RECIPE, LABELS, FACTORS, CHANGED, CLASSIFIER)


def card_requests(
    session: Session, members: Iterable[tuple[int, ProjectorRecord]]
) -> list[CardRequest]:
    """What a card says of the requests of an active set, each with the projector that the version holds."""
    found = []
    for number, projector in members:
        request, used = find_request(session, number), projector.recipe["hyperparameters"]
        targets = [Target(target.label, target.domain) for target in request.targets]
        decisions = [d for d in request.decisions if d.projector_id == projector.id]
        overrides = [
            o for o in overrides_of_request(session, request) if o.about == projector.digest
        ]
        found.append(
            CardRequest(
                number,
                describe_all(targets),
                used["method"],
                used["strength"],
                load_json(projector.report.content)["verdict"],
                any(decision.break_glass for decision in decisions),
                tuple(dict.fromkeys(gate["name"] for row in overrides for gate in row.gates)),
            )
        )
    return found


def served_card(
    identity: Identity, requests: Sequence[CardRequest], reports: Sequence[Mapping[str, Any]]
) -> str:
    """The card that lies beside the delta in MLflow."""
    loading = (
        "The files beside this card are an edit of the base model, whose weights are not among them. With the package "
        "clip-governance and the base model at hand, `mlflow.pyfunc.load_model` loads both, checks every digest and "
        "the signature, and refuses what does not hold."
    )
    return card_of(identity, requests, reports, loading)


def card_contents(
    session: Session, version: ModelVersion
) -> tuple[Identity, list[CardRequest], list[dict[str, Any]]]:
    """What a card says of a version that is on record: which it is, its active set, its reports."""
    requests = card_requests(session, [(m.request_id, m.projector) for m in version.members])
    reports: dict[int, dict[str, Any]] = {}
    for report in version.reports:
        reports.setdefault(report.dataset_id, load_json(report.content))
    return identity_of(version), requests, list(reports.values())


def identity_of(version: ModelVersion) -> Identity:
    """Which version a record is of."""
    model = version.model
    return Identity(
        model.name,
        version.number,
        version.digest,
        version.weights_digest,
        BaseModel(
            Source(**model.source), model.weights_digest, model.config_digest, model.dimension
        ),
        model.labels_digest,
        model.logit_scale,
        [member.request_id for member in version.members],
        [member.projector.digest for member in version.members],
        bool(text_digests(version.recipe)),
    )


def export_card(
    identity: Identity,
    requests: Sequence[CardRequest],
    reports: Sequence[Mapping[str, Any]],
    precision: str,
) -> str:
    """The card of an exported directory, whose weights have this precision."""
    loading = (
        "```python\nimport open_clip\n\n"
        "model, preprocess = open_clip.create_model_from_pretrained('local-dir:DIR')\n```\n\n"
        f"DIR is the directory of this card; its weights are the edited ones, at {precision}. `governance version "
        "check-export DIR --trust-key KEY` checks that every file is as it was signed."
    )
    return card_of(identity, requests, reports, loading)


def card_of(
    identity: Identity,
    requests: Sequence[CardRequest],
    reports: Sequence[Mapping[str, Any]],
    loading: str,
) -> str:
    """A card of a version with words on how to load what it lies beside."""
    from governance.clip.license import hub_repository

    source = identity.base.source
    repository = hub_repository(source)
    facts = identity.facts()
    return model_card(facts, source.public_name, repository, requests, reports, loading)


@dataclass(frozen=True)
class SignedArtifacts:
    """The artifacts of a version, as somebody signed them.

    Attributes:
        signed: what the signature says.
        texts: the files that cannot be derived, the signature's own among them, by name.
    """

    signed: SignedModel
    texts: Mapping[str, str]


def signed_artifacts(registry: Registry, run_id: str, identity: Identity) -> SignedArtifacts:
    """The artifacts of a version as MLflow has them now.

    Raises:
        UnavailableError: MLflow cannot be used.
        IntegrityError: the signature does not hold, a file is not as it was signed, or they are of another version.
    """
    with tempfile.TemporaryDirectory() as directory:
        registry.fetch(run_id, Path(directory))
        try:
            signed = verify_directory(Path(directory), besides=UNSIGNED)
            names = [SIGNATURE_NAME, *(name for name in signed.files if not is_derived(name))]
            texts = {name: (Path(directory) / name).read_bytes().decode() for name in names}
        except (NotFoundError, IntegrityError) as error:
            problem = str(error).replace(directory, f"run {run_id}")
            raise IntegrityError(
                f"MLflow's artifacts of {identity.name} do not hold: {problem}"
            ) from error
    said = {name: signed.facts.get(name) for name in identity.facts()}
    if signed.name != identity.name or said != identity.facts():
        raise IntegrityError(
            f"MLflow's artifacts of {identity.name} are signed for another version"
        )
    return SignedArtifacts(signed, texts)


def artifact_facts(found: SignedArtifacts) -> dict[str, Any]:
    """What the log says of a version's artifacts: which statement, signed with which key, and what no figures give.

    The texts make it possible to put back every file of a version, whoever does it and whatever software is installed
    then, without signing anything anew. They are public anyway and hold no personal data.
    """
    signed = found.signed
    return {
        "statement_digest": signed.statement_digest,
        "key_id": signed.key.key_id,
        "texts": dict(found.texts),
    }


def registration(session: Session, version: ModelVersion) -> dict[str, Any]:
    """What the event says that recorded a version.

    Raises:
        IntegrityError: there is none.
    """
    model = version.model.name
    subjects = {REGISTERED: subject_of(model, version.number), MODEL_REGISTERED: f"model:{model}"}
    for action, subject in subjects.items():
        for event in newest_events(session, subject, action):
            payload = load_json(event.payload)
            if payload["version"]["number"] == version.number:
                return dict(payload)
    raise IntegrityError(f"the ledger has no event that made version {version.number} of {model!r}")
