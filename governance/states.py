"""Grounds and states of a forget request, the actions on it, who may act, and the one transition table.

Pure data and pure functions: ``workflow`` is the only caller that changes a state, and it asks here.
"""

from enum import StrEnum

from governance.errors import RefusedError


class State(StrEnum):
    """Where a forget request stands."""

    FILED = "filed"
    PREPARED = "prepared"
    APPROVED = "approved"
    APPLIED = "applied"
    RELEASED = "released"
    REINSTATED = "reinstated"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    CLOSED = "closed"


class Action(StrEnum):
    """What can be done to a forget request; also the verb of its ledger event."""

    PREPARE = "prepared"
    EVALUATE = "evaluated"
    ENDORSE = "endorsed"
    APPROVE = "approved"
    REJECT = "rejected"
    WITHDRAW = "withdrawn"
    EXTEND = "extended"
    APPLY = "applied"
    RELEASE = "released"
    REINSTATE = "reinstated"
    CLOSE = "closed"
    ATTACH = "attached"
    HOLD = "held"
    LIFT = "hold_lifted"
    REDACT = "redacted"


class Role(StrEnum):
    """What an actor may do; an actor can hold several."""

    COMPLIANCE = "compliance"
    APPROVER = "approver"
    MLOPS = "mlops"
    AUDITOR = "auditor"
    ADMIN = "admin"


class Basis(StrEnum):
    """On what ground forgetting is asked for."""

    GDPR_17_1_A = "gdpr-17-1-a"
    GDPR_17_1_B = "gdpr-17-1-b"
    GDPR_17_1_C = "gdpr-17-1-c"
    GDPR_17_1_D = "gdpr-17-1-d"
    GDPR_17_1_E = "gdpr-17-1-e"
    GDPR_17_1_F = "gdpr-17-1-f"
    COURT_ORDER = "court-order"
    LICENCE = "licence"
    BIAS = "bias"
    POLICY = "policy"


STATUTORY = frozenset(b for b in Basis if b.value.startswith("gdpr-")) | {Basis.COURT_ORDER}
"""Grounds on which the law, not the company, asks for forgetting."""


TRANSITIONS: dict[tuple[State, Action], State] = {
    (State.FILED, Action.PREPARE): State.PREPARED,
    (State.PREPARED, Action.PREPARE): State.PREPARED,
    # What was approved is one projector and one report; a new preparation voids the approval.
    (State.APPROVED, Action.PREPARE): State.PREPARED,
    (State.REINSTATED, Action.PREPARE): State.PREPARED,
    (State.PREPARED, Action.EVALUATE): State.PREPARED,
    (State.APPROVED, Action.EVALUATE): State.APPROVED,
    (State.APPLIED, Action.EVALUATE): State.APPLIED,
    (State.RELEASED, Action.EVALUATE): State.RELEASED,
    (State.REINSTATED, Action.EVALUATE): State.REINSTATED,
    # An approval that the quorum still needs others beside.
    (State.PREPARED, Action.ENDORSE): State.PREPARED,
    (State.PREPARED, Action.APPROVE): State.APPROVED,
    (State.FILED, Action.REJECT): State.REJECTED,
    (State.PREPARED, Action.REJECT): State.REJECTED,
    (State.FILED, Action.WITHDRAW): State.WITHDRAWN,
    (State.PREPARED, Action.WITHDRAW): State.WITHDRAWN,
    (State.APPROVED, Action.WITHDRAW): State.WITHDRAWN,
    (State.REINSTATED, Action.WITHDRAW): State.WITHDRAWN,
    (State.FILED, Action.EXTEND): State.FILED,
    (State.PREPARED, Action.EXTEND): State.PREPARED,
    (State.APPROVED, Action.EXTEND): State.APPROVED,
    (State.APPLIED, Action.EXTEND): State.APPLIED,
    (State.REINSTATED, Action.EXTEND): State.REINSTATED,
    (State.APPROVED, Action.APPLY): State.APPLIED,
    # The approval of a reinstated request still binds the same projector, so it may be applied again.
    (State.REINSTATED, Action.APPLY): State.APPLIED,
    (State.APPLIED, Action.RELEASE): State.RELEASED,
    (State.APPLIED, Action.REINSTATE): State.REINSTATED,
    (State.RELEASED, Action.REINSTATE): State.REINSTATED,
    (State.CLOSED, Action.REINSTATE): State.REINSTATED,
    (State.RELEASED, Action.CLOSE): State.CLOSED,
}
"""Every allowed step. Whatever is not in this table is refused."""

PAPERWORK = frozenset({Action.ATTACH, Action.HOLD, Action.LIFT, Action.REDACT})
"""Actions on the papers of a case, not on the case: no state forbids them or is changed; redacting waits for an end."""

ACTIVE_STATES = frozenset({State.APPLIED, State.RELEASED, State.CLOSED})
"""States in which a request's edit is part of the newest model version."""

OPEN_STATES = frozenset(
    {State.FILED, State.PREPARED, State.APPROVED, State.APPLIED, State.REINSTATED}
)
"""States in which the deadline of a request is still running."""

ENDED_STATES = frozenset({State.REJECTED, State.WITHDRAWN, State.CLOSED})
"""States in which nobody needs the private texts of a request any more but whoever has to account for them."""

PERMISSIONS: dict[str, frozenset[Role]] = {
    "actor.manage": frozenset({Role.ADMIN}),
    "actor.rotate-own-key": frozenset(Role),
    "policy.adopt": frozenset({Role.ADMIN}),
    "checkpoint.take": frozenset({Role.AUDITOR, Role.COMPLIANCE, Role.MLOPS, Role.ADMIN}),
    "doctor.repair": frozenset({Role.MLOPS, Role.ADMIN}),
    "audit.export": frozenset({Role.AUDITOR, Role.COMPLIANCE, Role.ADMIN}),
    "request.attach": frozenset({Role.COMPLIANCE, Role.ADMIN}),
    "request.hold": frozenset({Role.COMPLIANCE, Role.ADMIN}),
    "request.redact": frozenset({Role.COMPLIANCE, Role.ADMIN}),
    "attachment.export": frozenset({Role.COMPLIANCE, Role.APPROVER, Role.AUDITOR, Role.ADMIN}),
    "report.export": frozenset(Role),
    "request.break-glass": frozenset({Role.ADMIN}),
    "request.override": frozenset({Role.ADMIN}),
    "version.override": frozenset({Role.ADMIN}),
    "model.register": frozenset({Role.MLOPS, Role.ADMIN}),
    "dataset.add": frozenset({Role.MLOPS, Role.COMPLIANCE, Role.ADMIN}),
    "request.file": frozenset({Role.COMPLIANCE, Role.ADMIN}),
    "request.prepare": frozenset({Role.MLOPS, Role.ADMIN}),
    "request.evaluate": frozenset({Role.MLOPS, Role.AUDITOR, Role.ADMIN}),
    "request.decide": frozenset({Role.APPROVER, Role.ADMIN}),
    "request.withdraw": frozenset({Role.COMPLIANCE, Role.ADMIN}),
    "request.extend": frozenset({Role.COMPLIANCE, Role.APPROVER, Role.ADMIN}),
    "request.close": frozenset({Role.COMPLIANCE, Role.ADMIN}),
    "version.apply": frozenset({Role.MLOPS, Role.ADMIN}),
    "version.evaluate": frozenset({Role.MLOPS, Role.AUDITOR, Role.ADMIN}),
    "version.promote": frozenset({Role.MLOPS, Role.ADMIN}),
    "version.rollback": frozenset({Role.MLOPS, Role.ADMIN}),
    "version.export": frozenset({Role.MLOPS, Role.AUDITOR, Role.ADMIN}),
}
"""Roles that may perform each permission-checked verb, unless the policy in force names others."""

MEANINGS = {
    "actor.manage": "Add and deactivate people, replace a lost key.",
    "actor.rotate-own-key": "Replace one's own key.",
    "policy.adopt": "Put a policy in force.",
    "checkpoint.take": "Sign the head of the log.",
    "doctor.repair": "Repair what MLflow and the ledger disagree on.",
    "audit.export": "Export evidence bundles.",
    "request.attach": "Put files into a case.",
    "request.hold": "Put a case on legal hold, lift the hold.",
    "request.redact": "Erase the private texts of a case that has ended.",
    "attachment.export": "Read the files of a case.",
    "report.export": "Take a report out.",
    "request.break-glass": "Approve in an emergency, without four eyes and quorum.",
    "request.override": "Approve although a gate fails, with a reason; who does it must also be allowed to approve.",
    "version.override": "Promote although a gate fails, with a reason; who does it must also be allowed to promote.",
    "model.register": "Register models.",
    "dataset.add": "Add data sets.",
    "request.file": "File requests.",
    "request.prepare": "Fit and measure the edit of a request.",
    "request.evaluate": "Measure it on further data sets.",
    "request.decide": "Approve and reject.",
    "request.withdraw": "Withdraw requests.",
    "request.extend": "Extend deadlines.",
    "request.close": "Close released requests.",
    "version.apply": "Make a model version of approved requests.",
    "version.evaluate": "Measure a version on further data sets.",
    "version.promote": "Serve a version.",
    "version.rollback": "Serve an earlier version again, drop a request.",
    "version.export": "Write a version as a directory.",
}
"""What each permission is for."""


def allowed_actions(state: State) -> tuple[Action, ...]:
    """Actions that the transition table allows in `state`, in the order of `Action`."""
    return tuple(action for action in Action if (state, action) in TRANSITIONS)


def next_state(state: State, action: Action) -> State:
    """State after `action` in `state`.

    Raises:
        RefusedError: the table has no such step.
    """
    if action in PAPERWORK:
        return state
    try:
        return TRANSITIONS[state, action]
    except KeyError:
        possible = ", ".join(a.value for a in allowed_actions(state)) or "nothing any more"
        raise RefusedError(
            f"it is {state.value} and cannot be {action.value}; it can be {possible}"
        ) from None
