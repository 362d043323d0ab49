"""Intents: what somebody is about to do outside the ledger, written down before, and closed by how it ended.

An intent without an outcome is work in progress, or what an interruption left.
"""

from typing import Any

from sqlalchemy import JSON, ColumnElement, cast, func, select
from sqlalchemy.orm import aliased

from governance.errors import ConflictError, IntegrityError
from governance.ledger.database import Session
from governance.ledger.events import append
from governance.ledger.tables import Event

VERSION = "version.intended"
ALIAS = "version.alias_intended"
EXPORT = "version.export_intended"
ABANDONED = "version.abandoned"

_INTENTS = (VERSION, ALIAS, EXPORT)
_OUTCOMES = ("version.registered", "version.promoted", "version.exported", ABANDONED)


def open_intents(session: Session, subject: str | None = None) -> list[Event]:
    """Intents without an outcome that names them, oldest first: all of them, or those on one subject.

    The database finds them: of a long history only what is open is read.
    """
    outcome = aliased(Event)
    named = _intent_of(session, outcome.payload)
    ended = select(named).where(outcome.action.in_(_OUTCOMES), named.is_not(None))
    query = select(Event).where(Event.action.in_(_INTENTS)).order_by(Event.seq)
    if subject is not None:
        ended = ended.where(outcome.subject == subject)
        query = query.where(Event.subject == subject)
    return list(session.scalars(query.where(Event.digest.not_in(ended))))


def _intent_of(session: Session, payload: Any) -> ColumnElement[str | None]:
    """The field of a payload that names an intent, as the database reads it."""
    if session.get_bind().dialect.name == "postgresql":
        found: ColumnElement[str | None] = cast(payload, JSON)["intent"].as_string()
        return found
    return func.json_extract(payload, "$.intent")


def is_intent(session: Session, digest: str | None) -> bool:
    """Whether the ledger has an intent of that digest, open or not."""
    return _find(session, digest) is not None


def is_ended(session: Session, digest: str | None) -> bool:
    """Whether the ledger has an intent of that digest that was fulfilled or abandoned."""
    event = _find(session, digest)
    return event is not None and event.digest not in {
        other.digest for other in open_intents(session, event.subject)
    }


def find_intent(session: Session, digest: str | None) -> Event:
    """The event of an intent, whether it is open or not.

    Raises:
        IntegrityError: there is none.
    """
    event = _find(session, digest)
    if event is None:
        raise IntegrityError(f"the ledger has no intent {digest}")
    return event


def _find(session: Session, digest: str | None) -> Event | None:
    event = session.scalars(select(Event).where(Event.digest == digest)).first()
    return event if event is not None and event.action in _INTENTS else None


def check_open(session: Session, subject: str, intent: str) -> None:
    """Make sure that an intent can still be fulfilled.

    Raises:
        ConflictError: somebody else fulfilled or abandoned it.
    """
    if intent not in {event.digest for event in open_intents(session, subject)}:
        raise ConflictError(
            f"somebody else ended this step of {subject} meanwhile; look at it and try again"
        )


def abandon(session: Session, actor: str, subject: str, intent: str) -> bool:
    """Close an intent that will not be fulfilled.

    Returns:
        Whether it was open.
    """
    if intent not in {event.digest for event in open_intents(session, subject)}:
        return False
    append(session, actor, ABANDONED, subject, {"intent": intent})
    return True
