"""Counts for whoever watches: asked of the database, so that they cost little however long the log is."""

from collections import Counter
from datetime import datetime

from sqlalchemy import func, select

from governance.digests import load_json
from governance.errors import RefusedError
from governance.ledger.database import Session
from governance.ledger.events import REFUSED
from governance.ledger.tables import Alias, Event, Model, ModelVersion, Request
from governance.states import OPEN_STATES


def requests_by_state(session: Session) -> dict[tuple[str, str], int]:
    """Number of requests by model and state."""
    query = select(Model.name, Request.state, func.count()).join(Model)
    rows = session.execute(query.group_by(Model.name, Request.state))
    return {(model, state): number for model, state, number in rows}


def requests_due(session: Session, after: datetime | None, before: datetime) -> dict[str, int]:
    """Number of requests by model whose deadline runs and lies between two moments."""
    states = [state.value for state in OPEN_STATES]
    query = select(Model.name, func.count()).select_from(Request).join(Model)
    query = query.where(Request.state.in_(states), Request.due_at <= before)
    if after is not None:
        query = query.where(Request.due_at > after)
    rows = session.execute(query.group_by(Model.name))
    return {row[0]: row[1] for row in rows}


def versions_by_state(session: Session) -> dict[tuple[str, str], int]:
    """Number of versions by model and state: ``champion``, ``candidate``, else ``retired`` or ``unreleased``.

    A version is retired if it was served before, which its promotion tells; the base model's version was served from
    the beginning.
    """
    aliases: dict[int, set[str]] = {}
    for version, name in session.execute(select(Alias.version_id, Alias.name)):
        aliases.setdefault(version, set()).add(name)
    served = set(session.scalars(select(Event.subject).where(Event.action == "version.promoted")))
    found: Counter[tuple[str, str]] = Counter()
    query = select(ModelVersion.id, ModelVersion.number, ModelVersion.parent, Model.name)
    for version, number, parent, model in session.execute(query.join(Model)):
        names = aliases.get(version, set())
        if "champion" in names:
            state = "champion"
        elif "candidate" in names:
            state = "candidate"
        elif parent is None or f"version:{model}/{number}" in served:
            state = "retired"
        else:
            state = "unreleased"
        found[model, state] += 1
    return dict(found)


def refusals(session: Session) -> dict[tuple[str, str, str], int]:
    """Number of refused attempts by what they were about, what was tried, and `RefusedError.cause`."""
    kinds = select(Event.action).where(Event.action.like(f"%{REFUSED}")).distinct()
    found: Counter[tuple[str, str, str]] = Counter()
    rows = session.execute(
        select(Event.action, Event.payload)
        .where(Event.action.in_(list(session.scalars(kinds))))
        .execution_options(yield_per=1000)
    )
    for action, text in rows:
        payload = load_json(text)
        tried, cause = str(payload.get("attempt")), str(payload.get("cause", RefusedError.cause))
        found[action.removesuffix(REFUSED), tried, cause] += 1
    return dict(found)


def newest_event(session: Session) -> int:
    """Number of the newest event, which is how many there are."""
    return int(session.scalar(select(func.coalesce(func.max(Event.seq), 0))) or 0)
