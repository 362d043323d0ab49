"""Signatures are checked by who reads a segment, with the keys of the table, and held against those of the log."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping

import pytest

from governance.audit.log import Checked
from governance.audit.segments import Plan, is_signed
from governance.audit.signatures import Signatures
from governance.evidence.keys import PublicKey, SigningKey
from governance.ledger.database import Ledger
from governance.ledger.events import Entry, append
from governance.ledger.signers import public_keys
from governance.workflow import actors
from tests.audit.reading import read_log

EVENTS = 20
BAD = (7, 8, 19)
FALSE = dict.fromkeys(BAD, "has a signature that is not ada's")


@pytest.fixture
def ledger(make_ledger: Callable[[], Ledger]) -> Ledger:
    """A log of signed events."""
    ledger = make_ledger()
    actors.found(ledger, "ada")
    with ledger.write() as session:
        for number in range(EVENTS - 2):
            append(session, "ada", "policy.refused", "policy:ledger", {"attempt": str(number)})
    return ledger


@pytest.fixture
def altered(ledger: Ledger) -> list[Checked]:
    """Its events as if nobody had looked at the signatures, of which some have one bit turned."""
    _, found = read_log(ledger)
    for seq in BAD:
        event = found[seq - 1].event
        signature = bytearray(b64decode(event.signature or ""))
        signature[5] ^= 1
        changed = event._replace(signature=b64encode(signature).decode())
        found[seq - 1] = found[seq - 1]._replace(event=changed)
    assert {checked.signed for checked in found} == {None}
    return found


def problems(signed: Signatures, events: list[Checked]) -> dict[int, str]:
    found = {checked.event.seq: signed.check(checked) for checked in events}
    return {seq: problem for seq, problem in found.items() if problem}


def keys_of(ledger: Ledger) -> Mapping[str, str]:
    with ledger.read() as session:
        return public_keys(session)


def looked_at(events: list[Checked], keys: Mapping[str, str]) -> list[Checked]:
    """The events as who reads a segment with these keys passes them on."""
    plan = Plan(EVENTS, keys=keys)
    found = [plan.look(tuple(checked.event)) for checked in events]
    return [Checked(Entry._make(row), payload, signed) for row, payload, signed in found]


def test_every_false_signature_is_found_by_who_reads_the_segment(
    ledger: Ledger, altered: list[Checked]
) -> None:
    found = looked_at(altered, keys_of(ledger))
    assert [checked.event.seq for checked in found if not checked.signed] == list(BAD)
    assert {checked.signed for checked in found} == {True, False}
    signed = Signatures()
    assert problems(signed, found) == FALSE
    assert signed.checked == EVENTS - len(BAD)


@pytest.mark.parametrize("kept", ["no key", "another key under its id", "what is no key"])
def test_a_key_that_the_table_lacks_or_gives_wrongly_is_taken_from_the_log(
    ledger: Ledger, altered: list[Checked], kept: str
) -> None:
    (key_id,) = keys_of(ledger)
    other = SigningKey.generate().public.to_base64()
    keys = {
        "no key": {},
        "another key under its id": {key_id: other},
        "what is no key": {key_id: "?"},
    }[kept]
    found = looked_at(altered, keys)
    assert {checked.signed for checked in found} == {None}
    signed = Signatures()
    assert problems(signed, found) == FALSE
    assert signed.checked == EVENTS - len(BAD)


def test_signatures_that_are_not_wanted_are_not_looked_at(altered: list[Checked]) -> None:
    signed = Signatures(verify=False)
    assert problems(signed, altered) == {}
    assert signed.checked == 0


def test_a_signature_by_another_key_is_none(altered: list[Checked]) -> None:
    other: PublicKey = SigningKey.generate().public
    assert not any(is_signed(checked.event, other) for checked in altered)
