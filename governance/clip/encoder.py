"""What the workflow needs of a model: its features, its fold, its export. Loads open_clip only when it must."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from governance.clip.cache import EmbeddingCache
from governance.clip.source import Source
from governance.datasets import Item, files
from governance.digests import digest_mapping
from governance.progress import Meter, silent
from governance.unlearning.projector import digest_tensor

if TYPE_CHECKING:
    from governance.clip.fold import Fold
    from governance.clip.load import ClipModel
    from governance.clip.synthesise import Synthesis


@dataclass(frozen=True)
class BaseModel:
    """Identity of a registered base model, as the ledger holds it.

    Attributes:
        source: where it came from.
        weights_digest: of its weights at registration.
        config_digest: of its architecture and image preprocessing.
        dimension: d.
    """

    source: Source
    weights_digest: str
    config_digest: str
    dimension: int


class Encoder:
    """Loads each base model at most once and encodes each data set at most once for it.

    Attributes:
        images_encoded: how many images went through an image tower so far.
    """

    def __init__(self, cache_dir: Path) -> None:
        self._directory = cache_dir
        self._cache = EmbeddingCache(cache_dir / "embeddings")
        self._loaded: dict[tuple[str, str], ClipModel] = {}
        self.images_encoded = 0

    def model(self, base: BaseModel) -> "ClipModel":
        """The model itself, with the weights it was registered with.

        Raises:
            NotFoundError: its files are missing.
            IntegrityError: its weights or its configuration changed.
        """
        from governance.clip.load import load_model

        key = base.weights_digest, base.config_digest
        if key not in self._loaded:
            self._loaded[key] = load_model(base.source, *key)
        return self._loaded[key]

    def adopt(self, model: "ClipModel") -> None:
        """Keep a model that is loaded already."""
        self._loaded[model.weights_digest, model.config_digest] = model

    def features(
        self,
        base: BaseModel,
        dataset_digest: str,
        location: Path,
        items: Sequence[Item],
        meter: Meter = silent,
    ) -> Tensor:
        """Unnormalised embeddings of a data set, from the cache or encoded now; n × d float32.

        Raises:
            NotFoundError: images or weights are missing.
            IntegrityError: images or weights changed.
        """
        path = self._cache.path(base.weights_digest, dataset_digest, base.config_digest)
        cached = self._cache.get(path, len(items), base.dimension)
        if cached is not None:
            return cached
        from governance.clip.encode import encode_images

        model, paths = self.model(base), files(location, items)
        with meter("encoding images", len(items)) as done:
            features = encode_images(model, paths, done)
        self.images_encoded += len(items)
        self._cache.put(path, features)
        return features

    def synthesise(
        self, base: BaseModel, goals: Tensor, settings: "Synthesis", meter: Meter = silent
    ) -> Tensor:
        """Embeddings of images optimised towards text embeddings, p × images × d; see `clip.synthesise`.

        Raises:
            NotFoundError: weights are missing.
            IntegrityError: weights changed.
            InvalidInputError: the image tower gives no gradient to its pixels.
        """
        from governance.clip.synthesise import synthesise

        return synthesise(self.model(base), goals, settings, self._directory, meter)


def weights_digest_with(model: "ClipModel", fold: "Fold") -> str:
    """Digest of the weights of the edited model, at the precision of the fold."""
    if fold.precision == "fp32":  # the digests of what did not change are known
        replaced = {name: digest_tensor(tensor) for name, tensor in fold.tensors.items()}
        return digest_mapping({**model.tensor_digests, **replaced})
    state = fold.state(model)
    return digest_mapping({name: digest_tensor(tensor) for name, tensor in state.items()})
