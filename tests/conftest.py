"""Fixtures that all tests share: isolated environment, ledgers, the embedded model, a small data set."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing in the tests may reach for the network

import pytest

from governance.ledger.database import Ledger
from tests import databases as kinds
from tests import mlflow_server, postgres
from tests.keys import KEYS

pytest_plugins = ["tests.workflow.fixtures", "tests.statements"]

_PLACES = ("GOVERNANCE_HOME", "GOVERNANCE_DATABASE_URL", "GOVERNANCE_ACTOR", "MLFLOW_TRACKING_URI")
_WATCHED = (
    "GOVERNANCE_LOG_FORMAT",
    "GOVERNANCE_LOG_LEVEL",
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)
_KEYS = (
    "GOVERNANCE_KEY",
    "GOVERNANCE_KEY_FILE",
    "GOVERNANCE_KEY_PASSPHRASE",
    "GOVERNANCE_NEW_KEY_PASSPHRASE",
)


def pytest_collection_finish() -> None:
    """Let no test collect what importing left behind, which takes a second each time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let the interpreter put away everything at its end."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the workspace, database, MLflow server or keys of whoever runs it."""
    for name in (*_PLACES, *_KEYS, *_WATCHED, "GOVERNANCE_DEBUG"):
        monkeypatch.delenv(name, raising=False)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that needs a ledger on both databases, unless it is marked as being about one."""
    if "databases" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("only")
        chosen = kinds.KINDS if marker is None else marker.args
        reason = postgres.obstacle()
        if reason is not None and os.environ.get(postgres.REQUIRED) != "1":
            skip = pytest.mark.skip(reason=reason)  # here, so that the summary has one line a file
            chosen = [pytest.param(k, marks=skip) if k == "postgresql" else k for k in chosen]
        metafunc.parametrize("databases", chosen, indirect=True, scope="session")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Server]:
    """A throw-away PostgreSQL server; skips where there can be none, and fails there if one is required."""
    if (reason := postgres.obstacle()) is not None:
        if os.environ.get(postgres.REQUIRED) == "1":
            pytest.fail(f"{postgres.REQUIRED}=1, but {reason}")
        pytest.skip(reason)
    with postgres.serve() as server:
        yield server


@pytest.fixture(scope="session")
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> kinds.Databases:
    """Where ledgers come from; each test that needs one runs once for each of `kinds.KINDS`."""
    if request.param == "postgresql":
        return kinds.PostgresDatabases(request.getfixturevalue("postgresql"))
    return kinds.SqliteFiles(tmp_path_factory.mktemp("ledgers"))


@pytest.fixture(scope="session")
def migrated(databases: kinds.Databases) -> str:
    """A template at head, made by the migrations."""
    return kinds.make_template(databases, lambda ledger: None)


@pytest.fixture
def copy_ledger(databases: kinds.Databases) -> Iterator[Callable[[str], Ledger]]:
    """Copies of templates, as the program opens them; removed at the end of the test."""
    made: list[tuple[str, Ledger]] = []

    def copy(template: str) -> Ledger:
        url = databases.copy(template)
        made.append((url, Ledger(kinds.as_program(url), KEYS)))
        return made[-1][1]

    yield copy
    for url, ledger in made:
        ledger.dispose()
        databases.drop(url)


@pytest.fixture
def make_ledger(copy_ledger: Callable[[str], Ledger], migrated: str) -> Callable[[], Ledger]:
    """Empty ledgers at head."""
    return lambda: copy_ledger(migrated)


@pytest.fixture
def blank(databases: kinds.Databases) -> Iterator[Ledger]:
    """A database without a schema, as its owner opens it."""
    url = databases.new()
    ledger = Ledger(url, KEYS)
    yield ledger
    ledger.dispose()
    databases.drop(url)


@pytest.fixture
def as_owner() -> Iterator[Callable[[Ledger], Ledger]]:
    """The same ledger as its owner opens it."""
    made: list[Ledger] = []

    def open_as_owner(ledger: Ledger) -> Ledger:
        made.append(Ledger(kinds.as_owner(ledger.url), KEYS))
        return made[-1]

    yield open_as_owner
    for ledger in made:
        ledger.dispose()


@pytest.fixture
def ledger(make_ledger: Callable[[], Ledger]) -> Ledger:
    """An empty ledger at head."""
    return make_ledger()


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store in a SQLite file, migrated once and copied for each test."""
    from governance.registry import Registry

    place = tmp_path_factory.mktemp("mlflow")
    Registry(f"sqlite:///{place}/mlflow.db", place / "artifacts").check()
    return place / "mlflow.db"


@pytest.fixture(scope="session")
def running_mlflow(
    mlflow_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[mlflow_server.Server]:
    """A real MLflow server, for all tests of this process one after another."""
    with mlflow_server.serve(tmp_path_factory.mktemp("server"), mlflow_store) as server:
        yield server


@pytest.fixture
def mlflow(running_mlflow: mlflow_server.Server, mlflow_store: Path) -> mlflow_server.Server:
    """The server, empty."""
    running_mlflow.restore(mlflow_store)
    return running_mlflow


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits before asking MLflow again."""
    from governance import registry

    monkeypatch.setattr(registry, "PAUSES_S", (0.0, 0.0))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered data set: 10 classes × 4 domains, 6 images each, domain/class/NNN.png."""
    from governance.demo.scenes import write_dataset

    root = tmp_path_factory.mktemp("images")
    write_dataset(root, per_pair=6, seed=99)
    return root


@pytest.fixture(scope="session")
def benchmark_dir() -> Path:
    """The shared benchmark, if GOVERNANCE_BENCHMARK names it."""
    place = os.environ.get("GOVERNANCE_BENCHMARK")
    if not place or not (Path(place) / "embeddings.npz").is_file():
        pytest.skip("GOVERNANCE_BENCHMARK does not name the shared benchmark")
    return Path(place)
