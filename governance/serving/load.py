"""Loading a version from its artifacts: checked from the signature to the features, or not at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from governance.clip.fold import install
from governance.clip.load import ClipModel, load_model
from governance.clip.source import Source, parse_source
from governance.digests import digest_json
from governance.errors import GovernanceError, IntegrityError, NotFoundError, UnavailableError
from governance.evidence.artifact import SignedModel, verify_directory
from governance.ledger.identity import version_digest
from governance.serving.contents import (
    CHANGED,
    CLASSIFIER,
    COMPILED,
    FACTORS,
    LABELS,
    UNSIGNED,
    read_factors,
)
from governance.serving.trust import BASE_MODEL, Outside
from governance.unlearning.labels import LabelSpace
from governance.unlearning.projector import Projector, digest_tensor


@dataclass(frozen=True)
class Served:
    """A version that may be used.

    Attributes:
        name: of the model, and number of the version.
        model: the edited model.
        labels: its label space.
        classifier: unit text embeddings of its classes, classes × d, float32.
        logit_scale: factor on cosines before the softmax.
        signed: what its signature says.
    """

    name: str
    model: ClipModel
    labels: LabelSpace
    classifier: Tensor
    logit_scale: float
    signed: SignedModel


def load_version(directory: Path, outside: Outside) -> Served:
    """Load a version from the directory of its artifacts.

    Args:
        directory: as `governance.serving.contents` describes it.
        outside: whom to trust, and where the base model is.

    Raises:
        NotFoundError: the directory is not signed, or the base model's files are missing.
        UnavailableError: the base model had to be downloaded and could not be.
        IntegrityError: signature, key, files, digests, base model or edit are not what they should be.
    """
    # 1. Signature and files hold together, and it is a key, and a version, that was asked for.
    signed = verify_directory(directory, besides=(*UNSIGNED, COMPILED))
    outside.check(signed)
    try:
        return _load(directory, signed, outside)
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise IntegrityError(f"{directory} is signed, but cannot be read: {error!r}") from error


def _load(directory: Path, signed: SignedModel, outside: Outside) -> Served:
    facts = signed.facts
    # 2. The parts make up the version that the signature speaks of.
    content = json.loads((directory / LABELS).read_text(encoding="utf-8"))
    if digest_json(content) != facts["labels_digest"]:
        raise IntegrityError(f"{directory}: {LABELS} is another label space than was signed for")
    projector, text = read_factors(load((directory / FACTORS).read_bytes()))
    if _version_digest(facts, projector, text) != facts["version_digest"]:
        raise IntegrityError(f"{directory}: {FACTORS} gives another version digest than was signed")
    labels = LabelSpace.from_dict(content)
    classifier = load((directory / CLASSIFIER).read_bytes())["rows"]
    if tuple(classifier.shape) != (len(labels.classes), facts["dimension"]):
        raise IntegrityError(f"{directory}: {CLASSIFIER} does not fit the label space")
    # 3. The base model is the one that was registered.
    source = base_source(Source(**facts["source"]), outside.base_model)
    base = _load_base(source, facts["base_weights_digest"], facts["base_config_digest"])
    # 4. The tensors that change are those of this edit: a random batch through both towers shows it.
    changed = load((directory / CHANGED).read_bytes())
    edited = install(base, changed, projector, text)
    # 5. So the weights are those that were measured.
    if edited.weights_digest != facts["weights_digest"]:
        raise IntegrityError(f"{directory}: {CHANGED} gives other weights than were signed for")
    return Served(signed.name, edited, labels, classifier, float(facts["logit_scale"]), signed)


def base_source(recorded: Source, override: str | None) -> Source:
    """Where the base model is: where it was registered from, unless somebody says otherwise.

    Args:
        recorded: at registration.
        override: an open_clip directory, or a weights file of the recorded configuration.

    Raises:
        NotFoundError: there is no such place.
    """
    if override is None:
        return recorded
    path = Path(override).expanduser()
    if recorded.pretrained is not None and path.is_file():
        return replace(recorded, pretrained=str(path.absolute()))
    if not path.is_dir():
        raise NotFoundError(
            f"{BASE_MODEL} names {override}, and there is no such directory or file"
        )
    return parse_source(str(path.absolute()), None)


def _load_base(source: Source, weights_digest: str, config_digest: str) -> ClipModel:
    try:
        return load_model(source, weights_digest, config_digest)
    except (NotFoundError, UnavailableError) as error:
        hint = f"say with {BASE_MODEL} where the base model is"
        found: GovernanceError = type(error)(f"{error}; {hint}")
        raise found from error


def _version_digest(facts: Mapping[str, Any], projector: Projector, text: Projector | None) -> str:
    return version_digest(
        facts["base_weights_digest"],
        facts["labels_digest"],
        projector.digest,
        facts["projectors"],
        () if text is None else (digest_tensor(text.a), digest_tensor(text.b)),
    )
