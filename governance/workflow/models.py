"""Registering base models."""

from dataclasses import replace
from typing import Any

from governance.clip.encoder import BaseModel
from governance.clip.source import Source
from governance.digests import digest_json
from governance.errors import ConflictError, InvalidInputError
from governance.ledger import arrays, checkpoints
from governance.ledger.events import append
from governance.ledger.facts import model_facts, version_facts
from governance.ledger.identity import version_digest
from governance.ledger.lookup import check_free, find_model
from governance.ledger.names import check_name
from governance.ledger.rules import production
from governance.ledger.signers import signing_key
from governance.ledger.tables import Alias, Model, ModelVersion
from governance.ledger.types import now
from governance.serving.contents import Identity
from governance.unlearning.bank import build_bank
from governance.unlearning.labels import LabelSpace
from governance.unlearning.projector import identity
from governance.workflow.packages import (
    artifact_facts,
    derived,
    package,
    served_card,
    signed_artifacts,
)
from governance.workflow.refusals import recorded
from governance.workflow.tools import Tools
from governance.workflow.transition import require

BASE_VERSION = 1
"""Number of the version that is the unedited base model."""


@recorded("register", "model", "name")
def register(
    tools: Tools,
    actor: str,
    name: str,
    source: Source,
    labels: LabelSpace,
    trusted: str | None = None,
) -> None:
    """Register a base model: load it, find and probe its fold path, embed its label space.

    It becomes version 1, with no active request, and the production alias. If its directory is signed, the event says
    with which key.

    Args:
        tools: ledger, MLflow and models.
        actor: who does it.
        name: of the model.
        source: what to load.
        labels: its label space.
        trusted: id of the key that must have signed its directory; None if that does not matter.

    Raises:
        InvalidInputError: the name is taken, or the model cannot carry an edit.
        IntegrityError: a signed directory is not as it was signed, or was not signed with that key.
    """
    from governance.clip.certify import Precision
    from governance.clip.encode import encode_texts
    from governance.clip.fold import check_fold
    from governance.clip.license import find_license
    from governance.clip.load import load_model
    from governance.clip.paths import find_image_path

    check_name("model", name)
    with tools.ledger.read() as session:
        require(session, actor, "model.register")
        check_free(session, Model, "model", name)
        alias = production(session)
        signer = signing_key(session, actor)
    clip = load_model(source, trusted=trusted)
    tools.encoder.adopt(clip)
    path = find_image_path(clip)
    bank = build_bank(labels, lambda prompts: encode_texts(clip, prompts))
    check_fold(clip, [path], [Precision.FP32])
    none = identity(clip.dimension)
    if source.license is None:
        source = replace(source, license=find_license(source))

    labels_digest = digest_json(labels.to_dict())
    digest = version_digest(clip.weights_digest, labels_digest, none.digest, [])
    base = BaseModel(source, clip.weights_digest, clip.config_digest, clip.dimension)
    about = Identity(
        name, BASE_VERSION, digest, clip.weights_digest, base, labels_digest, clip.logit_scale,
        active=[], projectors=[], text=False,
    )  # fmt: skip
    recipe: dict[str, Any] = {"active": []}
    registered = tools.registry.register(
        name,
        key=digest,
        number=BASE_VERSION,
        name="base model",
        artifacts=replace(
            package(
                about, derived(about, bank, none, None, {}, recipe, {}),
                served_card(about, [], []), clip.needs_transformers, signer,
            ),
            params=base_params(about, path.name),
        ),
    )  # fmt: skip
    signed = signed_artifacts(tools.registry, registered.run_id, about)
    served = tools.registry.aliases(name).get(alias)
    if served not in (None, registered.version):
        raise InvalidInputError(
            f"MLflow serves version {served} of a model {name!r} that this ledger does not know; "
            "choose another name"
        )
    tools.registry.set_alias(name, alias, registered.version)

    with tools.ledger.write() as session:
        require(session, actor, "model.register")
        check_free(session, Model, "model", name)
        if production(session) != alias:
            raise ConflictError("the policy names another production alias now; try again")
        factor_a, factor_b = arrays.store(session, none.a), arrays.store(session, none.b)
        model = Model(
            name=name,
            source=source.to_dict(),
            weights_digest=clip.weights_digest,
            config_digest=clip.config_digest,
            dimension=clip.dimension,
            fold_path=path.name,
            logit_scale=clip.logit_scale,
            labels=labels.to_dict(),
            labels_digest=labels_digest,
            bank_rows=arrays.store(session, bank.rows),
            bank_scores=arrays.store(session, bank.scores),
            bank_paraphrases=arrays.store(session, bank.paraphrases),
            registered_at=now(),
        )
        session.add(model)
        session.flush()
        version = ModelVersion(
            model_id=model.id,
            number=BASE_VERSION,
            parent=None,
            digest=digest,
            recipe=recipe,
            factor_a=factor_a,
            factor_b=factor_b,
            weights_digest=clip.weights_digest,
            created_by=actor,
            created_at=now(),
            run_id=registered.run_id,
            registry_version=registered.version,
        )
        session.add(version)
        session.flush()
        session.add(Alias(model_id=model.id, name=alias, version_id=version.id))
        payload = {
            "model": model_facts(model),
            "version": version_facts(version),
            "artifacts": artifact_facts(signed),
        }
        if clip.signed is not None:
            payload["signed"] = {
                "key_id": clip.signed.key.key_id,
                "statement_digest": clip.signed.statement_digest,
            }
        append(session, actor, "model.registered", f"model:{name}", payload)
        checkpoints.take(session, actor)  # the base model is served from now on


def check(tools: Tools, name: str | None) -> tuple[str, list[dict[str, Any]]]:
    """Load a registered model, verify its weights, and fold a random edit at each serving precision.

    Returns:
        Name of the model and, for fp32, fp16 and bf16, what was measured (`governance.clip.certify.Certificate`).

    Raises:
        IntegrityError: the weights changed, or a fold does not hold.
    """
    from governance.clip.fold import check_fold

    with tools.ledger.read() as session:
        record = find_model(session, name)
        base = base_model(record)
    clip = tools.encoder.model(base)
    return record.name, [found.to_dict() for found in check_fold(clip)]


def check_text_side(tools: Tools, base: BaseModel) -> None:
    """Make sure that an edit can be folded into the text tower.

    Raises:
        InvalidInputError: it does not end in a linear projection; the message says why.
    """
    from governance.clip.paths import find_text_path

    find_text_path(tools.encoder.model(base))


def base_params(about: Identity, fold_path: str) -> dict[str, Any]:
    """Parameters of a base model's run in MLflow."""
    return {
        "model": about.model,
        "source": about.base.source.describe(),
        "weights_digest": about.weights_digest,
        "labels_digest": about.labels_digest,
        "fold_path": fold_path,
        "dimension": about.base.dimension,
    }


def base_model(model: Model) -> BaseModel:
    """What the encoder needs to know of a registered model."""
    return BaseModel(
        Source(**model.source), model.weights_digest, model.config_digest, model.dimension
    )
