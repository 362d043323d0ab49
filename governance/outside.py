"""Places outside the database at which signed tree heads lie: directories, and a command of the operator's.

Whoever rewrites the ledger must reach these too. A note is never overwritten by another one: what lies there is what
the audit holds against the log.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from governance.errors import IntegrityError, UnavailableError
from governance.notifications import VARIABLE_PREFIX

SIZE_VARIABLE = "GOVERNANCE_CHECKPOINT_SIZE"
"""In which the command finds the size of the tree whose note it reads."""

TIMEOUT_S = 60
"""How long the command may take."""

_SECRETS = (
    "GOVERNANCE_KEY",
    "GOVERNANCE_KEY_PASSPHRASE",
    "GOVERNANCE_NEW_KEY_PASSPHRASE",
    "GOVERNANCE_DATA_KEY",
)
_NAME = re.compile(r"[0-9]{12,}\.txt")
_MAX_NOTE = 64 * 1024


def file_name(size: int) -> str:
    """Name of the file of a note, in the order of sizes."""
    return f"{size:012d}.txt"


def write_note(directory: Path, size: int, note: str) -> bool:
    """Write a note if it is not there, all of it or nothing, and see it through to the disk.

    Returns:
        Whether it was missing.

    Raises:
        IntegrityError: another note lies there.
        UnavailableError: it cannot be written.
    """
    path = directory / file_name(size)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if _read(path) != note:
                raise IntegrityError(f"{path} is not the checkpoint that the ledger holds")
            return False
    except OSError as error:
        raise UnavailableError(f"{path} cannot be written: {error.strerror or error}") from error
    replace_text(path, note)
    return True


def read_notes(directory: Path) -> dict[str, str]:
    """The notes in a directory by their paths; none if it is not there.

    Raises:
        UnavailableError: it cannot be read.
    """
    try:
        if not directory.exists():
            return {}
        paths = sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))
        return {str(path): _read(path) for path in paths}
    except OSError as error:
        raise UnavailableError(f"{directory} cannot be read: {error.strerror or error}") from error


def read_text(path: Path) -> str | None:
    """Text of a small file, None if it is not there; bytes that are no UTF-8 become what no note holds.

    Raises:
        UnavailableError: it cannot be read.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror or error}") from error


def replace_text(path: Path, text: str) -> None:
    """Write a file that anybody may read, all of it or nothing, and see it through to the disk.

    Raises:
        UnavailableError: it cannot be written.
    """
    try:
        _write(path, text.encode())
    except OSError as error:
        raise UnavailableError(f"{path} cannot be written: {error.strerror or error}") from error


def run_command(command: Sequence[str], size: int, note: str, timeout_s: float = TIMEOUT_S) -> None:
    """Hand a note to a program, without a shell: on its standard input, the size in `SIZE_VARIABLE`.

    Raises:
        UnavailableError: it cannot be started, fails, or takes too long.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _SECRETS and not name.startswith(VARIABLE_PREFIX)
    }
    try:
        done = subprocess.run(
            list(command),
            input=note.encode(),
            env=environment | {SIZE_VARIABLE: str(size)},
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{command[0]} took longer than {timeout_s:g} s") from error
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{command[0]} cannot be started: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        what = f": {said[-1][:200]}" if said else ""
        raise UnavailableError(f"{command[0]} ended with code {done.returncode}{what}")


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_NOTE).decode(errors="replace")


def _write(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if os.name == "posix":
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
