"""What is open and what has ended, on both databases."""

import pytest

from governance.errors import ConflictError, IntegrityError
from governance.ledger.database import Ledger
from governance.ledger.events import append
from governance.ledger.intents import (
    ABANDONED,
    ALIAS,
    EXPORT,
    VERSION,
    abandon,
    check_open,
    find_intent,
    is_ended,
    is_intent,
    open_intents,
)
from tests.workflow.shop import Shop

ONE, OTHER = "version:shop/8", "version:shop/9"


@pytest.fixture
def ledger(shop: Shop) -> Ledger:
    return shop.ledger


def test_an_intent_is_open_until_an_outcome_names_it(ledger: Ledger) -> None:
    with ledger.write() as session:
        first = append(session, "mona", VERSION, ONE, {}).digest
        second = append(session, "mona", ALIAS, ONE, {}).digest
        third = append(session, "mona", EXPORT, OTHER, {}).digest
        append(session, "mona", "version.promoted", OTHER, {"to": 9})  # names no intent
        append(session, "mona", "version.evaluated", OTHER, {"intent": third})  # is no outcome
    with ledger.read() as session:
        assert [event.digest for event in open_intents(session)] == [first, second, third]
        assert [event.digest for event in open_intents(session, ONE)] == [first, second]
        assert [is_ended(session, digest) for digest in (first, second, third)] == [False] * 3
    with ledger.write() as session:
        append(session, "mona", "version.registered", ONE, {"intent": first})
        assert abandon(session, "mona", OTHER, third)
        assert not abandon(session, "mona", OTHER, third)
        check_open(session, ONE, second)
        with pytest.raises(ConflictError, match="ended this step"):
            check_open(session, ONE, first)
    with ledger.read() as session:
        assert [event.digest for event in open_intents(session)] == [second]
        assert open_intents(session, OTHER) == []
        assert [is_ended(session, digest) for digest in (first, second, third)] == [
            True,
            False,
            True,
        ]


def test_only_intents_are_intents(ledger: Ledger) -> None:
    with ledger.write() as session:
        intent = append(session, "mona", VERSION, ONE, {}).digest
        outcome = append(session, "mona", ABANDONED, ONE, {"intent": intent}).digest
    with ledger.read() as session:
        assert is_intent(session, intent)
        assert find_intent(session, intent).digest == intent
        for other in (outcome, "sha256:0", None):
            assert not is_intent(session, other)
            assert not is_ended(session, other)
            with pytest.raises(IntegrityError, match="has no intent"):
                find_intent(session, other)
