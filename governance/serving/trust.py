"""What a serving process is told from outside: whom to trust, and where things are.

Each setting comes from the environment or from MLflow's model configuration. Who wrote the artifacts can write neither.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from governance.errors import IntegrityError, InvalidInputError
from governance.evidence.artifact import SignedModel
from governance.evidence.keys import trusted_key_id

TRUST_KEY = "GOVERNANCE_TRUST_KEY"
TRUST_VERSION = "GOVERNANCE_TRUST_VERSION"
BASE_MODEL = "GOVERNANCE_BASE_MODEL"
IMAGE_ROOT = "GOVERNANCE_IMAGE_ROOT"

_KEYS = {
    "trust_key": TRUST_KEY,
    "trust_version": TRUST_VERSION,
    "base_model": BASE_MODEL,
    "image_root": IMAGE_ROOT,
}


@dataclass(frozen=True)
class Outside:
    """The settings of a serving process.

    Attributes:
        keys: ids of which one must have signed; None if any may.
        version: digest that the version must have; None if any may.
        base_model: where the base model is, instead of where it was registered from: an open_clip directory, or a
            weights file of the recorded configuration.
        image_root: directory that paths of images are inside of; None if they are not confined.
    """

    keys: frozenset[str] | None = None
    version: str | None = None
    base_model: str | None = None
    image_root: Path | None = None

    @classmethod
    def read(
        cls, config: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
    ) -> "Outside":
        """Settings from MLflow's model configuration, and from the environment, which comes first.

        Args:
            config: keys ``trust_key`` (several with commas between), ``trust_version``, ``base_model``, ``image_root``.
            environ: instead of the process's; ``GOVERNANCE_`` and the same names in capitals.

        Raises:
            InvalidInputError: one of them cannot be used.
        """
        found: dict[str, str] = {}
        for key, value in (config or {}).items():
            if key not in _KEYS:
                raise InvalidInputError(
                    f"the model configuration has an unknown key {key!r}; known are {', '.join(_KEYS)}"
                )
            if not isinstance(value, str) or not value:
                raise InvalidInputError(f"{key} in the model configuration must be a string")
            found[key] = value
        environ = os.environ if environ is None else environ
        found |= {key: environ[name] for key, name in _KEYS.items() if environ.get(name)}
        keys, root = found.get("trust_key"), found.get("image_root")
        if root is not None and not Path(root).is_dir():
            raise InvalidInputError(f"{IMAGE_ROOT} names {root}, which is no directory")
        return cls(
            None if keys is None else frozenset(trusted_key_id(k.strip()) for k in keys.split(",")),
            found.get("trust_version"),
            found.get("base_model"),
            None if root is None else Path(root).resolve(),
        )

    def check(self, signed: SignedModel) -> None:
        """Make sure that a directory is one that may be served.

        Raises:
            IntegrityError: it was signed with another key, or holds another version.
        """
        if self.keys is not None and signed.key.key_id not in self.keys:
            raise IntegrityError(
                f"it is signed with key {signed.key.key_id}, which {TRUST_KEY} does not name"
            )
        if self.version is not None and signed.facts.get("version_digest") != self.version:
            raise IntegrityError(
                f"it holds {signed.name} with another version digest than {TRUST_VERSION} names"
            )
