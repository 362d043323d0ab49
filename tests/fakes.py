"""Stand-ins for the adapters to outside systems; `tests/test_registry.py` holds them to the same contract."""

import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors.torch import load
from torch import Tensor

from governance.errors import IntegrityError, UnavailableError
from governance.registry import (
    ABANDONED_TAG,
    KEY_TAG,
    NUMBER_TAG,
    Artifacts,
    RegisteredVersion,
    Source,
)


@dataclass(frozen=True)
class FakeRun:
    """A run; unfinished if something interrupted it, with its files if it has a whole directory of them."""

    run_id: str
    model: str
    key: str
    name: str
    artifacts: Artifacts
    finished: bool
    deleted: bool = False
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class FakeVersion:
    """A registered model version."""

    version: str
    run_id: str
    key: str
    tags: dict[str, str]


@dataclass
class FakeRegistry:
    """MLflow in memory, with the public methods of `governance.registry.Registry`.

    Attributes:
        runs: by run id.
        versions: of each model, oldest first.
        numbers: the last number that each model has given.
        calls: names of the methods called, in order; `register` logs a run, so it calls two.
    """

    runs: dict[str, FakeRun] = field(default_factory=dict)
    versions: dict[str, list[FakeVersion]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    _begun: int = 0
    _aliases: dict[str, dict[str, str]] = field(default_factory=dict)
    _failures: dict[tuple[str, str], BaseException] = field(default_factory=dict)

    def fail(self, when: str, method: str, problem: BaseException) -> None:
        """Make the next call of `method` raise, once.

        Args:
            when: ``before`` it does anything, ``during`` (only `log_run`: the run exists but is not complete), or
                ``after`` everything is done and only the answer is lost.
            method: a public method's name.
            problem: what to raise.
        """
        assert when in ("before", "during", "after")
        assert when != "during" or method == "log_run"
        assert callable(getattr(self, method))
        self._failures[when, method] = problem

    def log_run(self, model: str, key: str, name: str, artifacts: Artifacts) -> str:
        """See `Registry.log_run`."""
        self._enter("log_run")
        found = [
            r for r in self.runs.values() if (r.model, r.key, r.deleted) == (model, key, False)
        ]
        if not found:
            self._begun += 1
            run_id = f"run-{self._begun}"
            begun = replace(artifacts, finish=None)
            found = [FakeRun(run_id, model, key, name, begun, finished=False)]
            self.runs[run_id] = found[0]
        run = found[0]
        if not run.finished:
            self._meet("during", "log_run")
            files = _files(artifacts) if artifacts.finish is not None else {}
            kept = replace(artifacts, finish=None)
            self.runs[run.run_id] = replace(run, artifacts=kept, finished=True, files=files)
        self._meet("after", "log_run")
        return run.run_id

    def register(
        self, model: str, key: str, number: int, name: str, artifacts: Artifacts
    ) -> RegisteredVersion:
        """See `Registry.register`."""
        self._enter("register")
        run_id = self.log_run(model, key, name, artifacts)
        versions = self.versions.setdefault(model, [])
        known = (v for v in versions if v.tags.get(KEY_TAG) == key != v.tags.get(ABANDONED_TAG))
        version = next(known, None)
        if version is None:
            tags = {KEY_TAG: key, NUMBER_TAG: str(number), **artifacts.tags}
            self.numbers[model] = self.numbers.get(model, 0) + 1
            version = FakeVersion(str(self.numbers[model]), run_id, key, tags)
            versions.append(version)
        self._meet("after", "register")
        return RegisteredVersion(run_id, version.version)

    def set_alias(self, model: str, alias: str, version: str) -> None:
        """See `Registry.set_alias`."""
        self._enter("set_alias")
        self._find(model, version)
        self._aliases.setdefault(model, {})[alias] = version
        self._meet("after", "set_alias")

    def delete_alias(self, model: str, alias: str) -> None:
        self._enter("delete_alias")
        self._aliases.get(model, {}).pop(alias, None)
        self._meet("after", "delete_alias")

    def aliases(self, model: str) -> dict[str, str]:
        """See `Registry.aliases`."""
        self._enter("aliases")
        if model not in self.versions:
            raise UnavailableError(f"no registered model {model}")
        self._meet("after", "aliases")
        return dict(self._aliases.get(model, {}))

    def tag_version(self, model: str, version: str, tag: str, value: str) -> None:
        """See `Registry.tag_version`."""
        self._enter("tag_version")
        self._find(model, version).tags[tag] = value
        self._meet("after", "tag_version")

    def all_tags(self, model: str) -> dict[str, dict[str, str]]:
        """See `Registry.all_tags`."""
        self._enter("all_tags")
        found = {v.version: dict(v.tags) for v in self.versions.get(model, [])}
        self._meet("after", "all_tags")
        return found

    def version_tags(self, model: str, version: str) -> dict[str, str]:
        """See `Registry.version_tags`."""
        self._enter("version_tags")
        tags = dict(self._find(model, version).tags)
        self._meet("after", "version_tags")
        return tags

    def tensors(self, run_id: str, name: str) -> "dict[str, Tensor]":
        """See `Registry.tensors`."""
        self._enter("tensors")
        run = self.runs[run_id]
        tensors = run.artifacts.tensors or {
            file: load(data) for file, data in run.files.items() if file.endswith(".safetensors")
        }
        if name not in tensors:
            raise IntegrityError(f"no {name} in {run_id}")
        self._meet("after", "tensors")
        return dict(tensors[name])

    def fetch(self, run_id: str, dest: Path) -> None:
        """See `Registry.fetch`."""
        self._enter("fetch")
        for name, data in self.runs[run_id].files.items():
            (dest / name).write_bytes(data)
        self._meet("after", "fetch")

    def source_of(self, model: str, version: str) -> Source:
        """See `Registry.source_of`."""
        self._enter("source_of")
        run = self.runs.get(self._find(model, version).run_id)
        self._meet("after", "source_of")
        return Source(None) if run is None else Source(run.run_id, run.deleted)

    def revive(self, run_id: str) -> bool:
        """See `Registry.revive`."""
        self._enter("revive")
        if run_id in self.runs:
            self.runs[run_id] = replace(self.runs[run_id], deleted=False)
        self._meet("after", "revive")
        return run_id in self.runs

    def replace_files(self, run_id: str, directory: Path, gone: Collection[str] = ()) -> None:
        """See `Registry.replace_files`."""
        self._enter("replace_files")
        files = self.runs[run_id].files
        files |= {path.name: path.read_bytes() for path in directory.iterdir()}
        for name in gone:
            del files[name]
        self._meet("after", "replace_files")

    def check(self) -> None:
        """See `Registry.check`."""
        self._enter("check")
        self._meet("after", "check")

    def _find(self, model: str, number: str) -> FakeVersion:
        for version in self.versions.get(model, []):
            if version.version == number:
                return version
        raise UnavailableError(f"no version {number} of {model}")

    def _enter(self, method: str) -> None:
        self.calls.append(method)
        self._meet("before", method)

    def _meet(self, when: str, method: str) -> None:
        problem = self._failures.pop((when, method), None)
        if problem is not None:
            raise problem


def _files(artifacts: Artifacts) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as directory:
        artifacts.write(Path(directory))
        return {path.name: path.read_bytes() for path in Path(directory).iterdir()}
