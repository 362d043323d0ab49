"""Who acts, and with which keys."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from governance.errors import InvalidInputError, RefusedError, UnavailableError
from governance.evidence.keys import PublicKey
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.facts import actor_facts, key_facts
from governance.ledger.lookup import check_free, every, find_actor, find_key
from governance.ledger.names import check_name
from governance.ledger.rules import current
from governance.ledger.signers import KeyMaker
from governance.ledger.tables import Actor, ActorKey
from governance.ledger.types import now
from governance.policy import Policy
from governance.states import Role
from governance.workflow.policies import check_able, enact, roles_of_active
from governance.workflow.refusals import recorded
from governance.workflow.transition import check_reason, require

if TYPE_CHECKING:
    from governance.evidence.keyring import Keys


def found(ledger: Ledger, name: str, policy: Policy | None = None) -> bool:
    """Begin a ledger that knows nobody yet: its first admin, whose key signs the first event, and its policy.

    Returns:
        Whether it did; a ledger that is shared by workspaces has its admin already.
    """
    with ledger.read() as session:
        if next(every(session, Actor), None) is not None:
            return False
    with KeyMaker(ledger.keys, name) as key, ledger.write() as session:
        if next(every(session, Actor), None) is not None:  # pragma: no cover — two at once
            raise RefusedError("somebody else founded this ledger meanwhile")
        rules = policy or Policy()
        check_able(rules, {name: [Role.ADMIN]})
        _add(session, name, name, [Role.ADMIN], key)
        enact(session, name, rules, "the ledger begins")
        return True


@recorded("add", "actor", "name")
def add(
    ledger: Ledger, actor: str, name: str, roles: Sequence[Role], public: PublicKey | None = None
) -> str:
    """Add somebody.

    Args:
        ledger: where it is recorded.
        actor: an admin.
        name: of the new actor.
        roles: what they may do.
        public: their public key; without it a key pair is made and kept in the ledger's keyring.

    Returns:
        Id of their key.

    Raises:
        InvalidInputError: the name is taken or cannot be used, no role is given, or the key is somebody's already.
    """
    check_name("actor", name)
    if not roles:
        raise InvalidInputError("name at least one role with --role")
    with ledger.read() as session:
        require(session, actor, "actor.manage")
        check_free(session, Actor, "actor", name)
    with KeyMaker(ledger.keys, name, public) as key, ledger.write() as session:
        require(session, actor, "actor.manage")
        _add(session, actor, name, roles, key)
        return key.key_id


@recorded("deactivate", "actor", "name")
def deactivate(ledger: Ledger, actor: str, name: str, reason: str) -> None:
    """Take away somebody's right to act; what they did stays valid.

    Raises:
        RefusedError: they are the acting person, inactive already, or the last who may do what every ledger needs.
    """
    check_reason(reason)
    with ledger.write() as session:
        require(session, actor, "actor.manage")
        person = find_actor(session, name)
        if name == actor:
            raise RefusedError("nobody deactivates themselves; ask another admin")
        if not person.active:
            raise RefusedError(f"actor {name!r} is deactivated already")
        left = {who: roles for who, roles in roles_of_active(session).items() if who != name}
        check_able(current(session)[0], left)
        person.active = False
        append(session, actor, "actor.deactivated", f"actor:{name}", {"reason": reason})


@recorded("rotate the key of", "actor", "name")
def rotate_key(
    ledger: Ledger, actor: str, name: str, reason: str, public: PublicKey | None = None
) -> str:
    """Give somebody a new key. The old one signs nothing any more; what it signed stays valid.

    The private half of the old one is then removed from the ledger's keyring, if it is there.

    Args:
        ledger: where it is recorded.
        actor: they themselves, or an admin if their key is lost or stolen.
        name: whose key.
        reason: why.
        public: the new public key; without it a key pair is made and kept in the ledger's keyring.

    Returns:
        Id of the new key.

    Raises:
        RefusedError: the actor is deactivated, or not the one whose key it is and no admin.
        InvalidInputError: the key is somebody's already.
        UnavailableError: the old key file cannot be removed; the new key is in force all the same.
    """
    check_reason(reason)
    with KeyMaker(ledger.keys, name, public) as key, ledger.write() as session:
        require(session, actor, "actor.rotate-own-key" if name == actor else "actor.manage")
        person = find_actor(session, name)
        if not person.active:
            raise RefusedError(f"actor {name!r} is deactivated")
        old = [row for row in person.keys if row.retired_at is None]
        _check_new(session, key)
        row = _key(key)
        payload = {
            "key": key_facts(row),
            "retired": [known.key_id for known in old],
            "reason": reason,
        }
        append(session, actor, "actor.key_rotated", f"actor:{name}", payload)
        for known in old:
            known.retired_at = row.added_at
        person.keys.append(row)
    _discard(ledger.keys, name, old)
    return key.key_id


def _discard(keys: "Keys | None", name: str, old: Sequence[ActorKey]) -> None:
    try:
        for row in old:
            if keys is not None:
                keys.discard(name, PublicKey.from_base64(row.public_key))
    except OSError as error:
        raise UnavailableError(
            f"{name} has a new key, but the file of the old one could not be removed: {error}"
        ) from error


def _check_new(session: Session, key: PublicKey) -> None:
    """A key belongs to one person and one time; a retired one does not come back."""
    if find_key(session, key.key_id) is not None:
        raise InvalidInputError("the ledger knows this public key already; make a new one")


def _add(session: Session, actor: str, name: str, roles: Sequence[Role], key: PublicKey) -> None:
    check_free(session, Actor, "actor", name)
    _check_new(session, key)
    values = sorted({role.value for role in roles})
    row = _key(key)
    person = Actor(name=name, roles=values, active=True, added_at=now(), keys=[row])
    session.add(person)
    session.flush()
    payload = {"actor": actor_facts(person) | {"key": key_facts(row)}}
    append(session, actor, "actor.added", f"actor:{name}", payload)


def _key(key: PublicKey) -> ActorKey:
    return ActorKey(key_id=key.key_id, public_key=key.to_base64(), added_at=now())
