"""Whether a version still is, in the ledger, in MLflow and when folded again, what was recorded."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from governance.clip.encoder import weights_digest_with
from governance.digests import canonical_json, digest_mapping
from governance.errors import IntegrityError
from governance.ledger import arrays
from governance.ledger.identity import factors_digest, text_digests, version_digest
from governance.ledger.lookup import find_model, find_version
from governance.ledger.tables import ModelVersion
from governance.ledger.whereabouts import place_of
from governance.serving.contents import factor_tensors
from governance.unlearning.projector import digest_tensor
from governance.workflow.models import base_model
from governance.workflow.packages import (
    artifact_facts,
    identity_of,
    registration,
    signed_artifacts,
)
from governance.workflow.tools import Tools

if TYPE_CHECKING:
    from torch import Tensor


def verify_version(tools: Tools, model_name: str | None, number: int) -> tuple[str, dict[str, Any]]:
    """Compute every digest of a version again: from the ledger, from MLflow, and by folding.

    Returns:
        Name of the model, and the digests that hold: ``version``, ``weights``, and those of MLflow's artifacts.

    Raises:
        NotFoundError: there is no such version, or the base model's files are missing.
        UnavailableError: MLflow cannot be used.
        IntegrityError: something is not what was recorded; the first such thing is named.
    """
    from governance.clip.fold import fold

    with tools.ledger.read() as session:
        model = find_model(session, model_name)
        version = find_version(session, model, number)
        name, where = model.name, f"version {number} of {model.name!r}"
        # 1. The ledger: arrays are compared with their digests as they are read.
        projector = arrays.load_projector(session, version)
        text = arrays.load_text(session, version)
        if _digest(version) != version.digest:
            raise IntegrityError(f"{where} has another digest in the ledger than its parts give")
        base, is_base = base_model(model), version.parent is None
        tags = _tags(version, is_base)
        run_id, registered = place_of(session, version)
        digest, weights = version.digest, version.weights_digest
        about = identity_of(version)
        recorded = registration(session, version).get("artifacts")
    # 2. MLflow's tags.
    found = tools.registry.version_tags(name, registered)
    for tag, value in tags.items():
        if found.get(tag) != value:
            raise IntegrityError(f"MLflow's tag {tag} of {where} is not what the ledger has")
    # 3. The base model, folded again.
    clip = tools.encoder.model(base)
    if weights_digest_with(clip, fold(clip, projector, text)) != weights:
        raise IntegrityError(f"folding {where} gives other weights than were recorded ({weights})")
    # 4. MLflow's artifacts are those that were signed when the version was made.
    stored = signed_artifacts(tools.registry, run_id, about)
    if artifact_facts(stored) != recorded:
        raise IntegrityError(f"MLflow's artifacts of {where} are not those that the ledger knows")
    holds = {"version": digest, "weights": weights, "artifacts": stored.signed.statement_digest}
    if is_base:  # nothing in it was changed
        return name, holds
    # 5. MLflow's factors are the ledger's, and its changed tensors make the same weights.
    factors = _digests(tools.registry.tensors(run_id, "factors.safetensors"))
    if factors != _digests(factor_tensors(projector, text)):
        raise IntegrityError(f"MLflow's factors.safetensors of {where} is not what the ledger has")
    changed = _digests(tools.registry.tensors(run_id, "changed.safetensors"))
    if digest_mapping({**clip.tensor_digests, **changed}) != weights:
        raise IntegrityError(f"MLflow's changed.safetensors of {where} gives other weights")
    return name, holds | {
        "factors.safetensors": digest_mapping(factors),
        "changed.safetensors": digest_mapping(changed),
    }


def _digest(version: ModelVersion) -> str:
    return version_digest(
        version.model.weights_digest,
        version.model.labels_digest,
        factors_digest(version.factor_a, version.factor_b),
        [member.projector.digest for member in version.members],
        text_digests(version.recipe),
    )


def _tags(version: ModelVersion, is_base: bool) -> dict[str, str]:
    active = [member.request_id for member in version.members]
    tags = {
        "governance.digest": version.digest,
        "governance.active_requests": canonical_json(active),
    }
    return tags if is_base else tags | {"governance.weights_digest": version.weights_digest}


def _digests(tensors: "Mapping[str, Tensor]") -> dict[str, str]:
    return {name: digest_tensor(tensor) for name, tensor in tensors.items()}
