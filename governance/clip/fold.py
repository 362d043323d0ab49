"""Folding P into the final image projection, and the probe that refuses a wrong fold."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from governance.clip.load import ClipModel, no_grad_features
from governance.errors import IntegrityError, InvalidInputError
from governance.unlearning.projector import Projector

PROBE_TOLERANCE = 1e-5
"""Largest relative difference between the folded tower and features P at float32."""

_LINEAR_PATHS = (
    "visual.attnpool.c_proj",
    "visual.head.proj",
    "visual.head.mlp.fc2",
    "visual.trunk.head",
    "visual.trunk.head.fc",
)
"""Where open_clip's towers end in a linear layer, in the order to try."""


@dataclass(frozen=True)
class FoldPath:
    """The tensor or layer that holds the final image projection.

    Attributes:
        name: ``visual.proj`` (a w × d parameter) or the path of a linear layer.
        is_linear: which of the two.
    """

    name: str
    is_linear: bool


def find_fold_path(model: ClipModel) -> FoldPath:
    """Find the projection that P can be multiplied into.

    Raises:
        InvalidInputError: the image tower does not end in a linear map.
    """
    projection = getattr(model.module.visual, "proj", None)
    if isinstance(projection, nn.Parameter):
        return FoldPath("visual.proj", is_linear=False)
    for name in _LINEAR_PATHS:
        layer = _lookup(model.module, name)
        if isinstance(layer, nn.Linear) and layer.out_features == model.dimension:
            return FoldPath(name, is_linear=True)
    raise InvalidInputError(
        f"the image tower of {model.source.describe()} does not end in a linear projection that an "
        "edit could be folded into"
    )


def fold(model: ClipModel, path: FoldPath, projector: Projector) -> dict[str, Tensor]:
    """Tensors of the state dict that the edit changes.

    Computed in float64 and cast to the tensor's dtype last: ``proj ← proj P`` for a parameter, ``W ← PᵀW`` and
    ``b ← b P`` for a linear layer.
    """
    state = model.module.state_dict()
    if not path.is_linear:
        weight = state[path.name]
        return {path.name: projector.apply(weight.to(torch.float64)).to(weight.dtype)}
    changed = {}
    weight = state[f"{path.name}.weight"]
    folded = projector.apply(weight.to(torch.float64).T).T
    changed[f"{path.name}.weight"] = folded.to(weight.dtype).contiguous()
    bias = state.get(f"{path.name}.bias")
    if bias is not None:
        changed[f"{path.name}.bias"] = projector.apply(bias.to(torch.float64)).to(bias.dtype)
    return changed


def probe_path(model: ClipModel, path: FoldPath) -> float:
    """Fold a random edit at `path` and probe it: the identity would pass anywhere.

    Returns:
        Largest relative error.

    Raises:
        IntegrityError: `path` is not where the image features come from.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (model.dimension, min(4, model.dimension))
    a, b = (
        torch.randn(shape, generator=generator, dtype=torch.float64) / model.dimension**0.5
        for _ in range(2)
    )
    edit = Projector(a, b.T.contiguous(), 1.0)
    return probe(model, fold(model, path, edit), edit)


def probe(model: ClipModel, changed: dict[str, Tensor], projector: Projector) -> float:
    """Run a random batch through the edited tower and compare it with features P.

    The model is left as it was.

    Returns:
        Largest difference relative to the largest feature.

    Raises:
        IntegrityError: the difference exceeds `PROBE_TOLERANCE`; the fold must not be used.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, *model.image_size, generator=generator)
    expected = projector.apply(no_grad_features(model.module, images).to(torch.float64))
    state = model.module.state_dict()
    unknown = sorted(changed.keys() - state.keys())
    if unknown:
        raise IntegrityError(f"the model has no tensor {unknown[0]}")
    original = {name: state[name].clone() for name in changed}
    try:
        model.module.load_state_dict(changed, strict=False)
        actual = no_grad_features(model.module, images).to(torch.float64)
    finally:
        model.module.load_state_dict(original, strict=False)
    scale = float(expected.abs().max().clamp_min(torch.finfo(torch.float32).tiny))
    error = float((actual - expected).abs().max()) / scale
    if not error <= PROBE_TOLERANCE:
        raise IntegrityError(
            f"the folded image tower differs from the edit by {error:.1e} (allowed "
            f"{PROBE_TOLERANCE:.0e}); this model cannot carry the edit"
        )
    return error


def _lookup(module: nn.Module, path: str) -> Any:
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part, None)
    return found
