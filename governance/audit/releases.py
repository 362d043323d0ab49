"""Replaying what happens to models and their versions."""

from collections.abc import Iterator
from typing import Any

from governance.audit.judged import judged
from governance.audit.world import Said, Version, World, number_of
from governance.ledger.events import Entry
from governance.ledger.facts import Facts
from governance.policy import CANDIDATE
from governance.states import ACTIVE_STATES, State
from governance.unlearning.gates import Kind, version_gates

_CAN_JOIN = ACTIVE_STATES | {State.APPROVED, State.REINSTATED}


def register_model(world: World, event: Entry, name: str, payload: Any) -> Iterator[str | Said]:
    """A model and its version 1, the unedited model, which is served from then on."""
    if name in world.newest or payload["model"]["name"] != name:
        raise ValueError("registered twice, or under another name")
    yield Said("models", name, payload["model"])
    yield from _register(world, event, name, payload["version"])
    world.aliases[name, world.policy.production] = payload["version"]["number"]
    world.versions[name, payload["version"]["number"]].served = True


def register_version(world: World, event: Entry, name: str, payload: Any) -> Iterator[str | Said]:
    """A further version with its reports."""
    model, number = version_of(name)
    if payload["version"]["number"] != number or model not in world.newest:
        raise ValueError("another number, or no such model")
    yield from _register(world, event, model, payload["version"])
    for report in payload["reports"]:
        yield from _report(world.versions[model, number], event, report)


def evaluate(world: World, event: Entry, name: str, payload: Any) -> Iterator[str | Said]:
    """One more report on a version."""
    model, number = version_of(name)
    version = world.named(model, payload | {"version": number})
    yield from _report(version, event, payload["report"])


def export(world: World, name: str, payload: Any) -> None:
    """A version that left the house.

    Raises:
        ValueError: there is none with that digest.
    """
    model, number = version_of(name)
    world.named(model, payload | {"version": number})


def restore(world: World, name: str, payload: Any) -> None:
    """A version that MLflow got again, under another number or from another run.

    Raises:
        ValueError: there is none with that digest, or the event does not say where it is.
    """
    export(world, name, payload)
    if not all(isinstance(payload[field], str) for field in ("run_id", "registry_version")):
        raise ValueError("no place in MLflow")


def move_alias(world: World, event: Entry, name: str, payload: Any) -> Iterator[str | Said]:
    """An alias that goes from one version to another."""
    model, number = version_of(name)
    alias = world.policy.production if event.action == "version.promoted" else CANDIDATE
    version = world.versions[model, number]
    if (payload["alias"], payload["to"]) != (alias, number):
        raise ValueError("another alias or version")
    before = world.aliases.get((model, alias))
    if payload["from"] != before:
        yield f"the alias came from version {before}, not {payload['from']}"
    if "version_digest" in payload and payload["version_digest"] != version.digest:
        yield "the version had another digest"
    active = world.active.get(model, set())
    if not version.members <= active:
        yield f"it holds request {min(version.members - active)}, which was not active"
    if alias == CANDIDATE and active - version.members:
        yield f"it lacks request {min(active - version.members)}, which was active"
    if alias != CANDIDATE:
        if before is not None:
            lost = world.versions[model, before].members & active - version.members
            if lost:
                yield f"it brings request {min(lost)} back, which was not reinstated"
        yield from _admitted(world, event, version, payload, before is None or before < number)
        version.served = True
    world.aliases[model, alias] = number


def _admitted(
    world: World, event: Entry, version: Version, payload: Any, forward: bool
) -> Iterator[str | Said]:
    """A version is served after its gates, or by going back to it."""
    if payload.get("rollback"):
        if not version.served:
            yield "it was never served, so nobody could go back to it"
        return
    if not forward:
        yield "it is older than the version that was served"
    if "gates" not in payload:
        yield "it was promoted without its gates"
        return
    if payload["policy_digest"] != world.policy_digest:
        yield "its gates are those of another policy than that of that time"
    kinds = {
        number: Kind(world.cases[number].scopes, world.cases[number].basis)
        for number in sorted(version.members)
    }
    yield from judged(
        world, event, payload, version.reports, version.digest, "version.override",
        lambda contents: version_gates(contents, world.policy.gates, kinds),
    )  # fmt: skip


def version_of(name: str) -> tuple[str, int]:
    """Model and number that the subject of an event names."""
    model, _, number = name.rpartition("/")
    return model, number_of(number)


def _register(world: World, event: Entry, model: str, facts: Facts) -> Iterator[str | Said]:
    """A version holds for each request the projector that was approved last."""
    number, newest = facts["number"], world.newest.get(model)
    if (number, facts["parent"]) != (1 if newest is None else newest + 1, newest):
        yield f"version {number} does not follow version {newest}"
    if facts["created_by"] != event.actor:
        yield f"it was made by {event.actor}, not {facts['created_by']}"
    for request, projector in zip(facts["active_requests"], facts["projectors"], strict=True):
        case = world.cases[request]
        if case.approved != projector or case.model != model:
            yield f"version {number} of {model} holds an edit of request {request} that was not approved"
        elif case.reached not in _CAN_JOIN:
            yield f"version {number} of {model} holds request {request}, which is {case.reached}"
    world.newest[model] = number
    world.versions[model, number] = Version(facts["digest"], frozenset(facts["active_requests"]))
    yield Said("model_versions", f"{model}/{number}", facts)


def _report(version: Version, event: Entry, report: Facts) -> Iterator[str | Said]:
    if report["purpose"] != "version":
        yield f"the report is of the kind {report['purpose']}"
    version.reports.append(report["digest"])
    yield Said("evaluation_reports", event.subject, report | {"projector": None})
