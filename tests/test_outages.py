"""Between the adapter and a real MLflow server: what is lost once is not noticed, what lasts is one clear line."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from governance import registry as adapter
from governance.errors import IntegrityError, UnavailableError
from governance.registry import KEY_TAG, Artifacts, RegisteredVersion, Registry
from tests.mlflow_server import Fault, Line, Server, first_of_each_kind, free_port, lay_line

ARTIFACTS = Artifacts(
    params={"rank": 3}, metrics={"accuracy": 0.25}, records={"recipe.json": {"b": [1, 2]}},
    texts={"README.md": "A card.\n" * 50}, tags={"governance.digest": "sha256:00"},
)  # fmt: skip

PASSING = ("down", "error", "cut")


@pytest.fixture
def line(mlflow: Server, at_once: None) -> Iterator[Line]:
    with lay_line(mlflow) as laid:
        yield laid


@pytest.fixture
def registry(line: Line) -> Registry:
    return Registry(line.url, Path("nowhere"))


def everything(registry: Registry, key: str, place: Path) -> RegisteredVersion:
    """Every kind of call."""
    made = registry.register("shop", key, 1, "base", ARTIFACTS)
    registry.set_alias("shop", "champion", made.version)
    registry.tag_version("shop", made.version, "note", "x")
    assert registry.version_tags("shop", made.version)["note"] == "x"
    assert registry.aliases("shop") == {"champion": made.version}
    registry.fetch(made.run_id, place)
    assert (place / "README.md").read_text() == "A card.\n" * 50
    return made


def runs(server: Server) -> Counter[str]:
    """How many runs there are of each key, finished or not."""
    client = Registry(server.url, Path("nowhere"))._connected()
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return Counter(run.data.tags[KEY_TAG] for run in found)


def test_what_befalls_one_request_is_not_noticed_and_doubles_nothing(
    line: Line, registry: Registry, mlflow: Server, mlflow_store: Path, tmp_path: Path
) -> None:
    for _ in range(2):  # some things the client asks for once and never again
        mlflow.restore(mlflow_store)
        line.begin()
        everything(registry, "key", tmp_path)
    expected = line.requests
    assert len(expected) > 20
    for number, request in first_of_each_kind(expected).items():
        kind = PASSING[number % len(PASSING)] if request.startswith("GET") else "lost"
        mlflow.restore(mlflow_store)
        line.begin(Fault(kind, number))
        made = everything(registry, "key", tmp_path)
        at = f"{kind} at {number}: {request}"
        assert len(line.requests) > len(expected), at
        assert made.version == "1", at
        assert list(registry.all_tags("shop")) == ["1"], at
        assert runs(mlflow) == {"key": 1}, at


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("down", "breaks the connection off"),
        ("silent", r"does not answer within 1 s \(MLFLOW_HTTP_REQUEST_TIMEOUT\)"),
        ("lost", "breaks the connection off"),
        ("error", "fails with status 503; its own log says why"),
        ("cut", "breaks the connection off"),
    ],
)
def test_what_lasts_is_one_line(
    kind: str, words: str, line: Line, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    made = registry.register("shop", "key", 1, "base", ARTIFACTS)
    for call in (
        lambda: registry.all_tags("shop"),
        lambda: registry.fetch(made.run_id, Path("nowhere")),
        lambda: registry.log_run("shop", "other", "a run", ARTIFACTS),
    ):
        line.begin(Fault(kind, 1, always=True))
        begun = monotonic()
        with pytest.raises(UnavailableError, match=f"^MLflow at {line.url} {words}$") as caught:
            call()
        assert type(caught.value) is UnavailableError
        # Who does not answer for that long is not asked again.
        assert len(line.requests) == (1 if kind == "silent" else 3)
        assert monotonic() - begun < 5


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(adapter.time, "sleep", pauses.append)
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match=f"^MLflow at {url} cannot be reached$"):
        Registry(url, tmp_path).check()
    assert pauses == [1.0, 3.0]


@pytest.mark.parametrize("size", [1 << 10, 1 << 16])
def test_a_full_disk_of_the_server(
    size: int, line: Line, registry: Registry, mlflow: Server, tmp_path: Path
) -> None:
    """Its database cannot grow, or only the artifacts find no room."""
    large = Artifacts(texts={"README.md": "x" * (1 << 17)})
    registry.log_run("shop", "before", "a run", ARTIFACTS)
    with (
        mlflow.full_disk(size),
        pytest.raises(UnavailableError, match=r"fails with status 50\d; its own log"),
    ):
        registry.register("shop", "key", 1, "base", large)
    made = registry.register("shop", "key", 1, "base", large)
    registry.fetch(made.run_id, tmp_path)
    assert (tmp_path / "README.md").stat().st_size == 1 << 17
    assert list(registry.all_tags("shop")) == ["1"]
    assert runs(mlflow)["key"] == 1


def test_what_is_not_there_is_not_asked_for_again(line: Line, registry: Registry) -> None:
    registry.register("shop", "key", 1, "base", ARTIFACTS)
    line.begin()
    with pytest.raises(UnavailableError, match=r"refused: .*not found"):
        registry.tag_version("shop", "9", "tag", "value")
    assert set(Counter(line.requests).values()) == {1}
    made = registry.log_run("shop", "other", "a run", ARTIFACTS)
    with pytest.raises(IntegrityError, match=r"has lost factors\.safetensors"):
        registry.tensors(made, "factors.safetensors")


def test_nothing_is_printed(
    registry: Registry, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Standard output is for results, of which a program reads JSON."""
    everything(registry, "key", tmp_path)
    assert capfd.readouterr().out == ""
