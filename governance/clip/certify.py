"""The proof that a fold is the edit: both towers run on the same random batch, at the precision that will serve."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import torch
from open_clip import model as towers
from torch import Tensor, nn
from torch.func import functional_call

from governance.clip.load import ClipModel
from governance.clip.paths import FoldPath
from governance.errors import IntegrityError, InvalidInputError
from governance.unlearning.projector import Projector

BATCH = 4


class Precision(StrEnum):
    """Floating-point format of weights and activations, in open_clip's words (its ``pure_fp16`` and ``pure_bf16``)."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"

    @property
    def dtype(self) -> torch.dtype:
        """As torch names it."""
        return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[self.value]

    @property
    def tolerance(self) -> float:
        """Largest difference allowed, relative to the largest feature (reasons in ``docs/design.md``)."""
        return {"fp32": 1e-5, "fp16": 2e-3, "bf16": 1.6e-2}[self.value]


@dataclass(frozen=True)
class Certificate:
    """What was measured of one tower.

    Attributes:
        side: ``image`` or ``text``.
        precision: of the weights.
        arithmetic: of the activations; `FP32` where the CPU lacks an operation of the tower at `precision`.
        error: largest difference to features P of the unedited tower, relative to the largest feature.
        tolerance: what was allowed.
    """

    side: str
    precision: Precision
    arithmetic: Precision
    error: float
    tolerance: float

    def to_dict(self) -> dict[str, Any]:
        """The certificate as plain JSON values."""
        names = {"precision": self.precision.value, "arithmetic": self.arithmetic.value}
        return asdict(self) | names


def certify(
    model: ClipModel,
    path: FoldPath,
    tensors: Mapping[str, Tensor],
    projector: Projector,
    precision: Precision = Precision.FP32,
    batch: int = BATCH,
) -> Certificate:
    """Run a random batch through the edited tower and compare it with features P of the unedited one.

    Both run at `precision`; P is applied to the features in float64. The model is not touched.

    Args:
        model: the unedited model.
        path: where the edit went.
        tensors: what replaces or joins the model's tensors.
        projector: the edit.
        precision: of both towers.
        batch: how many random images, or texts.

    Raises:
        IntegrityError: the difference exceeds the tolerance; the fold must not be used.
        InvalidInputError: open_clip cannot build the tower that the changed configuration asks for.
    """
    unedited, state = _tower(model, path.side)
    if path.config:
        edited = rebuilt(model, path, tensors)
        edited_state = _tensors(edited)
    else:
        edited, edited_state = unedited, _replaced(state, tensors)
    inputs = _inputs(model, path.side, batch)
    arithmetic = precision
    try:
        before = _features(unedited, state, inputs, precision, arithmetic)
        after = _features(edited, edited_state, inputs, precision, arithmetic)
    except RuntimeError:  # no kernel for this dtype, or a tower that mixes in float32
        if precision is Precision.FP32:
            raise
        arithmetic = Precision.FP32
        before = _features(unedited, state, inputs, precision, arithmetic)
        after = _features(edited, edited_state, inputs, precision, arithmetic)
    expected = projector.apply(before)
    # An edit may send every feature to zero; rounding stays relative to what came in.
    scale = max(float(before.abs().max()), float(expected.abs().max()))
    error = float((after - expected).abs().max()) / max(scale, torch.finfo(torch.float32).tiny)
    if not error <= precision.tolerance:
        raise IntegrityError(
            f"the folded {path.side} tower differs from the edit by {error:.1e} at {precision} (allowed "
            f"{precision.tolerance:.0e}); this model cannot carry the edit"
        )
    return Certificate(path.side, precision, arithmetic, error, precision.tolerance)


class _Encode(nn.Module):
    """One side of a model as a module, so that its tensors can be replaced for a single call."""

    def __init__(self, module: nn.Module, side: str) -> None:
        super().__init__()
        self.module, self._method = module, f"encode_{side}"

    def forward(self, inputs: Tensor) -> Any:
        """Unnormalised features, n × d."""
        return getattr(self.module, self._method)(inputs, normalize=False)


def _tower(model: ClipModel, side: str) -> tuple[nn.Module, dict[str, Tensor]]:
    """A side of the model and its parameters and buffers, those that the state dict leaves out included."""
    encode = _Encode(model.module, side)
    return encode, {
        name: tensor
        for name, tensor in _tensors(encode).items()
        if name.startswith("module.visual.") == (side == "image")
    }


def _replaced(state: dict[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    changed = {f"module.{name}": tensor for name, tensor in tensors.items()}
    unknown = sorted(changed.keys() - state.keys())
    if unknown:
        raise IntegrityError(f"the model has no tensor {unknown[0].removeprefix('module.')}")
    return state | changed


def rebuilt(model: ClipModel, path: FoldPath, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The tower that open_clip builds from the changed configuration, with the model's weights and the new ones.

    Raises:
        InvalidInputError: it cannot build it.
    """
    ((section, changes),) = path.config.items()
    config = model.config["model_cfg"]
    prefix = "visual." if path.side == "image" else "text."
    build = towers._build_vision_tower if path.side == "image" else towers._build_text_tower
    own = {"timm_model_pretrained": False} if path.side == "image" else {}
    merged = {**config[section], **own, **changes}
    state = {**model.module.state_dict(), **tensors}
    try:
        tower = build(config["embed_dim"], merged, config.get("quick_gelu", False)).eval()
        kept = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        tower.load_state_dict(kept, strict=True)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInputError(
            f"{model.source.describe()} cannot carry an edit: its {path.side} tower has no projection, and open_clip "
            f"cannot add one ({reason})"
        ) from error
    built: nn.Module = tower
    return built


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _features(
    tower: nn.Module,
    state: Mapping[str, Tensor],
    inputs: Tensor,
    precision: Precision,
    arithmetic: Precision,
) -> Tensor:
    """Features n × d, float64, of a tower whose weights are rounded to `precision`."""

    def cast(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return tensor.to(precision.dtype).to(arithmetic.dtype)

    rounded = {name: cast(tensor) for name, tensor in state.items()}
    # At fp16 torch convolves group by group on the CPU; waking threads for each costs 15 times the work itself.
    threads = 1 if arithmetic is Precision.FP16 else torch.get_num_threads()
    with torch.inference_mode(), _threads(threads):
        found = functional_call(tower, rounded, (cast(inputs),))
    features: Tensor = found[0] if isinstance(found, tuple) else found
    return features.to(torch.float64)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _inputs(model: ClipModel, side: str, batch: int) -> Tensor:
    """A seeded random batch: images of the model's size, or token ids."""
    generator = torch.Generator().manual_seed(0)
    if side == "image":
        return torch.randn(batch, 3, *model.image_size, generator=generator)
    tower: Any = getattr(model.module, "text", model.module)
    length = int(model.config["model_cfg"]["text_cfg"].get("context_length", 77))
    return torch.randint(1, int(tower.vocab_size), (batch, length), generator=generator)
