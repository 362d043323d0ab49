"""Making a built version real in two stores that cannot be changed atomically.

Intent (ledger) → idempotent MLflow calls, looked up by the intent's key → outcome (ledger, with every state change).
Whatever interrupts it, running it again converges.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from governance.digests import load_json
from governance.errors import ConflictError, GovernanceError, IntegrityError
from governance.ledger import arrays
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.facts import report_facts, version_facts
from governance.ledger.intents import VERSION, check_open, is_ended, open_intents
from governance.ledger.lookup import (
    active_requests,
    find_model,
    find_request,
    newest_version,
    versions,
)
from governance.ledger.names import subject_of
from governance.ledger.signers import signing_key
from governance.ledger.tables import Model, ModelVersion, Override, VersionMember
from governance.ledger.types import now
from governance.ledger.whereabouts import moved, place_among
from governance.policy import CANDIDATE
from governance.registry import ABANDONED_TAG, KEY_TAG, Artifacts, RegisteredVersion, Registry
from governance.serving.contents import Identity
from governance.unlearning.projector import Projector
from governance.workflow.aliases import (
    give_up,
    served_number,
    settle,
    take_alias,
)
from governance.workflow.build import Built, Plan
from governance.workflow.measure import store_report
from governance.workflow.packages import (
    SignedArtifacts,
    artifact_facts,
    derived,
    package,
    served_card,
    signed_artifacts,
)
from governance.workflow.prepare import flat_metrics
from governance.workflow.tools import Tools
from governance.workflow.transition import require

if TYPE_CHECKING:
    from governance.evidence.keys import SigningKey


@dataclass(frozen=True)
class Outcome:
    """What is recorded with a version.

    Attributes:
        payload: of the event that serves it, if it is served at once.
        override: of its gates.
    """

    payload: Mapping[str, Any] = field(default_factory=dict)
    override: Override | None = None


Record = Callable[[Session, ModelVersion], Outcome]


def publish(
    tools: Tools,
    actor: str,
    built: Built,
    record: Record,
    aliases: Sequence[str],
) -> None:
    """Intent, MLflow, outcome.

    Args:
        tools: ledger, MLflow and models.
        actor: who does it.
        built: the version.
        record: makes the changes that go with it, in the transaction of the outcome.
        aliases: those that it takes.
    """
    plan = built.plan
    with tools.ledger.read() as session:
        signer = signing_key(session, actor)
    key = _intend(tools, actor, built)
    registered = tools.registry.register(
        plan.model,
        key=key,
        number=plan.number,
        name=f"version {plan.number}",
        artifacts=_artifacts(tools, built, signer),
    )
    try:
        signed = signed_artifacts(tools.registry, registered.run_id, built.identity)
    except IntegrityError as problem:  # they will not mend: the next try begins anew
        give_up(tools.ledger, actor, subject_of(plan.model, plan.number), key, problem)
        raise
    for alias in aliases:
        tools.registry.set_alias(plan.model, alias, registered.version)
    try:
        _record(tools, actor, built, record, aliases, key, registered, signed)
    except GovernanceError as problem:
        give_up(tools.ledger, actor, subject_of(plan.model, plan.number), key, problem)
        with suppress(GovernanceError):
            mark_abandoned(tools.ledger, tools.registry, plan.model)
        settle(tools.ledger, tools.registry, plan.model, aliases)
        raise
    settle(tools.ledger, tools.registry, plan.model, aliases)


def mark_abandoned(ledger: Ledger, registry: Registry, model_name: str) -> None:
    """Tag the versions in MLflow that ended intents have left and the ledger does not hold; repeatable.

    Nothing is deleted: what was made, and that it was abandoned, can be seen in both places.
    """
    found = registry.all_tags(model_name)
    left = {}
    with ledger.read() as session:
        again = moved(session)
        rows = versions(session, find_model(session, model_name))
        known = {place_among(again, version).registry_version for version in rows}
        for version, tags in found.items():
            key = tags.get(KEY_TAG)
            if version in known or key is None or tags.get(ABANDONED_TAG) == key:
                continue
            if key == rows[0].digest or is_ended(session, key):  # the base model goes by its digest
                left[version] = key
    for version, key in left.items():
        registry.tag_version(model_name, version, ABANDONED_TAG, key)


def _record(
    tools: Tools,
    actor: str,
    built: Built,
    record: Record,
    aliases: Sequence[str],
    key: str,
    registered: RegisteredVersion,
    signed: SignedArtifacts,
) -> None:
    """The outcome: version, events, states and aliases in one transaction."""
    plan = built.plan
    with tools.ledger.write() as session:
        require(session, actor, built.plan.permission)
        model = find_model(session, plan.model)
        _check_unchanged(session, model, plan)
        check_open(session, subject_of(plan.model, plan.number), key)
        version = _store_version(session, actor, model, built, registered)
        payload = {
            "intent": key,
            "version": version_facts(version),
            "reports": [report_facts(report) for report in version.reports],
            "artifacts": artifact_facts(signed),
        }
        append(session, actor, "version.registered", subject_of(plan.model, plan.number), payload)
        outcome = record(session, version)
        for alias in aliases:
            serves = alias != CANDIDATE
            take_alias(session, actor, model, alias, version, outcome.payload if serves else {})
        if outcome.override is not None:
            session.add(outcome.override)


def _intend(tools: Tools, actor: str, built: Built) -> str:
    """Key of the version to be made: that of an interrupted try at the same thing, or a new intent's."""
    plan = built.plan
    subject = subject_of(plan.model, plan.number)
    with tools.ledger.write() as session:
        require(session, actor, built.plan.permission)
        _check_unchanged(session, find_model(session, plan.model), plan)
        for event in open_intents(session, subject):
            said = load_json(event.payload)
            if event.action == VERSION and said["version_digest"] == built.digest:
                return event.digest
        payload = {
            "version_digest": built.digest,
            "active_requests": [member.request for member in plan.members],
        }
        return append(session, actor, VERSION, subject, payload).digest


def _check_unchanged(session: Session, model: Model, plan: Plan) -> None:
    """What the version was computed from must still hold.

    Raises:
        ConflictError: a version was made, a request moved or was prepared again, or another version is served.
    """
    newest = newest_version(session, model).number
    if newest != plan.parent:
        raise ConflictError(
            f"version {newest} of {model.name!r} was made meanwhile; look at it and try again"
        )
    if served_number(session, model) != plan.served:
        raise ConflictError(f"another version of {model.name!r} is served now; try again")
    active = active_requests(session, model)  # held, so that looking at each costs no query
    if {request.id for request in active} != plan.active_before:
        raise ConflictError(f"the active requests of {model.name!r} changed meanwhile; try again")
    for member in plan.members:
        projector = find_request(session, member.request).projector
        if projector is None or projector.id != member.projector_id:
            raise ConflictError(f"request {member.request} was prepared again meanwhile; try again")


def _store_version(
    session: Session,
    actor: str,
    model: Model,
    built: Built,
    registered: RegisteredVersion,
) -> ModelVersion:
    projector = built.composition.projector
    arrays.store_text(session, built.composition.text)
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
        store_report(session, "version", dataset, content, version_id=version.id)
    return version


def _artifacts(tools: Tools, built: Built, signer: "SigningKey") -> Artifacts:
    plan, composition = built.plan, built.composition
    contents = {dataset.name: content for dataset, content in built.reports}
    files = derived(
        built.identity,
        plan.bank,
        composition.projector,
        composition.text,
        built.fold.tensors,
        built.recipe,
        contents,
    )
    packed = package(
        built.identity,
        files,
        served_card(built.identity, plan.card, list(contents.values())),
        tools.encoder.model(plan.base).needs_transformers,
        signer,
    )
    return replace(
        packed,
        params=run_params(built.identity, plan.parent),
        metrics=run_metrics(composition.projector, list(contents.values())),
    )


def run_params(identity: Identity, parent: int) -> dict[str, Any]:
    """Parameters of a version's run in MLflow."""
    return {
        "version": identity.number,
        "parent": parent,
        "active_requests": list(identity.active),
        "base_weights": identity.base.weights_digest,
    }


def run_metrics(projector: Projector, reports: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Metrics of a version's run in MLflow: those of its first report."""
    return {"rank": float(projector.rank)} | (flat_metrics(reports[0]) if reports else {})
