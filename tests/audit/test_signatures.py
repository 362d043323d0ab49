"""Signatures are checked some at a time, in threads, and what is found does not depend on that."""

from base64 import b64decode, b64encode
from collections.abc import Callable
from unittest.mock import patch

import pytest

from governance.audit import signatures
from governance.audit.log import Log, walk
from governance.audit.signatures import Signatures
from governance.digests import load_json
from governance.ledger.database import Ledger
from governance.ledger.events import Entry, append
from governance.workflow import actors

EVENTS = 200
BAD = (7, 8, 100, 199)


@pytest.fixture
def ledger(make_ledger: Callable[[], Ledger]) -> Ledger:
    """A log with more signed events than are checked at once without threads."""
    ledger = make_ledger()
    actors.found(ledger, "ada")
    with ledger.write() as session:
        for number in range(EVENTS - 2):
            append(session, "ada", "policy.refused", "policy:ledger", {"attempt": str(number)})
    return ledger


def altered(ledger: Ledger) -> list[Entry]:
    """The log's events, some with one bit of their signature turned."""
    with ledger.read() as session:
        found = list(walk(session, Log()))
    for seq in BAD:
        signature = bytearray(b64decode(found[seq - 1].signature or ""))
        signature[5] ^= 1
        found[seq - 1] = found[seq - 1]._replace(signature=b64encode(signature).decode())
    return found


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize(("size", "share"), [(1, 1), (50, 64), (90, 7), (EVENTS, 64)])
def test_every_false_signature_is_found_in_its_place(
    ledger: Ledger, workers: int, size: int, share: int
) -> None:
    events = [(event, load_json(event.payload)) for event in altered(ledger)]
    read = Signatures()
    with (
        patch.object(signatures.os, "cpu_count", lambda: workers),
        patch.multiple(signatures, _BATCH=size, _SHARE=share),
    ):
        found = list(read.read(iter(events)))
    assert [(event, payload) for event, payload, _ in found] == events
    problems = [problem for _, _, problem in found]
    assert {
        seq: problem for seq, problem in enumerate(problems, start=1) if problem
    } == dict.fromkeys(BAD, "has a signature that is not ada's")
    assert read.checked == EVENTS - len(BAD)
