"""A full disk and a file that cannot be written: one clear line, nothing lost, and the next try works."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import make_url

from governance.audit.verify import verify
from governance.errors import UnavailableError
from governance.ledger.database import Ledger
from governance.states import Role
from governance.workflow import actors
from tests.keys import KEYS
from tests.ledger.tampering import dump

pytestmark = pytest.mark.only("sqlite")

READ_ONLY = r"cannot be used: (attempt to write a readonly database|unable to open database file)$"
NOBODY = 65534
"""Number of a user who owns nothing."""


def test_a_full_database_says_so_and_takes_the_next_try_when_there_is_room(ledger: Ledger) -> None:
    actors.found(ledger, "ada")
    with ledger.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    full = Ledger(ledger.url, KEYS)

    @event.listens_for(full.engine, "connect")
    def limit(connection, _record):  # type: ignore[no-untyped-def]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    names, before, problem = (f"actor-{n}" for n in range(1000)), dump(ledger), None
    while problem is None:
        before, name = dump(ledger), next(names)
        try:
            actors.add(full, "ada", name, [Role.AUDITOR])
        except UnavailableError as error:
            problem = error
    full.dispose()
    assert str(problem).endswith("cannot be used: database or disk is full")
    assert problem.exit_code == 7
    assert dump(ledger) == before
    assert verify(ledger).ok
    actors.add(ledger, "ada", name, [Role.AUDITOR])
    assert verify(ledger).ok


@contextmanager
def somebody(directory: Path) -> Iterator[None]:
    """Act as an owner of the directory for whom permissions count; for root none do."""
    if os.geteuid() != 0:
        yield
        return
    for path in (directory, *directory.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that everybody may look into, as pytest's own are not."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("what", ["the file", "its directory"])
def test_a_ledger_that_cannot_be_written_says_so(
    ledger: Ledger, reachable: Path, what: str
) -> None:
    actors.found(ledger, "ada")
    ledger.dispose()
    path = shutil.copy(make_url(ledger.url).database or "", reachable / "ledger.db")
    there = Ledger(f"sqlite:///{path}", KEYS)
    before = dump(there)
    there.dispose()
    with somebody(reachable):
        target = path if what == "the file" else reachable
        target.chmod(0o500 if target.is_dir() else 0o400)
        with pytest.raises(UnavailableError, match=READ_ONLY) as caught:
            actors.add(there, "ada", "eve", [Role.AUDITOR])
        assert caught.value.exit_code == 7
        there.dispose()
        target.chmod(0o700 if target.is_dir() else 0o600)
        for beside in reachable.glob("ledger.db-*"):  # SQLite gives them the mode of the database
            beside.chmod(0o600)
        assert dump(there) == before
        actors.add(there, "ada", "eve", [Role.AUDITOR])
        assert verify(there).ok
        there.dispose()
