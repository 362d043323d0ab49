"""The workspace's own record of what verifications came to: one line of JSON each, in `Settings.checks_file`.

It is a file and not an event, because whoever verifies only reads: an auditor may have no right to write to the ledger,
and a ledger that does not hold is no place to write that down. Names and texts are left out; by `fingerprint` one sees
whether two failures are the same.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex

from governance.digests import digest_json
from governance.errors import UnavailableError
from governance.webhooks import Outcome, append_line

AUDIT = "audit verify"
AUDIT_LOG = "audit verify --log-only"
DOCTOR = "doctor"


@dataclass(frozen=True)
class Check:
    """What one verification came to.

    Attributes:
        id: random, names this one.
        at: when it ended, ISO 8601.
        what: the command, `AUDIT`, `AUDIT_LOG` or `DOCTOR`.
        ok: whether everything it looked at held.
        faults: number of things that did not.
        fingerprint: digest of these, empty if there are none.
        events: number of events that held, but for `DOCTOR`.
        seconds: how long it took.
    """

    id: str
    at: str
    what: str
    ok: bool
    faults: int
    fingerprint: str
    events: int
    seconds: float


def make_check(
    what: str, at: str, faults: Iterable[tuple[str, str]], events: int, seconds: float
) -> Check:
    """A check, from the places and problems that it found."""
    found = sorted(list(fault) for fault in faults)
    fingerprint = digest_json(found) if found else ""
    return Check(
        token_hex(16), at, what, not found, len(found), fingerprint, events, round(seconds, 3)
    )


def write_check(path: Path, check: Check) -> None:
    """Add a check to the file.

    Raises:
        UnavailableError: it cannot be written.
    """
    answer = append_line(path, json.dumps(asdict(check)).encode())
    if answer.outcome is not Outcome.DELIVERED:
        raise UnavailableError(f"{path} cannot be written: {answer.excerpt}")


def read_checks(path: Path) -> Iterator[Check]:
    """Every check, oldest first; a line that an interruption cut short is passed over.

    Raises:
        UnavailableError: the file is there and cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read: {error.strerror or error}") from error
    for line in text.splitlines():
        try:
            check = Check(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if _is_sound(check):
            yield check


def new_failures(checks: Iterable[Check]) -> Iterator[Check]:
    """The first check of every run of the same failure: what somebody has to be told once."""
    last: dict[str, str] = {}
    for check in checks:
        if not check.ok and last.get(check.what) != check.fingerprint:
            yield check
        last[check.what] = check.fingerprint


def newest_checks(checks: Iterable[Check]) -> dict[str, Check]:
    """The last check of each command."""
    return {check.what: check for check in checks}


def _is_sound(check: Check) -> bool:
    texts = (check.id, check.at, check.what, check.fingerprint)
    numbers = (check.faults, check.events, check.seconds)
    return (
        all(isinstance(text, str) for text in texts)
        and type(check.ok) is bool
        and all(type(number) in (int, float) for number in numbers)
    )
