"""Every configuration of open_clip has a fold path, and real towers of every family carry an edit."""

from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from governance.clip.certify import Precision
from governance.clip.export import export_directory
from governance.clip.fold import check_fold, fold
from governance.clip.load import ClipModel, load_model, no_grad_features
from governance.clip.paths import FoldPath, find_image_path, find_text_path
from governance.clip.source import CONFIG_NAME, WEIGHTS_NAME, Source
from governance.digests import canonical_json
from tests.clip.test_certify import projector
from tests.clip.test_huggingface import text_tower

__all__ = ["text_tower"]

pytestmark = pytest.mark.slow

IMAGE = {
    "visual.proj": 56,
    "visual.attnpool.c_proj": 10,
    "visual.head.proj": 27,
    "visual.head.mlp.fc2": 2,
    "visual.trunk.head": 15,
    "visual.trunk.head.fc": 6,
    "visual.head.proj, added": 28,
}
TEXT = {
    "text_projection": 69,
    "text.text_projection": 39,
    "text.text_projection, a layer": 25,
    "text.text_projection, added": 1,
    "text.proj": 5,
    "text.proj.2": 5,
}
REAL = {
    "visual.proj": "ViT-S-32-alt",
    "visual.attnpool.c_proj": "RN50",
    "visual.head.proj": "vit_medium_patch16_gap_256",
    "visual.head.mlp.fc2": "convnext_large_d",
    "visual.trunk.head": "EVA02-B-16",
    "visual.trunk.head, PE": "PE-Core-T-16-384",
    "visual.trunk.head.fc": "MobileCLIP-S1",
    "visual.head.proj, added": "ViT-B-32-SigLIP2-256",
}
"""A small configuration of each family."""
SMALLER = {
    "visual.head.mlp.fc2": "convnext_nano",
    "visual.trunk.head": "eva02_tiny_patch14_224",
}
"""Trunks of the same class, where all configurations of a family have a hundred million parameters."""


def family(path: FoldPath) -> str:
    if path.config:
        return f"{path.name}, added"
    if path.name.endswith("text_projection") and path.is_linear:
        return f"{path.name}, a layer"
    return path.name


def on_meta(name: str, text_tower: Path) -> ClipModel:
    """The architecture of a configuration without any weights; a small BERT stands in for towers from the hub."""
    config: dict[str, Any] = open_clip.get_model_config(name)
    arguments = deepcopy(config)
    custom = arguments.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
    arguments["vision_cfg"]["timm_model_pretrained"] = False
    for section in ("text_cfg", "multimodal_cfg"):  # how a tower ends does not depend on its depth
        arguments.get(section, {})["layers"] = 1
    if "hf_model_name" in config["text_cfg"]:
        arguments["text_cfg"] |= {"hf_model_name": str(text_tower), "hf_model_pretrained": False}
    coca = "multimodal_cfg" in config
    build = open_clip.CoCa if coca else open_clip.CustomTextCLIP if custom else open_clip.CLIP
    with torch.device("meta"):
        module = build(**arguments)
    return ClipModel(
        Source(name, "none"), module, {"model_cfg": config}, torch.as_tensor, torch.as_tensor, {}
    )


@pytest.mark.filterwarnings("ignore")  # what timm says of names that it deprecated
def test_every_configuration_has_a_fold_path_on_both_sides(text_tower: Path) -> None:
    pytest.importorskip("transformers")
    images: Counter[str] = Counter()
    texts: Counter[str] = Counter()
    names = open_clip.list_models()
    for name in names:
        model = on_meta(name, text_tower)
        assert all(t.is_meta for t in model.module.parameters())
        images[family(find_image_path(model))] += 1
        texts[family(find_text_path(model))] += 1
    assert (images.total(), texts.total()) == (len(names), len(names))
    if open_clip.__version__.startswith("3.3."):
        assert (images, texts) == (IMAGE, TEXT)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REAL)
def test_a_real_tower_of_each_family_carries_an_edit(kind: str, tmp_path: Path) -> None:
    """The image tower is as open_clip configures it; of the text tower only the end matters here."""
    config: dict[str, Any] = open_clip.get_model_config(REAL[kind])
    small = {"width": 64, "heads": 2, "layers": 1, "vocab_size": 49408, "context_length": 16}
    kept = {key: config["text_cfg"][key] for key in ("proj_bias",) if key in config["text_cfg"]}
    config["text_cfg"] = small | kept
    config["vision_cfg"]["timm_model_pretrained"] = False
    if kind in SMALLER:
        config["vision_cfg"]["timm_model_name"] = SMALLER[kind]
    if "timm_model_name" not in config["vision_cfg"]:
        del config["vision_cfg"]["timm_model_pretrained"]
    arguments = deepcopy(config)
    custom = arguments.pop("custom_text", False)
    torch.manual_seed(5)
    module = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**arguments)
    place = tmp_path / "model"
    place.mkdir()
    (place / CONFIG_NAME).write_text(canonical_json({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(module.state_dict(), place / WEIGHTS_NAME)
    del module

    model = load_model(Source(f"local-dir:{place}"))
    assert family(find_image_path(model)) in (kind, kind.partition(", ")[0])
    check_fold(model, precisions=[Precision.FP32, Precision.BF16])
    edit = projector(model.dimension, 1)
    export_directory(model, fold(model, edit, edit), tmp_path / "out", {})
    stock, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}/out")
    images = torch.randn(2, 3, *model.image_size, generator=torch.Generator().manual_seed(9))
    before = no_grad_features(model.module, images).double()
    expected = before @ edit.dense()
    actual = no_grad_features(stock.eval(), images).double()
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (expected - before).abs().max() > 1e-2 * before.abs().max()
    tokens = model.tokenize(["a mug", "a cat"])
    with torch.inference_mode():
        expected = model.module.encode_text(tokens).double() @ edit.dense()
        actual = stock.encode_text(tokens).double()
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()
