"""The policy in force: read from the ledger, changed by an event."""

from governance.digests import load_json
from governance.errors import RefusedError
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.facts import policy_facts
from governance.ledger.lookup import policy_in_force
from governance.ledger.tables import PolicyRecord
from governance.ledger.types import now
from governance.policy import Policy, parse_policy
from governance.workflow.refusals import recorded
from governance.workflow.transition import check_reason, require

SUBJECT = "policy:ledger"


def current(session: Session) -> tuple[Policy, str]:
    """The rules in force and their digest."""
    record = policy_in_force(session)
    return parse_policy(load_json(record.content)), record.digest


@recorded("adopt", "policy")
def adopt(ledger: Ledger, actor: str, policy: Policy, reason: str) -> Policy:
    """Put a policy in force. Decisions that were made stay valid; whatever comes next follows it.

    Returns:
        The policy that was in force before.

    Raises:
        RefusedError: it is in force already.
    """
    check_reason(reason)
    with ledger.write() as session:
        require(session, actor, "policy.adopt")
        before, digest = current(session)
        if digest == policy.digest:
            raise RefusedError("this policy is in force already")
        enact(session, actor, policy, reason)
        return before


def enact(session: Session, actor: str, policy: Policy, reason: str) -> None:
    """Record a policy in a transaction."""
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
