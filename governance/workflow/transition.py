"""The one function that changes a request's state, and the check of who may act."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from governance.errors import ConflictError, InvalidInputError, RefusedError
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.lookup import find_actor, find_request
from governance.ledger.rules import current
from governance.ledger.signers import signing_key
from governance.ledger.tables import Actor, Request
from governance.states import Action, Role, State, next_state


def advance(
    session: Session, request: Request, action: Action, actor: str, payload: Mapping[str, Any]
) -> None:
    """Move a request along the transition table and record it, both in the transaction of `session`.

    Raises:
        RefusedError: the table does not allow the action.
    """
    check_action(request, action)
    before = State(request.state)
    after = next_state(before, action)
    request.state = after.value
    append(
        session,
        actor,
        f"request.{action.value}",
        subject(request),
        {"from": before.value, "to": after.value, **payload},
    )


def check_action(request: Request, action: Action) -> None:
    """Refuse an action that the table does not allow, before any work is done for it.

    Raises:
        RefusedError: with the request's number.
    """
    try:
        next_state(State(request.state), action)
    except RefusedError as error:
        raise RefusedError(f"request {request.id}: {error}") from None


@dataclass(frozen=True)
class Look:
    """What a request was like when somebody began to act on it."""

    state: str
    projector: int | None


def look(ledger: Ledger, actor: str, permission: str, request_id: int, action: Action) -> Look:
    """See whether somebody may do something to a request now, before waiting for the other writers.

    Raises:
        NotFoundError: there is no such request or actor.
        RefusedError: they may not, or it is in another state.
    """
    with ledger.read() as session:
        require(session, actor, permission)
        request = find_request(session, request_id)
        check_action(request, action)
        return _look(request)


def check_unmoved(request: Request, before: Look) -> None:
    """Make sure, as the only writer, that a request is as it was.

    Raises:
        ConflictError: somebody else acted on it meanwhile.
    """
    if request.state != before.state:
        raise ConflictError(
            f"request {request.id} became {request.state} meanwhile (it was {before.state}); look at it again"
        )
    if _look(request) != before:
        raise ConflictError(f"request {request.id} was prepared again meanwhile; look at it again")


def _look(request: Request) -> Look:
    return Look(request.state, request.projector.id if request.projector else None)


def require(session: Session, name: str, permission: str) -> Actor:
    """The acting person, if the policy in force lets them, and they can sign for it.

    Raises:
        NotFoundError: nobody has that name.
        RefusedError: deactivated, none of the roles that may do this, or no valid key at hand.
    """
    actor = find_actor(session, name)
    if not actor.active:
        raise RefusedError(f"actor {name!r} is deactivated")
    allowed = current(session)[0].roles[permission]
    if not allowed & {Role(role) for role in actor.roles}:
        needed = " or ".join(sorted(role.value for role in allowed))
        raise RefusedError(
            f"actor {name!r} has the role {', '.join(actor.roles)}; {permission} needs {needed}"
        )
    signing_key(session, name)
    return actor


def check_reason(reason: str) -> None:
    """A step that needs a reason needs words.

    Raises:
        InvalidInputError: there are none, or they hold control characters.
    """
    if not reason.strip():
        raise InvalidInputError("a reason is needed; say why with --reason")
    check_text("reason", reason)


def check_text(what: str, text: str | None) -> None:
    """Refuse what could fake or clear the screen of whoever reads it.

    Raises:
        InvalidInputError: it holds control characters other than line breaks and tabs.
    """
    for character in text or "":
        if unicodedata.category(character) == "Cc" and character not in "\n\t":
            raise InvalidInputError(f"the {what} holds the control character {character!r}")


def subject(request: Request) -> str:
    """How events name a request."""
    return f"request:{request.id}"
