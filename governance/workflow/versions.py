"""Model versions: apply approved requests, drop one, evaluate, export."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from governance.clip.encoder import weights_digest_with
from governance.digests import digest_json
from governance.errors import ConflictError, IntegrityError, InvalidInputError, RefusedError
from governance.evidence.artifact import read_signature, sign_directory
from governance.evidence.keys import SigningKey
from governance.ledger import arrays
from governance.ledger.database import Session
from governance.ledger.events import append
from governance.ledger.facts import report_facts
from governance.ledger.identity import named_sides
from governance.ledger.judgement import Judgement, judge_planned, judge_version
from governance.ledger.lookup import (
    active_requests,
    broke_glass,
    find_dataset,
    find_model,
    find_request,
    find_version,
)
from governance.ledger.names import subject_of
from governance.ledger.rules import production, served_version
from governance.ledger.signers import signing_key
from governance.ledger.tables import ModelVersion, Request
from governance.policy import CANDIDATE
from governance.serving.contents import CARD
from governance.states import Action, State
from governance.workflow.aliases import check_expected
from governance.workflow.build import (
    Built,
    attacked_requests,
    build,
    measure,
    read_measured,
    read_plan,
)
from governance.workflow.departures import (
    Departure,
    announce,
    announced_in,
    begun,
    clear_ended,
    complete,
    give_up,
    settle,
    unfinished,
)
from governance.workflow.exports import check_unknown, export_name, version_identity
from governance.workflow.gates import admit, serving
from governance.workflow.measure import Solved, read_eval_set, read_guards, store_report
from governance.workflow.models import base_model
from governance.workflow.packages import card_contents, export_card
from governance.workflow.publish import Outcome, publish
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

    def record(session: Session, version: ModelVersion) -> Outcome:
        for number in dict.fromkeys(request_ids):
            request = find_request(session, number)
            _check_approval(request)
            payload = {"version": version.number, "version_digest": version.digest}
            advance(session, request, Action.APPLY, actor, payload)
        return Outcome()

    publish(tools, actor, built, record, aliases=(CANDIDATE,))
    return plan.model, plan.number


@recorded("drop", "request", "request_id")
def drop(
    tools: Tools,
    actor: str,
    request_id: int,
    reason: str,
    override: str | None = None,
    expect: int | None = None,
) -> tuple[str, int]:
    """Compose a new version without one request, which is thereby reinstated.

    If the served version holds the request, the new version is served at once, if it passes every gate.

    Args:
        tools: ledger, MLflow and models.
        actor: who does it.
        request_id: what is dropped.
        reason: why; it stays in the log for ever.
        override: why the new version is served although a gate fails; it stays there, too.
        expect: the version that whoever decided this saw served; None for whichever is.

    Returns:
        Name of the model and number of the new version.

    Raises:
        RefusedError: the request is in no current version, others were applied but not released, or a gate fails.
        ConflictError: another version than the expected one is served.
    """
    check_reason(reason)
    with tools.ledger.read() as session:
        require(session, actor, "version.rollback")
        request = find_request(session, request_id)
        check_action(request, Action.REINSTATE)
        model = request.model
        check_expected(session, model, expect)
        active = active_requests(session, model)
        rest = [other for other in active if other.id != request_id]
        champion = served_version(session, model)
        served = champion is not None and request_id in {m.request_id for m in champion.members}
        alias = production(session)
        waiting = [other.id for other in rest if other.state == State.APPLIED]
        if served and waiting:
            raise RefusedError(
                f"request {waiting[0]} is applied but not released, and dropping request "
                f"{request_id} would release it unseen; promote it or drop it first"
            )
        plan = read_plan(session, model, "version.rollback", rest, [request])
        if override is not None and not served:
            raise RefusedError(
                "the new version is not served at once, so there is no gate to override"
            )
    built = build(tools, plan)
    if served:  # before MLflow hears of a version that must not be served
        with tools.ledger.read() as session:
            version = ModelVersion(number=plan.number, digest=built.digest)
            admit(session, actor, "version.override", version, _judge(session, built), override)

    def record(session: Session, version: ModelVersion) -> Outcome:
        payload = {
            "version": version.number,
            "version_digest": version.digest,
            "reason": reason,
        }
        advance(session, find_request(session, request_id), Action.REINSTATE, actor, payload)
        if not served:
            return Outcome()
        judgement = judge_version(session, version)
        spite = admit(session, actor, "version.override", version, judgement, override)
        return Outcome(serving(version, judgement, spite), spite)

    aliases = (CANDIDATE, alias) if served else (CANDIDATE,)
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
        attacked = attacked_requests(session, [m.request for m in version.members])
        subject = read_measured(session, version, [], attacked, read_guards(session))
        solved = Solved.read(session, version, [member.edit for member in subject.members])
        on = read_eval_set(find_dataset(session, dataset))
    content = measure(tools, subject, solved, on)
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
    departures: Path,
    precision: str = "fp32",
) -> tuple[str, Path, dict[str, Any]]:
    """Write a version as a self-contained open_clip directory, signed by the acting person.

    The recorded weights are those at fp32: they are made again and compared first, whatever `precision` is. Another
    precision has weights of its own, whose digest goes into the events and the notes.

    The log announces the export before its first byte is written, and records it, with the digest of the signed
    statement (`governance.evidence.artifact`), when the directory has its name: the ledger knows every directory that
    left the house. An export that lacks only that record gets it when the same person repeats the command.

    Args:
        tools: ledger and models.
        actor: who does it.
        model_name: which model; None if there is only one.
        number: of the version.
        dest: a directory that does not exist yet, or is empty.
        departures: folder of the workspace that says where exports are going.
        precision: ``fp32``, ``fp16`` or ``bf16``, of the weights file; the fold is certified at it.

    Returns:
        Name of the model, the directory, and what is recorded: precision, digest of the weights written, certificates
        of the fold, id of the key, digest of the signed statement, and how to load it.

    Raises:
        RefusedError: the actor has no valid key here, or `dest` holds an export of the version already.
        ConflictError: the actor got another key meanwhile, or the doctor ended the export.
        IntegrityError: base weights or factors changed, or the fold does not give the recorded weights.
        InvalidInputError: something else is in the way at `dest`.
    """
    from governance.clip.certify import Precision
    from governance.clip.export import check_free, export_directory, how_to_load, is_free
    from governance.clip.fold import fold

    before = begun(departures, dest)
    with tools.ledger.read() as session:
        require(session, actor, "version.export")
        model = find_model(session, model_name)
        version = find_version(session, model, number)
        base = base_model(model)
        projector = arrays.load_projector(session, version)
        text = arrays.load_text(session, version)
        name, digest, weights_digest = model.name, version.digest, version.weights_digest
        key = signing_key(session, actor)
        facts = version_identity(version)
        signed_name, subject = export_name(version), subject_of(name, number)
        broken = [member.request_id for member in version.members if broke_glass(member)]
        about, requests, reports = card_contents(session, version)
        there = unfinished(session, actor, subject, precision, before)
        if there is None and not is_free(dest):
            check_unknown(session, version, dest)
    if there is not None:
        departure, signed = there
        outcome = complete(tools.ledger, actor, departure.intent, signed.statement_digest)
        settle(departure)
        return name, dest, _exported(outcome, key, how_to_load(dest))
    check_free(dest)
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
    with tools.ledger.write() as session:
        require(session, actor, "version.export")
        payload = {"version_digest": digest, "weights_digest": weights_digest, **exported}
        intent = announce(session, actor, subject, payload, before)
        if intent.key_id != key.key_id:
            raise ConflictError(f"{actor!r} got another key meanwhile; export again")
        facts["ledger"] = announced_in(session, intent)
    departure = Departure.of(departures, intent.digest, dest)

    def seal(directory: Path) -> None:
        card = export_card(about, requests, reports, folded.precision.value)
        (directory / CARD).write_text(card, encoding="utf-8")
        sign_directory(directory, name=signed_name, facts=facts, key=key)

    try:
        departure.begin()
        clear_ended(tools.ledger, before)
        hint = export_directory(clip, folded, dest, notes | exported, seal, departure.temporary)
        statement = read_signature(dest).statement_digest
        outcome = complete(tools.ledger, actor, intent.digest, statement)
    except BaseException:
        give_up(tools.ledger, actor, subject, departure)
        raise
    settle(departure)
    return name, dest, _exported(outcome, key, hint)


def _exported(outcome: Mapping[str, Any], key: SigningKey, hint: str) -> dict[str, Any]:
    """What is said of an export."""
    names = ("precision", "exported_weights_digest", "certificates", "statement_digest")
    return {name: outcome[name] for name in names} | {"key_id": key.key_id, "load": hint}


def _judge(session: Session, built: Built) -> Judgement:
    """The gates on a version that is in no ledger yet."""
    contents = [content for _, content in built.reports]
    members = [find_request(session, member.request) for member in built.plan.members]
    return judge_planned(session, contents, [digest_json(content) for content in contents], members)


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
