"""What a served version answers: labels and scores of images, or embeddings of images and texts."""

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from governance.clip.encode import BATCH_SIZE, encode_texts
from governance.clip.load import no_grad_features
from governance.errors import InvalidInputError, NotFoundError
from governance.serving.load import Served
from governance.serving.trust import IMAGE_ROOT
from governance.unlearning.bank import unit
from governance.unlearning.labels import MAX_NAME, fill

CLASSIFY, EMBED = "classify", "embed"
IMAGE, PATH, TEXT = "image", "path", "text"
TOP_K = 5
MAX_LABELS = 1000
MAX_PIXELS = 64 * 2**20
"""An image can be a few bytes and yet fill the memory of the process."""

Row = Mapping[str, Any]
"""One of ``image`` (bytes of an image file, or those in base64), ``path`` (of an image file) and ``text``."""


def answer(
    served: Served,
    rows: Sequence[Row],
    mode: str = CLASSIFY,
    top_k: int = TOP_K,
    labels: Sequence[str] = (),
    root: Path | None = None,
) -> list[dict[str, Any]]:
    """Answer a request.

    Args:
        served: the version.
        rows: images, or with mode ``embed`` texts too.
        mode: ``classify`` or ``embed``.
        top_k: how many labels, the best first; all if there are fewer.
        labels: other labels to choose from than those of the label space, in its score template.
        root: directory that paths are relative to and must not leave; None if any path will do.

    Returns:
        For each row ``labels`` and ``scores`` (the softmax over all labels, of which these are the largest), or
        ``embedding`` (d numbers, unit length).

    Raises:
        InvalidInputError: mode, labels or a row cannot be used; rows count from 1.
        NotFoundError: there is no file at a path.
    """
    if mode not in (CLASSIFY, EMBED):
        raise InvalidInputError(f"mode must be {CLASSIFY!r} or {EMBED!r}, not {str(mode)[:50]!r}")
    if top_k < 1:
        raise InvalidInputError("top_k must be at least 1")
    if not rows:
        raise InvalidInputError(f"there is no row; each has one of {IMAGE!r}, {PATH!r}, {TEXT!r}")
    kinds = [_kind(number, row) for number, row in enumerate(rows, start=1)]
    if mode == EMBED:
        return [{"embedding": row} for row in _embeddings(served, rows, kinds, root).tolist()]
    if TEXT in kinds:
        raise InvalidInputError(
            f"row {kinds.index(TEXT) + 1} is a text; only images are classified"
        )
    names, columns = served.labels.classes, served.classifier
    if labels:
        names = _checked(labels)
        prompts = [fill(served.labels.score_template, name) for name in names]
        columns = unit(encode_texts(served.model, prompts)).float()
    scores = _embeddings(served, rows, kinds, root) @ columns.T
    best = (served.logit_scale * scores).softmax(dim=1).topk(min(top_k, len(names)), dim=1)
    return [
        {"labels": [names[column] for column in columns], "scores": shares}
        for columns, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _kind(number: int, row: Row) -> str:
    given = [name for name in (IMAGE, PATH, TEXT) if name in row]
    if len(given) != 1:
        raise InvalidInputError(
            f"row {number} must have exactly one of {IMAGE!r}, {PATH!r} and {TEXT!r}, "
            f"and has {' and '.join(map(repr, given)) or 'none'}"
        )
    return given[0]


def _embeddings(
    served: Served, rows: Sequence[Row], kinds: Sequence[str], root: Path | None
) -> Tensor:
    """Unit embeddings, rows × d float32."""
    found = torch.zeros(len(rows), served.model.dimension)
    texts = [position for position, kind in enumerate(kinds) if kind == TEXT]
    images = [position for position, kind in enumerate(kinds) if kind != TEXT]
    for start in range(0, len(images), BATCH_SIZE):
        batch = images[start : start + BATCH_SIZE]
        pixels = [_pixels(served, position + 1, rows[position], root) for position in batch]
        found[batch] = unit(no_grad_features(served.model.module, torch.stack(pixels))).float()
    if texts:
        words = [str(rows[position][TEXT]) for position in texts]
        found[texts] = unit(encode_texts(served.model, words)).float()
    return found


def _pixels(served: Served, number: int, row: Row, root: Path | None) -> Tensor:
    data = _read(number, row[PATH], root) if PATH in row else row[IMAGE]
    try:
        with _opened(bytes(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InvalidInputError(f"row {number}: the image has too many pixels")
            return served.model.preprocess(image)
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidInputError(f"row {number} holds no image that can be read") from error


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        # MLflow decodes base64 in some of its request formats and passes it on in others.
        try:
            return Image.open(io.BytesIO(base64.b64decode(b"".join(data.split()), validate=True)))
        except binascii.Error as error:
            raise ValueError("neither an image nor base64") from error


def _read(number: int, name: object, root: Path | None) -> bytes:
    path = Path(str(name)) if root is None else root / str(name)
    try:
        if root is not None and not path.resolve().is_relative_to(root):
            raise InvalidInputError(f"row {number}: the path leads out of {IMAGE_ROOT}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"row {number}: there is no file {str(name)!r}") from error
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"row {number}: the file {str(name)!r} cannot be read") from error


def _checked(labels: Sequence[str]) -> tuple[str, ...]:
    names = tuple(str(label) for label in labels)
    if len(names) > MAX_LABELS:
        raise InvalidInputError(f"{len(names)} labels are too many; {MAX_LABELS} are allowed")
    for name in names:
        if not name.strip() or not name.isprintable() or len(name) > MAX_NAME:
            raise InvalidInputError(f"{name[:20]!r} cannot be a label")
    return names
