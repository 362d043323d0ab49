"""Filing a request and deciding on it: everything that needs only the ledger."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from governance.errors import ConflictError, InvalidInputError, RefusedError
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.facts import decision_facts, request_facts
from governance.ledger.lookup import find_model, find_request
from governance.ledger.tables import Decision, Request, RequestPrivate, RequestTarget
from governance.ledger.types import now
from governance.states import Action, Basis
from governance.unlearning.labels import LabelSpace
from governance.unlearning.targets import Target, check_targets
from governance.workflow.transition import advance, check_reason, check_text, require, subject

DEFAULT_DAYS = 30
"""Days until a request is due if nothing else is said; GDPR Art. 12(3) gives one month."""


class Ruling(StrEnum):
    """What a decision says."""

    APPROVAL = "approval"
    REJECTION = "rejection"


def file(
    ledger: Ledger,
    actor: str,
    model: str | None,
    targets: Sequence[Target],
    basis: Basis,
    reason: str,
    subject_ref: str | None = None,
    due: datetime | None = None,
) -> int:
    """File a forget request.

    Args:
        ledger: where it is recorded.
        actor: who files it.
        model: name of the registered model; None if there is only one.
        targets: what to forget.
        basis: legal or other ground.
        reason: why, in words; kept erasable, the log holds a salted commitment.
        subject_ref: the case or person it concerns; kept erasable likewise.
        due: when it must be done, in `DEFAULT_DAYS` if not given.

    Returns:
        The request's id.

    Raises:
        InvalidInputError: a target that is not in the label space, everything forgotten, a due date in the past.
    """
    check_reason(reason)
    check_text("subject reference", subject_ref)
    with ledger.write() as session:
        require(session, actor, "request.file")
        record = find_model(session, model)
        check_targets(targets, LabelSpace.from_dict(record.labels))
        filed_at = now()
        due_at = (due or filed_at + timedelta(days=DEFAULT_DAYS)).astimezone(UTC)
        _check_due(due_at, filed_at)
        request = Request(
            model=record,
            basis=basis.value,
            due_at=due_at,
            filed_by=actor,
            filed_at=filed_at,
            targets=[RequestTarget(label=t.label, domain=t.domain) for t in targets],
            private=RequestPrivate(
                salt=secrets.token_hex(32), reason=reason, subject_ref=subject_ref
            ),
        )
        session.add(request)
        session.flush()
        payload = {"request": request_facts(request)}
        append(session, actor, "request.filed", subject(request), payload)
        return request.id


def approve(
    ledger: Ledger,
    actor: str,
    request_id: int,
    comment: str | None = None,
    projector: str | None = None,
) -> None:
    """Approve exactly the projector and report that the newest preparation made.

    Args:
        ledger: where it is recorded.
        actor: who approves.
        request_id: the request.
        comment: why; part of the log for ever.
        projector: digest, or its beginning, of the projector that the actor looked at.

    Raises:
        RefusedError: the actor filed or prepared it, or it is not prepared.
        ConflictError: the request was prepared again after the actor looked at `projector`.
    """
    with ledger.write() as session:
        require(session, actor, "request.decide")
        request = find_request(session, request_id)
        _check_four_eyes(request, actor)
        _check_seen(request, projector)
        _decide(session, request, actor, Ruling.APPROVAL, comment)


def reject(ledger: Ledger, actor: str, request_id: int, comment: str | None = None) -> None:
    """Reject a request that is filed or prepared.

    Raises:
        RefusedError: it is neither.
    """
    with ledger.write() as session:
        require(session, actor, "request.decide")
        _decide(session, find_request(session, request_id), actor, Ruling.REJECTION, comment)


def withdraw(ledger: Ledger, actor: str, request_id: int, reason: str) -> None:
    """Withdraw a request that is not applied.

    Raises:
        RefusedError: it is applied, or has ended.
    """
    _simple(ledger, actor, "request.withdraw", request_id, Action.WITHDRAW, reason)


def close(ledger: Ledger, actor: str, request_id: int, reason: str) -> None:
    """Close a released request; its edit stays in every later version.

    Raises:
        RefusedError: it is not released.
    """
    _simple(ledger, actor, "request.close", request_id, Action.CLOSE, reason)


def extend(ledger: Ledger, actor: str, request_id: int, due: datetime, reason: str) -> None:
    """Move a request's deadline.

    Raises:
        RefusedError: its deadline does not run any more.
        InvalidInputError: the new one is not later than the present one.
    """
    check_reason(reason)
    due = due.astimezone(UTC)
    with ledger.write() as session:
        require(session, actor, "request.extend")
        request = find_request(session, request_id)
        if due <= request.due_at:
            raise InvalidInputError(
                f"request {request.id} is due on {request.due_at:%Y-%m-%d} already; an extension "
                "must be later"
            )
        payload = {
            "reason": reason,
            "due_at": due.isoformat(),
            "was_due_at": request.due_at.isoformat(),
        }
        advance(session, request, Action.EXTEND, actor, payload)
        request.due_at = due


def _simple(
    ledger: Ledger, actor: str, permission: str, request_id: int, action: Action, reason: str
) -> None:
    check_reason(reason)
    with ledger.write() as session:
        require(session, actor, permission)
        request = find_request(session, request_id)
        advance(session, request, action, actor, {"reason": reason})


def _decide(
    session: Session, request: Request, actor: str, ruling: Ruling, comment: str | None
) -> None:
    check_text("comment", comment)
    projector = request.projector
    decision = Decision(
        request_id=request.id,
        ruling=ruling.value,
        actor=actor,
        comment=comment,
        projector_digest=projector.digest if projector else None,
        report_digest=projector.report.digest if projector else None,
        decided_at=now(),
    )
    action = Action.APPROVE if ruling is Ruling.APPROVAL else Action.REJECT
    advance(session, request, action, actor, {"decision": decision_facts(decision)})
    session.add(decision)


def _check_four_eyes(request: Request, actor: str) -> None:
    done = [
        verb
        for verb, who in (
            ("filed", request.filed_by),
            ("prepared", request.projector.prepared_by if request.projector else None),
        )
        if who == actor
    ]
    if done:
        raise RefusedError(
            f"four eyes: {actor!r} {' and '.join(done)} request {request.id}, so somebody else "
            "must approve it"
        )


def _check_seen(request: Request, digest: str | None) -> None:
    newest = request.projector
    if digest is None or newest is None:
        return
    if not newest.digest.removeprefix("sha256:").startswith(digest.removeprefix("sha256:")):
        raise ConflictError(
            f"request {request.id} was prepared again: its projector is {newest.digest}, not "
            f"{digest}; look at the new figures first"
        )


def _check_due(due: datetime, filed_at: datetime) -> None:
    if due <= filed_at:
        raise InvalidInputError(f"the due date {due:%Y-%m-%d} is not in the future")
