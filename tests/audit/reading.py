"""The log as a verification reads it."""

from functools import partial

from governance.audit.log import Checked, Log, follow
from governance.audit.readers import segments
from governance.audit.segments import Plan
from governance.ledger.database import Ledger
from governance.ledger.events import head, rows_between
from governance.ledger.tree import stored_nodes


def read_log(ledger: Ledger) -> tuple[Log, list[Checked]]:
    """What there was, and the events that hold."""
    log = Log()
    with ledger.read() as session:
        rows = partial(rows_between, session)
        found = segments(rows, ledger.access(), Plan(head(session)[0]), 1)
        events = [event for some in follow(found, stored_nodes(session), log) for event in some]
    assert len(events) == log.count
    return log, events
