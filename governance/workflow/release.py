"""Promotion and rollback: which version is served. Needs the ledger and MLflow, no model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from governance.digests import load_json
from governance.errors import ConflictError, GovernanceError, RefusedError
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.intents import ALIAS, check_open, open_intents
from governance.ledger.judgement import judge_version
from governance.ledger.lookup import (
    find_model,
    find_request,
    find_version,
    newest_events,
)
from governance.ledger.names import subject_of
from governance.ledger.rules import current, production
from governance.ledger.tables import Model, ModelVersion, Override
from governance.ledger.whereabouts import place_of
from governance.registry import Registry
from governance.states import ACTIVE_STATES, Action, State
from governance.workflow.aliases import (
    check_expected,
    give_up,
    served_number,
    settle,
    take_alias,
)
from governance.workflow.gates import admit, serving
from governance.workflow.refusals import recorded
from governance.workflow.transition import advance, check_reason, require


@recorded("promote", "version", "model_name", "number")
def promote(
    ledger: Ledger,
    registry: Registry,
    actor: str,
    model_name: str | None,
    number: int,
    override: str | None = None,
    expect: int | None = None,
) -> tuple[str, int]:
    """Serve a version: the production alias, if it passes every gate on every report.

    Args:
        ledger: where it is recorded.
        registry: whose alias moves.
        actor: who does it.
        model_name: which model; None if there is only one.
        number: of the version.
        override: why it is served although a gate fails; it stays in the log for ever, and every report says so.
        expect: the version that whoever decided this saw served; None for whichever is.

    Returns:
        Name of the model and number of the version.

    Raises:
        RefusedError: a gate fails, the version is served already or is older than the served one, holds a
            request that was reinstated or withdrawn, or lacks one that is served.
        ConflictError: somebody else moved the alias meanwhile, or another version than the expected one is served.
    """
    with ledger.read() as session:
        require(session, actor, "version.promote")
        model = find_model(session, model_name)
        version = find_version(session, model, number)
        served = served_number(session, model)
        check_expected(session, model, expect)
        if version.number == served:
            raise RefusedError(f"version {number} is the champion already")
        if served is not None and version.number < served:
            raise RefusedError(
                f"version {number} is older than the champion, version {served}; go back with "
                f"`governance version rollback --to {number}`"
            )
        _check_members(session, version)
        lost = _lost(session, model, version, served)
        if lost:
            raise RefusedError(
                f"version {number} does not hold request {lost[0]}, which is served now, so "
                "promoting it would bring that back; use `governance version rollback --to "
                f"{number}` if that is meant"
            )
        judgement = judge_version(session, version)
        spite = admit(session, actor, "version.override", version, judgement, override)
        payload = serving(version, judgement, spite)
        name, registry_version = model.name, place_of(session, version).registry_version
    _move(ledger, registry, actor, name, number, registry_version, served, payload, spite=spite)
    return name, number


@dataclass(frozen=True)
class Return:
    """What serving an earlier version again would do.

    Attributes:
        model: its name.
        number: of the version.
        registry_version: its number in MLflow.
        digest: of the version.
        served: number of the version that is served now.
        lost: requests that would be reinstated: what they forgot is recognisable again.
    """

    model: str
    number: int
    registry_version: str
    digest: str
    served: int | None
    lost: list[int]


def consider(session: Session, model_name: str | None, to: int | None) -> Return:
    """What going back would do, without doing it.

    Raises:
        RefusedError: there is no champion before, the version was never served, or it holds a request that was
            withdrawn or prepared again.
    """
    model = find_model(session, model_name)
    served = served_number(session, model)
    number = to if to is not None else _champion_before(session, model, served)
    version = find_version(session, model, number)
    if number == served:
        raise RefusedError(f"version {number} is the champion already")
    _check_served_before(session, model, version)
    for member in version.members:
        request = find_request(session, member.request_id)
        if State(request.state) not in ACTIVE_STATES | {State.REINSTATED}:
            raise RefusedError(
                f"version {number} holds request {request.id}, which is {request.state}"
            )
        if request.projector is None or member.projector_id != request.projector.id:
            raise RefusedError(
                f"version {number} holds an edit of request {request.id} whose approval is "
                "void, because the request was prepared again"
            )
    lost = _lost(session, model, version, served)
    registry_version = place_of(session, version).registry_version
    return Return(model.name, number, registry_version, version.digest, served, lost)


@recorded("roll back", "model", "model_name")
def roll_back(
    ledger: Ledger,
    registry: Registry,
    actor: str,
    model_name: str | None,
    to: int | None,
    reason: str,
    expect: int | None = None,
) -> tuple[str, int, list[int]]:
    """Serve an earlier version again: the given one, or the champion before this one.

    Args:
        ledger: where it is recorded.
        registry: whose alias moves.
        actor: who does it.
        model_name: which model; None if there is only one.
        to: number of the version; None for the one that was served before.
        reason: why; it stays in the log for ever.
        expect: the version that whoever decided this saw served; None for whichever is.

    Returns:
        Name of the model, number of the version, and the requests that are thereby reinstated.

    Raises:
        RefusedError: see `consider`.
        ConflictError: somebody else moved the alias meanwhile, or another version than the expected one is served.
    """
    check_reason(reason)
    with ledger.read() as session:
        require(session, actor, "version.rollback")
        check_expected(session, find_model(session, model_name), expect)
        back = consider(session, model_name, to)
    payload = {"version_digest": back.digest, "reason": reason, "rollback": True}
    _move(ledger, registry, actor, back.model, back.number, back.registry_version, back.served,
          payload, back.lost)  # fmt: skip
    return back.model, back.number, back.lost


def _move(
    ledger: Ledger,
    registry: Registry,
    actor: str,
    model_name: str,
    number: int,
    registry_version: str,
    seen: int | None,
    payload: Mapping[str, Any],
    lost: list[int] | None = None,
    spite: Override | None = None,
) -> None:
    """Intent, MLflow's alias, outcome."""
    subject = subject_of(model_name, number)
    with ledger.write() as session:
        _check_seen(session, find_model(session, model_name), seen)
        alias = production(session)
        intent = _intend(session, actor, subject, {"alias": alias, "from": seen, "to": number})
    registry.set_alias(model_name, alias, registry_version)
    try:
        said = {"intent": intent, **payload}
        _record(ledger, actor, model_name, number, seen, said, lost, spite)
    except GovernanceError as problem:
        give_up(ledger, actor, subject, intent, problem)
        settle(ledger, registry, model_name, [alias])
        raise
    settle(ledger, registry, model_name, [alias])


def _intend(session: Session, actor: str, subject: str, move: Mapping[str, Any]) -> str:
    """Digest of the intent of a move: that of an interrupted try at the same one, or a new one's."""
    for event in open_intents(session, subject):
        if event.action == ALIAS and load_json(event.payload) == move:
            return event.digest
    return append(session, actor, ALIAS, subject, move).digest


def _record(
    ledger: Ledger,
    actor: str,
    model_name: str,
    number: int,
    seen: int | None,
    payload: Mapping[str, Any],
    lost: list[int] | None,
    spite: Override | None,
) -> None:
    """The outcome of a move: alias, events and states in one transaction."""
    with ledger.write() as session:
        model = find_model(session, model_name)
        _check_seen(session, model, seen)
        check_open(session, subject_of(model_name, number), payload["intent"])
        version = find_version(session, model, number)
        event = {"version": number, "version_digest": version.digest}
        if lost is None:  # a promotion: it neither reinstates nor applies anything
            _check_members(session, version)
            _check_kept(session, model, version, seen)
            _check_judged(session, version, payload)
        else:
            for request_id in lost:
                request = find_request(session, request_id)
                advance(session, request, Action.REINSTATE, actor, event)
            for member in version.members:
                request = find_request(session, member.request_id)
                if request.state == State.REINSTATED:
                    advance(session, request, Action.APPLY, actor, event)
        take_alias(session, actor, model, production(session), version, payload)
        if spite is not None:
            session.add(spite)


def _check_seen(session: Session, model: Model, seen: int | None) -> None:
    served = served_number(session, model)
    if served != seen:
        raise ConflictError(
            f"the champion of {model.name!r} became version {served} meanwhile (it was {seen}); "
            "look at it and try again"
        )


def _champion_before(session: Session, model: Model, served: int | None) -> int:
    """The version that was served before the present one was promoted; rollbacks do not count."""
    if served is not None:
        subject = subject_of(model.name, served)
        for event in newest_events(session, subject, "version.promoted"):
            payload = load_json(event.payload)
            if payload["from"] is not None and not payload.get("rollback"):
                return int(payload["from"])
    raise RefusedError(
        f"no version of {model.name!r} was served before version {served}; name one with --to"
    )


def _check_served_before(session: Session, model: Model, version: ModelVersion) -> None:
    """A version that never passed the gates must not be served by way of a rollback."""
    subject = subject_of(model.name, version.number)
    promoted = next(newest_events(session, subject, "version.promoted"), None)
    if version.parent is not None and promoted is None:
        raise RefusedError(
            f"version {version.number} was never served, so there is nothing to roll back to; "
            f"serve it with `governance version promote {version.number}`"
        )


def _check_kept(session: Session, model: Model, version: ModelVersion, served: int | None) -> None:
    lost = _lost(session, model, version, served)
    if lost:
        raise ConflictError(f"request {lost[0]} was released meanwhile; look at it and try again")


def _lost(session: Session, model: Model, version: ModelVersion, served: int | None) -> list[int]:
    """Active requests that the served version holds and `version` does not."""
    if served is None:
        return []
    kept = {member.request_id for member in version.members}
    current = find_version(session, model, served).members
    return [
        member.request_id
        for member in current
        if member.request_id not in kept and State(member.request.state) in ACTIVE_STATES
    ]


def _check_members(session: Session, version: ModelVersion) -> None:
    for member in version.members:
        request = find_request(session, member.request_id)
        if State(request.state) not in ACTIVE_STATES:
            raise RefusedError(
                f"version {version.number} holds request {request.id}, which is {request.state}; "
                "apply that one again, or drop the others from the active set with "
                "`governance version rollback --drop` and apply them again without it"
            )


def _check_judged(session: Session, version: ModelVersion, payload: Mapping[str, Any]) -> None:
    """The gates were held against what is still there."""
    if current(session)[1] != payload["policy_digest"]:
        raise ConflictError("another policy was adopted meanwhile; look at it and try again")
    if [report.digest for report in version.reports] != payload["report_digests"]:
        raise ConflictError(
            f"version {version.number} was measured again meanwhile; look at it and try again"
        )
