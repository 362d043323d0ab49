"""The model that MLflow loads and serves; its script in the artifacts is three lines that make one of these."""

import math
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    # Of MLflow's own type hints, at the first import.
    warnings.simplefilter("ignore")
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
    from mlflow.pyfunc.model import PythonModel

import pandas as pd

from governance.errors import GovernanceError, InvalidInputError, NotFoundError
from governance.serving.answer import CLASSIFY, PATH, TOP_K, answer
from governance.serving.contents import COMPILED
from governance.serving.load import Served, load_version
from governance.serving.trust import IMAGE_ROOT, Outside

_BEHIND_A_SERVER = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"
"""MLflow's scoring server sets it in its own process."""


class RequestError(MlflowException):
    """Why a request cannot be answered, one line.

    MLflow's scoring server would put the whole request before it, images included; what it says stays as it is.
    """

    @property
    def message(self) -> str:
        """The line."""
        return self._line

    @message.setter
    def message(self, text: str) -> None:
        self._line: str = getattr(self, "_line", text)


class ServedVersion(PythonModel):
    """A version behind MLflow's interface; nothing is read before `load_context`.

    Args:
        directory: of the version's artifacts.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._outside = Outside()
        self._served: Served | None = None

    def load_context(self, context: Any) -> None:
        """Load and check the version.

        Raises:
            GovernanceError: it must not be served; the message says why.
        """
        try:
            self._outside = Outside.read()
            self._served = load_version(self._directory, self._outside)
        except GovernanceError as error:
            raise type(error)(f"this version is not served: {error}") from error
        finally:
            # Python's copy of the script; the directory stays as it was signed.
            shutil.rmtree(self._directory / COMPILED, ignore_errors=True)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer a request: a DataFrame with the columns ``image``, ``path`` and ``text``, one of them in each row.

        Returns:
            A DataFrame with ``labels`` and ``scores``, or ``embedding``; see `governance.serving.answer.answer`.

        Raises:
            RequestError: the request cannot be answered; a server sends it as 400 or 404.
        """
        if self._served is None:
            raise MlflowException("this version is not loaded")
        given = params or {}
        try:
            found = answer(
                self._served,
                _rows(model_input),
                str(given.get("mode", CLASSIFY)),
                int(given.get("top_k", TOP_K)),
                [str(label) for label in given.get("labels", ())],
                self._root(model_input),
            )
        except InvalidInputError as error:
            raise RequestError(str(error), INVALID_PARAMETER_VALUE) from None
        except NotFoundError as error:
            raise RequestError(str(error), RESOURCE_DOES_NOT_EXIST) from None
        return pd.DataFrame(found)

    def _root(self, model_input: pd.DataFrame) -> Path | None:
        root = self._outside.image_root
        if root is None and os.environ.get(_BEHIND_A_SERVER) and PATH in model_input:
            raise InvalidInputError(
                f"this server reads no files; whoever runs it can allow a directory with {IMAGE_ROOT}"
            )
        return root


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a DataFrame without what they do not have; one row of lists is as many rows as they are long."""
    rows = [
        {name: value for name, value in record.items() if not _is_missing(value)}
        for record in frame.to_dict("records")
        if isinstance(record, Mapping)
    ]
    if len(rows) == 1 and len(rows[0]) == 1:
        ((name, value),) = rows[0].items()
        if isinstance(value, list | tuple):
            return [{str(name): entry} for entry in value]
    return [{str(name): value for name, value in row.items()} for row in rows]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
