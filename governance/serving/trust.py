"""What a serving process is told from outside: whom to trust, and where things are.

All of it comes from the environment. MLflow's model configuration would not do: a file among the artifacts decides what
of it is heeded.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from governance.errors import IntegrityError, InvalidInputError
from governance.evidence.artifact import SignedModel
from governance.evidence.keys import trusted_key_id

TRUST_KEY = "GOVERNANCE_TRUST_KEY"
TRUST_VERSION = "GOVERNANCE_TRUST_VERSION"
BASE_MODEL = "GOVERNANCE_BASE_MODEL"
IMAGE_ROOT = "GOVERNANCE_IMAGE_ROOT"


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
    def read(cls, environ: Mapping[str, str] | None = None) -> "Outside":
        """Settings from the environment; several keys stand with commas between.

        Args:
            environ: instead of the process's.

        Raises:
            InvalidInputError: one of them cannot be used.
        """
        environ = os.environ if environ is None else environ
        keys, root = environ.get(TRUST_KEY), environ.get(IMAGE_ROOT)
        if root and not Path(root).is_dir():
            raise InvalidInputError(f"{IMAGE_ROOT} names {root}, which is no directory")
        return cls(
            frozenset(trusted_key_id(key.strip()) for key in keys.split(",")) if keys else None,
            environ.get(TRUST_VERSION) or None,
            environ.get(BASE_MODEL) or None,
            Path(root).resolve() if root else None,
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
