"""Folding P into the final projections: tensors and configuration that change, certified before anybody uses them."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from governance.clip.certify import Certificate, Precision, certify, rebuilt
from governance.clip.load import ClipModel
from governance.clip.paths import FoldPath, find_image_path, find_text_path
from governance.errors import IntegrityError, InvalidInputError
from governance.unlearning.projector import Projector, digest_tensor, random_edit


@dataclass(frozen=True)
class Fold:
    """What an edit changes in a model.

    Attributes:
        tensors: of the state dict, changed or new, at `precision`.
        config: section of ``model_cfg`` → keys that change; empty unless a tower had no projection.
        precision: of the weights that will be written.
        certificates: one for each edited side.
    """

    tensors: Mapping[str, Tensor]
    config: Mapping[str, Mapping[str, Any]]
    precision: Precision
    certificates: tuple[Certificate, ...]

    @property
    def error(self) -> float:
        """Largest relative error of the certificates, 0 if nothing was edited."""
        return max((found.error for found in self.certificates), default=0.0)

    def state(self, model: ClipModel) -> dict[str, Tensor]:
        """State dict of the edited model, at `precision`.

        Raises:
            InvalidInputError: a weight is too large for the precision.
        """
        dtype = self.precision.dtype
        return {
            name: _rounded(name, tensor, dtype) if tensor.is_floating_point() else tensor
            for name, tensor in {**model.module.state_dict(), **self.tensors}.items()
        }

    def edited_config(self, model: ClipModel) -> dict[str, Any]:
        """Configuration of the edited model."""
        config = deepcopy(model.config)
        for section, changes in self.config.items():
            config["model_cfg"][section].update(changes)
        return config


def fold(
    model: ClipModel,
    projector: Projector,
    text_projector: Projector | None = None,
    precision: Precision = Precision.FP32,
) -> Fold:
    """Fold an edit into a model and certify the result.

    Computed in float64 and rounded to `precision` last: ``proj ← proj P`` for a parameter, ``W ← PᵀW`` and ``b ← b P``
    for a linear layer. An edit without factors changes nothing, so that the version with no request is the base model.

    Args:
        model: the unedited model.
        projector: P of the image features, d × d.
        text_projector: P of the text features, or None to leave the text tower alone.
        precision: of the weights that will serve.

    Raises:
        InvalidInputError: the model cannot carry the edit; the message says why.
        IntegrityError: the folded tower does not give features P.
    """
    tensors: dict[str, Tensor] = {}
    config: dict[str, Mapping[str, Any]] = {}
    certificates = []
    for path, edit in edits_of(model, projector, text_projector):
        changed = folded(model, path, edit, precision)
        certificates.append(certify(model, path, changed, edit, precision))
        tensors |= changed
        config |= path.config
    return Fold(tensors, config, precision, tuple(certificates))


def edits_of(
    model: ClipModel, projector: Projector, text_projector: Projector | None
) -> list[tuple[FoldPath, Projector]]:
    """Where each side's edit goes; an edit without factors goes nowhere.

    Raises:
        InvalidInputError: the model cannot carry an edit; the message says why.
    """
    edits = [(find_image_path(model), projector)]
    if text_projector is not None:
        edits.append((find_text_path(model), text_projector))
    return [(path, edit) for path, edit in edits if edit.a.shape[1] > 0]


def install(
    model: ClipModel,
    tensors: Mapping[str, Tensor],
    projector: Projector,
    text_projector: Projector | None = None,
) -> ClipModel:
    """Put the tensors of a fold into a model that nobody else uses, once they are certified to be the edit.

    Args:
        model: the unedited model; its module becomes the edited one.
        tensors: of the fold, at fp32.
        projector: P of the image features.
        text_projector: P of the text features, None if only images are edited.

    Returns:
        The edited model.

    Raises:
        InvalidInputError: the model cannot carry the edit.
        IntegrityError: the tensors are not those of this edit.
    """
    edits = edits_of(model, projector, text_projector)
    rest, towers = dict(tensors), {}
    for path, edit in edits:
        names = [path.name] if not path.is_linear else [f"{path.name}.weight", f"{path.name}.bias"]
        mine = {name: rest.pop(name) for name in names if name in rest}
        if not mine:
            raise IntegrityError(f"the edit changes {path.name}, and its tensor is missing")
        certify(model, path, mine, edit, batch=1)
        if path.config:
            towers["visual" if path.side == "image" else "text"] = rebuilt(model, path, mine)
    if rest:
        raise IntegrityError(f"{min(rest)} changes, and no edit changes it")
    for name, tower in towers.items():
        setattr(model.module, name, tower)
    model.module.load_state_dict(dict(tensors), strict=False)
    changed = {name: digest_tensor(tensor) for name, tensor in tensors.items()}
    config = {section: changes for path, _ in edits for section, changes in path.config.items()}
    return replace(
        model,
        config=Fold(tensors, config, Precision.FP32, ()).edited_config(model),
        tensor_digests={**model.tensor_digests, **changed},
    )


def unedited(precision: Precision = Precision.FP32) -> Fold:
    """The fold of no edit."""
    return Fold({}, {}, precision, ())


def folded(
    model: ClipModel, path: FoldPath, projector: Projector, precision: Precision = Precision.FP32
) -> dict[str, Tensor]:
    """Tensors that the edit changes or adds at `path`, not yet certified."""
    state = _with_identity(model, path) if path.config else model.module.state_dict()
    if not path.is_linear:
        product = {path.name: projector.apply(state[path.name].to(torch.float64))}
    else:
        weight, bias = state[f"{path.name}.weight"], state.get(f"{path.name}.bias")
        product = {f"{path.name}.weight": projector.apply(weight.to(torch.float64).T).T}
        if bias is not None:
            product[f"{path.name}.bias"] = projector.apply(bias.to(torch.float64))
    return {name: _rounded(name, t, precision.dtype).contiguous() for name, t in product.items()}


def check_fold(
    model: ClipModel,
    paths: Sequence[FoldPath] | None = None,
    precisions: Sequence[Precision] = tuple(Precision),
) -> list[Certificate]:
    """Fold a random edit and certify it: the identity would pass anywhere.

    Args:
        model: the unedited model.
        paths: where; the image tower's own path if not given.
        precisions: at which precisions.

    Raises:
        IntegrityError: a path is not where the features come from, or a precision is too coarse.
        InvalidInputError: the model cannot carry an edit.
    """
    generator = torch.Generator().manual_seed(0)
    edit = random_edit(model.dimension, min(4, model.dimension), generator)
    return [
        certify(model, path, folded(model, path, edit, precision), edit, precision)
        for path in (paths if paths is not None else [find_image_path(model)])
        for precision in precisions
    ]


def _with_identity(model: ClipModel, path: FoldPath) -> dict[str, Tensor]:
    """The projection that open_clip adds by configuration, as long as it changes nothing."""
    eye = torch.eye(model.dimension)
    if not path.is_linear:
        return {path.name: eye}
    text = model.config["model_cfg"]["text_cfg"].get("proj_bias")
    image = model.config["model_cfg"]["vision_cfg"].get("timm_proj_bias")
    bias = {f"{path.name}.bias": torch.zeros(model.dimension)}
    return {f"{path.name}.weight": eye} | (
        bias if (image if path.side == "image" else text) else {}
    )


def _rounded(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    rounded = tensor.to(dtype)
    if dtype == torch.float16 and not torch.equal(rounded.isfinite(), tensor.isfinite()):
        raise InvalidInputError(f"{name} holds values too large for fp16; use bf16 or fp32")
    return rounded
