"""The content of a report on one request or one version, ready to be shown or stored as JSON."""

import secrets
from collections.abc import Sequence
from typing import Any

from governance.digests import load_json
from governance.errors import InvalidInputError
from governance.ledger.database import Session
from governance.ledger.events import head, stream
from governance.ledger.judgement import Judgement, judge_request, judge_version
from governance.ledger.lookup import find_text
from governance.ledger.private import words
from governance.ledger.tables import Event, ModelVersion, Request
from governance.ledger.types import now
from governance.reports.records import (
    event_record,
    model_record,
    report_record,
    request_record,
    version_record,
)

LIMITS = (
    "The edit changes final projections only: that of the image tower and, if both sides are edited, that of the "
    "text tower. It removes what can be read linearly through the joint embedding of images and texts, and nothing "
    "else.",
    "It is not a certified deletion. The features before those projections are untouched; somebody who holds the "
    "model's weights, or the original ones, can train a new classifier on them and recognise the concept again.",
    "Other outputs of the same image tower, such as captions, are not covered.",
    "The figures hold for the prompts and images named here. Other words for the concept, and other images, can "
    "behave differently.",
    "Dropping the request from a later version brings the concept back.",
)
"""What every report says of the edit, whatever the figures."""


def request_document(session: Session, request: Request) -> dict[str, Any]:
    """Everything about one request.

    Raises:
        InvalidInputError: it is not prepared, so there is nothing to report yet.
    """
    if not request.projectors:
        raise InvalidInputError(
            f"request {request.id} is not prepared, so there is no figure to report yet"
        )
    return {
        "format": 1,
        "kind": "request",
        "title": f"Request {request.id}",
        "model": _model(request.model),
        "requests": [request_record(request)],
        "version": None,
        "reports": [report_record(report) for report in request.projectors[-1].reports],
        **_gates(judge_request(session, request)),
        "history": _history(session, [f"request:{request.id}"]),
        "limits": list(LIMITS),
        **_stamp(session),
    }


def version_document(session: Session, version: ModelVersion) -> dict[str, Any]:
    """Everything about one version and the requests it holds."""
    name = version.model.name
    subjects = [f"version:{name}/{version.number}"]
    subjects += [f"request:{member.request_id}" for member in version.members]
    if version.parent is None:  # the base model
        subjects.append(f"model:{name}")
    return {
        "format": 1,
        "kind": "version",
        "title": f"{name}, version {version.number}",
        "model": _model(version.model),
        "requests": [request_record(m.request, m.projector) for m in version.members],
        "version": version_record(session, version),
        "reports": [report_record(report) for report in version.reports],
        **_gates(judge_version(session, version)),
        "history": _history(session, subjects),
        "limits": list(LIMITS),
        **_stamp(session),
    }


def _gates(judgement: Judgement) -> dict[str, Any]:
    return {"gates": judgement.to_dict()["gates"], "policy_digest": judgement.policy}


def _model(model: Any) -> dict[str, Any]:
    record = model_record(model)
    labels = record.pop("labels")
    return record | {"classes": labels["classes"], "domains": labels["domains"]}


def _history(session: Session, subjects: Sequence[str]) -> list[dict[str, Any]]:
    events = [
        event_record(event) | {"texts": _texts(session, event)}
        for subject in subjects
        for event in stream(session, subject)
    ]
    return sorted(events, key=lambda event: int(event["seq"]))


def _texts(session: Session, event: Event) -> list[str]:
    """What was said with an event, unless it was erased; attachments are not shown."""
    said = load_json(event.payload).get("texts", ())
    found = (words(find_text(session, text["commitment"])) for text in said)
    return [text for text in found if text is not None]


def _stamp(session: Session) -> dict[str, Any]:
    seq, digest, _ = head(session)
    return {
        "made_at": now().isoformat(timespec="seconds"),
        # The log holds a digest of what leaves the house. Without this nobody could be kept from guessing texts
        # that were erased: the rest of the document can be made again.
        "nonce": secrets.token_hex(16),
        "ledger_head": {"seq": seq, "digest": digest},
    }
