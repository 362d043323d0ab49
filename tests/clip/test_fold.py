"""The edited model gives features P, for every way in which a tower can end."""

from collections.abc import Callable
from copy import deepcopy

import open_clip
import pytest
import torch
from torch import Tensor

from governance.clip.certify import Precision
from governance.clip.fold import Fold, fold, folded, unedited
from governance.clip.load import ClipModel, no_grad_features
from governance.clip.paths import find_image_path, find_text_path
from governance.errors import InvalidInputError
from governance.unlearning.projector import digest_tensor, identity
from tests.clip.test_certify import KINDS, digests, projector

WITH_BIAS = {
    "resnet",
    "timm-bias",
    "attention-pool",
    "trunk-head",
    "trunk-head-fc",
    "trunk-fc",
    "trunk-classifier",
    "siglip-bias",
}
SIGLIP = {"siglip", "siglip-bias"}
every_kind = pytest.mark.parametrize("kind", KINDS)

Loaded = Callable[[str], ClipModel]


def images(model: ClipModel) -> Tensor:
    return torch.randn(3, 3, *model.image_size, generator=torch.Generator().manual_seed(9))


def edited(model: ClipModel, found: Fold) -> torch.nn.Module:
    """The model that open_clip makes of the edited configuration and weights."""
    config = deepcopy(found.edited_config(model)["model_cfg"])
    custom = config.pop("custom_text")
    module = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config).eval()
    module.load_state_dict(found.state(model), strict=True)
    return module


@every_kind
def test_the_edited_tower_gives_features_p(loaded: Loaded, kind: str) -> None:
    model = loaded(kind)
    edit, name = projector(model.dimension, 1), find_image_path(model).name
    found = fold(model, edit)
    bias = {f"{name}.bias"} if kind in WITH_BIAS else set()
    assert found.tensors.keys() == ({name} if kind == "vit" else {f"{name}.weight"} | bias)
    assert found.config == ({"vision_cfg": {"timm_proj": "linear"}} if kind in SIGLIP else {})
    before = no_grad_features(model.module, images(model)).double()
    after = no_grad_features(edited(model, found), images(model)).double()
    expected = before @ edit.dense()
    assert (after - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (after - before).abs().max() > 1e-2 * before.abs().max()  # there was something to do


@every_kind
def test_both_sides_can_be_edited_each_by_its_own_projector(loaded: Loaded, kind: str) -> None:
    model = loaded(kind)
    one, two = projector(model.dimension, 1), projector(model.dimension, 2)
    found = fold(model, one, two)
    assert [c.side for c in found.certificates] == ["image", "text"]
    module, tokens = edited(model, found), model.tokenize(["a mug", "Zoë's café"])
    with torch.inference_mode():
        expected = model.module.encode_text(tokens).double() @ two.dense()
        actual = module.encode_text(tokens).double()
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()
    expected = no_grad_features(model.module, images(model)).double() @ one.dense()
    actual = no_grad_features(module, images(model)).double()
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert digests(model) == model.tensor_digests


def test_without_a_text_projector_the_text_tower_is_left_alone(loaded: Loaded) -> None:
    for kind in ("vit", "siglip-bias"):
        found = fold(loaded(kind), projector(loaded(kind).dimension, 1))
        assert all(name.startswith("visual.") for name in found.tensors)
        assert found.config.keys() <= {"vision_cfg"}


@every_kind
@pytest.mark.parametrize("precision", Precision)
def test_folding_rounds_once_from_float64(loaded: Loaded, kind: str, precision: Precision) -> None:
    model = loaded(kind)
    edit = projector(model.dimension, 2)
    state, dense = model.module.state_dict(), edit.dense()
    for path in (find_image_path(model), find_text_path(model)):
        for name, tensor in folded(model, path, edit, precision).items():
            assert (tensor.dtype, tensor.is_contiguous()) == (precision.dtype, True)
            if name in state:
                wide = state[name].double()
                exact = dense.T @ wide if path.is_linear and wide.ndim == 2 else wide @ dense
            else:
                exact = dense.T if name.endswith("weight") else torch.zeros(len(dense)).double()
                exact = exact if path.is_linear else dense
            unit = torch.finfo(precision.dtype).eps / 2 * 1.001
            assert torch.allclose(tensor.double(), exact, rtol=unit, atol=1e-7)


@every_kind
def test_an_edit_without_factors_is_the_base_model(loaded: Loaded, kind: str) -> None:
    model = loaded(kind)
    nothing = identity(model.dimension)
    assert fold(model, nothing, nothing) == unedited()
    assert unedited().error == 0
    state = unedited().state(model)
    assert {name: digest_tensor(t) for name, t in state.items()} == model.tensor_digests


@every_kind
def test_the_identity_in_other_words_changes_no_feature(loaded: Loaded, kind: str) -> None:
    model = loaded(kind)
    path = find_image_path(model)
    changed = folded(model, path, identity(model.dimension))
    assert changed
    for name, tensor in changed.items():
        if name in model.tensor_digests:
            assert digest_tensor(tensor) == model.tensor_digests[name]
        elif name.endswith("weight"):
            assert torch.equal(tensor, torch.eye(model.dimension))


def test_the_state_of_a_precision_is_all_of_it(vit: ClipModel) -> None:
    found = fold(vit, projector(32, 1), precision=Precision.BF16)
    state = found.state(vit)
    assert state.keys() == vit.tensor_digests.keys()
    assert {t.dtype for t in state.values()} == {torch.bfloat16}
    assert digests(vit) == vit.tensor_digests


def test_weights_too_large_for_a_precision_are_refused(loaded: Loaded) -> None:
    model = loaded("vit")
    module = deepcopy(model.module)
    with torch.no_grad():
        module.ln_final.weight[0] = 1e5
    large = ClipModel(
        model.source, module, model.config, model.preprocess, model.tokenize, model.tensor_digests
    )
    with pytest.raises(
        InvalidInputError, match=r"ln_final\.weight holds values too large for fp16"
    ):
        unedited(Precision.FP16).state(large)
    assert unedited(Precision.BF16).state(large)["ln_final.weight"].isfinite().all()
