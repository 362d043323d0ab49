"""A fold put into a model gives what an export of it gives, for every kind of tower."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from governance.clip.encoder import weights_digest_with
from governance.clip.fold import fold, install
from governance.clip.load import load_model, no_grad_features
from governance.clip.source import Source
from governance.errors import IntegrityError
from governance.unlearning.projector import Projector, identity, random_edit
from tests.clip.conftest import TOWERS


def edit(dimension: int, seed: int) -> Projector:
    return random_edit(dimension, 4, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", [kind for kind in TOWERS if kind != "residual"])
@pytest.mark.parametrize("sides", ["image", "both"])
def test_every_tower(model_dir: Callable[[str], Path], kind: str, sides: str) -> None:
    source = Source(f"local-dir:{model_dir(kind)}")
    base, other = load_model(source), load_model(source)
    image = edit(base.dimension, 1)
    text = edit(base.dimension, 2) if sides == "both" else None
    folded = fold(base, image, text)
    edited = install(other, folded.tensors, image, text)
    assert edited.weights_digest == weights_digest_with(base, folded)
    assert edited.config == folded.edited_config(base)
    pixels = torch.randn(3, 3, *base.image_size, generator=torch.Generator().manual_seed(3))
    before, after = (no_grad_features(m.module, pixels) for m in (base, edited))
    assert torch.allclose(after, image.apply(before), atol=1e-4 * float(before.abs().max()))
    assert not torch.allclose(after, before, atol=1e-2 * float(before.abs().max()))
    tokens = base.tokenize(["a cat", "a dog"])
    with torch.inference_mode():
        was, now = (m.module.encode_text(tokens, normalize=False) for m in (base, edited))  # type: ignore[operator]
    expected = was if text is None else text.apply(was)
    assert torch.allclose(now, expected, atol=1e-4 * float(was.abs().max()))


def test_no_edit_changes_nothing(model_dir: Callable[[str], Path]) -> None:
    model = load_model(Source(f"local-dir:{model_dir('vit')}"))
    digest = model.weights_digest
    assert install(model, {}, identity(model.dimension)).weights_digest == digest


def test_tensors_of_another_edit(model_dir: Callable[[str], Path]) -> None:
    model = load_model(Source(f"local-dir:{model_dir('vit')}"))
    tensors = fold(model, edit(model.dimension, 1)).tensors
    with pytest.raises(IntegrityError, match="the folded image tower differs from the edit"):
        install(model, tensors, edit(model.dimension, 2))
    with pytest.raises(IntegrityError, match="changes, and no edit changes it"):
        install(model, tensors, identity(model.dimension))
    with pytest.raises(IntegrityError, match="its tensor is missing"):
        install(model, {}, edit(model.dimension, 1))
