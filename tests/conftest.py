"""Fixtures that all tests share: isolated environment, ledgers, the embedded model, a small data set."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing in the tests may reach for the network

import pytest

from governance.ledger.database import Ledger
from tests.keys import KEYS

pytest_plugins = ["tests.workflow.fixtures"]

_PLACES = ("GOVERNANCE_HOME", "GOVERNANCE_DATABASE_URL", "GOVERNANCE_ACTOR", "MLFLOW_TRACKING_URI")
_KEYS = (
    "GOVERNANCE_KEY",
    "GOVERNANCE_KEY_FILE",
    "GOVERNANCE_KEY_PASSPHRASE",
    "GOVERNANCE_NEW_KEY_PASSPHRASE",
)


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the workspace, database, MLflow server or keys of whoever runs it."""
    for name in (*_PLACES, *_KEYS, "GOVERNANCE_DEBUG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file at head, made by the migrations once and copied for each test."""
    from governance.ledger.migrate import upgrade

    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}", KEYS)
    upgrade(ledger)
    ledger.dispose()
    return path


@pytest.fixture
def make_ledger(migrated: Path, tmp_path: Path) -> Iterator[Callable[[str], Ledger]]:
    """Empty ledgers at head, by name."""
    made: list[Ledger] = []

    def make(name: str) -> Ledger:
        path = tmp_path / f"{name}.db"
        shutil.copy(migrated, path)
        made.append(Ledger(f"sqlite:///{path}", KEYS))
        return made[-1]

    yield make
    for ledger in made:
        ledger.dispose()


@pytest.fixture
def ledger(make_ledger: Callable[[str], Ledger]) -> Ledger:
    """An empty ledger at head."""
    return make_ledger("ledger")


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
