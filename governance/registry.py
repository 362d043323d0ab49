"""The adapter to MLflow, the only import of it: a mirror of the ledger, never the record.

One experiment and one registered model for each base model, one run for each preparation and each version. Every call
can be repeated: what it would make is looked up by its key first. So calls repeat themselves when MLflow is out of
reach for a moment. MLflow's client does not: it would send the same request again, and a version whose answer was lost
would be made twice.
"""

import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

# Before mlflow reads them. Its own defaults retry a dead server for minutes, draw progress bars into log files, and
# print addresses on standard output, which is for results.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

from mlflow.entities import LifecycleStage, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from governance.errors import GovernanceError, IntegrityError, UnavailableError

if TYPE_CHECKING:
    from torch import Tensor

KEY_TAG = "governance.key"
NUMBER_TAG = "governance.version"
ABANDONED_TAG = "governance.abandoned"
"""On a version that an abandoned intent has left; its value is the intent's digest."""

PAUSES_S = (1.0, 3.0)
"""Between the tries of a call while a server is out of reach."""

_TIMEOUT = re.compile("timed out|TimeoutError")
_ANSWERED = re.compile(r"too many (\d{3}) error responses")
_BROKEN_OFF = re.compile("Connection aborted|Connection broken|IncompleteRead|Response ended prem")
_NOT_REACHED = "Max retries exceeded"
"""What MLflow's client says of a server, in whatever it wraps that; it keeps no error to look at."""

C = TypeVar("C", bound=Callable[..., Any])


class _PassingError(UnavailableError):
    """MLflow is out of reach, perhaps only for a moment."""


def _repeated(call: C) -> C:
    """A call that is tried again while MLflow is out of reach."""

    @wraps(call)
    def patient(*args: Any, **kwargs: Any) -> Any:
        for pause in PAUSES_S:
            try:
                return call(*args, **kwargs)
            except _PassingError:
                time.sleep(pause)
        try:
            return call(*args, **kwargs)
        except _PassingError as error:
            raise UnavailableError(str(error)) from error.__cause__

    return cast(C, patient)


@dataclass(frozen=True)
class Artifacts:
    """What a run keeps.

    Attributes:
        params: hyperparameters and identities.
        metrics: figures.
        records: JSON documents by file name.
        tensors: safetensors files by file name, each named tensors.
        texts: text files by file name.
        tags: run tags; model versions get them too.
        finish: called with the directory when all of these files are in it, to add what is made from them.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    records: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, "Mapping[str, Tensor]"] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    finish: Callable[[Path], object] | None = None

    def write(self, directory: Path) -> None:
        """Write the files into a directory."""
        for name, record in self.records.items():
            text = json.dumps(record, indent=2, sort_keys=True) + "\n"
            (directory / name).write_bytes(text.encode())
        for name, text in self.texts.items():
            (directory / name).write_bytes(text.encode())
        if self.tensors:
            from safetensors.torch import save_file  # brings torch along
        for name, tensors in self.tensors.items():
            save_file(dict(tensors), directory / name)
        if self.finish is not None:
            self.finish(directory)


@dataclass(frozen=True)
class RegisteredVersion:
    """A model version in MLflow."""

    run_id: str
    version: str


@dataclass(frozen=True)
class Source:
    """Where MLflow takes the files of a version from.

    Attributes:
        run_id: the run whose files they are, None if they are those of no run that MLflow has.
        deleted: whether that run was deleted; MLflow keeps its files until somebody clears up.
    """

    run_id: str | None
    deleted: bool = False


class Registry:
    """MLflow at one tracking URI."""

    def __init__(self, tracking_uri: str, artifact_dir: Path) -> None:
        """Address a store without touching it.

        Args:
            tracking_uri: any MLflow tracking URI.
            artifact_dir: where a SQLite store without a server keeps artifacts.
        """
        self.tracking_uri = tracking_uri
        self._artifact_dir = artifact_dir
        self._client: MlflowClient | None = None

    @_repeated
    def log_run(self, model: str, key: str, name: str, artifacts: Artifacts) -> str:
        """Log a run of the model's experiment, or complete the one that an earlier try began.

        Args:
            model: base model name.
            key: what identifies the work, so that repeating it does not make a second run.
            name: shown to people.
            artifacts: what to keep.

        Returns:
            The run id.

        Raises:
            UnavailableError: MLflow cannot be used.
        """
        with self._explained():
            return self._log_run(model, key, name, artifacts)

    @_repeated
    def register(
        self, model: str, key: str, number: int, name: str, artifacts: Artifacts
    ) -> RegisteredVersion:
        """Log a version's run and register it as a version of the model; repeatable by `key`.

        A version with the key that is marked as abandoned is not taken for it.

        Raises:
            UnavailableError: MLflow cannot be used.
        """
        with self._explained():
            client = self._connected()
            run_id = self._log_run(model, key, name, artifacts)
            self._registered_model(client, model)
            for version in client.search_model_versions(f"name = '{model}'"):
                if version.tags.get(KEY_TAG) == key != version.tags.get(ABANDONED_TAG):
                    return RegisteredVersion(str(version.run_id), str(version.version))
            version = client.create_model_version(
                model,
                source=client.get_run(run_id).info.artifact_uri,
                run_id=run_id,
                tags={KEY_TAG: key, NUMBER_TAG: str(number), **artifacts.tags},
            )
            return RegisteredVersion(run_id, str(version.version))

    @_repeated
    def set_alias(self, model: str, alias: str, version: str) -> None:
        """Point an alias at a version; repeatable.

        Raises:
            UnavailableError: MLflow cannot be used.
        """
        with self._explained():
            self._connected().set_registered_model_alias(model, alias, version)

    @_repeated
    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away; repeatable.

        Raises:
            UnavailableError: MLflow cannot be used.
        """
        with self._explained():
            self._connected().delete_registered_model_alias(model, alias)

    @_repeated
    def aliases(self, model: str) -> dict[str, str]:
        """Alias → version as MLflow has them now.

        Raises:
            UnavailableError: MLflow cannot be used.
        """
        with self._explained():
            found = self._connected().get_registered_model(model).aliases
        return {str(alias): str(version) for alias, version in found.items()}

    @_repeated
    def tag_version(self, model: str, version: str, tag: str, value: str) -> None:
        """Set a tag of a version; repeatable.

        Raises:
            UnavailableError: MLflow cannot be used, or has no such version.
        """
        with self._explained():
            self._connected().set_model_version_tag(model, version, tag, value)

    @_repeated
    def all_tags(self, model: str) -> dict[str, dict[str, str]]:
        """Tags of every version of a model as MLflow has them now; none if it does not know the model.

        Raises:
            UnavailableError: MLflow cannot be used.
        """
        found: dict[str, dict[str, str]] = {}
        with self._explained():
            token = None
            while True:
                page = self._connected().search_model_versions(
                    f"name = '{model}'", max_results=200, page_token=token
                )
                found |= {str(version.version): dict(version.tags) for version in page}
                token = page.token
                if not token:
                    return found

    @_repeated
    def version_tags(self, model: str, version: str) -> dict[str, str]:
        """Tags of a version as MLflow has them now.

        Raises:
            UnavailableError: MLflow cannot be used.
        """
        with self._explained():
            return dict(self._connected().get_model_version(model, version).tags)

    @_repeated
    def tensors(self, run_id: str, name: str) -> "dict[str, Tensor]":
        """Tensors of a run's safetensors file as MLflow has them now.

        Raises:
            UnavailableError: MLflow cannot be used.
            IntegrityError: it has no such file, or a damaged one.
        """
        with tempfile.TemporaryDirectory() as directory:
            with self._explained():
                client = self._connected()
                kept = {artifact.path for artifact in client.list_artifacts(run_id)}
                if name in kept:
                    client.download_artifacts(run_id, name, directory)
            if name not in kept:
                raise IntegrityError(f"MLflow has lost {name} of run {run_id}")
            from safetensors import SafetensorError
            from safetensors.torch import load  # brings torch along

            try:
                return dict(load((Path(directory) / name).read_bytes()))
            except SafetensorError as error:
                raise IntegrityError(f"MLflow's {name} of run {run_id} is damaged") from error

    @_repeated
    def fetch(self, run_id: str, dest: Path) -> None:
        """Copy all files of a run into a directory that exists; none if the run has lost all of them.

        Raises:
            UnavailableError: MLflow cannot be used.
        """
        with self._explained():
            client = self._connected()
            if client.list_artifacts(run_id):
                client.download_artifacts(run_id, "", str(dest))

    @_repeated
    def source_of(self, model: str, version: str) -> Source:
        """Where MLflow takes the files of a version from now.

        Raises:
            UnavailableError: MLflow cannot be used, or has no such version.
        """
        with self._explained():
            client = self._connected()
            run_id = client.get_model_version(model, version).run_id
            place = client.get_model_version_download_uri(model, version)
            run = self._run(run_id) if run_id else None
        if run is None or run.info.artifact_uri != place:
            return Source(None)
        return Source(str(run_id), run.info.lifecycle_stage == LifecycleStage.DELETED)

    @_repeated
    def revive(self, run_id: str) -> bool:
        """Bring a run back if it was deleted, and its experiment with it; repeatable.

        Returns:
            Whether MLflow has the run now; what was cleared up for good it has not.

        Raises:
            UnavailableError: MLflow cannot be used.
        """
        with self._explained():
            client, run = self._connected(), self._run(run_id)
            if run is None:
                return False
            experiment = client.get_experiment(run.info.experiment_id)
            if experiment.lifecycle_stage == LifecycleStage.DELETED:
                client.restore_experiment(experiment.experiment_id)
                run = client.get_run(run_id)
            if run.info.lifecycle_stage == LifecycleStage.DELETED:
                client.restore_run(run_id)
            return True

    @_repeated
    def replace_files(self, run_id: str, directory: Path, gone: Collection[str] = ()) -> None:
        """Put files into a run, over those of the same names, and take others out; repeatable.

        Args:
            run_id: a run that was not deleted.
            directory: with the files.
            gone: names of those to take out.

        Raises:
            UnavailableError: MLflow cannot be used, or its store of artifacts lets nobody take files out.
        """
        with self._explained():
            client = self._connected()
            client.log_artifacts(run_id, str(directory))
            if gone:
                place = client.get_run(run_id).info.artifact_uri
                files = get_artifact_repository(place, tracking_uri=self.tracking_uri)
                for name in gone:
                    files.delete_artifacts(name)  # type: ignore[no-untyped-call]

    @_repeated
    def check(self) -> None:
        """Make sure that the store answers; a new SQLite store is created.

        Raises:
            UnavailableError: it does not.
        """
        with self._explained():
            self._connected().search_experiments(max_results=1)

    def _connected(self) -> MlflowClient:
        if self._client is None:
            for name in ("mlflow", "alembic", "urllib3"):
                logging.getLogger(name).setLevel(logging.ERROR)
            self._client = MlflowClient(self.tracking_uri, self.tracking_uri)
        return self._client

    def _run(self, run_id: str) -> Run | None:
        """The run, deleted or not; None if MLflow has none of that id."""
        try:
            return self._connected().get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _log_run(self, model: str, key: str, name: str, artifacts: Artifacts) -> str:
        client = self._connected()
        experiment = self._experiment(model)
        found = client.search_runs(
            [experiment], filter_string=f"tags.`{KEY_TAG}` = '{key}'", max_results=1
        )
        if found and found[0].info.status == "FINISHED":
            return str(found[0].info.run_id)
        run = (
            found[0]
            if found
            else client.create_run(experiment, tags={KEY_TAG: key, **artifacts.tags}, run_name=name)
        )
        run_id = str(run.info.run_id)
        self._fill(client, run_id, artifacts)
        client.set_terminated(run_id)
        return run_id

    def _experiment(self, model: str) -> str:
        client, name = self._connected(), f"governance/{model}"
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        # A server decides where its artifacts go; a bare database would put them in the current directory.
        served = self.tracking_uri.startswith(("http://", "https://", "databricks"))
        location = None if served else (self._artifact_dir / model).absolute().as_uri()
        return str(client.create_experiment(name, artifact_location=location))

    @staticmethod
    def _registered_model(client: MlflowClient, model: str) -> None:
        try:
            client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @staticmethod
    def _fill(client: MlflowClient, run_id: str, artifacts: Artifacts) -> None:
        at = int(time.time() * 1000)
        client.log_batch(
            run_id,
            metrics=[Metric(key, value, at, 0) for key, value in artifacts.metrics.items()],
            params=[Param(key, str(value)) for key, value in artifacts.params.items()],
            tags=[RunTag(key, value) for key, value in artifacts.tags.items()],
        )
        with tempfile.TemporaryDirectory() as directory:
            artifacts.write(Path(directory))
            client.log_artifacts(run_id, directory)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except GovernanceError:  # of what was to be logged
            raise
        except Exception as error:  # MLflow passes on whatever its stores and drivers raise
            where = _masked(self.tracking_uri)
            if self.tracking_uri.startswith("http") and (trouble := _trouble(str(error))):
                kind = UnavailableError if _TIMEOUT.search(str(error)) else _PassingError
                raise kind(f"MLflow at {where} {trouble}") from error
            verb = "refused" if isinstance(error, MlflowException) else "cannot be used"
            problem = str(error).strip().splitlines() or [type(error).__name__]
            raise UnavailableError(f"MLflow at {where} {verb}: {_masked(problem[0])}") from error


def _trouble(said: str) -> str | None:
    """Why a server gave no answer of its own, None if it did."""
    if _TIMEOUT.search(said):
        seconds = os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]
        return f"does not answer within {seconds} s (MLFLOW_HTTP_REQUEST_TIMEOUT)"
    if answered := _ANSWERED.search(said):
        return f"fails with status {answered[1]}; its own log says why"
    if _BROKEN_OFF.search(said):
        return "breaks the connection off"
    return "cannot be reached" if _NOT_REACHED in said else None


def _masked(text: str) -> str:
    """Text with the password of any URL in it hidden."""
    return re.sub(r"(://[^/:@\s]*):[^/@\s]*@", r"\1:***@", text)
