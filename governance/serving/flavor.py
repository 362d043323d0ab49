"""The files that make a directory one of MLflow's models: models from code, with a signature and an example."""

import base64
import io
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from governance.serving.answer import CLASSIFY, IMAGE, PATH, TEXT, TOP_K

SCRIPT = "served.py"
REQUIREMENTS = "requirements.txt"
ENVIRONMENT = "python_env.yaml"
EXAMPLE = "input_example.json"
SERVING_EXAMPLE = "serving_input_example.json"

_SCRIPT = '''\
"""Serves this version. What it does is in the package clip-governance, `governance.serving`."""

from pathlib import Path

from mlflow.models import set_model

from governance.serving.pyfunc import ServedVersion

set_model(ServedVersion(Path(__file__).parent))
'''

_PACKAGES = ("mlflow", "clip-governance", "open_clip_torch", "torch", "torchvision", "safetensors")


def write_flavor(directory: Path, hugging_face: bool) -> None:
    """Write them beside the files of a version.

    Args:
        directory: of the version's artifacts.
        hugging_face: whether the text tower or its tokenizer needs transformers.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, ParamSchema, ParamSpec, Schema

    inputs = Schema(
        [
            ColSpec(DataType.binary, IMAGE, required=False),
            ColSpec(DataType.string, PATH, required=False),
            ColSpec(DataType.string, TEXT, required=False),
        ]
    )
    outputs = Schema(
        [
            ColSpec(Array(DataType.string), "labels", required=False),
            ColSpec(Array(DataType.double), "scores", required=False),
            ColSpec(Array(DataType.double), "embedding", required=False),
        ]
    )
    params = ParamSchema(
        [
            ParamSpec("mode", DataType.string, CLASSIFY),
            ParamSpec("top_k", DataType.integer, TOP_K),
            ParamSpec("labels", DataType.string, [], shape=(-1,)),
        ]
    )
    example = {"columns": [IMAGE], "data": [[base64.b64encode(_example()).decode()]]}
    _write_json(directory / EXAMPLE, example)
    _write_json(directory / SERVING_EXAMPLE, {"dataframe_split": example})
    (directory / SCRIPT).write_bytes(_SCRIPT.encode())
    packages = [*_PACKAGES, *(["transformers"] if hugging_face else [])]
    pinned = "".join(f"{package}=={_version(package)}\n" for package in packages)
    (directory / REQUIREMENTS).write_bytes(pinned.encode())
    environment = (
        f"python: {platform.python_version()}\nbuild_dependencies:\n- pip\n"
        f"dependencies:\n- -r {REQUIREMENTS}\n"
    )
    (directory / ENVIRONMENT).write_bytes(environment.encode())
    model = Model(signature=ModelSignature(inputs, outputs, params))
    model.saved_input_example_info = {
        "artifact_path": EXAMPLE,
        "type": "dataframe",
        "pandas_orient": "split",
        "serving_input_path": SERVING_EXAMPLE,
    }
    # What `mlflow.pyfunc.add_to_model` writes; importing that module takes as long as the rest.
    model.add_flavor(
        "python_function",
        loader_module="mlflow.pyfunc.loaders.code_model",
        python_version=platform.python_version(),
        env={"virtualenv": ENVIRONMENT},
        model_code_path=SCRIPT,
        streamable=False,
    )
    model.save(str(directory / "MLmodel"))


def _version(package: str) -> str:
    """Installed version without the local part, which no index has."""
    return version(package).partition("+")[0]


def _example() -> bytes:
    """A small image, as PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (128, 128, 128)).save(buffer, "PNG")
    return buffer.getvalue()


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_bytes((json.dumps(value) + "\n").encode())
