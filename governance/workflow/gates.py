"""Refusing what fails the gates of the policy in force, and overriding them."""

from collections.abc import Sequence
from typing import Any

from governance.errors import GateError, RefusedError
from governance.ledger.database import Session
from governance.ledger.facts import override_facts
from governance.ledger.judgement import Judgement
from governance.ledger.tables import ModelVersion, Override, Request
from governance.ledger.types import now
from governance.unlearning.gates import NEEDS, Gate
from governance.workflow.transition import check_reason, require


def admit(
    session: Session,
    actor: str,
    permission: str,
    subject: Request | ModelVersion,
    judgement: Judgement,
    override: str | None,
) -> Override | None:
    """Let something pass its gates, or in spite of them.

    Args:
        session: where an override is recorded; it is not added yet.
        actor: who acts.
        permission: what an override needs.
        subject: the request or the version.
        judgement: its gates.
        override: the reason of an override; it stays in the log for ever. None for none.

    Returns:
        The override, to be added to the session once its event is appended; None if there is none.

    Raises:
        RefusedError: a gate fails and nobody overrides it, the actor may not override, or there is nothing to override.
        InvalidInputError: an override without a reason.
    """
    failing = judgement.failing
    if override is None:
        if failing:
            raise GateError(_refusal(subject, failing))
        return None
    require(session, actor, permission)
    check_reason(override)
    if not failing:
        raise RefusedError(
            f"every gate of {_name(subject)} passes, so there is nothing to override"
        )
    is_request = isinstance(subject, Request)
    return Override(
        request_id=subject.id if is_request else None,
        version_id=None if is_request else subject.id,
        about=_about(subject),
        actor=actor,
        reason=override,
        gates=[gate.to_dict() for gate in failing],
        overridden_at=now(),
    )


def serving(
    version: ModelVersion, judgement: Judgement, override: Override | None
) -> dict[str, Any]:
    """What an event says of a version that is served from then on: digests, gates and an override."""
    return {
        "version_digest": version.digest,
        "policy_digest": judgement.policy,
        **judgement.to_dict(),
        **said(override),
    }


def said(override: Override | None) -> dict[str, Any]:
    """What an event says of an override; nothing without one."""
    return {} if override is None else {"override": override_facts(override)}


def _refusal(subject: Request | ModelVersion, failing: Sequence[Gate]) -> str:
    needs = "; it needs {}: " + _command(subject)
    words = (
        gate.describe() + (needs.format(NEEDS[gate.name]) if gate.value is None else "")
        for gate in failing
    )
    return (
        f"{_name(subject)} fails {'; '.join(words)} (the limits are those of the policy; see "
        "`governance policy show`)"
    )


def _command(subject: Request | ModelVersion) -> str:
    """What measures a figure that was not measured."""
    if isinstance(subject, Request):
        return f"governance request evaluate {subject.id} --dataset NAME"
    return f"governance version evaluate {subject.number} --dataset NAME"


def _name(subject: Request | ModelVersion) -> str:
    if isinstance(subject, Request):
        return f"request {subject.id}"
    return f"version {subject.number}"


def _about(subject: Request | ModelVersion) -> str:
    if isinstance(subject, ModelVersion):
        return subject.digest
    assert subject.projector is not None  # its reports failed
    return subject.projector.digest
