"""The figures of a workspace as Prometheus takes them, and their text form (exposition format 0.0.4)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from governance.checks import Check
from governance.ledger import figures
from governance.ledger.clock import present
from governance.ledger.database import Session
from governance.ledger.intents import open_intents
from governance.ledger.lookup import model_names
from governance.ledger.outbox import DeliveryState, counts
from governance.notifications import Notifications
from governance.states import State

Key = TypeVar("Key", bound=tuple[str, ...])

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VERSION_STATES = ("champion", "candidate", "retired", "unreleased")


@dataclass(frozen=True)
class Sample:
    """One value, and what tells it from the others of its family."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Family:
    """Values of one name.

    Attributes:
        name: by the conventions of Prometheus: base units, ``_total`` for counters.
        kind: ``gauge`` or ``counter``.
        help: one sentence.
        samples: none if there is nothing to say.
    """

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]

    def to_dict(self) -> dict[str, Any]:
        """The family as plain JSON values."""
        samples = [{"labels": dict(s.labels), "value": s.value} for s in self.samples]
        return {"name": self.name, "type": self.kind, "help": self.help, "samples": samples}


def collect(
    session: Session, notifications: Notifications, checks: Mapping[str, Check]
) -> list[Family]:
    """Every figure of a ledger and a workspace.

    Args:
        session: reads the ledger.
        notifications: when a request is due soon, and who is told.
        checks: the last verification by each command.
    """
    now = present(session)
    models = model_names(session)
    states = figures.requests_by_state(session)
    versions = figures.versions_by_state(session)
    overdue = figures.requests_due(session, None, now)
    soon = figures.requests_due(session, now, now + notifications.due_soon)
    delivered = counts(session)
    endpoints = sorted({e.name for e in notifications.endpoints} | {name for name, _ in delivered})
    return [
        Family(
            "governance_requests", "gauge", "Forget requests by state.",
            _table(states, ("model", "state"), ((m, s.value) for m in models for s in State)),
        ),
        Family(
            "governance_requests_overdue", "gauge",
            "Forget requests whose deadline has passed and that still wait.",
            tuple(Sample({"model": m}, overdue.get(m, 0)) for m in models),
        ),
        Family(
            "governance_requests_due_soon", "gauge",
            "Forget requests that wait and whose deadline is near.",
            tuple(Sample({"model": m}, soon.get(m, 0)) for m in models),
        ),
        Family(
            "governance_versions", "gauge", "Model versions by state.",
            _table(versions, ("model", "state"), ((m, s) for m in models for s in _VERSION_STATES)),
        ),
        Family(
            "governance_refusals_total", "counter",
            "Refused attempts by what they were about, what was tried, and why.",
            _table(figures.refusals(session), ("subject", "attempt", "cause"), ()),
        ),
        Family(
            "governance_events_total", "counter", "Events in the log.",
            (Sample({}, figures.newest_event(session)),),
        ),
        Family(
            "governance_open_intents", "gauge", "Steps in MLflow that were begun and not ended.",
            (Sample({}, len(open_intents(session))),),
        ),
        Family(
            "governance_notifications", "gauge", "Deliveries of notifications by state.",
            _table(delivered, ("endpoint", "state"), (
                (name, state.value) for name in endpoints for state in DeliveryState
            )),
        ),
        *_verifications(checks),
    ]  # fmt: skip


def exposition(families: Iterable[Family]) -> str:
    """Text for a scrape or a textfile collector; a family without samples only has its head."""
    lines = []
    for family in families:
        assert _NAME.fullmatch(family.name)
        lines.append(f"# HELP {family.name} {_escaped(family.help, quotes=False)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for sample in family.samples:
            labels = ",".join(f'{name}="{_escaped(v)}"' for name, v in sample.labels.items())
            lines.append(
                f"{family.name}{f'{{{labels}}}' if labels else ''} {_number(sample.value)}"
            )
    return "".join(f"{line}\n" for line in lines)


def _verifications(checks: Mapping[str, Check]) -> list[Family]:
    def of(value: Any) -> tuple[Sample, ...]:
        return tuple(
            Sample({"by": what}, float(value(check))) for what, check in sorted(checks.items())
        )

    return [
        Family(
            "governance_last_verification_timestamp_seconds", "gauge",
            "When the last verification in this workspace ended, since 1970.",
            of(lambda check: datetime.fromisoformat(check.at).timestamp()),
        ),
        Family(
            "governance_last_verification_success", "gauge",
            "Whether the last verification found everything to hold, 1 or 0.",
            of(lambda check: check.ok),
        ),
        Family(
            "governance_last_verification_faults", "gauge",
            "Number of things that did not hold at the last verification.",
            of(lambda check: check.faults),
        ),
        Family(
            "governance_last_verification_duration_seconds", "gauge",
            "How long the last verification took.",
            of(lambda check: check.seconds),
        ),
    ]  # fmt: skip


def _table(
    values: Mapping[Key, int], names: tuple[str, ...], always: Iterable[Key]
) -> tuple[Sample, ...]:
    """Samples in a fixed order; a combination that must not vanish when it is at nought is 0."""
    keys = sorted({*values, *always})
    return tuple(
        Sample(dict(zip(names, key, strict=True)), float(values.get(key, 0))) for key in keys
    )


def _escaped(text: str, quotes: bool = True) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quotes else escaped


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
