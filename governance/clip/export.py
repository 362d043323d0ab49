"""A self-contained directory that stock open_clip loads: ``create_model_from_pretrained('local-dir:…')``."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from governance.clip.load import ClipModel
from governance.clip.source import CONFIG_NAME, WEIGHTS_NAME
from governance.digests import canonical_json
from governance.errors import InvalidInputError


def export_directory(
    model: ClipModel, changed: Mapping[str, Tensor], dest: Path, notes: Mapping[str, Any]
) -> None:
    """Write the edited model; the directory appears whole or not at all.

    Args:
        model: the base model, unchanged by this.
        changed: tensors that replace the model's own.
        dest: a directory that does not exist yet, or is empty.
        notes: JSON values for the one metadata key of the weights file.

    Raises:
        InvalidInputError: `dest` is in the way.
    """
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise InvalidInputError(f"{dest} exists and is not empty; name another directory")
    dest.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=dest.parent, prefix=f".{dest.name}."))
    try:
        state = {name: tensor.contiguous() for name, tensor in model.module.state_dict().items()}
        # Two or more metadata keys come out in random order: one key keeps the file reproducible.
        metadata = {"governance": canonical_json(dict(notes))}
        save_file({**state, **changed}, temporary / WEIGHTS_NAME, metadata=metadata)
        config = _with_tokenizer(model, temporary)
        (temporary / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        # Temporary directories and safetensors files are private; a model directory is there to be served.
        temporary.chmod(0o755)
        (temporary / WEIGHTS_NAME).chmod(0o644)
        if dest.exists():
            dest.rmdir()
        os.replace(temporary, dest)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _with_tokenizer(model: ClipModel, directory: Path) -> dict[str, Any]:
    """Copy the files of a Hugging Face tokenizer and return the configuration that names them."""
    config = deepcopy(model.config)
    hf_tokenizer = getattr(model.tokenize, "tokenizer", None)
    if "hf_tokenizer_name" in config["model_cfg"]["text_cfg"] and hf_tokenizer is not None:
        hf_tokenizer.save_pretrained(directory)
    return config
