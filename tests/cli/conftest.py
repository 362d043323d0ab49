"""A real workspace, made by the commands themselves, and a way to run one command line."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from governance.cli.main import run


@dataclass(frozen=True)
class Result:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.out)


Cli = Callable[..., Result]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line given as words and return what it did."""

    def call(*args: object, expect: int | None = 0) -> Result:
        capfd.readouterr()
        code = run([str(arg) for arg in args])
        captured = capfd.readouterr()
        if expect is not None:
            assert code == expect, f"exit code {code}\n{captured.out}\n{captured.err}"
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def peopled_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with people, but no model and no data."""
    home = tmp_path_factory.mktemp("workspace") / "home"
    for line in (
        ["init", "--admin", "ada"],
        ["actor", "add", "carla", "--role", "compliance"],
        ["actor", "add", "otto", "--role", "auditor"],
    ):
        assert run([*line, "--home", str(home)]) == 0
    return home


@pytest.fixture(scope="session")
def furnished_home(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A workspace with people, the embedded model and a data set."""
    home = tmp_path_factory.mktemp("workspace") / "home"
    for line in (
        ["init", "--admin", "ada"],
        ["actor", "add", "carla", "--role", "compliance"],
        ["actor", "add", "dmitri", "--role", "approver"],
        ["actor", "add", "mona", "--role", "mlops"],
        ["model", "register", "shop", "--open-clip", "demo"],
        ["dataset", "add", "eval", str(images)],
    ):
        assert run([*line, "--home", str(home)]) == 0
    return home


@pytest.fixture(scope="session")
def filed_home(furnished_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace with request 1 (mug everywhere) filed by carla."""
    return _after(
        furnished_home,
        tmp_path_factory,
        ["request", "file", "--forget", "mug", "--basis", "bias", "--reason", "a reason",
         "--actor", "carla"],
    )  # fmt: skip


@pytest.fixture(scope="session")
def prepared_home(filed_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace with request 1 prepared by mona."""
    return _after(filed_home, tmp_path_factory, ["request", "prepare", "1", "--actor", "mona"])


@pytest.fixture
def peopled(peopled_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workspace with people only, named by GOVERNANCE_HOME."""
    return _copy(peopled_home, tmp_path, monkeypatch)


@pytest.fixture
def home(furnished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the furnished workspace, named by GOVERNANCE_HOME."""
    return _copy(furnished_home, tmp_path, monkeypatch)


@pytest.fixture
def filed(filed_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workspace with a filed request, named by GOVERNANCE_HOME."""
    return _copy(filed_home, tmp_path, monkeypatch)


@pytest.fixture
def prepared(prepared_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workspace with a prepared request, named by GOVERNANCE_HOME."""
    return _copy(prepared_home, tmp_path, monkeypatch)


def _after(home: Path, factory: pytest.TempPathFactory, line: list[str]) -> Path:
    copy = factory.mktemp("workspace") / "home"
    shutil.copytree(home, copy)
    assert run([*line, "--home", str(copy)]) == 0
    return copy


def _copy(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "home"
    shutil.copytree(home, copy)
    monkeypatch.setenv("GOVERNANCE_HOME", str(copy))
    return copy
