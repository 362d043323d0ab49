"""A self-contained directory that stock open_clip loads: ``create_model_from_pretrained('local-dir:…')``."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from governance.clip.fold import Fold
from governance.clip.huggingface import loading_hint, write_text_files
from governance.clip.load import ClipModel
from governance.clip.source import CONFIG_NAME, WEIGHTS_NAME
from governance.digests import canonical_json
from governance.errors import InvalidInputError


def export_directory(
    model: ClipModel,
    fold: Fold,
    dest: Path,
    notes: Mapping[str, Any],
    seal: Callable[[Path], object] | None = None,
    temporary: Path | None = None,
) -> str:
    """Write the edited model; the directory appears whole or not at all.

    Args:
        model: the base model, unchanged by this.
        fold: what the edit changes, and the precision of the weights file.
        dest: a directory that does not exist yet, or is empty.
        notes: JSON values for the one metadata key of the weights file.
        seal: signs the directory when all files are in it.
        temporary: what it is called until it is complete, beside `dest`; a fresh name if None.

    Returns:
        How stock open_clip loads it, one line.

    Raises:
        InvalidInputError: `dest` is in the way, or a weight is too large for the precision.
    """
    check_free(dest)
    dest.parent.mkdir(parents=True, exist_ok=True)
    config = fold.edited_config(model)
    text_cfg = config["model_cfg"]["text_cfg"]
    if temporary is None:
        temporary = Path(tempfile.mkdtemp(dir=dest.parent, prefix=f".{dest.name}."))
    else:
        temporary.mkdir(mode=0o700)
    try:
        state = {name: tensor.contiguous() for name, tensor in fold.state(model).items()}
        # Two or more metadata keys come out in random order: one key keeps the file reproducible.
        metadata = {"governance": canonical_json(dict(notes))}
        save_file(state, temporary / WEIGHTS_NAME, metadata=metadata)
        tower = getattr(model.module, "text", None)
        write_text_files(temporary, text_cfg, model.files, tower, model.tokenize)
        (temporary / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        # Temporary directories and safetensors files are private; a model directory is there to be served.
        temporary.chmod(0o755)
        (temporary / WEIGHTS_NAME).chmod(0o644)
        if seal is not None:
            seal(temporary)
        if dest.exists():
            dest.rmdir()
        os.replace(temporary, dest)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return how_to_load(dest)


def how_to_load(directory: Path) -> str:
    """How stock open_clip loads an exported directory, one line."""
    config = json.loads((directory / CONFIG_NAME).read_text(encoding="utf-8"))
    return loading_hint(config["model_cfg"]["text_cfg"], directory.absolute())


def is_free(dest: Path) -> bool:
    """Whether a directory can be exported there: nothing is, or an empty one."""
    return not dest.exists() or (dest.is_dir() and not any(dest.iterdir()))


def check_free(dest: Path) -> None:
    """Make sure that a directory can be exported there.

    Raises:
        InvalidInputError: something is in the way.
    """
    if not is_free(dest):
        raise InvalidInputError(f"{dest} exists and is not empty; name another directory")
