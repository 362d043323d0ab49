"""A certificate is given for the edit and for nothing else, at each precision."""

import os
import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from governance.clip import certify as certifying
from governance.clip.certify import Precision, certify
from governance.clip.fold import check_fold, folded
from governance.clip.load import ClipModel, load_model, no_grad_features
from governance.clip.paths import FoldPath, find_image_path, find_text_path
from governance.clip.source import Source
from governance.errors import IntegrityError, InvalidInputError
from governance.unlearning.projector import Projector, digest_tensor, identity
from tests.clip.conftest import write_model

KINDS = [
    "vit",
    "resnet",
    "timm-linear",
    "timm-bias",
    "timm-mlp",
    "attention-pool",
    "trunk-head",
    "trunk-head-fc",
    "trunk-fc",
    "trunk-classifier",
    "siglip",
    "siglip-bias",
]
every_kind = pytest.mark.parametrize("kind", KINDS)
Loaded = Callable[[str], ClipModel]


def projector(dimension: int, seed: int, rank: int = 3) -> Projector:
    generator = torch.Generator().manual_seed(seed)
    a, b = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) / 6
        for shape in ((dimension, rank), (rank, dimension))
    )
    return Projector(a, b, 1.0)


def digests(model: ClipModel) -> dict[str, str]:
    return {name: digest_tensor(t) for name, t in model.module.state_dict().items()}


@every_kind
def test_a_fold_is_certified_and_the_model_stays_as_it_was(loaded: Loaded, kind: str) -> None:
    model = loaded(kind)
    path, edit = find_image_path(model), projector(model.dimension, 3)
    found = certify(model, path, folded(model, path, edit), edit)
    assert (found.side, found.precision, found.arithmetic) == ("image", "fp32", "fp32")
    assert 0 < found.error <= found.tolerance == 1e-5
    assert digests(model) == model.tensor_digests


@every_kind
def test_coarser_precisions_have_larger_errors(loaded: Loaded, kind: str) -> None:
    model = loaded(kind)
    for path in (find_image_path(model), find_text_path(model)):
        found = check_fold(model, [path])
        assert [c.precision for c in found] == list(Precision)
        assert [c.tolerance for c in found] == [p.tolerance for p in Precision]
        assert found[0].error < found[1].error / 50 < found[2].error / 100
    assert digests(model) == model.tensor_digests


@every_kind
@pytest.mark.parametrize("precision", Precision)
def test_the_fold_of_another_edit_is_refused(
    loaded: Loaded, kind: str, precision: Precision
) -> None:
    model = loaded(kind)
    for path in (find_image_path(model), find_text_path(model)):
        for wrong in (projector(model.dimension, 4), identity(model.dimension)):
            tensors = folded(model, path, wrong, precision)
            with pytest.raises(
                IntegrityError, match=f"{path.side} tower differs .* at {precision}"
            ):
                certify(model, path, tensors, projector(model.dimension, 5), precision)
    assert digests(model) == model.tensor_digests


@pytest.mark.parametrize(
    "kind", ["resnet", "timm-bias", "trunk-head", "trunk-head-fc", "attention-pool"]
)
def test_a_fold_that_forgets_the_bias_is_refused(loaded: Loaded, kind: str) -> None:
    model, edit = loaded(kind), projector(32, 7)
    path = find_image_path(model)
    tensors = folded(model, path, edit)
    del tensors[f"{path.name}.bias"]
    for precision in Precision:
        with pytest.raises(IntegrityError, match="differs from the edit"):
            certify(model, path, tensors, edit, precision)


def test_an_edit_from_the_wrong_side_is_refused(vit: ClipModel) -> None:
    edit = projector(32, 8)
    mirrored = (edit.dense() @ vit.module.state_dict()["visual.proj"].double()).float()
    with pytest.raises(IntegrityError, match="differs from the edit"):
        certify(vit, find_image_path(vit), {"visual.proj": mirrored}, edit)


def test_what_is_not_a_number_is_refused(vit: ClipModel) -> None:
    tensors = {"visual.proj": torch.full((32, 32), torch.nan)}
    with pytest.raises(IntegrityError):
        certify(vit, find_image_path(vit), tensors, projector(32, 9))
    assert digests(vit) == vit.tensor_digests


def test_a_tensor_that_the_model_does_not_have_is_refused(vit: ClipModel) -> None:
    path = FoldPath("visual.head", is_linear=False)
    with pytest.raises(IntegrityError, match=r"has no tensor visual\.head"):
        certify(vit, path, {"visual.head": torch.zeros(1)}, projector(32, 9))


def test_a_layer_that_is_not_the_last_is_refused(loaded: Loaded) -> None:
    model = loaded("timm-mlp")

    module = deepcopy(model.module)
    module.visual.head.mlp.drop2 = nn.GELU()  # not a Sequential: only running it can tell
    with pytest.raises(IntegrityError, match="cannot carry the edit"):
        check_fold(replace(model, module=module))


def test_a_projection_that_open_clip_cannot_add_is_refused(loaded: Loaded) -> None:
    model = loaded("residual")  # pools with a layer that only configurations without projection get
    with pytest.raises(InvalidInputError, match=r"open_clip cannot add one .*attention pooling"):
        check_fold(model)


def test_an_edit_that_sends_everything_to_zero_is_certified(vit: ClipModel) -> None:
    """What is left is rounding, which must not be measured against itself."""
    path, pictures = find_image_path(vit), certifying._inputs(vit, "image", certifying.BATCH)
    basis = torch.linalg.qr(no_grad_features(vit.module, pictures).double().T).Q
    everything = Projector(-basis, basis.T.contiguous(), 1.0)
    tensors = folded(vit, path, everything)
    assert 0 < certify(vit, path, tensors, everything).error <= 1e-6
    with pytest.raises(IntegrityError):
        certify(vit, path, folded(vit, path, identity(32)), everything)


def test_it_is_said_when_the_arithmetic_was_another(
    vit: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ran = certifying._features, []

    def without_half(
        tower: nn.Module, state: object, inputs: Tensor, weights: Precision, arithmetic: Precision
    ) -> Tensor:
        ran.append(arithmetic)
        if arithmetic is Precision.FP16:
            raise NotImplementedError("\"some_kernel\" not implemented for 'Half'")
        return real(tower, state, inputs, weights, arithmetic)

    monkeypatch.setattr(certifying, "_features", without_half)
    fp32, fp16, bf16 = check_fold(vit)
    assert [c.arithmetic for c in (fp32, fp16, bf16)] == ["fp32", "fp32", "bf16"]
    assert ran.count(Precision.FP16) == 1
    assert 1e-5 < fp16.error <= fp16.tolerance  # the weights were rounded to fp16 all the same
    assert fp16.to_dict()["arithmetic"] == "fp32"


def test_weights_are_rounded_whatever_the_arithmetic(vit: ClipModel) -> None:
    tower, state = certifying._tower(vit, "image")
    pictures = certifying._inputs(vit, "image", certifying.BATCH)
    found = certifying._features(tower, state, pictures, Precision.BF16, Precision.FP32)
    module = deepcopy(vit.module)
    module.load_state_dict({n: t.bfloat16().float() for n, t in module.state_dict().items()})
    expected = no_grad_features(module, pictures.bfloat16().float())
    assert torch.equal(found.float(), expected)
    assert not torch.equal(found.float(), no_grad_features(vit.module, pictures))


def test_other_failures_at_full_precision_are_not_hidden(
    vit: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> Tensor:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(certifying, "_features", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        check_fold(vit)


def measure() -> None:
    """Print the figures of ``docs/design.md``, over `KINDS`, the embedded model and the shared benchmark's."""
    found: dict[Precision, list[float]] = {precision: [] for precision in Precision}
    with tempfile.TemporaryDirectory() as name:
        sources = [Source(f"local-dir:{write_model(kind, Path(name) / kind)}") for kind in KINDS]
        benchmark = os.environ.get("GOVERNANCE_BENCHMARK")
        named = [f"local-dir:{benchmark}/clip_real"] if benchmark else []
        for source in [*sources, Source("demo"), *map(Source, named)]:
            model = load_model(source)
            for measured in check_fold(model, [find_image_path(model), find_text_path(model)]):
                found[measured.precision].append(measured.error)
    for precision, errors in found.items():
        print(f"{precision}: {min(errors):.1e} … {max(errors):.1e} of {len(errors)} towers")


if __name__ == "__main__":
    measure()
