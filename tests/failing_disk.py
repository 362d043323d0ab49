"""Command lines on a disk that fails with EIO at each of their writes to the ledger; the library must be preloaded.

One process does it all: it counts the calls, and starting one for each would take ten times as long.
"""

import ctypes
import gc
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from governance.audit.verify import verify
from governance.cli.main import run
from governance.ledger.database import Ledger
from tests.ledger.tampering import dump

_LIBRARY: Any = ctypes.CDLL(None)
_NEEDED = ("governance.toml", "ledger.db", "keys")
_MOST = 500
_DONE_ALREADY = (0, 2, 3)


def fail_everywhere(
    home: Path, place: Path, line: Sequence[str], lasting: bool
) -> tuple[list[str], list[str]]:
    """Let each write of a command fail in turn, until there are no more.

    Args:
        home: the workspace just before the command.
        place: for its copies.
        line: the command.
        lasting: whether everything after the failed write fails too.

    Returns:
        What became of the command at each write: ``nothing``, ``all`` or ``done``; and what went wrong.
    """
    ends: list[str] = []
    wrong: list[str] = []
    for number in range(1, _MOST):
        here = place / f"{number}"
        here.mkdir(parents=True)
        for name in _NEEDED:
            copy = shutil.copytree if (home / name).is_dir() else shutil.copy
            copy(home / name, here / name)
        before = _dump(here)
        _LIBRARY.failing_disk_arm(number, int(lasting))
        code, err = _command(here, line)
        gc.collect()  # what a process closes at its end
        fired = _LIBRARY.failing_disk_seen() >= number
        _LIBRARY.failing_disk_arm(0, 0)
        after = _dump(here)
        ends.append("done" if code == 0 else "nothing" if after == before else "all")
        problems = [_explain(code, err, before, after), _unverified(here)]
        again, err = _command(here, line)
        if again != 0 and (after == before or again not in _DONE_ALREADY):
            problems.append(f"the next try ended with {again}: {err}")
        if len(_dump(here)["events"]) < len(before["events"]) + 1:
            problems.append("the next try did nothing")
        wrong += [f"{number} ({ends[-1]}): {problem}" for problem in problems if problem]
        shutil.rmtree(here)
        if not fired:
            return ends[:-1], wrong
    raise AssertionError("it never came to its end")


def _explain(code: int, err: str, before: Any, after: Any) -> str | None:
    """Why the first try did not end as it should have."""
    if code == 0:
        return None if after != before else "what was reported as done is not there"
    if code != 7 or not err.startswith("Error: the ledger ") or err.count("\n") != 1:
        return f"it ended with {code}: {err}"
    if after["events"][: len(before["events"])] != before["events"]:
        return "events are lost"
    return None


def _command(home: Path, line: Sequence[str]) -> tuple[int, str]:
    os.environ["GOVERNANCE_HOME"] = str(home)
    os.environ["GOVERNANCE_DATABASE_URL"] = _url(home)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as err:
        code = run(line)
    return code, err.getvalue()


def _dump(home: Path) -> dict[str, list[tuple[Any, ...]]]:
    ledger = Ledger(_url(home))
    try:
        return dump(ledger)
    finally:
        ledger.dispose()


def _unverified(home: Path) -> str | None:
    ledger = Ledger(_url(home))
    try:
        faults = verify(ledger).faults
    finally:
        ledger.dispose()
    return f"{faults[0].where}: {faults[0].problem}" if faults else None


def _url(home: Path) -> str:
    return f"sqlite:///{home}/ledger.db"


if __name__ == "__main__":
    _home, _place, *_line = sys.argv[1:]
    print(json.dumps([
        fail_everywhere(Path(_home), Path(_place) / f"{lasting}", _line, lasting)
        for lasting in (False, True)
    ]))  # fmt: skip
