"""Every way in which a tower can end is found, and what cannot carry an edit is refused with the reason."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from governance.clip.load import ClipModel
from governance.clip.paths import FoldPath, find_image_path, find_text_path
from governance.errors import InvalidInputError

ADDED = {"vision_cfg": {"timm_proj": "linear"}}
IMAGE = {
    "vit": FoldPath("visual.proj", is_linear=False),
    "resnet": FoldPath("visual.attnpool.c_proj", is_linear=True),
    "timm-linear": FoldPath("visual.head.proj", is_linear=True),
    "timm-bias": FoldPath("visual.head.proj", is_linear=True),
    "timm-mlp": FoldPath("visual.head.mlp.fc2", is_linear=True),
    "attention-pool": FoldPath("visual.head.pool.proj", is_linear=True),
    "trunk-head": FoldPath("visual.trunk.head", is_linear=True),
    "trunk-head-fc": FoldPath("visual.trunk.head.fc", is_linear=True),
    "trunk-fc": FoldPath("visual.trunk.fc", is_linear=True),
    "trunk-classifier": FoldPath("visual.trunk.classifier", is_linear=True),
    "siglip": FoldPath("visual.head.proj", is_linear=True, config=ADDED),
    "siglip-bias": FoldPath("visual.head.proj", is_linear=True, config=ADDED),
}
TEXT = {
    "vit": FoldPath("text_projection", is_linear=False),
    "timm-bias": FoldPath("text.text_projection", is_linear=False),
    "siglip": FoldPath("text.text_projection", is_linear=True),
    "siglip-bias": FoldPath(
        "text.text_projection", is_linear=False, config={"text_cfg": {"proj_type": "linear"}}
    ),
}

Loaded = Callable[[str], ClipModel]


@pytest.mark.parametrize("kind", IMAGE)
def test_the_image_path_is_found(loaded: Loaded, kind: str) -> None:
    assert find_image_path(loaded(kind)) == IMAGE[kind]
    assert IMAGE[kind].side == "image"


@pytest.mark.parametrize("kind", TEXT)
def test_the_text_path_is_found(loaded: Loaded, kind: str) -> None:
    assert find_text_path(loaded(kind)) == TEXT[kind]
    assert TEXT[kind].side == "text"


def changed(model: ClipModel, change: Callable[[nn.Module], None]) -> ClipModel:
    """A copy of the model with another module."""
    module = deepcopy(model.module)
    change(module)
    return replace(model, module=module)


def refuses(find: Callable[[ClipModel], FoldPath], model: ClipModel, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=f"cannot carry an edit: .*{reason}"):
        find(model)


def test_an_activation_at_the_end_is_refused(loaded: Loaded) -> None:
    def after_the_head(module: nn.Module) -> None:
        module.visual.head.append(nn.GELU())

    for kind in ("timm-linear", "timm-mlp"):
        model = changed(loaded(kind), after_the_head)
        refuses(find_image_path, model, f"GELU follows {IMAGE[kind].name}")
        refuses(find_image_path, changed(loaded("siglip"), after_the_head), "does not end in")


def test_a_tower_without_any_projection_is_refused(loaded: Loaded) -> None:
    def cut(module: nn.Module) -> None:
        module.visual.trunk.head = nn.Tanh()
        module.text.text_projection = None

    model = changed(loaded("trunk-head"), cut)
    refuses(find_image_path, model, "its image tower does not end in a linear projection")
    refuses(find_text_path, model, "its text tower does not end in a linear projection")


def test_a_projection_of_another_width_is_refused(loaded: Loaded) -> None:
    def widen(module: nn.Module) -> None:
        module.visual.head.proj = nn.Linear(64, 48)
        module.text.text_projection = nn.Parameter(torch.zeros(32, 48))

    model = changed(loaded("timm-linear"), widen)
    refuses(find_image_path, model, r"visual\.head\.proj is 48 wide and the joint embedding 32")
    refuses(find_text_path, model, r"text\.text_projection is 48 wide")


def test_a_trunk_of_another_width_is_refused(loaded: Loaded) -> None:
    def widen(module: nn.Module) -> None:
        module.visual.trunk.num_features = 100
        module.text.width = 100

    model = changed(loaded("siglip-bias"), widen)
    refuses(find_image_path, model, "image tower is 100 wide and the joint embedding 96 wide")
    refuses(find_text_path, model, "text tower is 100 wide")


@pytest.mark.parametrize("how", ["same", "view"])
def test_a_tied_projection_is_refused(vit: ClipModel, how: str) -> None:
    def tie(module: nn.Module) -> None:
        shared = module.visual.proj
        module.text_projection = shared if how == "same" else nn.Parameter(shared.data.T)

    model = changed(vit, tie)
    refuses(find_image_path, model, r"visual\.proj is tied to text_projection")
    refuses(find_text_path, model, r"text_projection is tied to visual\.proj")


def test_a_projection_that_is_computed_is_refused(loaded: Loaded) -> None:
    def normalise(module: nn.Module) -> None:
        nn.utils.parametrizations.weight_norm(module.visual.head.proj)

    model = changed(loaded("timm-linear"), normalise)
    refuses(find_image_path, model, r"visual\.head\.proj is computed from other weights")


def test_the_last_layer_of_a_perceptron_is_the_text_path(loaded: Loaded) -> None:
    """As open_clip ends Hugging Face text towers with ``hf_proj_type = "mlp"``."""

    def end(*layers: nn.Module) -> ClipModel:
        def perceptron(module: nn.Module) -> None:
            module.text.text_projection = None
            module.text.proj = nn.Sequential(*layers)

        return changed(loaded("timm-linear"), perceptron)

    linear = nn.Linear(40, 32)
    assert find_text_path(end(nn.Linear(32, 40), nn.GELU(), linear)) == FoldPath(
        "text.proj.2", is_linear=True
    )
    refuses(find_text_path, end(linear, nn.GELU()), "text tower does not end in")
