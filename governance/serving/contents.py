"""What lies in MLflow for a version besides its figures, and what is signed with it.

The same directory is the run's artifacts, the source of the model version and the signed directory
(`governance.evidence.artifact`). The weights of the base model are not in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from governance.clip.encoder import BaseModel
from governance.ledger.identity import named_sides
from governance.unlearning.projector import Projector

if TYPE_CHECKING:
    from torch import Tensor

FACTORS = "factors.safetensors"
"""The factors of P, float64: ``a`` and ``b``, ``text_a`` and ``text_b`` if the text tower is edited too."""

CHANGED = "changed.safetensors"
"""Tensors of the state dict that are others than the base model's, float32."""

CLASSIFIER = "classifier.safetensors"
"""``rows``: the unit text embeddings of the label space, as this version has them; classes × d, float32."""

LABELS = "labels.json"
RECIPE = "recipe.json"
CARD = "README.md"

UNSIGNED = ("registered_model_meta",)
"""What MLflow puts beside the files of a model that it loads in place."""

COMPILED = "__pycache__"
"""What Python puts there and runs instead of the script; the process that runs it cannot judge it."""


@dataclass(frozen=True)
class Identity:
    """Which version a directory holds, and what it needs besides.

    Attributes:
        model: name of the registered model.
        number: of the version.
        digest: of the version.
        weights_digest: of the edited weights at fp32.
        base: the model that is edited.
        labels_digest: of the label space.
        logit_scale: factor on cosines before the softmax.
        active: requests that the version holds.
        projectors: digests of their approved projectors.
        text: whether the text tower is edited too.
    """

    model: str
    number: int
    digest: str
    weights_digest: str
    base: BaseModel
    labels_digest: str
    logit_scale: float
    active: Sequence[int]
    projectors: Sequence[str]
    text: bool

    @property
    def name(self) -> str:
        """Subject of the signed statement."""
        return f"{self.model}/{self.number}"

    def facts(self) -> dict[str, Any]:
        """What the signature says of the version: digests and numbers, nobody's name."""
        return {
            "model": self.model,
            "version": self.number,
            "version_digest": self.digest,
            "weights_digest": self.weights_digest,
            "base_weights_digest": self.base.weights_digest,
            "base_config_digest": self.base.config_digest,
            "source": self.base.source.to_dict(),
            "dimension": self.base.dimension,
            "labels_digest": self.labels_digest,
            "logit_scale": self.logit_scale,
            "active_requests": list(self.active),
            "projectors": list(self.projectors),
            "sides": named_sides(self.text) if self.active else [],
        }


def factor_tensors(projector: Projector, text: Projector | None) -> "dict[str, Tensor]":
    """The factors of both sides under the names that they have in `FACTORS`."""
    factors = {"a": projector.a, "b": projector.b}
    return factors if text is None else factors | {"text_a": text.a, "text_b": text.b}


def read_factors(tensors: "Mapping[str, Tensor]") -> tuple[Projector, Projector | None]:
    """Inverse of `factor_tensors`; the condition of the fit is not among them.

    Raises:
        KeyError: a factor is missing.
    """
    image = Projector(tensors["a"], tensors["b"], float("nan"))
    if "text_a" not in tensors:
        return image, None
    return image, Projector(tensors["text_a"], tensors["text_b"], float("nan"))
