"""The rules in force, and which version they say is served."""

from governance.ledger.database import Session
from governance.ledger.lookup import alias_version, policy_in_force
from governance.ledger.tables import Model, ModelVersion
from governance.policy import Policy, stored_policy


def current(session: Session) -> tuple[Policy, str]:
    """The rules in force and their digest."""
    record = policy_in_force(session)
    return stored_policy(record.content), record.digest


def production(session: Session) -> str:
    """Alias of the version that is served."""
    return current(session)[0].production


def served_version(session: Session, model: Model) -> ModelVersion | None:
    """The version of a model that is served."""
    return alias_version(session, model, production(session))
