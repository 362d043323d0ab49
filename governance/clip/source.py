"""How a model is named: a directory in open_clip's format, or a built-in configuration and its weights."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from governance.demo import MODEL_DIR
from governance.errors import InvalidInputError, NotFoundError

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
DEMO = "demo"
LOCAL_PREFIX = "local-dir:"
HUB_PREFIX = "hf-hub:"
MAX_LICENSE = 100
"""Longest name of a licence, characters."""
_WEIGHT_NAMES = (WEIGHTS_NAME, "open_clip_pytorch_model.bin", "open_clip_pytorch_model.safetensors")


@dataclass(frozen=True)
class Source:
    """Where a base model comes from.

    Attributes:
        name: built-in configuration name, ``local-dir:PATH``, ``hf-hub:org/repo``, or ``demo`` for the embedded model,
            wherever the package lies.
        pretrained: tag or checkpoint file of a built-in configuration, None otherwise.
        quick_gelu: force QuickGELU in a built-in configuration.
        license: of the weights, as their publisher or whoever registered the model named it; None if nobody did.
    """

    name: str
    pretrained: str | None = None
    quick_gelu: bool = False
    license: str | None = None

    @property
    def directory(self) -> Path | None:
        """The local directory, if that is what the name is."""
        if self.open_clip_name.startswith(LOCAL_PREFIX):
            return Path(self.open_clip_name.removeprefix(LOCAL_PREFIX))
        return None

    @property
    def open_clip_name(self) -> str:
        """The name as open_clip understands it."""
        return f"{LOCAL_PREFIX}{MODEL_DIR}" if self.name == DEMO else self.name

    def describe(self) -> str:
        """Words for people."""
        return self.name if self.pretrained is None else f"{self.name} ({self.pretrained})"

    @property
    def public_name(self) -> str:
        """Words for people elsewhere: without the directories of this machine."""
        if self.name.startswith(LOCAL_PREFIX):
            return Path(self.name.removeprefix(LOCAL_PREFIX)).name
        if self.pretrained is None:
            return self.name
        return f"{self.name} ({Path(self.pretrained).name})"

    def to_dict(self) -> dict[str, Any]:
        """The source as plain JSON values."""
        return asdict(self)

    def check_files(self) -> None:
        """Make sure that local files are where they should be; open_clip would go on with random weights.

        Raises:
            NotFoundError: a directory, configuration or weights file is missing.
        """
        directory = self.directory
        if directory is None:
            return
        if not directory.is_dir():
            raise NotFoundError(f"the model directory {directory} does not exist")
        if not (directory / CONFIG_NAME).is_file():
            raise NotFoundError(
                f"{directory} is not an open_clip directory: it has no {CONFIG_NAME}"
            )
        if not any((directory / name).is_file() for name in _WEIGHT_NAMES):
            raise NotFoundError(f"the weights file {directory / WEIGHTS_NAME} is missing")


def parse_source(name: str, pretrained: str | None, quick_gelu: bool = False) -> Source:
    """Source from the flags ``--open-clip`` and ``--pretrained``; a path may stand for ``local-dir:``.

    Raises:
        InvalidInputError: the two do not fit together.
        NotFoundError: local files are missing.
    """
    for text in (name, pretrained or ""):
        if not text.isprintable():
            raise InvalidInputError(f"{text!r} names no model: it holds control characters")
    looks_like_path = name.startswith((".", "/", "~")) or (name != DEMO and Path(name).is_dir())
    if name.startswith(LOCAL_PREFIX) or looks_like_path:
        try:
            path = Path(name.removeprefix(LOCAL_PREFIX)).expanduser().absolute()
        except RuntimeError as error:
            raise NotFoundError(f"there is no home directory for {name!r}") from error
        name = f"{LOCAL_PREFIX}{path}"
    with_own_weights = name == DEMO or name.startswith((LOCAL_PREFIX, HUB_PREFIX))
    if with_own_weights and pretrained is not None:
        raise InvalidInputError(f"{name} brings its own weights; leave --pretrained out")
    if not with_own_weights and pretrained is None:
        raise InvalidInputError(
            f"a built-in configuration has no weights of its own: name them with --pretrained TAG|FILE "
            f"(for {name}: `python -c \"import open_clip; print(open_clip.list_pretrained_tags_by_model('{name}'))\"`)"
        )
    if pretrained is not None and Path(pretrained).is_file():
        pretrained = str(Path(pretrained).absolute())
    source = Source(name, pretrained, quick_gelu)
    source.check_files()
    return source


def check_license(name: str) -> str:
    """The name of a licence that somebody typed.

    Raises:
        InvalidInputError: it cannot be one.
    """
    if not name.strip() or not name.isprintable() or len(name) > MAX_LICENSE:
        raise InvalidInputError(f"{name[:20]!r} cannot be the name of a licence")
    return name.strip()
