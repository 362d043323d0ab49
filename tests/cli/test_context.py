"""What all commands share: progress on a terminal only, the ledger without a workspace, quiet MLflow."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from governance.cli.context import progress_bar
from tests.cli.conftest import Cli


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal(), True), (io.StringIO(), False)])
def test_progress_is_shown_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, shown: bool
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    with progress_bar("encoding images", 100) as done:
        done(60)
    assert ("encoding images" in stream.getvalue()) is shown


def test_a_database_alone_is_enough_to_migrate_and_to_read(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    assert "revision 0001" in cli("db", "upgrade", "--database", url).out
    assert "already" in cli("db", "upgrade", "--database", url).out
    monkeypatch.setenv("GOVERNANCE_DATABASE_URL", url)
    assert cli("request", "list", "--json").json == []
    assert "is not a workspace" in cli("request", "approve", "1", expect=4).err


def test_mlflow_telemetry_is_off() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_DISABLE_TELEMETRY"}
    code = (
        "import os, governance.registry\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "assert is_telemetry_disabled()"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
