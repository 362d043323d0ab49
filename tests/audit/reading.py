"""The log as a verification reads it."""

from governance.audit.log import Checked, Log, follow
from governance.audit.readers import segments
from governance.audit.segments import Plan
from governance.ledger.database import Ledger
from governance.ledger.events import head
from governance.ledger.tree import stored_nodes


def read_log(ledger: Ledger) -> tuple[Log, list[Checked]]:
    """What there was, and the events that hold."""
    log = Log()
    with ledger.read() as session:
        found = segments(ledger, session, Plan(head(session)[0]), 1)
        events = [event for some in follow(found, stored_nodes(session), log) for event in some]
    assert len(events) == log.count
    return log, events
