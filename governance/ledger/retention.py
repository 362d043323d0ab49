"""For how long the private texts of a request are kept: the policy's days after its end."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from governance.ledger.tables import Event, Request
from governance.policy import Retention
from governance.states import ENDED_STATES, State

_TOGETHER = 500
"""Requests whose events are looked up at once."""

_ENDS = sorted(f"request.{state.value}" for state in ENDED_STATES)


def ended_at(session: Session, requests: Sequence[Request]) -> dict[int, datetime]:
    """When each of some requests ended, by id; those that have not are left out. The time is that of the event.

    One query for some hundreds of them.
    """
    ended = {f"request:{r.id}": r for r in requests if State(r.state) in ENDED_STATES}
    subjects, found = list(ended), {}
    for start in range(0, len(subjects), _TOGETHER):
        query = select(Event.subject, Event.action, func.max(Event.at)).where(
            Event.subject.in_(subjects[start : start + _TOGETHER]), Event.action.in_(_ENDS)
        )
        for subject, action, at in session.execute(query.group_by(Event.subject, Event.action)):
            request = ended[subject]
            if action == f"request.{request.state}":
                found[request.id] = datetime.fromisoformat(at)
    return found


def keep_until(request: Request, ended: datetime | None, rules: Retention) -> datetime | None:
    """When the retention period of a request is over that ended at `ended`.

    None if it has not ended, or the policy does not know its class any more: then it is kept until somebody decides.
    """
    days = rules.days.get(request.retention)
    return None if ended is None or days is None else ended + timedelta(days=days)


def due(session: Session, rules: Retention, moment: datetime) -> Iterator[tuple[Request, datetime]]:
    """Requests whose private texts are to be erased, and since when: ended, the period is over, not on hold, not erased
    yet.
    """
    query = select(Request).where(
        Request.state.in_(sorted(ENDED_STATES)), ~Request.held, ~Request.redacted
    )
    found = session.scalars(query.order_by(Request.id)).all()
    for start in range(0, len(found), _TOGETHER):
        some = found[start : start + _TOGETHER]
        ended = ended_at(session, some)
        for request in some:
            until = keep_until(request, ended.get(request.id), rules)
            if until is not None and until <= moment:
                yield request, until
