"""Filing a request and deciding on it: everything that needs only the ledger."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from governance.errors import ConflictError, FourEyesError, InvalidInputError
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.facts import decision_facts, request_facts, text_facts
from governance.ledger.judgement import judge_request, kind_of
from governance.ledger.lookup import find_model, find_request
from governance.ledger.private import ATTACHMENT, COMMENT, REASON, SUBJECT_REF, keep
from governance.ledger.rules import current
from governance.ledger.tables import Decision, Request, RequestTarget
from governance.ledger.types import now
from governance.policy import Policy
from governance.states import Action, Basis
from governance.unlearning.labels import LabelSpace
from governance.unlearning.targets import Target, check_targets
from governance.workflow.attachments import Attachment
from governance.workflow.gates import admit, said
from governance.workflow.refusals import recorded
from governance.workflow.repeats import Filing, Text, find_same
from governance.workflow.transition import (
    advance,
    check_action,
    check_reason,
    check_text,
    check_unmoved,
    look,
    require,
    subject,
)

DEFAULT_DAYS = 30
"""Days until a request is due if nothing else is said; GDPR Art. 12(3) gives one month."""


class Filed(NamedTuple):
    """A request that was filed, and whether it was filed just now."""

    number: int
    new: bool


@dataclass(frozen=True)
class Approval:
    """How many people have approved a preparation, and how many must."""

    given: int
    needed: int

    def __str__(self) -> str:
        return f"Approval {self.given} of {self.needed} for"

    @property
    def complete(self) -> bool:
        """Whether the quorum is reached."""
        return self.given >= self.needed


class Ruling(StrEnum):
    """What a decision says."""

    APPROVAL = "approval"
    REJECTION = "rejection"


@recorded("file", "model", "model")
def file(
    ledger: Ledger,
    actor: str,
    model: str | None,
    targets: Sequence[Target],
    basis: Basis,
    reason: str,
    subject_ref: str | None = None,
    due: datetime | None = None,
    retention: str | None = None,
    attachments: Sequence[Attachment] = (),
    again: bool = False,
) -> Filed:
    """File a forget request, unless the same person has an open one with the same content.

    So the command can be repeated when nobody knows whether it was carried out.

    Args:
        ledger: where it is recorded.
        actor: who files it.
        model: name of the registered model; None if there is only one.
        targets: what to forget.
        basis: legal or other ground.
        reason: why, in words; kept erasable, the log holds a salted commitment.
        subject_ref: the case or person it concerns; kept erasable likewise.
        due: when it must be done, in `DEFAULT_DAYS` if not given.
        retention: class of the policy that says for how long reason and subject are kept after the end.
        attachments: files that belong to the case.
        again: file another one with the same content.

    Returns:
        The request's id, and whether it is a new one.

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
        rules, _ = current(session)
        allowed = timedelta(days=DEFAULT_DAYS)
        due_at = (due or filed_at + allowed).astimezone(UTC)
        _check_due(due_at, filed_at)
        written = [Text(REASON, reason.encode())]
        if subject_ref is not None:
            written.append(Text(SUBJECT_REF, subject_ref.encode()))
        written += [Text(ATTACHMENT, file.content, file.name) for file in attachments]
        kept_for = _retention(rules, retention)
        filing = Filing(targets, basis, due_at if due else allowed, kept_for, written)
        if not again and (same := find_same(session, actor, record, filing)) is not None:
            return Filed(same.id, new=False)
        request = Request(
            model=record,
            basis=basis.value,
            due_at=due_at,
            filed_by=actor,
            filed_at=filed_at,
            targets=[RequestTarget(label=t.label, domain=t.domain) for t in targets],
            retention=kept_for,
        )
        texts = [keep(session, request, text.kind, text.content, text.name) for text in written]
        session.add(request)
        session.flush()
        payload = {
            "request": request_facts(request),
            "texts": [text_facts(text) for text in texts],
        }
        append(session, actor, "request.filed", subject(request), payload)
        return Filed(request.id, new=True)


@recorded("approve", "request", "request_id")
def approve(
    ledger: Ledger,
    actor: str,
    request_id: int,
    comment: str | None = None,
    projector: str | None = None,
    break_glass: bool = False,
    override: str | None = None,
) -> Approval:
    """Approve exactly the projector and report that the newest preparation made.

    The request is approved once as many people have approved it as the policy in force demands.

    Args:
        ledger: where it is recorded.
        actor: who approves.
        request_id: the request.
        comment: why; kept erasable, the log holds a salted commitment.
        projector: digest, or its beginning, of the projector that the actor looked at.
        break_glass: without four eyes and quorum, in an emergency; a comment is needed, and every report says so.
        override: why it is approved although a gate fails; it stays in the log for ever, and every report says so.

    Raises:
        RefusedError: the actor filed, prepared or approved it already, it is not prepared, or a gate of the policy
            fails on a report about the preparation.
        ConflictError: the request was prepared again after the actor looked at `projector`, or somebody else decided
            at the same moment.
    """
    if break_glass:
        check_reason(comment or "")
    permission = "request.break-glass" if break_glass else "request.decide"
    looked = look(ledger, actor, permission, request_id, Action.APPROVE)
    with ledger.write() as session:
        require(session, actor, permission)
        request = find_request(session, request_id)
        check_unmoved(request, looked)
        approvers = _approvers(request)
        if not break_glass:
            _check_four_eyes(request, actor, approvers)
        _check_seen(request, projector)
        rules, _ = current(session)
        done = Approval(len(approvers) + 1, rules.quorum.needed(*kind_of(request)))
        complete = break_glass or done.complete
        action = Action.APPROVE if complete else Action.ENDORSE
        check_action(request, action)
        judgement = judge_request(session, request)
        spite = admit(session, actor, "request.override", request, judgement, override)
        extra = {
            "approvals": done.given,
            "quorum": done.needed,
            **judgement.to_dict(),
            **said(spite),
        }
        _decide(session, request, actor, Ruling.APPROVAL, action, comment, break_glass, extra)
        if spite is not None:
            session.add(spite)
        return done


@recorded("reject", "request", "request_id")
def reject(ledger: Ledger, actor: str, request_id: int, comment: str | None = None) -> None:
    """Reject a request that is filed or prepared.

    Raises:
        RefusedError: it is neither.
        ConflictError: somebody else decided at the same moment.
    """
    looked = look(ledger, actor, "request.decide", request_id, Action.REJECT)
    with ledger.write() as session:
        require(session, actor, "request.decide")
        request = find_request(session, request_id)
        check_unmoved(request, looked)
        _decide(session, request, actor, Ruling.REJECTION, Action.REJECT, comment)


@recorded("withdraw", "request", "request_id")
def withdraw(ledger: Ledger, actor: str, request_id: int, reason: str) -> None:
    """Withdraw a request that is not applied.

    Raises:
        RefusedError: it is applied, or has ended.
    """
    _simple(ledger, actor, "request.withdraw", request_id, Action.WITHDRAW, reason)


@recorded("close", "request", "request_id")
def close(ledger: Ledger, actor: str, request_id: int, reason: str) -> None:
    """Close a released request; its edit stays in every later version.

    Raises:
        RefusedError: it is not released.
    """
    _simple(ledger, actor, "request.close", request_id, Action.CLOSE, reason)


@recorded("extend", "request", "request_id")
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
            "texts": [text_facts(keep(session, request, REASON, reason))],
            "due_at": due.isoformat(),
            "was_due_at": request.due_at.isoformat(),
        }
        advance(session, request, Action.EXTEND, actor, payload)
        request.due_at = due


def _simple(
    ledger: Ledger, actor: str, permission: str, request_id: int, action: Action, reason: str
) -> None:
    check_reason(reason)
    looked = look(ledger, actor, permission, request_id, action)
    with ledger.write() as session:
        require(session, actor, permission)
        request = find_request(session, request_id)
        check_unmoved(request, looked)
        texts = [text_facts(keep(session, request, REASON, reason))]
        advance(session, request, action, actor, {"texts": texts})


def _decide(
    session: Session,
    request: Request,
    actor: str,
    ruling: Ruling,
    action: Action,
    comment: str | None,
    break_glass: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> None:
    check_text("comment", comment)
    check_action(request, action)
    projector = request.projector
    text = keep(session, request, COMMENT, comment) if comment else None
    decision = Decision(
        request_id=request.id,
        ruling=ruling.value,
        actor=actor,
        projector_id=projector.id if projector else None,
        projector_digest=projector.digest if projector else None,
        report_digest=projector.report.digest if projector else None,
        policy_digest=current(session)[1],
        break_glass=break_glass,
        comment=text,
        decided_at=now(),
    )
    payload = {
        "decision": decision_facts(decision),
        "texts": [text_facts(text)] if text else [],
        **(extra or {}),
    }
    advance(session, request, action, actor, payload)
    session.add(decision)


def _approvers(request: Request) -> set[str]:
    """Who approved the newest preparation."""
    newest = request.projector
    return {
        decision.actor
        for decision in request.decisions
        if newest and decision.projector_id == newest.id and decision.ruling == Ruling.APPROVAL
    }


def _check_four_eyes(request: Request, actor: str, approvers: Collection[str]) -> None:
    if actor in approvers:
        raise FourEyesError(
            f"{actor!r} approved request {request.id} already; the quorum needs somebody else"
        )
    done = [
        verb
        for verb, who in (
            ("filed", request.filed_by),
            ("prepared", request.projector.prepared_by if request.projector else None),
        )
        if who == actor
    ]
    if done:
        raise FourEyesError(
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


def _retention(rules: Policy, name: str | None) -> str:
    chosen = name or rules.retention.default
    if chosen not in rules.retention.days:
        known = ", ".join(sorted(rules.retention.days))
        raise InvalidInputError(f"the policy has no retention class {chosen!r}; it has {known}")
    return chosen


def _check_due(due: datetime, filed_at: datetime) -> None:
    if due <= filed_at:
        raise InvalidInputError(f"the due date {due:%Y-%m-%d} is not in the future")
