"""Who acts."""

from collections.abc import Sequence

from governance.errors import InvalidInputError, RefusedError
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.facts import actor_facts
from governance.ledger.lookup import check_free, every, find_actor
from governance.ledger.names import check_name
from governance.ledger.tables import Actor
from governance.ledger.types import now
from governance.states import Role
from governance.workflow.transition import check_reason, require


def found(ledger: Ledger, name: str) -> bool:
    """Add the first admin of a ledger that knows nobody yet.

    Returns:
        Whether it did; a ledger that is shared by workspaces has its admin already.
    """
    with ledger.write() as session:
        if next(every(session, Actor), None) is not None:
            return False
        _add(session, name, name, [Role.ADMIN])
        return True


def add(ledger: Ledger, actor: str, name: str, roles: Sequence[Role]) -> None:
    """Add somebody.

    Raises:
        InvalidInputError: the name is taken or cannot be used, or no role is given.
    """
    with ledger.write() as session:
        require(session, actor, "actor.manage")
        _add(session, actor, name, roles)


def deactivate(ledger: Ledger, actor: str, name: str, reason: str) -> None:
    """Take away somebody's right to act; what they did stays valid.

    Raises:
        RefusedError: they are the acting person, or inactive already.
    """
    check_reason(reason)
    with ledger.write() as session:
        require(session, actor, "actor.manage")
        person = find_actor(session, name)
        if name == actor:
            raise RefusedError("nobody deactivates themselves; ask another admin")
        if not person.active:
            raise RefusedError(f"actor {name!r} is deactivated already")
        person.active = False
        append(session, actor, "actor.deactivated", f"actor:{name}", {"reason": reason})


def _add(session: Session, actor: str, name: str, roles: Sequence[Role]) -> None:
    check_name("actor", name)
    if not roles:
        raise InvalidInputError("name at least one role with --role")
    check_free(session, Actor, "actor", name)
    values = sorted({role.value for role in roles})
    person = Actor(name=name, roles=values, active=True, added_at=now())
    session.add(person)
    append(session, actor, "actor.added", f"actor:{name}", {"actor": actor_facts(person)})
