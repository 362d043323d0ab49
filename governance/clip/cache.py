"""Embeddings on disk: a data set is encoded once for each base model."""

import os
import tempfile
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from governance.digests import digest_json


class EmbeddingCache:
    """Unnormalised image embeddings, keyed by base model, data set and preprocessing digests."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, weights_digest: str, dataset_digest: str, preprocess_digest: str) -> Path:
        """File for a combination; it may not exist yet."""
        key = digest_json([weights_digest, dataset_digest, preprocess_digest])
        return self._directory / f"{key.removeprefix('sha256:')}.safetensors"

    def get(self, path: Path, count: int, dimension: int) -> Tensor | None:
        """Cached embeddings, count × dimension float32, or None if absent or unusable."""
        try:
            features = load_file(path).get("features")
        except (OSError, SafetensorError):
            return None
        if features is None or tuple(features.shape) != (count, dimension):
            return None
        return features

    def put(self, path: Path, features: Tensor) -> None:
        """Keep embeddings; the file appears whole or not at all."""
        self._directory.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._directory, suffix=".partial")
        os.close(handle)
        try:
            save_file({"features": features.contiguous()}, temporary)
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
