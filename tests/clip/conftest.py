"""Tiny models with random weights, one for each way in which a tower can end, saved as open_clip directories."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from governance.clip.load import ClipModel, load_model
from governance.clip.source import CONFIG_NAME, WEIGHTS_NAME, Source

DIMENSION = 32
TEXT = {"context_length": 8, "width": 32, "heads": 2, "layers": 1, "vocab_size": 49408}
TOWERS: dict[str, dict[str, Any]] = {
    "vit": {"layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
    "resnet": {"layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 16},
    "timm-linear": {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear"},
    "timm-bias": {
        "timm_model_name": "test_vit",
        "timm_pool": "",
        "timm_proj": "linear",
        "timm_proj_bias": True,
        "timm_drop": 0.5,
    },
    "timm-mlp": {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": "mlp"},
    "attention-pool": {
        "timm_model_name": "test_efficientnet",
        "timm_pool": "rot_attn",
        "timm_proj": None,
    },
    "trunk-head": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None},
    "trunk-head-fc": {"timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": None},
    "trunk-fc": {"timm_model_name": "test_resnet", "timm_pool": "avg", "timm_proj": None},
    "trunk-classifier": {
        "timm_model_name": "test_efficientnet",
        "timm_pool": "avg",
        "timm_proj": None,
    },
    "siglip": {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none"},
    "siglip-bias": {
        "timm_model_name": "test_vit3",
        "timm_pool": "map",
        "timm_proj": "none",
        "timm_proj_bias": True,
        "timm_drop": 0.5,
    },
    "residual": {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
}
WIDTHS = {"siglip": 96, "siglip-bias": 96, "residual": 64}
"""Towers without a projection give their own width."""
IMAGE_SIZES = {"siglip": 160, "siglip-bias": 160}
TEXTS: dict[str, dict[str, Any]] = {
    "timm-linear": {"proj_bias": True},  # as SigLIP has it
    "siglip": {"proj_bias": True, "pool_type": "last", "no_causal_mask": True},
    "siglip-bias": {"proj_type": "none", "width": 96},
}
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear"}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are twice as fast without threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_model(kind: str, place: Path) -> Path:
    """Make `place` the directory of one of `TOWERS`."""
    vision = {"image_size": IMAGE_SIZES.get(kind, 32), **TOWERS[kind]}
    is_timm = "timm_model_name" in vision
    config = {
        "embed_dim": WIDTHS.get(kind, DIMENSION),
        "vision_cfg": vision,
        "text_cfg": TEXT | TEXTS.get(kind, {}),
    }
    torch.manual_seed(7)
    module = (open_clip.CustomTextCLIP if is_timm else open_clip.CLIP)(**config)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):  # or a fold that forgets the bias would go unnoticed
                parameter.normal_(std=0.1)
    place.mkdir()
    written = {"model_cfg": config | {"custom_text": is_timm}, "preprocess_cfg": PREPROCESS}
    (place / CONFIG_NAME).write_text(json.dumps(written), encoding="utf-8")
    save_file(module.state_dict(), place / WEIGHTS_NAME)
    return place


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of one of `TOWERS`; do not change what is in it."""
    return cache(lambda kind: write_model(kind, tmp_path_factory.mktemp("model") / kind))


@pytest.fixture(scope="session")
def loaded(model_dir: Callable[[str], Path]) -> Callable[[str], ClipModel]:
    """One of `TOWERS`, loaded; do not change it."""

    @cache
    def load(kind: str) -> ClipModel:
        return load_model(Source(f"local-dir:{model_dir(kind)}"))

    return load


@pytest.fixture
def vit(loaded: Callable[[str], ClipModel]) -> ClipModel:
    """The smallest of the models."""
    return loaded("vit")
