"""The embedded encoder as shipped: loads with stock open_clip, recognises, is small."""

import zlib
from collections import defaultdict
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from governance.demo import MODEL_DIR
from governance.demo.encoder import load_labels, scores, used_tokens
from governance.demo.scenes import CLASSES, DOMAINS
from governance.demo.train import held_out_jobs, pixels
from governance.unlearning.labels import LabelSpace

PER_PAIR = 6


@pytest.fixture(scope="module")
def labels() -> LabelSpace:
    return load_labels()


@pytest.fixture(scope="module")
def held_out() -> tuple[Tensor, Tensor]:
    images = np.stack([pixels(job) for job in held_out_jobs(PER_PAIR, seed=11)])
    pairs = torch.arange(len(CLASSES) * len(DOMAINS)).repeat_interleave(PER_PAIR)
    return torch.from_numpy(images), pairs


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    with safe_open(MODEL_DIR / "open_clip_model.safetensors", "pt") as file:
        assert len(file.metadata() or {}) <= 1
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_loads_strictly_with_stock_open_clip(weights: dict[str, Tensor]) -> None:
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{MODEL_DIR}")
    assert type(model) is open_clip.CLIP
    state: dict[str, Any] = model.state_dict()
    assert state.keys() == weights.keys()
    # A path that is found but not read gives a random model without a word.
    assert all(torch.equal(state[name], weights[name].to(state[name].dtype)) for name in weights)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{MODEL_DIR}")
    assert tokenizer(["a photo of a mug"]).shape == (1, model.context_length)
    assert preprocess is not None


def test_recognises_held_out_renders(labels: LabelSpace, held_out: tuple[Tensor, Tensor]) -> None:
    figures = scores(MODEL_DIR, *held_out, labels)
    assert figures["plain"] >= 0.90, figures
    assert figures["domain prompts"] >= 0.90, figures
    assert all(figures[f"plain/{domain}"] >= 0.85 for domain in DOMAINS), figures
    # Words that no edit is ever fitted on must work as well, or a paraphrase attack tests nothing.
    assert figures["paraphrase"] >= 0.85, figures


def test_unused_token_rows_are_zero(labels: LabelSpace, weights: dict[str, Tensor]) -> None:
    rows = weights["token_embedding.weight"]
    used = torch.zeros(len(rows), dtype=torch.bool)
    used[used_tokens(labels)] = True
    assert not rows[~used].any()
    assert rows[used].any(dim=1).all()
    assert used.sum() < 200


def test_weights_are_half_precision_and_finite(weights: dict[str, Tensor]) -> None:
    kinds = defaultdict(int)
    for tensor in weights.values():
        kinds[tensor.dtype] += 1
        assert bool(torch.isfinite(tensor).all())
    assert set(kinds) <= {torch.float16, torch.int64}


def test_model_directory_compresses_to_four_megabytes() -> None:
    files = sorted(p for p in MODEL_DIR.iterdir() if p.is_file())
    assert [p.name for p in files] == ["open_clip_config.json", "open_clip_model.safetensors"]
    packed = sum(len(zlib.compress(p.read_bytes())) for p in files)
    assert packed <= 4 * 1024**2
