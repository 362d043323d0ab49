"""For how long the private texts of a request are kept: the policy's days after its end."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from governance.ledger.lookup import requests
from governance.ledger.tables import Event, Request
from governance.policy import Retention
from governance.states import ENDED_STATES, State


def ended_at(session: Session, request: Request) -> datetime | None:
    """When a request ended, None if it has not; the time of the event that says so."""
    if State(request.state) not in ENDED_STATES:
        return None
    query = select(Event.at).where(
        Event.subject == f"request:{request.id}", Event.action == f"request.{request.state}"
    )
    at = session.scalars(query.order_by(Event.seq.desc()).limit(1)).first()
    return None if at is None else datetime.fromisoformat(at)


def keep_until(session: Session, request: Request, rules: Retention) -> datetime | None:
    """When the retention period of a request is over.

    None if it has not ended, or the policy does not know its class any more: then it is kept until somebody decides.
    """
    ended, days = ended_at(session, request), rules.days.get(request.retention)
    return None if ended is None or days is None else ended + timedelta(days=days)


def due(session: Session, rules: Retention, moment: datetime) -> Iterator[Request]:
    """Requests whose private texts are to be erased: ended, the period is over, not on hold, not erased yet."""
    for request in requests(session, states=[state.value for state in ENDED_STATES]):
        if request.held or request.redacted:
            continue
        until = keep_until(session, request, rules)
        if until is not None and until <= moment:
            yield request
