"""Model versions: apply approved requests, drop one, evaluate, export."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from governance.clip.encoder import weights_digest_with
from governance.errors import ConflictError, IntegrityError, InvalidInputError, RefusedError
from governance.evidence.artifact import read_signature, sign_directory
from governance.ledger import arrays
from governance.ledger.database import Session
from governance.ledger.events import append, no_key
from governance.ledger.facts import report_facts
from governance.ledger.identity import named_sides
from governance.ledger.lookup import (
    active_requests,
    alias_version,
    broke_glass,
    find_dataset,
    find_model,
    find_request,
    find_version,
)
from governance.ledger.signers import signer_of
from governance.ledger.tables import ModelVersion, Request
from governance.states import Action, State
from governance.workflow.aliases import CANDIDATE, CHAMPION, subject_of
from governance.workflow.build import Measured, build, measure, read_plan
from governance.workflow.exports import EXPORTED, export_name, log_state, version_identity
from governance.workflow.measure import read_eval_set, read_member, store_report
from governance.workflow.models import base_model
from governance.workflow.publish import publish
from governance.workflow.refusals import recorded
from governance.workflow.requests import Ruling
from governance.workflow.tools import Tools
from governance.workflow.transition import advance, check_action, check_reason, require


@recorded("apply", "request", "request_ids")
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
        plan = read_plan(session, model, "version.apply", together, [])
    built = build(tools, plan)

    def record(session: Session, version: ModelVersion) -> None:
        for number in dict.fromkeys(request_ids):
            request = find_request(session, number)
            _check_approval(request)
            payload = {"version": version.number, "version_digest": version.digest}
            advance(session, request, Action.APPLY, actor, payload)

    publish(tools, actor, built, record, aliases=(CANDIDATE,))
    return plan.model, plan.number


@recorded("drop", "request", "request_id")
def drop(tools: Tools, actor: str, request_id: int, reason: str) -> tuple[str, int]:
    """Compose a new version without one request, which is thereby reinstated.

    If the served version holds the request, the new version becomes champion at once.

    Returns:
        Name of the model and number of the new version.

    Raises:
        RefusedError: the request is in no current version, or others were applied but not released.
    """
    check_reason(reason)
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
        plan = read_plan(session, model, "version.rollback", rest, [request])
    built = build(tools, plan)

    def record(session: Session, version: ModelVersion) -> None:
        payload = {
            "version": version.number,
            "version_digest": version.digest,
            "reason": reason,
        }
        advance(session, find_request(session, request_id), Action.REINSTATE, actor, payload)

    aliases = (CANDIDATE, CHAMPION) if served else (CANDIDATE,)
    publish(tools, actor, built, record, aliases)
    return plan.model, plan.number


@recorded("evaluate", "version", "model_name", "number")
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
        subject = Measured(
            model=model.name,
            number=number,
            base=base_model(model),
            bank=arrays.load_bank(session, model),
            logit_scale=model.logit_scale,
            members=[read_member(session, m.request_id, m.projector) for m in version.members],
            reinstated=[],
        )
        projector = arrays.load_projector(session, version)
        text = arrays.load_text(session, version)
        on = read_eval_set(find_dataset(session, dataset))
    content = measure(tools, subject, projector, on, text)
    with tools.ledger.write() as session:
        require(session, actor, "version.evaluate")
        report = store_report(session, "version", on, content, version_id=version_id)
        payload = {"version_digest": digest, "report": report_facts(report)}
        append(session, actor, "version.evaluated", subject_of(subject.model, number), payload)
        return report.id


@recorded("export", "version", "model_name", "number")
def export(
    tools: Tools,
    actor: str,
    model_name: str | None,
    number: int,
    dest: Path,
    precision: str = "fp32",
) -> tuple[str, Path, dict[str, Any]]:
    """Write a version as a self-contained open_clip directory, signed by the acting person.

    The recorded weights are those at fp32: they are made again and compared first, whatever `precision` is. Another
    precision has weights of its own, whose digest goes into the event and the notes. The event holds the digest of the
    signed statement (`governance.evidence.artifact`), so that the ledger knows every directory that left the house.

    Args:
        tools: ledger and models.
        actor: who does it.
        model_name: which model; None if there is only one.
        number: of the version.
        dest: a directory that does not exist yet, or is empty.
        precision: ``fp32``, ``fp16`` or ``bf16``, of the weights file; the fold is certified at it.

    Returns:
        Name of the model, the directory, and what is recorded: precision, digest of the weights written, certificates
        of the fold, id of the key, digest of the signed statement, and how to load it.

    Raises:
        RefusedError: the actor has no valid key here.
        ConflictError: the actor got another key meanwhile.
        IntegrityError: base weights or factors changed, or the fold does not give the recorded weights.
        InvalidInputError: `dest` is in the way.
    """
    from governance.clip.certify import Precision
    from governance.clip.export import export_directory
    from governance.clip.fold import fold

    with tools.ledger.read() as session:
        require(session, actor, "version.export")
        model = find_model(session, model_name)
        version = find_version(session, model, number)
        base = base_model(model)
        projector = arrays.load_projector(session, version)
        text = arrays.load_text(session, version)
        name, digest, weights_digest = model.name, version.digest, version.weights_digest
        key = signer_of(session, actor)
        if key is None:
            raise RefusedError(no_key(actor))
        facts = version_identity(version) | {"ledger": log_state(session)}
        signed_name = export_name(version)
        broken = [member.request_id for member in version.members if broke_glass(member)]
    clip = tools.encoder.model(base)
    folded = fold(clip, projector, text)
    if weights_digest_with(clip, folded) != weights_digest:
        raise IntegrityError(
            f"folding version {number} here gives other weights than were recorded "
            f"({weights_digest}); the numerics of this machine differ from where it was applied"
        )
    if precision != folded.precision:
        folded = fold(clip, projector, text, Precision(precision))
    exported = {
        "precision": folded.precision.value,
        "exported_weights_digest": weights_digest_with(clip, folded),
        "certificates": [certificate.to_dict() for certificate in folded.certificates],
    }
    notes = {
        "model": name,
        "version": number,
        "digest": digest,
        "weights": weights_digest,
        "sides": named_sides(text is not None),
        **({"break_glass": broken} if broken else {}),
    }
    facts |= {
        "precision": exported["precision"],
        "exported_weights_digest": exported["exported_weights_digest"],
    }
    seal = partial(sign_directory, name=signed_name, facts=facts, key=key)
    hint = export_directory(clip, folded, dest, notes | exported, seal)
    try:
        exported["statement_digest"] = read_signature(dest).statement_digest
        with tools.ledger.write() as session:
            signer = signer_of(session, actor)
            if signer is not None and signer.key_id != key.key_id:
                raise ConflictError(f"{actor!r} got another key meanwhile; export again")
            payload = {"version_digest": digest, "weights_digest": weights_digest, **exported}
            append(session, actor, EXPORTED, subject_of(name, number), payload)
    except BaseException:
        shutil.rmtree(dest)  # nothing leaves the house without a record
        raise
    return name, dest, exported | {"key_id": key.key_id, "load": hint}


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
