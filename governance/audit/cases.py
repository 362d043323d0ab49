"""Replaying the steps of requests: what they announce, and whether they were allowed where they stand."""

from collections.abc import Iterator
from typing import Any

from governance.audit.judged import judged
from governance.audit.world import Case, Said, Version, World, later
from governance.errors import RefusedError
from governance.ledger.events import Entry
from governance.ledger.facts import Facts
from governance.policy import scope_of
from governance.states import ENDED_STATES, Action, Basis, State, next_state
from governance.unlearning.gates import Kind, request_gates


def file(world: World, event: Entry, number: int, payload: Any) -> Iterator[str | Said]:
    """A new request."""
    facts = dict(payload["request"])
    if number in world.cases:
        raise ValueError("filed twice")
    if facts["filed_by"] != event.actor:
        yield f"it was filed by {event.actor}, not {facts['filed_by']}"
    if facts["model"] not in world.newest:
        yield f"there was no model {facts['model']}"
    if facts["retention"] not in world.policy.retention.days:
        yield f"the policy had no retention class {facts['retention']}"
    due_at = facts.pop("due_at")
    if not later(due_at, facts["filed_at"]):
        yield "it was due before it was filed"
    scopes = tuple(scope_of(target["class"], target["domain"]) for target in facts["targets"])
    case = Case(
        facts["model"], State.FILED, due_at, facts["filed_by"], Basis(facts["basis"]), scopes
    )
    world.cases[number] = case
    yield Said("requests", str(number), facts)
    yield from _texts(event, payload, case)


def move(world: World, event: Entry, number: int, payload: Any) -> Iterator[str | Said]:
    """A step of a request along the transition table."""
    action = Action(event.action.removeprefix("request."))
    case = world.cases[number]
    before = case.reached
    try:
        world.enter(number, case, next_state(case.reached, action))
    except RefusedError:
        yield f"{event.action} was not allowed at that point"
    else:
        if (payload["from"], payload["to"]) != (before, case.reached):
            yield "it names other states than those before and after it"
    match action:
        case Action.PREPARE | Action.EVALUATE:
            yield from _measured(event, number, action, case, payload)
        case Action.ENDORSE | Action.APPROVE | Action.REJECT:
            yield from _decided(world, event, action, case, payload)
            yield Said("decisions", str(number), payload["decision"])
            if action is not Action.REJECT:
                kind = Kind(case.scopes, case.basis)
                yield from judged(
                    world, event, payload, case.reports, case.projector, "request.override",
                    lambda contents: request_gates(contents, world.policy.gates, kind),
                )  # fmt: skip
        case Action.APPLY | Action.RELEASE | Action.REINSTATE:
            version = world.named(case.model, payload)
            served = world.served(case.model) == payload["version"]
            yield from _served(action, number, version, served)
        case Action.EXTEND:
            if payload["was_due_at"] != case.due_at or not later(payload["due_at"], case.due_at):
                yield "an extension must move the deadline that there was to a later day"
            case.due_at = payload["due_at"]
        case Action.HOLD | Action.LIFT:
            case.held = action is Action.HOLD
        case Action.REDACT:
            if case.held:
                yield "a legal hold forbids to redact it"
            if case.reached not in ENDED_STATES:
                yield "what has not ended cannot be redacted"
            case.redacted, case.erased = True, case.texts
        case _:
            pass
    yield from _texts(event, payload, case)


def _measured(
    event: Entry, number: int, action: Action, case: Case, payload: Any
) -> Iterator[str | Said]:
    if action is Action.PREPARE:
        facts, report = payload["projector"], payload["report"]
        if facts["prepared_by"] != event.actor:
            yield f"it was prepared by {event.actor}, not {facts['prepared_by']}"
        case.prepared_by = event.actor
        case.projector, case.report = facts["digest"], report["digest"]
        case.reports = ()
        case.approvers, case.approved = (), None
        yield Said("projectors", str(number), facts)
    else:
        report = payload["report"]
        if payload["projector_digest"] != case.projector:
            yield "the report is about another projector than the newest"
    case.reports = (*case.reports, report["digest"])
    if report["purpose"] != ("prepare" if action is Action.PREPARE else "evaluate"):
        yield f"the report is of the kind {report['purpose']}"
    yield Said("evaluation_reports", event.subject, report | {"projector": case.projector})


def _served(action: Action, number: int, version: Version, served: bool) -> Iterator[str]:
    """A version must hold what it applies and releases, and lack what it reinstates."""
    if (number in version.members) is (action is Action.REINSTATE):
        yield f"that version {'holds' if action is Action.REINSTATE else 'lacks'} the request"
    if action is Action.RELEASE and not served:
        yield "that version was not served"


def _decided(world: World, event: Entry, action: Action, case: Case, payload: Any) -> Iterator[str]:
    """Why a decision does not count: not bound to what was measured, four eyes, quorum."""
    facts: Facts = payload["decision"]
    if (facts["projector_digest"], facts["report_digest"]) != (case.projector, case.report):
        yield "the decision is about another projector or report than the newest"
    if facts["actor"] != event.actor or facts["policy_digest"] != world.policy_digest:
        yield "the decision names another actor or policy than those of that time"
    if facts["ruling"] != ("rejection" if action is Action.REJECT else "approval"):
        yield f"the decision is recorded as {facts['ruling']}"
    written = [text["commitment"] for text in payload["texts"]]
    if written != ([] if facts["comment"] is None else [facts["comment"]]):
        yield "the decision has another comment than the one that was written"
    if action is Action.REJECT:
        if facts["break_glass"]:
            yield "no emergency is needed to reject"
        return
    needed = world.policy.quorum.needed(case.scopes, case.basis)
    if not facts["break_glass"]:
        if event.actor in (case.filed_by, case.prepared_by):
            yield f"four eyes: {event.actor} filed or prepared the request that they approved"
        if event.actor in case.approvers:
            yield f"{event.actor} approved the same preparation twice"
    elif facts["comment"] is None:
        yield "an approval in an emergency needs a comment"
    case.approvers = (*case.approvers, event.actor)
    given = len(set(case.approvers))
    if (payload["approvals"], payload["quorum"]) != (given, needed):
        yield f"it counts {payload['approvals']} of {payload['quorum']} approvals, not {given} of {needed}"
    if action is Action.APPROVE:
        case.approved = case.projector
        if given < needed and not facts["break_glass"]:
            yield f"{given} approved, but the policy demanded {needed}"


def _texts(event: Entry, payload: Any, case: Case) -> Iterator[Said]:
    for text in payload.get("texts", ()):
        case.texts += 1
        yield Said("private_texts", event.subject, text)
