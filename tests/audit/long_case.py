"""Ledgers whose log is long, and which hold nothing else."""

from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, insert

from governance.evidence.merkle import Frontier
from governance.ledger.database import Ledger
from governance.ledger.tables import Event, TreeNode
from governance.ledger.tree import leaf
from governance.workflow import actors
from tests.audit.hostile import Values, peek, seal


def lengthen(ledger: Ledger, length: int) -> None:
    """Append unsigned refusals until the log has so many events."""
    events = peek(ledger, "events")
    last, new = events[-1], []
    digests = [row["digest"] for row in events]
    for seq in range(last["seq"] + 1, length + 1):
        said: Values = {
            "seq": seq,
            "at": last["at"],
            "actor": "ada",
            "action": "policy.refused",
            "subject": "policy:ledger",
            "payload": '{"attempt":"adopt","problem":"this policy is in force already"}',
            "prev_digest": last["digest"],
        }
        last = seal(said, None)
        digests.append(last["digest"])
        new.append(last)
    nodes = Frontier().extend([leaf(digest) for digest in digests])
    engine = create_engine(ledger.engine.url)
    with engine.begin() as connection:
        connection.execute(insert(Event), new)
        if nodes:
            connection.execute(insert(TreeNode), [
                {"level": level, "position": position, "hash": value.hex()}
                for level, position, value in nodes
            ])  # fmt: skip
    engine.dispose()


@pytest.fixture
def long_ledger(make_ledger: Callable[[], Ledger]) -> Callable[[int], Ledger]:
    """Ledgers whose log has so many events."""

    def make(length: int) -> Ledger:
        ledger = make_ledger()
        actors.found(ledger, "ada")
        lengthen(ledger, length)
        return ledger

    return make
