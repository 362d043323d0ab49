"""One contract for MLflow and for its stand-in, and what only the real one can show."""

import inspect
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.utils import _get_store
from safetensors.torch import load_file

from governance.errors import IntegrityError, UnavailableError
from governance.registry import (
    ABANDONED_TAG,
    KEY_TAG,
    Artifacts,
    RegisteredVersion,
    Registry,
    Source,
)
from tests.fakes import FakeRegistry

TENSOR = torch.arange(6, dtype=torch.float64).reshape(2, 3)
ARTIFACTS = Artifacts(
    params={"method": "redirect", "rank": 3},
    metrics={"forget_accuracy_after": 0.25},
    records={"recipe.json": {"b": [1, 2], "a": None}},
    tensors={"factors.safetensors": {"a": TENSOR}},
    tags={"governance.digest": "sha256:00", "governance.active_requests": "[1, 2]"},
)


@dataclass
class Store:
    """A registry, how many runs it holds, and a way to interrupt the next run half-way."""

    registry: Registry | FakeRegistry
    count_runs: Callable[[str], int]
    interrupt: Callable[[BaseException], None]


@pytest.fixture
def real(mlflow_store: Path, tmp_path: Path) -> Registry:
    shutil.copy(mlflow_store, tmp_path / "mlflow.db")
    return Registry(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts")


@pytest.fixture(params=["fake", "mlflow", "server"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "fake":
        fake = FakeRegistry()
        return Store(
            fake,
            lambda model: sum(run.model == model for run in fake.runs.values()),
            lambda problem: fake.fail("during", "log_run", problem),
        )
    if request.param == "server":
        registry = Registry(request.getfixturevalue("mlflow").url, Path("nowhere"))
    else:
        registry = request.getfixturevalue("real")

    def interrupt(problem: BaseException) -> None:
        log_artifacts, pending = MlflowClient.log_artifacts, [problem]

        def once(*args: object) -> None:
            if pending:
                raise pending.pop()
            log_artifacts(*args)

        monkeypatch.setattr(MlflowClient, "log_artifacts", once)

    return Store(registry, lambda model: len(runs_of(registry, model)), interrupt)


def client_of(registry: Registry) -> MlflowClient:
    return MlflowClient(registry.tracking_uri, registry.tracking_uri)


def runs_of(registry: Registry, model: str) -> list[str]:
    client = client_of(registry)
    experiment = client.get_experiment_by_name(f"governance/{model}")
    return [run.info.run_id for run in client.search_runs([experiment.experiment_id])]


def test_the_fake_has_the_methods_of_the_real_one() -> None:
    def signatures(kind: type) -> dict[str, inspect.Signature]:
        members = inspect.getmembers(kind, inspect.isfunction)
        return {name: inspect.signature(f) for name, f in members if not name.startswith("_")}

    fake = signatures(FakeRegistry)
    fake.pop("fail")
    assert fake == signatures(Registry)


def test_log_run_is_idempotent_by_key(store: Store) -> None:
    first = store.registry.log_run("shop", "key one", "a run", ARTIFACTS)
    assert store.registry.log_run("shop", "key one", "a run", ARTIFACTS) == first
    assert store.count_runs("shop") == 1
    assert store.registry.log_run("shop", "key two", "a run", ARTIFACTS) != first
    assert store.count_runs("shop") == 2


def test_a_finished_run_is_left_as_it_is(store: Store) -> None:
    run_id = store.registry.log_run("shop", "key", "a run", ARTIFACTS)
    other = replace(ARTIFACTS, records={"other.json": 1}, metrics={"other": 1.0})
    assert store.registry.log_run("shop", "key", "a run", other) == run_id
    if isinstance(store.registry, FakeRegistry):
        assert store.registry.runs[run_id].artifacts == ARTIFACTS
    else:
        client = client_of(store.registry)
        assert client.get_run(run_id).data.metrics == ARTIFACTS.metrics
        assert len(client.list_artifacts(run_id)) == 2


def test_the_same_key_of_another_model_is_another_run(store: Store) -> None:
    first = store.registry.log_run("shop", "key", "a run", ARTIFACTS)
    assert store.registry.log_run("search", "key", "a run", ARTIFACTS) != first
    assert (store.count_runs("shop"), store.count_runs("search")) == (1, 1)


@pytest.mark.parametrize("problem", [OSError("disk full"), KeyboardInterrupt()])
def test_a_run_left_unfinished_is_completed(store: Store, problem: BaseException) -> None:
    store.interrupt(problem)
    with pytest.raises((OSError, UnavailableError, KeyboardInterrupt)):
        store.registry.log_run("shop", "key", "a run", ARTIFACTS)
    assert store.count_runs("shop") == 1
    run_id = store.registry.log_run("shop", "key", "a run", ARTIFACTS)
    assert store.count_runs("shop") == 1
    if isinstance(store.registry, FakeRegistry):
        assert store.registry.runs[run_id].finished
    else:
        client = client_of(store.registry)
        assert client.get_run(run_id).info.status == "FINISHED"
        files = {file.path for file in client.list_artifacts(run_id)}
        assert files == {"recipe.json", "factors.safetensors"}


def test_register_is_idempotent_by_key(store: Store) -> None:
    first = store.registry.register("shop", "key one", 1, "base", ARTIFACTS)
    assert first.version == "1"
    assert store.registry.register("shop", "key one", 1, "base", ARTIFACTS) == first
    assert store.count_runs("shop") == 1
    second = store.registry.register("shop", "key two", 2, "version 2", ARTIFACTS)
    assert second.version == "2"
    assert second.run_id != first.run_id
    assert store.registry.register("shop", "key one", 1, "base", ARTIFACTS) == first


def test_register_after_its_run_was_logged_uses_that_run(store: Store) -> None:
    run_id = store.registry.log_run("shop", "key", "base", ARTIFACTS)
    registered = store.registry.register("shop", "key", 1, "base", ARTIFACTS)
    assert registered == RegisteredVersion(run_id, "1")


def test_versions_of_each_model_count_from_one(store: Store) -> None:
    store.registry.register("shop", "key", 1, "base", ARTIFACTS)
    assert store.registry.register("search", "key", 1, "base", ARTIFACTS).version == "1"


def test_a_version_has_its_tags(store: Store) -> None:
    store.registry.register("shop", "key", 7, "version 7", ARTIFACTS)
    assert store.registry.version_tags("shop", "1") == {
        "governance.key": "key",
        "governance.version": "7",
        "governance.digest": "sha256:00",
        "governance.active_requests": "[1, 2]",
    }


def test_aliases_move_and_setting_one_again_changes_nothing(store: Store) -> None:
    for number in (1, 2):
        store.registry.register("shop", f"key {number}", number, "a version", ARTIFACTS)
    assert store.registry.aliases("shop") == {}
    store.registry.set_alias("shop", "champion", "1")
    store.registry.set_alias("shop", "candidate", "2")
    assert store.registry.aliases("shop") == {"champion": "1", "candidate": "2"}
    for _ in range(2):
        store.registry.set_alias("shop", "champion", "2")
        assert store.registry.aliases("shop") == {"champion": "2", "candidate": "2"}


def test_what_is_not_registered_is_refused(store: Store) -> None:
    with pytest.raises(UnavailableError):
        store.registry.aliases("shop")
    store.registry.register("shop", "key", 1, "base", ARTIFACTS)
    with pytest.raises(UnavailableError):
        store.registry.set_alias("shop", "champion", "9")
    with pytest.raises(UnavailableError):
        store.registry.version_tags("shop", "9")
    assert store.registry.aliases("shop") == {}


def test_tags_are_set_and_listed_for_every_version(store: Store) -> None:
    assert store.registry.all_tags("shop") == {}
    store.registry.register("shop", "key one", 1, "base", ARTIFACTS)
    store.registry.register("shop", "key two", 2, "version 2", ARTIFACTS)
    note = "origin\n5\nroot\n\n— a/b c2ln\n"
    for value in ("another", note, note):
        store.registry.tag_version("shop", "2", "governance.checkpoint", value)
    found = store.registry.all_tags("shop")
    assert found.keys() == {"1", "2"}
    assert found["2"]["governance.checkpoint"] == note
    assert found["2"] == store.registry.version_tags("shop", "2")
    assert found["1"] == store.registry.version_tags("shop", "1")
    assert "governance.checkpoint" not in found["1"]
    with pytest.raises(UnavailableError):
        store.registry.tag_version("shop", "9", "governance.checkpoint", note)


SIGNED = replace(ARTIFACTS, finish=lambda directory: (directory / "sig").write_bytes(b"signed"))


def test_a_version_marked_as_abandoned_is_not_taken_up(store: Store) -> None:
    first = store.registry.register("shop", "key", 1, "base", ARTIFACTS)
    store.registry.tag_version("shop", first.version, ABANDONED_TAG, "another key")
    assert store.registry.register("shop", "key", 1, "base", ARTIFACTS) == first
    store.registry.tag_version("shop", first.version, ABANDONED_TAG, "key")
    second = store.registry.register("shop", "key", 1, "base", ARTIFACTS)
    assert second == RegisteredVersion(first.run_id, "2")
    assert store.registry.register("shop", "key", 1, "base", ARTIFACTS) == second


def test_where_the_files_of_a_version_come_from(store: Store) -> None:
    first = store.registry.register("shop", "key", 1, "base", ARTIFACTS)
    assert store.registry.source_of("shop", "1") == Source(first.run_id, deleted=False)
    with pytest.raises(UnavailableError):
        store.registry.source_of("shop", "9")


def test_a_deleted_run_is_found_and_brought_back(store: Store) -> None:
    registry = store.registry
    run_id = registry.register("shop", "key", 1, "base", ARTIFACTS).run_id
    assert registry.revive(run_id)
    if isinstance(registry, FakeRegistry):
        registry.runs[run_id] = replace(registry.runs[run_id], deleted=True)
    else:
        client_of(registry).delete_run(run_id)
    assert registry.source_of("shop", "1") == Source(run_id, deleted=True)
    for _ in range(2):
        assert registry.revive(run_id)
        assert registry.source_of("shop", "1") == Source(run_id, deleted=False)
    assert registry.log_run("shop", "key", "base", ARTIFACTS) == run_id
    assert not registry.revive("0" * 32)


def test_files_of_a_run_are_replaced(store: Store, tmp_path: Path) -> None:
    def found() -> dict[str, bytes]:
        dest = Path(tempfile.mkdtemp(dir=tmp_path))
        store.registry.fetch(run_id, dest)
        return {path.name: path.read_bytes() for path in dest.iterdir()}

    run_id = store.registry.log_run("shop", "key", "a run", SIGNED)
    before = found()
    assert before.keys() == {"recipe.json", "factors.safetensors", "sig"}
    new = tmp_path / "new"
    new.mkdir()
    (new / "recipe.json").write_bytes(b"other")
    (new / "more").write_bytes(b"more")
    store.registry.replace_files(run_id, new, ["sig"])
    del before["sig"]
    assert found() == before | {"recipe.json": b"other", "more": b"more"}
    shutil.rmtree(new)
    new.mkdir()
    store.registry.replace_files(run_id, new, list(found()))
    assert found() == {}


def test_a_version_whose_run_was_cleared_up_has_no_files(real: Registry) -> None:
    run_id = real.register("shop", "key", 1, "base", ARTIFACTS).run_id
    _get_store(real.tracking_uri)._hard_delete_run(run_id)
    assert real.source_of("shop", "1") == Source(None)
    assert not real.revive(run_id)


def test_a_version_with_files_of_something_else(real: Registry, tmp_path: Path) -> None:
    first = real.register("shop", "key one", 1, "base", ARTIFACTS)
    other = real.log_run("shop", "key two", "a run", ARTIFACTS)
    client_of(real).create_model_version(
        "shop", client_of(real).get_run(other).info.artifact_uri, run_id=first.run_id
    )
    assert real.source_of("shop", "2") == Source(None)


def test_an_experiment_comes_back_with_its_run(real: Registry) -> None:
    run_id = real.register("shop", "key", 1, "base", ARTIFACTS).run_id
    experiment = client_of(real).get_run(run_id).info.experiment_id
    client_of(real).delete_experiment(experiment)
    assert real.revive(run_id)
    assert client_of(real).get_experiment(experiment).lifecycle_stage == "active"
    assert real.log_run("shop", "key", "base", ARTIFACTS) == run_id


def test_what_goes_wrong_with_the_files_themselves_is_said_as_it_is(store: Store) -> None:
    def refuse(_: Path) -> None:
        raise IntegrityError("they are not what they should be")

    with pytest.raises(IntegrityError, match=r"^they are not what they should be$"):
        store.registry.log_run("shop", "key", "a run", replace(ARTIFACTS, finish=refuse))


def test_check_accepts_a_store_that_answers(store: Store) -> None:
    store.registry.check()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("problem", [UnavailableError("down"), KeyboardInterrupt()])
def test_the_fake_fails_once_and_as_told(when: str, problem: BaseException) -> None:
    fake = FakeRegistry()
    fake.fail(when, "register", problem)
    with pytest.raises(type(problem)):
        fake.register("shop", "key", 1, "base", ARTIFACTS)
    assert len(fake.versions.get("shop", [])) == (1 if when == "after" else 0)
    assert fake.register("shop", "key", 1, "base", ARTIFACTS).version == "1"
    assert len(fake.runs) == 1
    assert fake.calls.count("register") == 2


def test_mlflow_keeps_everything_of_a_run(real: Registry, tmp_path: Path) -> None:
    run_id = real.log_run("shop", "key", "prepare request 1", ARTIFACTS)
    run = client_of(real).get_run(run_id)
    assert run.info.run_name == "prepare request 1"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"method": "redirect", "rank": "3"}
    assert run.data.metrics == {"forget_accuracy_after": 0.25}
    assert run.data.tags[KEY_TAG] == "key"
    assert ARTIFACTS.tags.items() <= run.data.tags.items()
    place = Path(run.info.artifact_uri.removeprefix("file://"))
    assert place.is_relative_to(tmp_path / "artifacts" / "shop")
    assert json.loads((place / "recipe.json").read_text()) == {"b": [1, 2], "a": None}
    assert torch.equal(load_file(place / "factors.safetensors")["a"], TENSOR)


def test_mlflow_finds_a_version_by_its_alias(real: Registry) -> None:
    registered = real.register("shop", "key", 1, "base", ARTIFACTS)
    real.set_alias("shop", "champion", registered.version)
    version = client_of(real).get_model_version_by_alias("shop", "champion")
    assert version.run_id == registered.run_id
    assert version.source == client_of(real).get_run(registered.run_id).info.artifact_uri


def test_mlflow_lists_the_tags_of_more_versions_than_a_page_holds(
    real: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = MlflowClient.search_model_versions

    def small_pages(
        client: MlflowClient, query: str, max_results: int = 0, **rest: object
    ) -> object:
        return search(client, query, max_results=2, **rest)  # type: ignore[arg-type]

    for number in range(1, 6):
        real.register("shop", f"key {number}", number, "version", replace(ARTIFACTS, tensors={}))
    monkeypatch.setattr(MlflowClient, "search_model_versions", small_pages)
    assert sorted(real.all_tags("shop")) == ["1", "2", "3", "4", "5"]


def test_making_a_registry_touches_nothing(tmp_path: Path) -> None:
    Registry(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "nosuchstore://x", "file:///tmp/mlruns"])
def test_a_store_that_cannot_be_used_is_unavailable(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    registry = Registry(uri, tmp_path / "artifacts")
    for call in (
        registry.check,
        lambda: registry.log_run("shop", "key", "a run", ARTIFACTS),
        lambda: registry.register("shop", "key", 1, "base", ARTIFACTS),
        lambda: registry.set_alias("shop", "champion", "1"),
        lambda: registry.aliases("shop"),
        lambda: registry.version_tags("shop", "1"),
        lambda: registry.tag_version("shop", "1", "tag", "value"),
        lambda: registry.all_tags("shop"),
        lambda: registry.source_of("shop", "1"),
        lambda: registry.revive("a run"),
        lambda: registry.replace_files("a run", tmp_path),
    ):
        with pytest.raises(UnavailableError, match=f"MLflow at {uri} ") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_database_without_its_tables_is_unavailable(real: Registry, tmp_path: Path) -> None:
    real.check()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("DROP TABLE experiments")
    with pytest.raises(UnavailableError, match="no such table: experiments"):
        real.check()


@pytest.mark.parametrize("uri", ["sqlite:///{}/mlflow.db", "postgresql+nosuch://u:p@host/mlflow"])
def test_a_database_that_cannot_be_opened_is_unavailable(uri: str, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"This is no database at all. " * 200)
    with pytest.raises(UnavailableError):
        Registry(uri.format(tmp_path), tmp_path / "artifacts").check()


def test_no_message_shows_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with pytest.raises(UnavailableError) as caught:
        Registry("http://ada:hunter2@127.0.0.1:9", tmp_path).check()
    assert "hunter2" not in str(caught.value)


def test_tensors_come_back_as_they_were(store: Store) -> None:
    run_id = store.registry.register("shop", "key", 1, "base", ARTIFACTS).run_id
    tensors = store.registry.tensors(run_id, "factors.safetensors")
    assert tensors.keys() == {"a"}
    assert torch.equal(tensors["a"], TENSOR)
    with pytest.raises(IntegrityError, match=r"changed\.safetensors"):
        store.registry.tensors(run_id, "changed.safetensors")


def test_damaged_tensors_are_found(real: Registry, tmp_path: Path) -> None:
    run_id = real.log_run("shop", "key", "a run", ARTIFACTS)
    (path,) = (tmp_path / "artifacts").rglob("factors.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="is damaged"):
        real.tensors(run_id, "factors.safetensors")
