"""Sixteen writers at once: nothing is lost, nothing forks, nobody sees an error."""

from collections import defaultdict

import pytest

from governance.audit.verify import verify
from governance.digests import load_json
from governance.ledger.database import Ledger
from governance.ledger.events import stream
from governance.ledger.signers import valid_key_ids
from governance.workflow import actors
from tests.keys import KEYS
from tests.ledger.writers import PROCESSES, THREADS, write_together

EVENTS = 5000

pytestmark = pytest.mark.slow


def test_sixteen_writers_lose_nothing_and_see_no_error(ledger: Ledger) -> None:
    actors.found(ledger, "ada")
    with ledger.read() as session:
        before = sum(1 for _ in stream(session))
        key = KEYS.signer("ada", valid_key_ids(session, "ada"))
    ledger.dispose()
    assert key is not None
    pem = key.to_pem(None)
    wrote = write_together(ledger.url, "ada", pem, EVENTS)
    print("longest wait", sorted(round(one.waited, 2) for one in wrote))
    assert [one.problem for one in wrote if one.problem] == []
    assert sum(one.events for one in wrote) == EVENTS
    numbers = defaultdict(list)
    with ledger.read() as session:
        for event in stream(session, since=before + 1):
            numbers[event.subject].append(load_json(event.payload)["number"])
    assert len(numbers) == PROCESSES * THREADS
    for mine in numbers.values():  # each one's own events, all of them, in its own order
        assert mine == list(range(len(mine)))
    result = verify(ledger)
    assert result.faults == ()
    assert result.events == before + EVENTS
