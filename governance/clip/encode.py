"""Images and prompts to embeddings."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from governance.clip.load import ClipModel, no_grad_features
from governance.digests import digest_bytes
from governance.errors import IntegrityError, NotFoundError

BATCH_SIZE = 64
Progress = Callable[[int], None]
"""Called with the number of items done since the last call."""


def encode_texts(model: ClipModel, prompts: Sequence[str]) -> Tensor:
    """Unnormalised text embeddings, n × d float32."""
    batches = []
    for start in range(0, len(prompts), 256):
        tokens = model.tokenize(list(prompts[start : start + 256]))
        with torch.inference_mode():
            features = model.module.encode_text(tokens, normalize=False)  # type: ignore[operator]
        batches.append(features.to(torch.float32))
    return torch.cat(batches)


def encode_images(
    model: ClipModel, files: Sequence[tuple[Path, str]], progress: Progress
) -> Tensor:
    """Unnormalised image embeddings, n × d float32.

    Args:
        model: the base model.
        files: path and expected digest of each image; a file that changed is not encoded.
        progress: told how many images are done.

    Raises:
        NotFoundError: a file is gone.
        IntegrityError: a file has another digest than when the data set was added.
    """
    features = []
    for start in range(0, len(files), BATCH_SIZE):
        batch = files[start : start + BATCH_SIZE]
        images = torch.stack([model.preprocess(_read_image(*item)) for item in batch])
        features.append(no_grad_features(model.module, images))
        progress(len(batch))
    return torch.cat(features)


def _read_image(path: Path, expected_digest: str) -> Image.Image:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"image {path} cannot be read: {error.strerror}") from error
    if digest_bytes(data) != expected_digest:
        raise IntegrityError(
            f"image {path} changed since its data set was added; restore it, or add the data set "
            "under another name"
        )
    return Image.open(io.BytesIO(data))
