"""The edited tower gives features P, for every way in which a tower can end."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from governance.clip.fold import PROBE_TOLERANCE, FoldPath, find_fold_path, fold, probe
from governance.clip.load import ClipModel, no_grad_features
from governance.errors import IntegrityError, InvalidInputError
from governance.unlearning.projector import Projector, digest_tensor, identity

PATHS = {
    "vit": FoldPath("visual.proj", is_linear=False),
    "resnet": FoldPath("visual.attnpool.c_proj", is_linear=True),
    "timm-linear": FoldPath("visual.head.proj", is_linear=True),
    "timm-mlp": FoldPath("visual.head.mlp.fc2", is_linear=True),
    "trunk-head": FoldPath("visual.trunk.head", is_linear=True),
    "trunk-head-fc": FoldPath("visual.trunk.head.fc", is_linear=True),
}
WITH_BIAS = {"resnet", "trunk-head", "trunk-head-fc"}
every_kind = pytest.mark.parametrize("kind", PATHS)

Loaded = Callable[[str], ClipModel]


def projector(seed: int, rank: int = 3) -> Projector:
    generator = torch.Generator().manual_seed(seed)
    a, b = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) / 6
        for shape in ((32, rank), (rank, 32))
    )
    return Projector(a, b, 1.0)


def digests(model: ClipModel) -> dict[str, str]:
    return {name: digest_tensor(t) for name, t in model.module.state_dict().items()}


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(9))


@every_kind
def test_the_path_is_found(loaded: Loaded, kind: str) -> None:
    assert find_fold_path(loaded(kind)) == PATHS[kind]


@every_kind
def test_the_edited_tower_gives_features_p(loaded: Loaded, kind: str) -> None:
    model, edit = loaded(kind), projector(1)
    changed = fold(model, PATHS[kind], edit)
    name = PATHS[kind].name
    assert changed.keys() == (
        {"visual.proj"}
        if kind == "vit"
        else {f"{name}.weight"} | ({f"{name}.bias"} if kind in WITH_BIAS else set())
    )
    edited = deepcopy(model.module)
    edited.load_state_dict(model.module.state_dict() | changed, strict=True)
    before = no_grad_features(model.module, images()).double()
    after = no_grad_features(edited, images()).double()
    expected = before @ edit.dense()
    assert (after - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (after - before).abs().max() > 1e-2 * before.abs().max()  # there was something to do


@every_kind
def test_folding_keeps_dtype_and_shape_and_rounds_once(loaded: Loaded, kind: str) -> None:
    model, edit = loaded(kind), projector(2)
    state = model.module.state_dict()
    for name, tensor in fold(model, PATHS[kind], edit).items():
        assert (tensor.dtype, tensor.shape) == (state[name].dtype, state[name].shape)
        assert tensor.is_contiguous()
        wide, dense = state[name].double(), edit.dense()
        exact = dense.T @ wide if name.endswith(".weight") else wide @ dense
        assert torch.allclose(tensor.double(), exact, rtol=1e-7, atol=1e-12)


@every_kind
def test_the_identity_changes_no_bit(loaded: Loaded, kind: str) -> None:
    model = loaded(kind)
    changed = fold(model, PATHS[kind], identity(32))
    assert changed
    assert {name: digest_tensor(t) for name, t in changed.items()}.items() <= digests(model).items()


@every_kind
def test_probe_accepts_the_fold_and_leaves_the_model_unchanged(loaded: Loaded, kind: str) -> None:
    model, edit = loaded(kind), projector(3)
    before = digests(model)
    assert before == model.tensor_digests
    assert 0 <= probe(model, fold(model, PATHS[kind], edit), edit) <= PROBE_TOLERANCE
    assert digests(model) == before


@every_kind
def test_probe_refuses_the_fold_of_another_edit(loaded: Loaded, kind: str) -> None:
    model = loaded(kind)
    wrong = fold(model, PATHS[kind], projector(4))
    with pytest.raises(IntegrityError, match="cannot carry the edit"):
        probe(model, wrong, projector(5))
    assert digests(model) == model.tensor_digests


@every_kind
def test_probe_refuses_a_fold_that_does_nothing(loaded: Loaded, kind: str) -> None:
    model = loaded(kind)
    with pytest.raises(IntegrityError, match="differs from the edit"):
        probe(model, fold(model, PATHS[kind], identity(32)), projector(6))


@pytest.mark.parametrize("kind", sorted(WITH_BIAS))
def test_probe_refuses_a_fold_that_forgets_the_bias(loaded: Loaded, kind: str) -> None:
    model, edit = loaded(kind), projector(7)
    changed = fold(model, PATHS[kind], edit)
    del changed[f"{PATHS[kind].name}.bias"]
    with pytest.raises(IntegrityError, match="differs from the edit"):
        probe(model, changed, edit)


def test_probe_refuses_a_fold_from_the_wrong_side(vit: ClipModel) -> None:
    edit = projector(8)
    mirrored = {"visual.proj": (edit.dense() @ vit.module.state_dict()["visual.proj"].double())}
    with pytest.raises(IntegrityError, match="differs from the edit"):
        probe(vit, {name: tensor.float() for name, tensor in mirrored.items()}, edit)


def test_probe_refuses_what_is_not_a_number(vit: ClipModel) -> None:
    changed = {"visual.proj": torch.full((32, 32), torch.nan)}
    with pytest.raises(IntegrityError):
        probe(vit, changed, projector(9))
    assert digests(vit) == vit.tensor_digests


def test_probe_refuses_a_tensor_that_the_model_does_not_have(vit: ClipModel) -> None:
    with pytest.raises(IntegrityError, match=r"has no tensor visual\.head"):
        probe(vit, {"visual.head": torch.zeros(1)}, projector(9))


def test_a_tower_without_a_linear_end_is_refused(loaded: Loaded) -> None:
    with pytest.raises(InvalidInputError, match="does not end in a linear projection"):
        find_fold_path(loaded("residual"))
