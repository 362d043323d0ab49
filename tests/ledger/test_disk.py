"""A full disk and a file that cannot be written: one clear line, nothing lost, and the next try works."""

import os
from pathlib import Path

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


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
@pytest.mark.parametrize("what", ["the file", "its directory"])
def test_a_ledger_that_cannot_be_written_says_so(ledger: Ledger, what: str) -> None:
    actors.found(ledger, "ada")
    before = dump(ledger)
    ledger.dispose()
    path = Path(make_url(ledger.url).database or "")
    target = path if what == "the file" else path.parent
    mode = target.stat().st_mode
    target.chmod(0o500 if target.is_dir() else 0o400)
    try:
        with pytest.raises(UnavailableError, match=r"readonly|unable to open"):
            actors.add(ledger, "ada", "eve", [Role.AUDITOR])
    finally:
        target.chmod(mode)
        ledger.dispose()
    assert dump(ledger) == before
    actors.add(ledger, "ada", "eve", [Role.AUDITOR])
    assert verify(ledger).ok
