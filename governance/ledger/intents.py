"""Intents: what somebody is about to do outside the ledger, written down before, and closed by how it ended.

An intent without an outcome is work in progress, or what an interruption left.
"""

from sqlalchemy import select

from governance.digests import load_json
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
    """Intents without an outcome that names them, oldest first: all of them, or those on one subject."""
    return _read(session, subject)[0]


def ended_intents(session: Session) -> set[str]:
    """Digests of the intents that were fulfilled or abandoned."""
    return _read(session, None)[1]


def _read(session: Session, subject: str | None) -> tuple[list[Event], set[str]]:
    query = select(Event).where(Event.action.in_((*_INTENTS, *_OUTCOMES))).order_by(Event.seq)
    if subject is not None:
        query = query.where(Event.subject == subject)
    found: dict[str, Event] = {}
    ended: set[str] = set()
    for event in session.scalars(query):
        if event.action not in _OUTCOMES:
            found[event.digest] = event
        elif (intent := load_json(event.payload).get("intent")) in found:
            del found[intent]
            ended.add(intent)
    return list(found.values()), ended


def find_intent(session: Session, digest: str | None) -> Event:
    """The event of an intent, whether it is open or not.

    Raises:
        IntegrityError: there is none.
    """
    query = select(Event).where(Event.digest == digest, Event.action.in_(_INTENTS))
    event = session.scalars(query).first()
    if event is None:
        raise IntegrityError(f"the ledger has no intent {digest}")
    return event


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
