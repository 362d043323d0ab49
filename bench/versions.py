"""Time to evaluate a new version of the model from cached embeddings, against the ways that spend more.

Random embeddings and weights: only the time counts here, and it does not depend on the values.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.output import Section, Settings, ratio, table
from bench.timing import one_thread, peak_memory, seconds
from governance.unlearning.bank import unit
from governance.unlearning.evaluation import edited_logits
from governance.unlearning.projector import Projector, random_edit

IMAGES, DIMENSION, CLASSES = 50_000, 512, 1000
RANKS = (1, 8, 64)
CHUNK = 10_000
"""Images at a time: the logits of all of them at once would take 200 MB."""
ENCODER, SAMPLE = "ViT-B-32", 32
ENCODING = f"encode again with {ENCODER} (scaled from {SAMPLE} images, random weights)"


def run(settings: Settings) -> Section:
    """Predict 50,000 images with 1,000 classes after an edit, each way."""
    images, classes = (1000, 100) if settings.quick else (IMAGES, CLASSES)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(images, DIMENSION, generator=generator)
    texts = unit(torch.randn(classes, DIMENSION, generator=generator))
    entries: list[dict[str, Any]] = []
    with one_thread():
        base = features @ texts.T.float()
        encoding = None if settings.quick else _encode(generator) * images / SAMPLE
        for rank in RANKS:
            edit = random_edit(DIMENSION, rank, generator)
            ways: dict[str, Callable[[], Tensor]] = {
                "correct cached logits": partial(_corrected, features, base, texts, edit),
                "low-rank correction, `edited_logits`": partial(_low_rank, features, texts, edit),
                "edit moved into the texts": partial(_moved, features, texts, edit),
                "dense matrix on all features": partial(_dense, features, texts, edit),
            }
            answers = {name: way() for name, way in ways.items()}
            reference = answers["dense matrix on all features"]
            for name, way in ways.items():
                same = (answers[name] == reference).double().mean()
                entries.append(
                    {
                        "rank": rank,
                        "way": name,
                        "seconds": seconds(way, 1 if settings.quick else 3),
                        "peak_bytes": peak_memory(way),
                        "same_predictions": float(same),
                    }
                )
            if encoding is not None:
                ours = entries[-1]["seconds"]
                entries.append({"rank": rank, "way": ENCODING, "seconds": encoding + ours})
    return Section("versions", {"versions": _table(entries)}, entries)


def _corrected(features: Tensor, base: Tensor, texts: Tensor, edit: Projector) -> Tensor:
    """E Tᵀ is kept from the first evaluation; only (E A)(B Tᵀ) is added."""
    right, a = (edit.b @ texts.T).float(), edit.a.float()
    return _predictions(
        torch.addmm(known, part @ a, right)
        for part, known in zip(torch.split(features, CHUNK), torch.split(base, CHUNK), strict=True)
    )


def _low_rank(features: Tensor, texts: Tensor, edit: Projector) -> Tensor:
    """What the package does: E Tᵀ + (E A)(B Tᵀ), keeping only the features."""
    return _predictions(edited_logits(part, texts, edit) for part in torch.split(features, CHUNK))


def _moved(features: Tensor, texts: Tensor, edit: Projector) -> Tensor:
    """E (P Tᵀ), one product as for an unedited model: P Tᵀ = Tᵀ + A (B Tᵀ) is small."""
    columns = (texts.T + edit.a @ (edit.b @ texts.T)).float()
    return _predictions(part @ columns for part in torch.split(features, CHUNK))


def _dense(features: Tensor, texts: Tensor, edit: Projector) -> Tensor:
    """(E P) Tᵀ with the d × d matrix."""
    dense, columns = edit.dense().float(), texts.T.float()
    return _predictions((part @ dense) @ columns for part in torch.split(features, CHUNK))


def _predictions(logits: Any) -> Tensor:
    return torch.cat([part.argmax(dim=1) for part in logits])


def _encode(generator: torch.Generator) -> float:
    """Seconds to encode the sample with random weights."""
    import open_clip

    logging.disable(logging.WARNING)  # open_clip warns of random weights, which are meant
    try:
        model = open_clip.create_model(ENCODER, pretrained=None).eval()
    finally:
        logging.disable(logging.NOTSET)
    images = torch.randn(SAMPLE, 3, 224, 224, generator=generator)

    def encode() -> Tensor:
        with torch.inference_mode():
            encoded: Tensor = model.encode_image(images)
            return encoded

    return seconds(encode, 2)


def _table(entries: list[dict[str, Any]]) -> str:
    rows = []
    for e in entries:
        ours = next(o for o in entries if o["rank"] == e["rank"])
        memory = e.get("peak_bytes")
        rows.append(
            [
                str(e["rank"]),
                e["way"],
                ratio(e["seconds"] / ours["seconds"]),
                f"{memory / 2**20:.0f} MB" if memory is not None else None,
                f"{e['same_predictions']:.3%}" if "same_predictions" in e else None,
            ]
        )
    return table(rows, ["rank", "way", "time", "extra memory", "same predictions as dense"])
