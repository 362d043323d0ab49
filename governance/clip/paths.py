"""Where P can be multiplied in: the last linear map of a tower, or the place where open_clip can add one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from governance.clip.load import ClipModel
from governance.errors import InvalidInputError

_IMAGE_LAYERS = (
    "visual.attnpool.c_proj",
    "visual.head.proj",
    "visual.head.mlp.fc2",
    "visual.head.pool.proj",
    "visual.trunk.head",
    "visual.trunk.head.fc",
    "visual.trunk.fc",
    "visual.trunk.classifier",
)
"""Where open_clip's image towers end in a linear layer, in the order to try."""

_TEXT_PROJECTIONS = ("text_projection", "text.text_projection", "text.proj")
"""Where open_clip's text towers end: `CLIP`, `CustomTextCLIP` and `CoCa`, and Hugging Face towers."""


@dataclass(frozen=True)
class FoldPath:
    """The tensor or layer that holds a tower's final projection.

    Attributes:
        name: a w × d parameter such as ``visual.proj``, or the path of a linear layer.
        is_linear: whether it is a layer.
        config: section of ``model_cfg`` → keys that make open_clip add the projection, for towers that have none.
    """

    name: str
    is_linear: bool
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def side(self) -> str:
        """``image`` or ``text``."""
        return "image" if self.name.startswith("visual.") else "text"


def find_image_path(model: ClipModel) -> FoldPath:
    """Find the last linear map of the image tower.

    Raises:
        InvalidInputError: there is none, it has another width than the joint embedding, or other weights depend on it.
    """
    if isinstance(_lookup(model.module, "visual.proj"), nn.Parameter):
        return _checked(model, FoldPath("visual.proj", is_linear=False))
    for name in _IMAGE_LAYERS:
        if isinstance(_lookup(model.module, name), nn.Linear):
            return _checked(model, FoldPath(name, is_linear=True))
    head, vision = _lookup(model.module, "visual.head"), model.config["model_cfg"]["vision_cfg"]
    if isinstance(head, nn.Sequential) and len(head) == 0 and vision.get("timm_proj") == "none":
        # SigLIP ends in the residual of its attention pool. open_clip puts a layer after it on request.
        _check_width(model, "image tower", int(_lookup(model.module, "visual.trunk.num_features")))
        config = {"vision_cfg": {"timm_proj": "linear"}}
        return FoldPath("visual.head.proj", is_linear=True, config=config)
    raise _refusal(model, "its image tower does not end in a linear projection")


def find_text_path(model: ClipModel) -> FoldPath:
    """Find the last linear map of the text tower.

    Raises:
        InvalidInputError: as for the image tower.
    """
    for name in _TEXT_PROJECTIONS:
        found = _lookup(model.module, name)
        if isinstance(found, nn.Sequential):  # Hugging Face towers may end in a perceptron
            name = f"{name}.{len(found) - 1}"
            found = _lookup(model.module, name)
        if isinstance(found, nn.Linear | nn.Parameter):
            return _checked(model, FoldPath(name, isinstance(found, nn.Linear)))
    tower, text = _lookup(model.module, "text"), model.config["model_cfg"]["text_cfg"]
    if hasattr(tower, "text_projection") and text.get("proj_type") == "none":
        _check_width(model, "text tower", int(tower.width))
        config = {"text_cfg": {"proj_type": "linear"}}
        return FoldPath("text.text_projection", bool(text.get("proj_bias")), config)
    raise _refusal(model, "its text tower does not end in a linear projection")


def _checked(model: ClipModel, path: FoldPath) -> FoldPath:
    """The path, if P can be multiplied in there without touching anything else."""
    found = _lookup(model.module, path.name)
    weight = found.weight if path.is_linear else found
    key = f"{path.name}.weight" if path.is_linear else path.name
    _check_width(model, path.name, int(weight.shape[0 if path.is_linear else 1]))
    if key not in model.module.state_dict():
        raise _refusal(model, f"{path.name} is computed from other weights")
    parts = path.name.split(".")
    for depth in range(1, len(parts)):
        parent, child = (_lookup(model.module, ".".join(parts[:end])) for end in (depth, depth + 1))
        if isinstance(parent, nn.Sequential) and parent[-1] is not child:
            raise _refusal(model, f"{type(parent[-1]).__name__} follows {path.name}")
    for name, other in model.module.named_parameters(remove_duplicate=False):
        if name != key and _share(weight, other):
            raise _refusal(model, f"{path.name} is tied to {name}")
    return path


def _share(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    if one.is_meta or other.is_meta:
        return False
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _check_width(model: ClipModel, what: str, width: int) -> None:
    if width != model.dimension:
        raise _refusal(
            model, f"{what} is {width} wide and the joint embedding {model.dimension} wide"
        )


def _refusal(model: ClipModel, reason: str) -> InvalidInputError:
    return InvalidInputError(f"{model.source.describe()} cannot carry an edit: {reason}")


def _lookup(module: nn.Module, path: str) -> Any:
    found: Any = module
    for part in path.split(".") if path else ():
        found = getattr(found, part, None)
    return found
