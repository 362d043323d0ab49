"""Model versions: composing the active set, folding it, evaluating it, and registering the result.

Two stores cannot be changed atomically. So a version is made as intent (ledger) → idempotent MLflow calls, looked up by
the intent's key → outcome (ledger, with every state change). Whatever interrupts it, running it again converges.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from governance.clip.encoder import BaseModel, weights_digest_with
from governance.digests import canonical_json, digest_json, load_json
from governance.errors import ConflictError, IntegrityError, InvalidInputError, RefusedError
from governance.ledger import arrays
from governance.ledger.events import append
from governance.ledger.identity import version_digest
from governance.ledger.lookup import (
    active_requests,
    alias_version,
    find_dataset,
    find_model,
    find_request,
    find_version,
    newest_version,
)
from governance.ledger.tables import (
    Dataset,
    Event,
    Model,
    ModelVersion,
    Report,
    Request,
    VersionMember,
)
from governance.ledger.types import now
from governance.registry import Artifacts, RegisteredVersion
from governance.states import Action, State
from governance.unlearning.bank import PromptBank
from governance.unlearning.composition import Composition, compose
from governance.unlearning.evaluation import forget_share, predict, summarise
from governance.workflow.aliases import CANDIDATE, CHAMPION, subject_of, take_alias
from governance.workflow.measure import EvalSet, Member, embed, read_eval_set, read_member
from governance.workflow.models import base_model
from governance.workflow.prepare import capacity, flat_metrics
from governance.workflow.requests import Ruling
from governance.workflow.tools import Tools
from governance.workflow.transition import advance, check_action, require


@dataclass(frozen=True)
class _Plan:
    """What a new version is made from, read in one transaction."""

    model: str
    base: BaseModel
    labels_digest: str
    bank: PromptBank
    parent: int
    members: list[Member]
    reinstated: list[Member]
    datasets: list[EvalSet]

    @property
    def number(self) -> int:
        """Number that the version will have."""
        return self.parent + 1


@dataclass(frozen=True)
class _Built:
    """A version that exists in memory only."""

    plan: _Plan
    composition: Composition
    changed: dict[str, Tensor]
    weights_digest: str
    digest: str
    recipe: dict[str, Any]
    reports: list[tuple[EvalSet, dict[str, Any]]]


def apply(tools: Tools, actor: str, request_ids: Sequence[int]) -> tuple[str, int]:
    """Make the next model version: everything that is active, and these requests.

    Returns:
        Name of the model and number of the version, which gets the alias ``candidate``.

    Raises:
        RefusedError: a request is not approved, or a composition would bring an earlier one back.
        InvalidInputError: the requests belong to different models.
    """
    with tools.ledger.read() as session:
        require(session, actor, "version.apply")
        requests = [find_request(session, number) for number in dict.fromkeys(request_ids)]
        models = {request.model_id: request.model for request in requests}
        if len(models) != 1:
            raise InvalidInputError("requests of different models cannot become one version")
        for request in requests:
            check_action(request, Action.APPLY)
            _check_approval(request)
        model = next(iter(models.values()))
        together = sorted(
            {
                request.id: request for request in [*active_requests(session, model), *requests]
            }.values(),
            key=lambda request: request.id,
        )
        plan = _read_plan(session, model, together, [])
    built = _build(tools, plan)

    def record(session: Session, version: ModelVersion) -> None:
        for number in dict.fromkeys(request_ids):
            request = find_request(session, number)
            _check_approval(request)
            payload = {"version": version.number, "version_digest": version.digest}
            advance(session, request, Action.APPLY, actor, payload)

    _publish(tools, actor, built, record, aliases=(CANDIDATE,))
    return plan.model, plan.number


def drop(tools: Tools, actor: str, request_id: int, reason: str) -> tuple[str, int]:
    """Compose a new version without one request, which is thereby reinstated.

    If the served version holds the request, the new version becomes champion at once.

    Returns:
        Name of the model and number of the new version.

    Raises:
        RefusedError: the request is in no current version, or others were applied but not released.
    """
    with tools.ledger.read() as session:
        require(session, actor, "version.rollback")
        request = find_request(session, request_id)
        check_action(request, Action.REINSTATE)
        model = request.model
        active = active_requests(session, model)
        rest = [other for other in active if other.id != request_id]
        champion = alias_version(session, model, CHAMPION)
        served = champion is not None and request_id in {m.request_id for m in champion.members}
        waiting = [other.id for other in rest if other.state == State.APPLIED]
        if served and waiting:
            raise RefusedError(
                f"request {waiting[0]} is applied but not released, and dropping request "
                f"{request_id} would release it unseen; promote it or drop it first"
            )
        plan = _read_plan(session, model, rest, [request])
    built = _build(tools, plan)

    def record(session: Session, version: ModelVersion) -> None:
        payload = {
            "version": version.number,
            "version_digest": version.digest,
            "reason": reason,
        }
        advance(session, find_request(session, request_id), Action.REINSTATE, actor, payload)

    aliases = (CANDIDATE, CHAMPION) if served else (CANDIDATE,)
    _publish(tools, actor, built, record, aliases)
    return plan.model, plan.number


def evaluate_version(
    tools: Tools, actor: str, model_name: str | None, number: int, dataset: str | None
) -> int:
    """Measure a version on a data set and record the report.

    Returns:
        Id of the report.

    Raises:
        InvalidInputError: the data set does not fit the label space.
    """
    with tools.ledger.read() as session:
        require(session, actor, "version.evaluate")
        model = find_model(session, model_name)
        version = find_version(session, model, number)
        version_id, digest = version.id, version.digest
        members = [read_member(m.request_id, m.projector) for m in version.members]
        plan = _Plan(
            model=model.name,
            base=base_model(model),
            labels_digest=model.labels_digest,
            bank=arrays.load_bank(session, model),
            parent=number - 1,
            members=members,
            reinstated=[],
            datasets=[read_eval_set(find_dataset(session, dataset))],
        )
    content = _measure(tools, plan, compose(plan.bank, [m.edit for m in members]), plan.datasets[0])
    with tools.ledger.write() as session:
        require(session, actor, "version.evaluate")
        report = _store_report(session, version_id, plan.datasets[0], content)
        payload = {"version_digest": digest, "report_digest": report.digest}
        append(session, actor, "version.evaluated", subject_of(plan.model, number), payload)
        return report.id


def export(
    tools: Tools, actor: str, model_name: str | None, number: int, dest: Path
) -> tuple[str, Path]:
    """Write a version as a self-contained open_clip directory.

    Returns:
        Name of the model and the directory.

    Raises:
        IntegrityError: base weights or factors changed, or the fold does not give the recorded weights.
        InvalidInputError: `dest` is in the way.
    """
    from governance.clip.export import export_directory
    from governance.clip.fold import find_fold_path, fold, probe

    with tools.ledger.read() as session:
        require(session, actor, "version.export")
        model = find_model(session, model_name)
        version = find_version(session, model, number)
        base = base_model(model)
        projector = arrays.load_projector(session, version)
        name, digest, weights_digest = model.name, version.digest, version.weights_digest
    clip = tools.encoder.model(base)
    changed = fold(clip, find_fold_path(clip), projector)
    if weights_digest_with(clip, changed) != weights_digest:
        raise IntegrityError(
            f"folding version {number} here gives other weights than were recorded "
            f"({weights_digest}); the numerics of this machine differ from where it was applied"
        )
    probe(clip, changed, projector)
    notes = {"model": name, "version": number, "digest": digest, "weights": weights_digest}
    export_directory(clip, changed, dest, notes)
    with tools.ledger.write() as session:
        payload = {"version_digest": digest, "weights_digest": weights_digest}
        append(session, actor, "version.exported", subject_of(name, number), payload)
    return name, dest


def _check_approval(request: Request) -> None:
    """The newest decision must be an approval of the newest projector."""
    projector = request.projector
    decision = request.decisions[-1] if request.decisions else None
    if projector is None or decision is None or decision.ruling != Ruling.APPROVAL:
        raise RefusedError(f"request {request.id} has no approval")
    if decision.projector_digest != projector.digest:
        raise IntegrityError(
            f"the approval of request {request.id} is for another projector than the newest one"
        )


def _read_plan(
    session: Session, model: Model, requests: Sequence[Request], reinstated: Sequence[Request]
) -> _Plan:
    members = [read_member(r.id, p) for r in requests if (p := r.projector)]
    gone = [read_member(r.id, p) for r in reinstated if (p := r.projector)]
    wanted = dict.fromkeys(member.dataset_id for member in [*gone, *reversed(members)])
    datasets = session.scalars(select(Dataset).where(Dataset.id.in_(wanted))).all()
    by_id = {dataset.id: read_eval_set(dataset) for dataset in datasets}
    return _Plan(
        model=model.name,
        base=base_model(model),
        labels_digest=model.labels_digest,
        bank=arrays.load_bank(session, model),
        parent=newest_version(session, model).number,
        members=members,
        reinstated=gone,
        datasets=[by_id[number] for number in wanted],
    )


def _build(tools: Tools, plan: _Plan) -> _Built:
    """Compose, guard against resurrection, fold, probe, evaluate."""
    from governance.clip.fold import find_fold_path, fold, probe

    composition = compose(plan.bank, [member.edit for member in plan.members])
    residuals = _check_residuals(plan, composition)
    clip = tools.encoder.model(plan.base)
    changed = fold(clip, find_fold_path(clip), composition.projector)
    probe_error = probe(clip, changed, composition.projector)
    recipe = {
        "format": 1,
        "active": [
            {
                "request": member.request,
                "projector_digest": member.projector_digest,
                **member.edit.to_dict(),
            }
            for member in plan.members
        ],
        "residuals": residuals,
        "probe_error": probe_error,
    }
    return _Built(
        plan=plan,
        composition=composition,
        changed=changed,
        weights_digest=weights_digest_with(clip, changed),
        digest=version_digest(
            plan.base.weights_digest,
            plan.labels_digest,
            composition.projector.digest,
            [member.projector_digest for member in plan.members],
        ),
        recipe=recipe,
        reports=[(d, _measure(tools, plan, composition, d)) for d in plan.datasets],
    )


def _check_residuals(plan: _Plan, composition: Composition) -> list[dict[str, Any]]:
    """Residual of every request in the joint solution, refused where it exceeds what was recorded."""
    residuals = []
    for member in plan.members:
        residual = composition.residual(plan.bank, member.edit)
        if residual > member.tolerance:
            raise RefusedError(
                f"together with the others request {member.request} would come back: its residual "
                f"is {residual:.3f}, its tolerance {member.tolerance:.3f}; drop a request, or "
                "prepare one again with other hyperparameters"
            )
        residuals.append(
            {
                "request": member.request,
                "residual": residual,
                "tolerance": member.tolerance,
            }
        )
    return residuals


def _measure(
    tools: Tools, plan: _Plan, composition: Composition, dataset: EvalSet
) -> dict[str, Any]:
    samples = embed(tools, plan.base, dataset)
    before = predict(samples, plan.bank, None)
    after = predict(samples, plan.bank, composition.projector)
    targets = [target for member in plan.members for target in member.targets]
    requests = []
    for member, active in [
        *((member, True) for member in plan.members),
        *((member, False) for member in plan.reinstated),
    ]:
        was = forget_share(samples, before, member.targets)
        now_ = forget_share(samples, after, member.targets)
        if was.n:
            requests.append(
                {
                    "request": member.request,
                    "targets": [target.to_dict() for target in member.targets],
                    "strength": member.edit.recipe.strength,
                    "active": active,
                    "before": was.value,
                    "after": now_.value,
                    "counts": {"before": was.to_dict(), "after": now_.to_dict()},
                }
            )
    return {
        "kind": "version",
        "model": plan.model,
        "version": plan.number,
        "dataset": dataset.to_dict(),
        "active_requests": [member.request for member in plan.members],
        "requests": requests,
        "before": summarise(samples, before, targets),
        "after": summarise(samples, after, targets),
        "capacity": capacity(composition.projector),
    }


def _publish(
    tools: Tools,
    actor: str,
    built: _Built,
    record: Callable[[Session, ModelVersion], None],
    aliases: Sequence[str],
) -> None:
    """Intent, MLflow, outcome."""
    plan = built.plan
    key = _intend(tools, actor, built)
    registered = tools.registry.register(
        plan.model,
        key=key,
        number=plan.number,
        name=f"version {plan.number}",
        artifacts=_artifacts(built),
    )
    for alias in aliases:
        tools.registry.set_alias(plan.model, alias, registered.version)
    with tools.ledger.write() as session:
        require(session, actor, "version.apply")
        model = find_model(session, plan.model)
        _check_unchanged(session, model, plan)
        version = _store_version(session, actor, model, built, registered)
        payload = {
            "intent": key,
            "version_digest": built.digest,
            "weights_digest": built.weights_digest,
            "active_requests": [member.request for member in plan.members],
            "projectors": [member.projector_digest for member in plan.members],
            "report_digests": [digest_json(content) for _, content in built.reports],
            "run_id": registered.run_id,
            "registry_version": registered.version,
        }
        append(session, actor, "version.registered", subject_of(plan.model, plan.number), payload)
        record(session, version)
        for alias in aliases:
            take_alias(session, actor, model, alias, version, {})


def _intend(tools: Tools, actor: str, built: _Built) -> str:
    """Key of the version to be made: that of an interrupted try at the same thing, or a new intent's."""
    plan = built.plan
    subject = subject_of(plan.model, plan.number)
    with tools.ledger.write() as session:
        require(session, actor, "version.apply")
        _check_unchanged(session, find_model(session, plan.model), plan)
        earlier = session.scalars(
            select(Event)
            .where(Event.subject == subject, Event.action == "version.intended")
            .order_by(Event.seq.desc())
        )
        for event in earlier:
            if load_json(event.payload)["version_digest"] == built.digest:
                return event.digest
        payload = {
            "version_digest": built.digest,
            "active_requests": [member.request for member in plan.members],
        }
        return append(session, actor, "version.intended", subject, payload).digest


def _check_unchanged(session: Session, model: Model, plan: _Plan) -> None:
    newest = newest_version(session, model).number
    if newest != plan.parent:
        raise ConflictError(
            f"version {newest} of {model.name!r} was made meanwhile; look at it and try again"
        )


def _store_version(
    session: Session,
    actor: str,
    model: Model,
    built: _Built,
    registered: RegisteredVersion,
) -> ModelVersion:
    projector = built.composition.projector
    version = ModelVersion(
        model_id=model.id,
        number=built.plan.number,
        parent=built.plan.parent,
        digest=built.digest,
        recipe=built.recipe,
        factor_a=arrays.store(session, projector.a),
        factor_b=arrays.store(session, projector.b),
        weights_digest=built.weights_digest,
        created_by=actor,
        created_at=now(),
        run_id=registered.run_id,
        registry_version=registered.version,
        members=[
            VersionMember(request_id=member.request, projector_id=member.projector_id)
            for member in built.plan.members
        ],
    )
    session.add(version)
    session.flush()
    for dataset, content in built.reports:
        _store_report(session, version.id, dataset, content)
    return version


def _store_report(
    session: Session, version_id: int, dataset: EvalSet, content: Mapping[str, Any]
) -> Report:
    report = Report(
        purpose="version",
        version_id=version_id,
        dataset_id=dataset.id,
        content=canonical_json(content),
        digest=digest_json(content),
        created_at=now(),
    )
    session.add(report)
    session.flush()
    return report


def _artifacts(built: _Built) -> Artifacts:
    plan, projector = built.plan, built.composition.projector
    active = [member.request for member in plan.members]
    metrics = {"rank": float(projector.rank)}
    if built.reports:
        metrics |= flat_metrics(built.reports[0][1])
    return Artifacts(
        params={
            "version": plan.number,
            "parent": plan.parent,
            "active_requests": active,
            "base_weights": plan.base.weights_digest,
        },
        metrics=metrics,
        records={
            "recipe.json": built.recipe,
            **{f"report-{d.name}.json": content for d, content in built.reports},
        },
        tensors={
            "factors.safetensors": {"a": projector.a, "b": projector.b},
            "changed.safetensors": built.changed,
        },
        tags={
            "governance.digest": built.digest,
            "governance.weights_digest": built.weights_digest,
            "governance.active_requests": canonical_json(active),
        },
    )
