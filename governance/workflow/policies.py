"""Changing the policy in force, by an event; a policy that would leave a ledger helpless is refused."""

from collections.abc import Iterable, Mapping

from governance.digests import load_json
from governance.errors import ConflictError, InvalidInputError, RefusedError
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.facts import policy_facts
from governance.ledger.lookup import every, model_names
from governance.ledger.rules import current
from governance.ledger.tables import Actor, PolicyRecord
from governance.ledger.types import now
from governance.policy import Policy, helpless, stored_policy
from governance.states import Role
from governance.workflow.refusals import recorded
from governance.workflow.transition import check_reason, require

SUBJECT = "policy:ledger"


@recorded("adopt", "policy")
def adopt(ledger: Ledger, actor: str, policy: Policy, reason: str) -> Policy:
    """Put a policy in force. Decisions that were made stay valid; whatever comes next follows it.

    Returns:
        The policy that was in force before.

    Raises:
        RefusedError: it is in force already, nobody who is active could do what every ledger needs, or it names
            another production alias although models are served under the old one.
        ConflictError: somebody else adopted one at the same moment.
    """
    check_reason(reason)
    with ledger.read() as session:
        require(session, actor, "policy.adopt")
        _, seen = current(session)
    with ledger.write() as session:
        require(session, actor, "policy.adopt")
        before, digest = current(session)
        if digest != seen:
            raise ConflictError(
                "somebody else adopted a policy meanwhile; look at it and try again"
            )
        if digest == policy.digest:
            raise RefusedError("this policy is in force already")
        check_able(policy, roles_of_active(session))
        if policy.production != before.production and model_names(session):
            raise RefusedError(
                f"models are served under the alias {before.production!r} already, and whoever loads it would go on "
                f"being served what it points at; release.production must stay {before.production!r}"
            )
        enact(session, actor, policy, reason)
        return before


def check_readable(policy: Policy) -> None:
    """Make sure that what is stored is read as the same policy.

    Raises:
        InvalidInputError: it is not: no file of a policy can take a default limit away, only widen it.
    """
    if stored_policy(policy.to_json()) != policy:
        raise InvalidInputError(
            "a limit that has a default cannot be left out of a policy; 1 is the widest there is"
        )


def enact(session: Session, actor: str, policy: Policy, reason: str) -> None:
    """Record a policy in a transaction.

    Raises:
        InvalidInputError: what is stored would be read as another policy.
    """
    check_readable(policy)
    record = PolicyRecord(
        digest=policy.digest, content=policy.to_json(), adopted_by=actor, adopted_at=now()
    )
    session.add(record)
    session.flush()
    payload = {
        "policy": policy_facts(record),
        "content": load_json(record.content),
        "reason": reason,
    }
    append(session, actor, "policy.adopted", SUBJECT, payload)


def roles_of_active(session: Session) -> dict[str, frozenset[Role]]:
    """Everybody who is active, and their roles."""
    return {
        actor.name: frozenset(Role(role) for role in actor.roles)
        for actor in every(session, Actor)
        if actor.active
    }


def check_able(policy: Policy, people: Mapping[str, Iterable[Role]]) -> None:
    """Somebody must be able to do what every ledger needs.

    Raises:
        RefusedError: nobody could.
    """
    missing = helpless(policy, people.values())
    if missing is not None:
        needed = " or ".join(sorted(role.value for role in policy.roles[missing]))
        raise RefusedError(
            f"nobody who is active could do {missing} any more, which needs {needed}"
        )
