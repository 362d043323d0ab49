"""Where MLflow has a version: where it was registered, or where it was registered again after it was lost there.

A row of a version never changes, and MLflow gives no number twice; so an event says which number holds the version now.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import select

from governance.digests import load_json
from governance.ledger.database import Session
from governance.ledger.lookup import newest_events
from governance.ledger.names import subject_of
from governance.ledger.tables import Event, ModelVersion

RESTORED = "version.restored"


class Place(NamedTuple):
    """Run and number of a version in MLflow."""

    run_id: str
    registry_version: str


def place_of(session: Session, version: ModelVersion) -> Place:
    """Where MLflow has a version now."""
    subject = subject_of(version.model.name, version.number)
    event = next(newest_events(session, subject, RESTORED), None)
    return Place(version.run_id, version.registry_version) if event is None else _place(event)


def moved(session: Session) -> dict[str, Place]:
    """Where those are that were registered again, by how events name them."""
    query = select(Event).where(Event.action == RESTORED).order_by(Event.seq)
    return {event.subject: _place(event) for event in session.scalars(query)}


def place_among(again: Mapping[str, Place], version: ModelVersion) -> Place:
    """Where MLflow has a version now, given what `moved` found; for whoever asks of many."""
    registered = Place(version.run_id, version.registry_version)
    return again.get(subject_of(version.model.name, version.number), registered)


def _place(event: Event) -> Place:
    payload = load_json(event.payload)
    return Place(payload["run_id"], payload["registry_version"])
