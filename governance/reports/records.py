"""Ledger records as plain JSON values, the same everywhere: ``--json``, reports, exports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from governance.digests import load_json
from governance.ledger.database import Session
from governance.ledger.identity import edited_sides
from governance.ledger.listing import VersionNotes, versions_page
from governance.ledger.lookup import (
    aliases_of,
    broke_glass,
    overrides_of_request,
    overrides_of_version,
    policy_of,
    session_of,
)
from governance.ledger.private import (
    ATTACHMENT,
    LOCKED,
    REASON,
    SUBJECT_REF,
    first,
    is_erased,
    is_locked,
    opened,
    words,
)
from governance.ledger.retention import ended_at, keep_until
from governance.ledger.rules import production
from governance.ledger.tables import (
    Actor,
    Dataset,
    Decision,
    Delivery,
    Event,
    Model,
    ModelVersion,
    Override,
    PolicyRecord,
    PrivateText,
    ProjectorRecord,
    Report,
    Request,
)
from governance.ledger.types import now
from governance.ledger.whereabouts import Place, moved, place_among, place_of
from governance.paging import Page
from governance.policy import Policy, scope_of, stored_policy
from governance.states import OPEN_STATES, State
from governance.unlearning.targets import Target, describe_all


def actor_record(actor: Actor) -> dict[str, Any]:
    """An actor and their valid keys."""
    return {
        "name": actor.name,
        "roles": actor.roles,
        "active": actor.active,
        "keys": [key.key_id for key in actor.keys if key.retired_at is None],
        "added_at": actor.added_at.isoformat(),
    }


def policy_record(policy: PolicyRecord) -> dict[str, Any]:
    """A policy, and who adopted it when."""
    return {
        "digest": policy.digest,
        "adopted_by": policy.adopted_by,
        "adopted_at": policy.adopted_at.isoformat(),
        "content": load_json(policy.content),
    }


def model_record(model: Model) -> dict[str, Any]:
    """A base model and its label space."""
    return {
        "name": model.name,
        "source": model.source,
        "weights_digest": model.weights_digest,
        "config_digest": model.config_digest,
        "dimension": model.dimension,
        "fold_path": model.fold_path,
        "logit_scale": model.logit_scale,
        "labels": model.labels,
        "labels_digest": model.labels_digest,
        "registered_at": model.registered_at.isoformat(),
    }


def dataset_record(dataset: Dataset) -> dict[str, Any]:
    """A data set without its manifest."""
    return {
        "name": dataset.name,
        "role": dataset.role,
        "location": dataset.location,
        "digest": dataset.digest,
        "images": dataset.images,
        "skipped": dataset.skipped,
        "added_at": dataset.added_at.isoformat(),
    }


def request_record(request: Request, projector: ProjectorRecord | None = None) -> dict[str, Any]:
    """A request with its targets, decisions and newest projector.

    With `projector`, as a version holds it: that projector, and only the decisions on it.

    Raises:
        IntegrityError: a text cannot be decrypted.
    """
    attachments = [text for text in request.texts if text.kind == ATTACHMENT]
    return listed_record(request, projector) | {
        "overrides": [
            override_record(row) for row in overrides_of_request(session_of(request), request)
        ],
        "attachments": [
            attachment_record(number, text) for number, text in enumerate(attachments, start=1)
        ],
    }


def listed_record(request: Request, projector: ProjectorRecord | None = None) -> dict[str, Any]:
    """`request_record` without the attachments, which can be large to read."""
    return _request(_Around.read(session_of(request), [request]), request, projector)


def listed_records(session: Session, requests: Sequence[Request]) -> list[dict[str, Any]]:
    """`listed_record` of each of a page's requests, with one query for what none of them holds itself."""
    around = _Around.read(session, requests)
    return [_request(around, request, None) for request in requests]


@dataclass(frozen=True)
class _Around:
    """What records of requests say besides what the requests hold.

    Attributes:
        ended: when those that ended did.
        policies: by their digest, each read once; that in force by None.
    """

    session: Session
    ended: Mapping[int, datetime]
    policies: dict[str | None, Policy] = field(default_factory=dict)

    @classmethod
    def read(cls, session: Session, requests: Sequence[Request]) -> "_Around":
        return cls(session, ended_at(session, requests))

    def policy(self, digest: str | None) -> Policy:
        """The policy of a digest, or the one in force."""
        if digest not in self.policies:
            self.policies[digest] = stored_policy(policy_of(self.session, digest).content)
        return self.policies[digest]


def _request(
    around: _Around, request: Request, projector: ProjectorRecord | None
) -> dict[str, Any]:
    decisions = [d for d in request.decisions if not projector or _is_on(d, projector)]
    shown = projector or request.projector
    targets = [Target(target.label, target.domain) for target in request.targets]
    overdue = State(request.state) in OPEN_STATES and request.due_at < now()
    until = keep_until(request, around.ended.get(request.id), around.policy(None).retention)
    return {
        "id": request.id,
        "model": request.model.name,
        "state": request.state,
        "targets": [target.to_dict() for target in targets],
        "scope": describe_all(targets),
        "basis": request.basis,
        "reason": words(first(request, REASON)),
        "subject_ref": words(first(request, SUBJECT_REF)),
        "erased": sorted({text.kind for text in request.texts if is_erased(text)}),
        "retention": request.retention,
        "keep_until": None if until is None else until.isoformat(),
        "held": request.held,
        "redacted": request.redacted,
        "filed_by": request.filed_by,
        "filed_at": request.filed_at.isoformat(),
        "due_at": request.due_at.isoformat(),
        "overdue": overdue,
        "projector": projector_record(shown) if shown else None,
        **_approvals(around, request, shown),
        "decisions": [decision_record(decision) for decision in decisions],
    }


def _approvals(
    around: _Around, request: Request, projector: ProjectorRecord | None
) -> dict[str, Any]:
    """How many people approved a preparation, how many the policy demanded, and whether one broke the glass."""
    made = [
        decision
        for decision in request.decisions
        if projector and decision.projector_id == projector.id and decision.ruling == "approval"
    ]
    rules = around.policy(made[-1].policy_digest if made else None)
    scopes = [scope_of(target.label, target.domain) for target in request.targets]
    return {
        "approvals": {
            "given": len({decision.actor for decision in made}),
            "needed": rules.quorum.needed(scopes, request.basis),
        },
        "break_glass": any(decision.break_glass for decision in made),
    }


def _is_on(decision: Decision, projector: ProjectorRecord) -> bool:
    return decision.projector_digest == projector.digest


def projector_record(projector: ProjectorRecord) -> dict[str, Any]:
    """A projector: its recipe and numbers, not its factors."""
    return {
        "digest": projector.digest,
        "rank": projector.rank,
        "condition": projector.condition,
        "tolerance": projector.tolerance,
        "recipe": projector.recipe,
        "sides": edited_sides(projector.recipe),
        "prepared_by": projector.prepared_by,
        "prepared_at": projector.prepared_at.isoformat(),
        "run_id": projector.run_id,
    }


def decision_record(decision: Decision) -> dict[str, Any]:
    """A decision and what it binds."""
    return {
        "ruling": decision.ruling,
        "actor": decision.actor,
        "comment": words(decision.comment),
        "comment_erased": decision.comment is not None and is_erased(decision.comment),
        "break_glass": decision.break_glass,
        "projector_digest": decision.projector_digest,
        "report_digest": decision.report_digest,
        "policy_digest": decision.policy_digest,
        "decided_at": decision.decided_at.isoformat(),
    }


def override_record(override: Override) -> dict[str, Any]:
    """An approval or a promotion in spite of gates that failed; `void` if the request was prepared again since."""
    request, version = override.request, override.version
    newest = request.projector if request else None
    return {
        "subject": f"request {request.id}"
        if request
        else f"version {version.number if version else '?'}",
        "about": override.about,
        "actor": override.actor,
        "reason": override.reason,
        "gates": override.gates,
        "overridden_at": override.overridden_at.isoformat(),
        "void": newest is not None and newest.prepared_at > override.overridden_at,
    }


def attachment_record(number: int, text: PrivateText) -> dict[str, Any]:
    """An attachment without its content; name and size are gone with it if it was erased."""
    found = opened(text)
    return {
        "number": number,
        "name": found.name if found else LOCKED if is_locked(text) else None,
        "bytes": len(found.content) if found else None,
        "erased": is_erased(text),
        "locked": is_locked(text),
        "commitment": text.commitment,
        "added_at": text.added_at.isoformat(),
    }


def report_record(report: Report) -> dict[str, Any]:
    """An evaluation report with its content on the top level."""
    return {
        **load_json(report.content),
        "digest": report.digest,
        "created_at": report.created_at.isoformat(),
    }


def version_record(session: Session, version: ModelVersion) -> dict[str, Any]:
    """A model version with its aliases; reports are left out."""
    notes = VersionNotes(
        aliases_of(session, version),
        [m.request_id for m in version.members if broke_glass(m)],
        overrides_of_version(session, version),
    )
    return _version(version, notes, production(session), place_of(session, version))


def version_records(
    session: Session, model: Model, page: Page
) -> tuple[list[dict[str, Any]], bool]:
    """`version_record` of each version on a page, and whether more follow."""
    rows, notes, more = versions_page(session, model, page)
    served, again = production(session), moved(session)
    return [_version(row, notes[row.id], served, place_among(again, row)) for row in rows], more


def _version(
    version: ModelVersion, notes: VersionNotes, served: str, place: Place
) -> dict[str, Any]:
    return {
        "model": version.model.name,
        "version": version.number,
        "parent": version.parent,
        "active_requests": [member.request_id for member in version.members],
        "sides": edited_sides(version.recipe) if version.members else [],
        "residuals": version.recipe.get("residuals", []),
        "break_glass": list(notes.broken),
        "overrides": [override_record(row) for row in notes.overrides],
        "aliases": list(notes.aliases),
        "served": served in notes.aliases,
        "digest": version.digest,
        "weights_digest": version.weights_digest,
        "created_by": version.created_by,
        "created_at": version.created_at.isoformat(),
        "run_id": place.run_id,
        "registry_version": place.registry_version,
    }


def delivery_record(delivery: Delivery) -> dict[str, Any]:
    """A delivery and every attempt at it."""
    return {
        "id": delivery.id,
        "endpoint": delivery.outbox,
        "message_id": delivery.message,
        "kind": delivery.kind,
        "subject": delivery.subject,
        "event": delivery.event_seq,
        "state": delivery.state,
        "tries": delivery.tries,
        "allowed": delivery.allowed,
        "due_at": delivery.due_at.isoformat(),
        "added_at": delivery.added_at.isoformat(),
        "attempts": [
            {
                "number": attempt.number,
                "at": attempt.at.isoformat(),
                "outcome": attempt.outcome,
                "status": attempt.status,
                "excerpt": attempt.excerpt,
                "seconds": attempt.seconds,
            }
            for attempt in delivery.attempts
        ],
    }


def event_record(event: Event) -> dict[str, Any]:
    """An event as it stands in the log."""
    return {
        "seq": event.seq,
        "at": event.at,
        "actor": event.actor,
        "action": event.action,
        "subject": event.subject,
        "payload": load_json(event.payload),
        "prev_digest": event.prev_digest,
        "key_id": event.key_id,
        "signature": event.signature,
        "digest": event.digest,
    }
