"""Embeddings on disk: a data set is encoded once for each base model."""

import os
import tempfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from governance.digests import digest_json
from governance.unlearning.projector import digest_tensor

_DIGEST = "digest"
"""The one metadata key: without it a flipped bit would go unnoticed into a report."""


class EmbeddingCache:
    """Unnormalised image embeddings, keyed by base model, data set and preprocessing digests."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, weights_digest: str, dataset_digest: str, config_digest: str) -> Path:
        """File for a combination; it may not exist yet."""
        key = digest_json([weights_digest, dataset_digest, config_digest])
        return self._directory / f"{key.removeprefix('sha256:')}.safetensors"

    def get(self, path: Path, count: int, dimension: int) -> Tensor | None:
        """Cached embeddings, count × dimension float32, or None if absent or unusable."""
        try:
            with safe_open(path, framework="pt") as stored:
                features: Tensor = stored.get_tensor("features")
                digest = (stored.metadata() or {}).get(_DIGEST)
        except (OSError, SafetensorError):
            return None
        if tuple(features.shape) != (count, dimension) or digest_tensor(features) != digest:
            return None
        return features

    def put(self, path: Path, features: Tensor) -> None:
        """Keep embeddings; the file appears whole or not at all."""
        self._directory.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._directory, suffix=".partial")
        os.close(handle)
        try:
            metadata = {_DIGEST: digest_tensor(features)}
            save_file({"features": features.contiguous()}, temporary, metadata=metadata)
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
