"""Recomputing everything the ledger claims: chain, arrays, projectors, reports, versions, decisions and states.

Needs no model, no MLflow and no torch; reads in a stream.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from governance.digests import digest_array, digest_bytes, digest_json, load_json
from governance.errors import RefusedError
from governance.ledger.database import Ledger
from governance.ledger.events import check_chain, head, stream
from governance.ledger.identity import factors_digest, projector_digest, version_digest
from governance.ledger.tables import (
    Alias,
    Array,
    Decision,
    Model,
    ModelVersion,
    ProjectorRecord,
    Report,
    Request,
)
from governance.states import Action, State, next_state


@dataclass(frozen=True)
class Fault:
    """A place where the record contradicts itself."""

    where: str
    problem: str

    def to_dict(self) -> dict[str, str]:
        """The fault as plain JSON values."""
        return {"where": self.where, "problem": self.problem}


@dataclass(frozen=True)
class Verification:
    """Outcome of a verification.

    Attributes:
        events: number of events whose digest and link hold.
        head: digest of the newest event, None in an empty ledger.
        checked: number of records of each kind.
        faults: everything that does not hold, in the order of checking.
    """

    events: int
    head: str | None
    checked: Mapping[str, int]
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        return {
            "ok": self.ok,
            "first_bad": self.faults[0].to_dict() if self.faults else None,
            "faults": [fault.to_dict() for fault in self.faults],
            "events": self.events,
            "head": self.head,
            "checked": dict(self.checked),
        }


def verify(ledger: Ledger) -> Verification:
    """Check the whole ledger in one consistent read."""
    with ledger.read() as session:
        # 1. The log: every digest, every link, no gap.
        events, broken = check_chain(session)
        faults = [] if broken is None else [Fault(f"event {broken.seq}", broken.problem)]
        checked: Counter[str] = Counter()
        if broken is None:
            # 2. Current states are what the log says they are. 3. Records are what their digests say.
            for found in (_states(session), _records(session, checked)):
                faults.extend(found)
        last = head(session)
        return Verification(events, last.digest if last else None, checked, tuple(faults))


def _records(session: Session, checked: Counter[str]) -> Iterator[Fault]:
    arrays = session.scalars(select(Array).execution_options(yield_per=50))
    for array in arrays:
        checked["arrays"] += 1
        if digest_array(array.dtype, tuple(array.shape), array.data) != array.digest:
            yield Fault(f"array {array.digest}", "its bytes have another digest")
    for model in session.scalars(select(Model)):
        checked["models"] += 1
        if digest_json(model.labels) != model.labels_digest:
            yield Fault(f"model {model.name}", "its label space has another digest")
    for projector in session.scalars(select(ProjectorRecord)):
        checked["projectors"] += 1
        factors = factors_digest(projector.factor_a, projector.factor_b)
        if projector_digest(projector.recipe, factors) != projector.digest:
            yield Fault(
                f"projector {projector.id} of request {projector.request_id}",
                "recipe or factors have another digest",
            )
    for report in session.scalars(select(Report).execution_options(yield_per=100)):
        checked["reports"] += 1
        if digest_bytes(report.content.encode()) != report.digest:
            yield Fault(f"report {report.id}", "its content has another digest")
    for version in session.scalars(select(ModelVersion)):
        checked["versions"] += 1
        expected = version_digest(
            version.model.weights_digest,
            version.model.labels_digest,
            factors_digest(version.factor_a, version.factor_b),
            [member.projector.digest for member in version.members],
        )
        if expected != version.digest:
            yield Fault(
                f"version {version.number} of {version.model.name}",
                "active set or factors have another digest",
            )
    yield from _private(session, checked)


def _private(session: Session, checked: Counter[str]) -> Iterator[Fault]:
    """What was filed is what the commitment in the log was made of."""
    commitments = {
        event.subject: load_json(event.payload)["private_commitment"]
        for event in stream(session)
        if event.action == "request.filed"
    }
    for request in session.scalars(select(Request)):
        checked["requests"] += 1
        private = {"reason": request.private.reason, "subject_ref": request.private.subject_ref}
        expected = digest_json([request.private.salt, private])
        if commitments.get(f"request:{request.id}") != expected:
            yield Fault(f"request {request.id}", "reason or subject differ from what was filed")


def _states(session: Session) -> Iterator[Fault]:
    """Replay the log and compare with the tables."""
    states: dict[str, State] = {}
    aliases: dict[tuple[str, str], int] = {}
    decided: set[tuple[str, str, str | None, str | None]] = set()
    for event in stream(session):
        payload = load_json(event.payload)
        if event.action == "model.registered":
            aliases[payload["model"], "champion"] = payload["version"]
        elif event.action in ("version.promoted", "version.nominated"):
            model = event.subject.removeprefix("version:").rpartition("/")[0]
            aliases[model, payload["alias"]] = payload["to"]
        elif event.action == "request.filed":
            states[event.subject] = State.FILED
        elif event.subject.startswith("request:"):
            action = Action(event.action.removeprefix("request."))
            try:
                states[event.subject] = next_state(states[event.subject], action)
            except (KeyError, RefusedError):
                yield Fault(f"event {event.seq}", f"{event.action} was not allowed at that point")
            if action in (Action.APPROVE, Action.REJECT):
                bound = payload["projector_digest"], payload["report_digest"]
                decided.add((event.subject, event.actor, *bound))
    yield from _compare(session, states, aliases, decided)


def _compare(
    session: Session,
    states: Mapping[str, State],
    aliases: Mapping[tuple[str, str], int],
    decided: set[tuple[str, str, str | None, str | None]],
) -> Iterator[Fault]:
    recorded = {f"request:{request.id}": request for request in session.scalars(select(Request))}
    for name in sorted(states.keys() | recorded.keys()):
        state = recorded[name].state if name in recorded else "missing"
        if states.get(name) != state:
            said = states.get(name, "never filed")
            yield Fault(name.replace(":", " "), f"it is {state}, but the log says {said}")
    rows = {(row.version.model.name, row.name): row for row in session.scalars(select(Alias))}
    for key in sorted(aliases.keys() | rows.keys()):
        number = rows[key].version.number if key in rows else None
        if aliases.get(key) != number:
            yield Fault(
                f"alias {key[1]} of {key[0]}",
                f"it is at version {number}, but the log says {aliases.get(key)}",
            )
    for decision in session.scalars(select(Decision)):
        entry = (
            f"request:{decision.request_id}",
            decision.actor,
            decision.projector_digest,
            decision.report_digest,
        )
        if entry not in decided:
            yield Fault(f"decision {decision.id}", "the log holds no such decision")
