"""Replaying the log: what states, aliases and records there must be."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from governance.audit.fault import Fault
from governance.digests import load_json
from governance.errors import RefusedError
from governance.ledger.database import Session
from governance.ledger.events import stream
from governance.ledger.facts import Facts
from governance.ledger.tables import Event
from governance.states import Action, State, next_state


@dataclass
class Replayed:
    """What the log says there is.

    Attributes:
        states: state of each request.
        aliases: (model, alias) → version number.
        actors, models, datasets: facts by name.
        requests: facts by request id.
        projectors, decisions: facts of each request, in order.
        reports: facts of each subject (``request:1``, ``version:shop/2``), in order.
        versions: facts by (model, number).
        faults: events that make no sense or were not allowed.
    """

    states: dict[int, State] = field(default_factory=dict)
    aliases: dict[tuple[str, str], int] = field(default_factory=dict)
    actors: dict[str, Facts] = field(default_factory=dict)
    models: dict[str, Facts] = field(default_factory=dict)
    datasets: dict[str, Facts] = field(default_factory=dict)
    requests: dict[int, Facts] = field(default_factory=dict)
    projectors: dict[int, list[Facts]] = field(default_factory=lambda: defaultdict(list))
    decisions: dict[int, list[Facts]] = field(default_factory=lambda: defaultdict(list))
    reports: dict[str, list[Facts]] = field(default_factory=lambda: defaultdict(list))
    versions: dict[tuple[str, int], Facts] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def replay(session: Session) -> Replayed:
    """Read the whole log once."""
    found = Replayed()
    for event in stream(session):
        try:
            found.faults.extend(_apply(found, event, load_json(event.payload)))
        except (KeyError, TypeError, ValueError, AttributeError):
            found.faults.append(Fault(f"event {event.seq}", f"{event.action} makes no sense there"))
    return found


def _apply(found: Replayed, event: Event, payload: Any) -> Iterator[Fault]:
    kind, _, name = event.subject.partition(":")
    match event.action:
        case "actor.added":
            found.actors[name] = payload["actor"]
        case "actor.deactivated":
            found.actors[name] = found.actors[name] | {"active": False}
        case "dataset.added":
            found.datasets[name] = payload["dataset"]
        case "model.registered":
            found.models[name] = payload["model"]
            version = payload["version"]
            found.versions[name, version["number"]] = version
            found.aliases[name, "champion"] = version["number"]
        case "version.registered":
            model, number = _version(name)
            found.versions[model, number] = payload["version"]
            found.reports[event.subject].extend(payload["reports"])
        case "version.evaluated":
            found.reports[event.subject].append(payload["report"])
        case "version.promoted" | "version.nominated":
            found.aliases[_version(name)[0], payload["alias"]] = payload["to"]
        case "request.filed":
            found.requests[int(name)] = payload["request"]
            found.states[int(name)] = State.FILED
        case _ if kind == "request":
            yield from _move(found, event, int(name), payload)
        case "version.intended" | "version.alias_intended" | "version.exported":
            pass  # they change nothing
        case _:
            raise ValueError(event.action)


def _move(found: Replayed, event: Event, request: int, payload: Any) -> Iterator[Fault]:
    """A step of a request along the transition table."""
    action = Action(event.action.removeprefix("request."))
    try:
        found.states[request] = next_state(found.states[request], action)
    except RefusedError:
        yield Fault(f"event {event.seq}", f"{event.action} was not allowed at that point")
    match action:
        case Action.PREPARE:
            found.projectors[request].append(payload["projector"])
            found.reports[event.subject].append(payload["report"])
        case Action.EVALUATE:
            found.reports[event.subject].append(payload["report"])
        case Action.APPROVE | Action.REJECT:
            found.decisions[request].append(payload["decision"])
        case Action.EXTEND:
            found.requests[request] = found.requests[request] | {"due_at": payload["due_at"]}
        case _:
            pass


def _version(name: str) -> tuple[str, int]:
    model, _, number = name.rpartition("/")
    return model, int(number)
