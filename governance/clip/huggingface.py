"""Hugging Face text towers: where a model directory keeps their files, and what an export must bring along.

open_clip hands ``hf_model_name`` to transformers as it stands: a path relative to the *working* directory, or a
repository on the hub. The tokenizer of a ``local-dir:`` model it looks for in that directory, whatever the name.
We resolve both names against the model's directory, and export the files flat under the name ``.``.
"""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from governance.errors import InvalidInputError, NotFoundError

HERE = "."
"""The name of a text tower whose files lie beside the weights."""

_ARCHITECTURE = "config.json"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "source.spm",
    "target.spm",
)
"""Names under which transformers saves tokenizers."""

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True)
class TextFiles:
    """Local files of a text tower or its tokenizer.

    Attributes:
        model: directory of the architecture, or None if transformers finds it by its name.
        tokenizer: directory of the tokenizer, or None if open_clip brings its own or finds it by its name.
        names: what ``text_cfg`` of an exported directory says instead.
        content: the files as an exported directory holds them, path → bytes.
    """

    model: Path | None
    tokenizer: Path | None
    names: Mapping[str, str]
    content: Mapping[str, bytes]


NONE = TextFiles(None, None, {}, {})


def find_text_files(directory: Path | None, text_cfg: Mapping[str, Any]) -> TextFiles:
    """Resolve the names in ``text_cfg`` against a model's directory.

    Args:
        directory: of the model; None if it has none.
        text_cfg: from its configuration.

    Raises:
        InvalidInputError: transformers is needed and not installed.
        NotFoundError: a name is relative and the directory does not hold what it names.
    """
    model_name = text_cfg.get("hf_model_name")
    tokenizer_name = text_cfg.get("hf_tokenizer_name")
    if not model_name and not tokenizer_name:
        return NONE
    if importlib.util.find_spec("transformers") is None:
        raise InvalidInputError(
            "this model has a text tower or tokenizer of Hugging Face's transformers, which is not installed: "
            "pip install 'clip-governance[hf]'"
        )
    if directory is None:
        return NONE
    names: dict[str, str] = {}
    content: dict[str, bytes] = {}
    model = tokenizer = None
    if model_name:
        model = _find(directory, model_name, (_ARCHITECTURE,), "text tower")
        if model is not None:
            inside = names["hf_model_name"] = _exported_name(model_name)
            content |= _read(model, (_ARCHITECTURE,), inside)
    if tokenizer_name:
        # Without a folder of its own name it lies in the directory itself; so open_clip's rule.
        tokenizer = _find(directory, tokenizer_name, _TOKENIZER_FILES, "tokenizer") or directory
        names["hf_tokenizer_name"] = (
            HERE if _is_path(tokenizer_name) or tokenizer != directory else tokenizer_name
        )
        content |= _read(tokenizer, _TOKENIZER_FILES, HERE)
    return TextFiles(model, tokenizer, names, content)


def loading_hint(text_cfg: Mapping[str, Any], directory: Path) -> str:
    """How stock open_clip loads an exported directory: it looks up a text tower's name in the working directory."""
    name = text_cfg.get("hf_model_name")
    if name == HERE:
        return f"load it as local-dir:. with {directory} as working directory"
    if name:
        return (
            f"load it as local-dir:{directory}, which looks for {name} on the hub, or as local-dir:. "
            f"with {directory} as working directory"
        )
    return f"load it as local-dir:{directory}"


def write_text_files(
    dest: Path, text_cfg: Mapping[str, Any], files: Mapping[str, bytes], tower: Any, tokenizer: Any
) -> None:
    """Write what an exported directory needs besides configuration and weights.

    A tower from the hub keeps its name, and its architecture goes into a folder of that name: our loader finds it
    there, stock open_clip there, on the hub or in its cache.

    Args:
        dest: the directory.
        text_cfg: of the exported configuration.
        files: what the model's own directory held, path → bytes.
        tower: open_clip's text tower.
        tokenizer: open_clip's tokenizer.
    """
    for name, content in files.items():
        path = dest / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    model_name = text_cfg.get("hf_model_name")
    if model_name and not (dest / model_name / _ARCHITECTURE).exists():
        tower.config.save_pretrained(dest / model_name)
    if text_cfg.get("hf_tokenizer_name") and not files.keys() & set(_TOKENIZER_FILES):
        tokenizer.tokenizer.save_pretrained(dest)


def _find(directory: Path, name: str, wanted: tuple[str, ...], what: str) -> Path | None:
    """The place that `name` means, or None if it is a name on the hub."""
    place = (directory / name).resolve()
    if any((place / file).is_file() for file in wanted):
        return place
    if _is_path(name):
        raise NotFoundError(f"{directory} names its {what} {name!r}, and {place} does not hold it")
    return None


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(name)


def _exported_name(name: str) -> str:
    return HERE if _is_path(name) else name


def _read(place: Path, names: tuple[str, ...], inside: str) -> dict[str, bytes]:
    files = {name: place / name for name in names}
    return {
        (Path(inside) / name).as_posix(): path.read_bytes()
        for name, path in files.items()
        if path.is_file()
    }
