"""Preparing a request: fit its projector, measure before and after, and record both."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from governance.clip.encoder import BaseModel
from governance.digests import digest_json
from governance.errors import ConflictError, InvalidInputError
from governance.ledger import arrays
from governance.ledger.database import Session
from governance.ledger.facts import projector_facts, report_facts
from governance.ledger.identity import named_sides, projector_digest
from governance.ledger.judgement import kind_of
from governance.ledger.lookup import active_requests, find_dataset, find_request
from governance.ledger.rules import current
from governance.ledger.tables import Model, ProjectorRecord, Request
from governance.ledger.types import now
from governance.policy import Gates
from governance.registry import Artifacts
from governance.serving.contents import factor_tensors
from governance.states import STATUTORY, Action
from governance.unlearning.assessment import assess
from governance.unlearning.bank import PromptBank
from governance.unlearning.capacity import capacity
from governance.unlearning.composition import (
    MAX_RESIDUAL,
    RECIPE_FORMAT,
    Composition,
    Edit,
    compose,
    tolerance,
)
from governance.unlearning.evaluation import (
    Samples,
    check_targets_measured,
    forget_share,
    predict,
    summarise,
)
from governance.unlearning.gates import Content, Kind, failed, request_gates
from governance.unlearning.metrics.confusion import confusions, taker_share
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.unlearning.verdict import verdict
from governance.workflow.measure import (
    FORMAT,
    EvalSet,
    Member,
    Solved,
    certified_images,
    embed,
    measure_guards,
    problem_of,
    read_eval_set,
    read_guards,
    read_members,
    store_report,
    text_factors,
)
from governance.workflow.models import base_model, check_text_side
from governance.workflow.prototypes import (
    Wanted,
    make_prototypes,
    make_reference,
    read_reference,
    read_shots,
)
from governance.workflow.refusals import recorded
from governance.workflow.tools import Tools
from governance.workflow.transition import advance, check_action, require

TEXT_ONLY = Wanted()


@dataclass(frozen=True)
class Task:
    """What a measurement of one request needs, read in one transaction.

    Attributes:
        request: number of the request.
        model: name of the base model.
        base, bank, logit_scale: what is needed to embed and to classify.
        bank_digests: of the prompt bank's rows.
        targets: what is forgotten.
        others: active requests that it is measured together with.
        dataset: where it is measured.
        guards: data sets of classes that no fit mentions.
    """

    request: int
    model: str
    base: BaseModel
    bank: PromptBank
    logit_scale: float
    bank_digests: dict[str, str]
    targets: tuple[Target, ...]
    others: list[Member]
    dataset: EvalSet
    guards: list[EvalSet]


@dataclass(frozen=True)
class Prepared:
    """A projector that was fitted and measured, not recorded yet.

    Attributes:
        edit: what was asked for.
        composition: what was solved.
        recipe: of the record.
        digest: of the record.
        content: of the report.
    """

    edit: Edit
    composition: Composition
    recipe: dict[str, Any]
    digest: str
    content: dict[str, Any]


@recorded("prepare", "request", "request_id")
def prepare(
    tools: Tools,
    actor: str,
    request_id: int,
    dataset: str | None,
    recipe: Recipe,
    wanted: Wanted = TEXT_ONLY,
    decide: bool = False,
) -> tuple[int, int]:
    """Fit the request's projector and evaluate it; a former approval is void from then on.

    Args:
        tools: ledger, MLflow and models.
        actor: who prepares; they cannot approve.
        request_id: the request.
        dataset: name of the data set to measure on; None if there is only one.
        recipe: method and hyperparameters.
        wanted: prototypes besides the text rows.
        decide: make the edit irreversible, whatever the recipe says, where the basis is statutory and the limits of the
            policy allow it.

    Returns:
        Ids of the projector and its report.

    Raises:
        RefusedError: the request is in a state that cannot be prepared.
        InvalidInputError: the data set cannot measure it, or the prototypes cannot be made.
    """
    with tools.ledger.read() as session:
        require(session, actor, "request.prepare")
        request = find_request(session, request_id)
        check_action(request, Action.PREPARE)
        task = _read_task(session, request, dataset)
        shots = read_shots(session, wanted, task.dataset.manifest.items)
        unlabelled = read_reference(session, wanted.reference)
        gates, kind = current(session)[0].gates, kind_of(request)
    if recipe.both_sides:
        check_text_side(tools, task.base)
    prototypes = make_prototypes(tools, task.base, task.bank, task.targets, wanted, shots)
    reference = make_reference(tools, task.base, unlabelled)
    edit = Edit(task.targets, recipe, prototypes, reference)
    if recipe.irreversible and not _can_be_irreversible(edit):
        raise InvalidInputError(
            "--irreversible is for what is forgotten everywhere; nothing of this request is"
        )
    fitted = None
    if decide and kind.basis in STATUTORY and _can_be_irreversible(edit):
        attempt = _fit(tools, task, replace(edit, recipe=replace(recipe, irreversible=True)))
        if _within(attempt.content, gates, kind):
            fitted = attempt
    fitted = fitted or _fit(tools, task, edit)
    composition, content = fitted.composition, fitted.content
    projector, residual = composition.projector, content["residual"]
    report_digest = digest_json(content)
    factors = factor_tensors(projector, composition.text)
    run_id = tools.registry.log_run(
        task.model,
        key=f"prepare {request_id} {fitted.digest} {report_digest}",
        name=f"prepare request {request_id}",
        artifacts=Artifacts(
            params={
                "request": request_id,
                "dataset": task.dataset.name,
                **fitted.edit.recipe.to_dict(),
            },
            metrics=flat_metrics(content) | {"rank": projector.rank, "residual": residual},
            records={
                "recipe.json": fitted.recipe,
                "report.json": content,
                "confusion.json": content["confusion"],
            },
            tensors={"factors.safetensors": factors},
            tags={
                "governance.request": str(request_id),
                "governance.projector": fitted.digest,
                "governance.report": report_digest,
            },
        ),
    )
    with tools.ledger.write() as session:
        require(session, actor, "request.prepare")
        request = find_request(session, request_id)
        for tensor in fitted.edit.arrays:
            arrays.store(session, tensor)
        arrays.store_text(session, composition.text)
        record = ProjectorRecord(
            request_id=request_id,
            recipe=fitted.recipe,
            factor_a=arrays.store(session, projector.a),
            factor_b=arrays.store(session, projector.b),
            digest=fitted.digest,
            rank=projector.rank,
            condition=projector.condition,
            tolerance=tolerance(residual),
            prepared_by=actor,
            prepared_at=now(),
            run_id=run_id,
        )
        session.add(record)
        session.flush()
        report = store_report(session, "prepare", task.dataset, content, projector_id=record.id)
        advance(
            session,
            request,
            Action.PREPARE,
            actor,
            {
                "method": recipe.method.value,
                "strength": recipe.strength,
                "projector": projector_facts(record),
                "report": report_facts(report),
            },
        )
        return record.id, report.id


def _fit(tools: Tools, task: Task, edit: Edit) -> Prepared:
    """Solve and measure one edit.

    Raises:
        InvalidInputError: it would hardly do anything.
    """
    composition = compose(task.bank, [edit])
    residual = composition.residual(edit)
    recipe = {
        "format": RECIPE_FORMAT,
        **edit.to_dict(),
        "problem": problem_of(composition, [(task.request, edit)]),
        "text_factors": text_factors(composition.text),
        "model_weights": task.base.weights_digest,
        **task.bank_digests,
    }
    if residual > MAX_RESIDUAL:
        raise InvalidInputError(
            f"these hyperparameters hardly move the concept ({1 - residual:.0%} of the way); raise "
            "--lambda-forget, or lower --lambda-retain or --mu"
        )
    used = capacity(task.bank, task.targets, composition.projector)
    digest = projector_digest(recipe, composition.projector.digest)
    content = measure_request(tools, task, digest, edit, Solved.of(composition, [edit]), used)
    content["residual"] = residual
    return Prepared(edit, composition, recipe, digest, content)


def _can_be_irreversible(edit: Edit) -> bool:
    recipe = edit.recipe
    return (
        recipe.anchored
        and recipe.strength == 1
        and any(target.domain is None for target in edit.targets)
    )


def _within(content: Content, gates: Gates, kind: Kind) -> bool:
    """Whether an edit keeps within the limits of the policy, alone and together with what is active already."""
    if failed(request_gates([content], gates, kind)):
        return False
    together, limit = content["composed"], gates.limit("max_retain_drop", *kind)
    before = content["before"]["retain_accuracy"]
    if together is None or limit is None or before is None or together["retain_accuracy"] is None:
        return True
    return float(before - together["retain_accuracy"]) <= limit.value


@recorded("evaluate", "request", "request_id")
def evaluate_request(tools: Tools, actor: str, request_id: int, dataset: str | None) -> int:
    """Measure the newest projector of a request on another data set; its state stays.

    Returns:
        Id of the report.

    Raises:
        RefusedError: the request has no projector, or has ended.
        InvalidInputError: the data set cannot measure it.
    """
    with tools.ledger.read() as session:
        require(session, actor, "request.evaluate")
        request = find_request(session, request_id)
        check_action(request, Action.EVALUATE)
        task = _read_task(session, request, dataset)
        record = request.projector
        if record is None:
            raise InvalidInputError(f"request {request_id} is not prepared")
        edit = arrays.load_edit(session, record)
        digest = record.digest
        solved = Solved.read(session, record, [edit])
    used = capacity(task.bank, task.targets, solved.projector)
    content = measure_request(tools, task, digest, edit, solved, used)
    with tools.ledger.write() as session:
        require(session, actor, "request.evaluate")
        request = find_request(session, request_id)
        current = request.projector
        if current is None or current.digest != digest:
            raise ConflictError(f"request {request_id} was prepared again meanwhile; try again")
        report = store_report(session, "evaluate", task.dataset, content, projector_id=current.id)
        payload = {"projector_digest": digest, "report": report_facts(report)}
        advance(session, request, Action.EVALUATE, actor, payload)
        return report.id


def flat_metrics(content: dict[str, Any]) -> dict[str, float]:
    """The figures that MLflow shows, as fractions."""
    figures = {
        f"{name}_{when}": content[when][name]
        for when in ("before", "after")
        for name in ("forget_accuracy", "retain_accuracy")
    }
    for prefix, entry in _confused(content):
        for when in ("before", "after"):
            figures[f"{prefix}taker_share_{when}"] = taker_share(entry[when])
    figures["turning"] = content["turning"]
    forgotten, retained = (content["certificate"][part] for part in ("forgotten", "retained"))
    if forgotten is not None:
        figures["certificate_excess"] = forgotten["excess"]["worst"]
    if retained is not None:
        figures["certificate_change"] = retained["change"]["worst"]
    return {name: value for name, value in figures.items() if value is not None}


def _confused(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the images of each request are taken for; nothing of reports that were made before it was measured."""
    if content.get("confusion"):
        yield "", content["confusion"]
    for entry in content.get("requests", ()):
        if entry.get("confusion"):
            yield f"request_{entry['request']}_", entry["confusion"]


def _read_task(session: Session, request: Request, dataset: str | None) -> Task:
    others = [o for o in active_requests(session, request.model) if o.id != request.id]
    measured = read_eval_set(find_dataset(session, dataset))
    task = read_task(
        session,
        request,
        read_members(session, others, measured=False),
        measured,
        read_guards(session),
    )
    # Checked here, before prototypes are synthesised, which can take minutes.
    check_targets_measured(
        [(item.label, item.domain) for item in measured.manifest.items], task.targets
    )
    return task


def read_task(
    session: Session,
    request: Request,
    others: list[Member],
    dataset: EvalSet,
    guards: list[EvalSet],
) -> Task:
    """A request to be measured on a data set, together with others and with guards."""
    model: Model = request.model
    return Task(
        request=request.id,
        model=model.name,
        base=base_model(model),
        bank=arrays.load_bank(session, model),
        logit_scale=model.logit_scale,
        bank_digests={"bank_rows": model.bank_rows, "bank_scores": model.bank_scores},
        targets=tuple(Target(target.label, target.domain) for target in request.targets),
        others=others,
        dataset=dataset,
        guards=guards,
    )


def measure_request(
    tools: Tools,
    task: Task,
    digest: str,
    edit: Edit,
    solved: Solved,
    used: dict[str, Any],
) -> dict[str, Any]:
    """Content of a request's report: the unedited model, this request alone, and on top of the active set.

    Args:
        tools: models and their cache.
        task: the request.
        digest: of its projector's record.
        edit: what was solved for.
        solved: what came out.
        used: its capacity report.
    """
    projector, text = solved.projector, solved.text
    samples = embed(tools, task.base, task.dataset)
    edited = task.bank.edited(text)
    before, after = predict(samples, task.bank, None), predict(samples, edited, projector)
    fitted = edit.fitted_synonyms
    assessment = assess(
        samples, task.bank.without_synonyms(fitted), edit.targets, projector, task.logit_scale,
        edited=edited.without_synonyms(fitted), predictions=(before, after),
    )  # fmt: skip
    return {
        "kind": "request",
        "format": FORMAT,
        "request": task.request,
        "model": task.model,
        "targets": [target.to_dict() for target in edit.targets],
        "strength": edit.recipe.strength,
        "sides": named_sides(text is not None),
        "projector_digest": digest,
        "dataset": task.dataset.to_dict(),
        "before": summarise(samples, before, edit.targets),
        "after": summarise(samples, after, edit.targets),
        "confusion": confusions(samples, task.bank.labels.classes, (before, after), edit.targets),
        "composed": _composed(samples, task, edit),
        "guard": measure_guards(tools, task.base, task.bank, task.guards, projector, text),
        "assessment": assessment,
        "turning": assessment["after"]["turning"],
        "certificate": solved.certificate(task.bank),
        "certified_images": certified_images(samples, task.bank, edit.targets, solved),
        "verdict": verdict(assessment, edit.targets, edit.recipe.strength),
        "capacity": used,
    }


def _composed(samples: Samples, task: Task, edit: Edit) -> dict[str, Any] | None:
    """The request together with those that are active already, None without any."""
    if not task.others:
        return None
    together = compose(task.bank, [*(member.edit for member in task.others), edit])
    predictions = predict(samples, task.bank.edited(together.text), together.projector)
    targets = [t for member in task.others for t in member.targets] + list(edit.targets)
    summary = summarise(samples, predictions, targets)
    return {
        "active_requests": [member.request for member in task.others],
        "forget_accuracy": forget_share(samples, predictions, edit.targets).value,
        "retain_accuracy": summary["retain_accuracy"],
        "capacity": capacity(task.bank, targets, together.projector),
    }
