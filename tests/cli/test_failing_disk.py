"""A disk that fails: EIO at each write to the ledger, whatever the command was doing there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

TESTS = Path(__file__).parents[1]
LINE = [
    "request",
    "file",
    "--forget",
    "cat",
    "--basis",
    "bias",
    "--reason",
    "r",
    "--actor",
    "carla",
]
MEMORY = Path("/dev/shm")
"""Where what is synchronised costs nothing; the disk's own time is not what is tested."""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """What is preloaded so that writes fail."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("there is no C compiler for Linux here")
    made = tmp_path / "failing_disk.so"
    source = TESTS / "failing_disk.c"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", made, source, "-ldl"]
    subprocess.run(command, check=True)
    return made


@pytest.fixture
def place() -> Iterator[Path]:
    """For the workspaces that are tried."""
    with TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as name:
        yield Path(name)


@pytest.mark.slow
def test_eio_at_any_write_is_one_line_and_loses_nothing(
    filed: Path, library: Path, place: Path
) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "tests.failing_disk", filed, place, *LINE],
        cwd=TESTS.parent,
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    for ends, wrong in json.loads(process.stdout):
        assert wrong == []
        # It failed before the transaction was on the disk, and after that.
        assert ends.count("nothing") > 5, ends
        assert ends.count("done") > 5, ends
