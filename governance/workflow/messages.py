"""What a message says: identifiers, states and times, and no names, reasons or classes.

A receiver that wants to know more asks the ledger, where asking takes the right to. The body of a message is made from
what never changes, so that every attempt sends the same bytes.
"""

from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from governance.digests import canonical_json, load_json
from governance.ledger.outbox import kind_of
from governance.ledger.tables import Event, Notice
from governance.notifications import TEST

_TOLD = ("from", "to", "due_at", "was_due_at", "version", "approvals", "quorum")
"""Members of an event's payload that are told as they are."""


def body_of(source: Event | Notice) -> bytes:
    """The message of an event or a notice."""
    if isinstance(source, Notice):
        return _body(source.kind, source.at, {"subject": source.subject, **source.data})
    payload = load_json(source.payload)
    data = {"subject": source.subject, "event": source.seq, "event_digest": source.digest}
    data |= _named(source.subject) | {key: payload[key] for key in _TOLD if key in payload}
    if source.action == "request.filed":
        data["due_at"] = payload["request"]["due_at"]
    if (decision := payload.get("decision")) is not None:
        data["break_glass"] = decision["break_glass"]
    return _body(kind_of(source), datetime.fromisoformat(source.at), data)


def trial_message(at: datetime) -> tuple[str, bytes]:
    """Id and body of a message that only says that it came through."""
    return f"msg_{token_hex(16)}", _body(TEST, at, {})


def request_data(number: int, due_at: datetime, state: str) -> dict[str, Any]:
    """What is told of a deadline."""
    return {"request": number, "due_at": due_at.isoformat(), "state": state}


def _named(subject: str) -> dict[str, Any]:
    kind, _, name = subject.partition(":")
    if kind == "request":
        return {"request": int(name)}
    model, _, number = name.rpartition("/")
    return {"model": model, "version": int(number)}


def _body(kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    timestamp = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return canonical_json({"type": kind, "timestamp": timestamp, "data": data}).encode()
