"""Tensors on disk: a data set is encoded once for each base model, a prototype is synthesised once."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from governance.digests import digest_json, digest_mapping
from governance.unlearning.projector import digest_tensor

_DIGEST = "digest"
"""The one metadata key: without it a flipped bit would go unnoticed into a report."""


def read_tensors(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a cache file by name, or None if it is absent or not what was written."""
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            digest = (stored.metadata() or {}).get(_DIGEST)
    except (OSError, SafetensorError):
        return None
    return tensors if _digest(tensors) == digest else None


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a cache file; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    os.close(handle)
    try:
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(whole, temporary, metadata={_DIGEST: _digest(whole)})
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def file_name(key: object) -> str:
    """Name of a cache file without its ending: the hex digest of a JSON value."""
    return digest_json(key).removeprefix("sha256:")


def _digest(tensors: Mapping[str, Tensor]) -> str:
    return digest_mapping({name: digest_tensor(tensor) for name, tensor in tensors.items()})


class EmbeddingCache:
    """Unnormalised image embeddings, keyed by base model, data set and preprocessing digests."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, weights_digest: str, dataset_digest: str, config_digest: str) -> Path:
        """File for a combination; it may not exist yet."""
        name = file_name([weights_digest, dataset_digest, config_digest])
        return self._directory / f"{name}.safetensors"

    def get(self, path: Path, count: int, dimension: int) -> Tensor | None:
        """Cached embeddings, count × dimension float32, or None if absent or unusable."""
        features = (read_tensors(path) or {}).get("features")
        if features is None or tuple(features.shape) != (count, dimension):
            return None
        return features

    def put(self, path: Path, features: Tensor) -> None:
        """Keep embeddings; the file appears whole or not at all."""
        write_tensors(path, {"features": features})
