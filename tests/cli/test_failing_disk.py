"""A disk that fails: EIO at each write to the ledger, whatever the command was doing there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
LINES = (
    ["request", "file", "--forget", "cat", "--basis", "bias", "--reason", "r" * 9000, "--actor", "carla"],
    ["request", "withdraw", "1", "--reason", "r", "--actor", "carla"],
    ["actor", "add", "eve", "--role", "auditor", "--actor", "ada"],
)  # fmt: skip


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


def test_eio_at_any_write_is_one_line_and_loses_nothing(
    filed: Path, library: Path, tmp_path: Path
) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "tests.failing_disk", filed, tmp_path / "tries", json.dumps(LINES)],
        cwd=TESTS.parent,
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    for ends, wrong in json.loads(process.stdout):
        assert wrong == []
        # Both kinds of end were seen: before the transaction is on the disk, and after that.
        assert ends.count("nothing") > 3, ends
        assert "done" in ends, ends
