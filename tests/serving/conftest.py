"""A workspace of real commands whose champion, version 2, no longer knows mugs; MLflow is on SQLite."""

import shutil
from pathlib import Path

import pytest

from governance.cli.main import run
from governance.evidence.artifact import read_signature
from governance.serving.contents import CHANGED
from governance.serving.load import Served, load_version
from governance.serving.trust import BASE_MODEL, IMAGE_ROOT, TRUST_KEY, TRUST_VERSION, Outside

REASON, REFERENCE = "because Jane Roe asked", "case 4711 of Jane Roe"


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what whoever runs it serves with."""
    for name in (TRUST_KEY, TRUST_VERSION, BASE_MODEL, IMAGE_ROOT):
        monkeypatch.delenv(name, raising=False)


def make_home(home: Path, images: Path) -> Path:
    """A workspace with version 2 as the champion."""
    for line in (
        ["init", "--admin", "ada"],
        ["actor", "add", "carla", "--role", "compliance"],
        ["actor", "add", "dmitri", "--role", "approver"],
        ["actor", "add", "mona", "--role", "mlops"],
        ["model", "register", "shop", "--open-clip", "demo", "--license", "apache-2.0"],
        ["dataset", "add", "eval", str(images)],
        ["request", "file", "--forget", "mug", "--basis", "gdpr-17-1-d", "--reason", REASON,
         "--subject-ref", REFERENCE, "--actor", "carla"],
        ["request", "prepare", "1", "--actor", "mona"],
        ["request", "approve", "1", "--actor", "dmitri"],
        ["request", "apply", "1", "--actor", "mona"],
        ["version", "promote", "2", "--actor", "mona"],
    ):  # fmt: skip
        assert run([*line, "--home", str(home)]) == 0
    return home


@pytest.fixture(scope="session")
def served_home(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """The workspace; what tests change, they copy."""
    return make_home(tmp_path_factory.mktemp("served") / "home", images)


@pytest.fixture(scope="session")
def kept(served_home: Path) -> dict[int, Path]:
    """Directories of the artifacts of each version."""
    places = [path.parent for path in (served_home / "mlartifacts").rglob("MLmodel")]
    return {int(str(read_signature(place).facts["version"])): place for place in places}


@pytest.fixture
def directory(kept: dict[int, Path], tmp_path: Path) -> Path:
    """A copy of the artifacts of version 2."""
    assert (kept[2] / CHANGED).is_file()
    return Path(shutil.copytree(kept[2], tmp_path / "version"))


@pytest.fixture(scope="session")
def served(kept: dict[int, Path]) -> Served:
    """Version 2, loaded."""
    return load_version(kept[2], Outside())
