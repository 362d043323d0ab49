"""Building a version in memory: compose the active set, guard it, fold it, measure it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from governance.clip.encoder import BaseModel, weights_digest_with
from governance.errors import RefusedError
from governance.ledger import arrays
from governance.ledger.database import Session
from governance.ledger.identity import named_sides, text_digests, version_digest
from governance.ledger.judgement import kind_of
from governance.ledger.lookup import active_requests, newest_version
from governance.ledger.rules import current
from governance.ledger.tables import Dataset, Model, ModelVersion, Request
from governance.reports.card import CardRequest
from governance.serving.contents import Identity
from governance.unlearning.assessment import attacks, overall
from governance.unlearning.bank import PromptBank
from governance.unlearning.capacity import capacity
from governance.unlearning.composition import RECIPE_FORMAT, Composition, compose
from governance.unlearning.evaluation import forget_share, predict, summarise
from governance.unlearning.gates import attacked
from governance.unlearning.metrics.confusion import confusions
from governance.workflow.aliases import served_number
from governance.workflow.measure import (
    FORMAT,
    EvalSet,
    Member,
    Solved,
    embed,
    measure_guards,
    problem_of,
    read_eval_set,
    read_guards,
    read_member,
    text_factors,
)
from governance.workflow.models import base_model
from governance.workflow.packages import card_requests
from governance.workflow.tools import Tools

if TYPE_CHECKING:
    from governance.clip.fold import Fold


@dataclass(frozen=True)
class Measured:
    """A version as far as measuring it goes.

    Attributes:
        model: name of the base model.
        number: of the version.
        base, bank, logit_scale: what is needed to embed and to classify.
        members: requests that the version holds.
        reinstated: requests that have just left it.
        attacked: requests of which the policy limits what attacks may find.
        guards: data sets of classes that no fit mentions.
    """

    model: str
    number: int
    base: BaseModel
    bank: PromptBank
    logit_scale: float
    members: list[Member]
    reinstated: list[Member]
    attacked: frozenset[int]
    guards: list[EvalSet]


@dataclass(frozen=True)
class Plan(Measured):
    """What a new version is made from, read in one transaction.

    Attributes:
        labels_digest: of the label space.
        permission: what the actor must be allowed to do.
        served: number of the champion.
        active_before: requests that were active when this was read.
        datasets: where the version is measured.
        card: what the model card says of each member.
    """

    labels_digest: str
    permission: str
    served: int | None
    active_before: frozenset[int]
    datasets: list[EvalSet]
    card: list[CardRequest]

    @property
    def parent(self) -> int:
        """Number of the newest version before."""
        return self.number - 1


@dataclass(frozen=True)
class Built:
    """A version that exists in memory only."""

    plan: Plan
    composition: Composition
    fold: "Fold"
    weights_digest: str
    digest: str
    recipe: dict[str, Any]
    reports: list[tuple[EvalSet, dict[str, Any]]]

    @property
    def identity(self) -> Identity:
        """Which version it is."""
        plan = self.plan
        return Identity(
            plan.model,
            plan.number,
            self.digest,
            self.weights_digest,
            plan.base,
            plan.labels_digest,
            plan.logit_scale,
            [member.request for member in plan.members],
            [member.projector_digest for member in plan.members],
            self.composition.text is not None,
        )


def read_plan(
    session: Session,
    model: Model,
    permission: str,
    requests: Sequence[Request],
    reinstated: Sequence[Request],
) -> Plan:
    """What the next version of a model holds, and on which data sets it is measured.

    Args:
        session: where to read.
        model: the base model.
        permission: what the actor must be allowed to do.
        requests: the active set.
        reinstated: requests that leave it; they are measured too, to show that they come back.
    """
    held = [(request.id, p) for request in requests if (p := request.projector)]
    members = [read_member(session, number, projector) for number, projector in held]
    gone = [read_member(session, r.id, p) for r in reinstated if (p := r.projector)]
    wanted = dict.fromkeys(member.dataset_id for member in [*gone, *reversed(members)])
    return Plan(
        model=model.name,
        base=base_model(model),
        labels_digest=model.labels_digest,
        bank=arrays.load_bank(session, model),
        logit_scale=model.logit_scale,
        permission=permission,
        number=newest_version(session, model).number + 1,
        served=served_number(session, model),
        active_before=frozenset(request.id for request in active_requests(session, model)),
        members=members,
        reinstated=gone,
        attacked=attacked_requests(session, requests),
        guards=read_guards(session),
        datasets=[read_eval_set(session.get_one(Dataset, number)) for number in wanted],
        card=card_requests(session, held),
    )


def read_measured(
    session: Session,
    version: ModelVersion,
    reinstated: Sequence[Member],
    attacked: frozenset[int],
    guards: list[EvalSet],
) -> Measured:
    """A version that exists, to be measured.

    Args:
        session: where to read.
        version: the version.
        reinstated: requests that left it, if they are to be measured too.
        attacked: requests that are to be attacked.
        guards: data sets of classes that no fit mentions.
    """
    model = version.model
    return Measured(
        model=model.name,
        number=version.number,
        base=base_model(model),
        bank=arrays.load_bank(session, model),
        logit_scale=model.logit_scale,
        members=[read_member(session, m.request_id, m.projector) for m in version.members],
        reinstated=list(reinstated),
        attacked=attacked,
        guards=guards,
    )


def attacked_requests(session: Session, requests: Iterable[Request]) -> frozenset[int]:
    """Those of which the policy in force limits what attacks may find."""
    rules, _ = current(session)
    return frozenset(request.id for request in requests if attacked(rules.gates, kind_of(request)))


def build(tools: Tools, plan: Plan) -> Built:
    """Compose, guard against resurrection, fold and certify, evaluate."""
    from governance.clip.fold import fold

    edits = [member.edit for member in plan.members]
    composition = compose(plan.bank, edits)
    solved = Solved.of(composition, edits)
    targets = [target for member in plan.members for target in member.targets]
    used = capacity(plan.bank, targets, composition.projector)
    residuals = _check_residuals(plan, composition)
    clip = tools.encoder.model(plan.base)
    folded = fold(clip, composition.projector, composition.text)
    recipe = {
        "format": RECIPE_FORMAT,
        "active": [
            {
                "request": member.request,
                "projector_digest": member.projector_digest,
                **member.edit.to_dict(),
            }
            for member in plan.members
        ],
        "problem": problem_of(composition, [(m.request, m.edit) for m in plan.members]),
        "residuals": residuals,
        "probe_error": folded.error,
        "config": {section: dict(changes) for section, changes in folded.config.items()},
        "condition": composition.projector.condition,
        "text_factors": text_factors(composition.text),
    }
    return Built(
        plan=plan,
        composition=composition,
        fold=folded,
        weights_digest=weights_digest_with(clip, folded),
        digest=version_digest(
            plan.base.weights_digest,
            plan.labels_digest,
            composition.projector.digest,
            [member.projector_digest for member in plan.members],
            text_digests(recipe),
        ),
        recipe=recipe,
        reports=[(d, measure(tools, plan, solved, d, used)) for d in plan.datasets],
    )


def _check_residuals(plan: Plan, composition: Composition) -> list[dict[str, Any]]:
    """Residual of every request in the joint solution, refused where it exceeds what was recorded."""
    residuals = []
    for member in plan.members:
        residual = composition.residual(member.edit)
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


def measure(
    tools: Tools,
    subject: Measured,
    solved: Solved,
    dataset: EvalSet,
    used: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Content of a version's report: the unedited model, the version, and each request on its own images.

    Args:
        tools: models and their cache.
        subject: the version.
        solved: its edit.
        dataset: where it is measured.
        used: its capacity report, if it is known already.
    """
    projector, text = solved.projector, solved.text
    promised = solved.certificate(subject.bank)
    edited = subject.bank.edited(text)
    samples = embed(tools, subject.base, dataset)
    before = predict(samples, subject.bank, None)
    after = predict(samples, edited, projector)
    targets = [target for member in subject.members for target in member.targets]
    requests = []
    for member, active in [
        *((member, True) for member in subject.members),
        *((member, False) for member in subject.reinstated),
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
                    "approved": member.approved.get(dataset.id) if active else None,
                    "excess": _excess(promised, member) if active else None,
                    "counts": {"before": was.to_dict(), "after": now_.to_dict()},
                    "confusion": confusions(
                        samples, subject.bank.labels.classes, (before, after), member.targets
                    ),
                    "attacks": attacks(
                        samples,
                        subject.bank.without_synonyms(member.edit.fitted_synonyms),
                        member.targets,
                        projector,
                        subject.logit_scale,
                        edited.without_synonyms(member.edit.fitted_synonyms),
                    )
                    if active and member.request in subject.attacked
                    else None,
                }
            )
    together = overall(
        samples, subject.bank, targets, projector, subject.logit_scale, (before, after), edited
    )
    return {
        "kind": "version",
        "format": FORMAT,
        "model": subject.model,
        "version": subject.number,
        "dataset": dataset.to_dict(),
        "active_requests": [member.request for member in subject.members],
        "sides": named_sides(text is not None),
        "requests": requests,
        "before": summarise(samples, before, targets),
        "after": summarise(samples, after, targets),
        "overall": together,
        "turning": None if together is None else together["turning"],
        "certificate": promised,
        "guard": measure_guards(tools, subject.base, subject.bank, subject.guards, projector, text),
        "capacity": used or capacity(subject.bank, targets, projector),
    }


def _excess(promised: Mapping[str, Any], member: Member) -> float | None:
    """Worst excess of the classes that a request forgets everywhere, None if there is none."""
    classes = promised["classes"]
    mine = [t.label for t in member.targets if t.domain is None and t.label in classes]
    return max((classes[label]["excess"] for label in mine), default=None)
