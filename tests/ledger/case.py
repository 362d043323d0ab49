"""A ledger with one finished case, one rejected and one waiting: made by the workflow wherever it needs no model."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy.orm import Session
from torch import Tensor

from governance.clip.encoder import BaseModel
from governance.datasets import Item, Manifest
from governance.digests import digest_bytes, digest_json
from governance.ledger import arrays
from governance.ledger.database import Ledger
from governance.ledger.events import append
from governance.ledger.facts import dataset_facts, model_facts, report_facts, version_facts
from governance.ledger.identity import version_digest
from governance.ledger.judgement import judge_version
from governance.ledger.lookup import find_dataset, find_model, find_request
from governance.ledger.rules import production
from governance.ledger.tables import (
    Alias,
    Dataset,
    Model,
    ModelVersion,
    VersionMember,
)
from governance.ledger.types import now
from governance.policy import CANDIDATE, Policy
from governance.progress import Meter
from governance.states import Action, Basis, Role, State
from governance.unlearning.bank import PromptBank, build_bank
from governance.unlearning.composition import compose
from governance.unlearning.labels import LabelSpace, default_domain_templates
from governance.unlearning.projector import Projector, identity
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import actors, prepare, requests
from governance.workflow.aliases import take_alias
from governance.workflow.build import Measured, measure
from governance.workflow.gates import admit, said
from governance.workflow.measure import Solved, read_eval_set, read_members, store_report
from governance.workflow.models import base_model
from governance.workflow.tools import Tools
from governance.workflow.transition import advance
from tests.databases import Databases, make_template
from tests.fakes import FakeRegistry
from tests.policies import OPEN

PEOPLE = {"carla": Role.COMPLIANCE, "dmitri": Role.APPROVER, "mona": Role.MLOPS}
DIMENSION = 12
LABELS = LabelSpace(
    ("mug", "cat", "oak"),
    ("sketch",),
    domain_templates={"sketch": default_domain_templates("sketch")},
)
WEIGHTS = digest_bytes(b"weights")


class RandomEncoder:
    """Stands in for the encoder: the same random features whatever the images are."""

    def features(
        self, base: BaseModel, digest: str, location: Path, items: tuple[Item, ...], meter: Meter
    ) -> Tensor:
        generator = torch.Generator().manual_seed(5)
        return torch.randn(len(items), base.dimension, generator=generator)


def synthetic_bank() -> PromptBank:
    """A prompt bank of random rows."""
    generator = torch.Generator().manual_seed(3)
    return build_bank(
        LABELS, lambda prompts: torch.randn(len(prompts), DIMENSION, generator=generator)
    )


def add_people(ledger: Ledger) -> None:
    """An admin, and one person for each role that a case needs."""
    actors.found(ledger, "ada", Policy(OPEN))
    for name, role in PEOPLE.items():
        actors.add(ledger, "ada", name, [role])


def add_model(ledger: Ledger, name: str = "shop") -> None:
    """What `workflow.models.register` records, for a model that exists only as a prompt bank."""
    bank, labels_digest = synthetic_bank(), digest_json(LABELS.to_dict())
    none = identity(DIMENSION)
    digest = version_digest(WEIGHTS, labels_digest, none.digest, [])
    with ledger.write() as session:
        model = Model(
            name=name,
            source={"name": "local-dir:/models/shop", "pretrained": None, "quick_gelu": False},
            weights_digest=WEIGHTS,
            config_digest=digest_bytes(b"preprocessing"),
            dimension=DIMENSION,
            fold_path="visual.proj",
            logit_scale=50.0,
            labels=LABELS.to_dict(),
            labels_digest=labels_digest,
            bank_rows=arrays.store(session, bank.rows),
            bank_scores=arrays.store(session, bank.scores),
            bank_paraphrases=arrays.store(session, bank.paraphrases),
            registered_at=now(),
        )
        session.add(model)
        session.flush()
        version = _add_version(session, model, 1, digest, none)
        session.add(Alias(model_id=model.id, name=production(session), version_id=version.id))
        payload = {"model": model_facts(model), "version": version_facts(version)}
        append(session, "mona", "model.registered", f"model:{name}", payload)


def add_dataset(ledger: Ledger, name: str = "eval", images: int = 2) -> None:
    """What `workflow.datasets.add` records, for images that do not exist."""
    items = tuple(
        Item(f"sketch/{label}/{number}.png", label, "sketch", digest_bytes(b"image"))
        for label in sorted(LABELS.classes)
        for number in range(images)
    )
    manifest = Manifest(items)
    with ledger.write() as session:
        dataset = Dataset(
            name=name,
            role="eval",
            location="/data",
            digest=manifest.digest,
            images=len(items),
            skipped=0,
            manifest=manifest.to_json(),
            added_at=now(),
        )
        session.add(dataset)
        payload = {"dataset": dataset_facts(dataset)}
        append(session, "mona", "dataset.added", f"dataset:{name}", payload)


def file(ledger: Ledger, label: str | None, domain: str | None = None) -> int:
    """File a request as compliance."""
    target = Target(label, domain)
    return requests.file(
        ledger, "carla", "shop", [target], Basis.BIAS, "because", "case 7", again=True
    ).number


def add_version(
    ledger: Ledger,
    request_ids: list[int],
    number: int = 2,
    nominate: bool = False,
    override: str | None = None,
) -> None:
    """What `workflow.versions.apply` and `workflow.release.promote` record for a version of ``shop``."""
    tools = Tools(ledger, FakeRegistry(), RandomEncoder())  # type: ignore[arg-type]
    with ledger.write() as session:
        model = find_model(session, "shop")
        found = [find_request(session, request) for request in request_ids]
        members = read_members(session, found)
        edits = [member.edit for member in members]
        composed = compose(synthetic_bank(), edits)
        projector = composed.projector
        digest = version_digest(
            WEIGHTS,
            model.labels_digest,
            projector.digest,
            [member.projector_digest for member in members],
        )
        active = [
            {"request": member.request, "projector_digest": member.projector_digest}
            for member in members
        ]
        version = _add_version(session, model, number, digest, projector, active)
        version.members = [
            VersionMember(request_id=member.request, projector_id=member.projector_id)
            for member in members
        ]
        session.flush()
        bank, dataset = synthetic_bank(), read_eval_set(find_dataset(session, "eval"))
        subject = Measured(
            "shop", number, base_model(model), bank, 50.0, members, [], frozenset(), []
        )
        content = measure(tools, subject, Solved.of(composed, edits), dataset)
        store_report(session, "version", dataset, content, version_id=version.id)
        payload = {
            "version": version_facts(version),
            "reports": [report_facts(report) for report in version.reports],
        }
        append(session, "mona", "version.registered", f"version:shop/{number}", payload)
        for request in found:
            if request.state == State.APPROVED:
                applied = {"version": number, "version_digest": digest}
                advance(session, request, Action.APPLY, "mona", applied)
        if nominate:
            take_alias(session, "mona", model, CANDIDATE, version, {})
        judgement = judge_version(session, version)
        spite = admit(session, "mona", "version.override", version, judgement, override)
        promotion = {
            "version_digest": digest,
            "policy_digest": judgement.policy,
            **judgement.to_dict(),
            **said(spite),
        }
        take_alias(session, "mona", model, production(session), version, promotion)
        if spite is not None:
            session.add(spite)


def build(ledger: Ledger) -> None:
    """Request 1 is released in version 2, request 2 rejected, request 3 prepared; somebody joins last."""
    add_people(ledger)
    add_model(ledger)
    add_dataset(ledger)
    tools = Tools(ledger, FakeRegistry(), RandomEncoder())  # type: ignore[arg-type]
    released, rejected = file(ledger, "mug"), file(ledger, "cat", "sketch")
    prepare.prepare(tools, "mona", released, "eval", Recipe.of("redirect"))
    requests.approve(ledger, "dmitri", released, "agreed")
    add_version(ledger, [released])
    requests.reject(ledger, "dmitri", rejected, "no ground")
    waiting = file(ledger, "oak")
    prepare.prepare(tools, "mona", waiting, "eval", Recipe.of("nullspace"))
    actors.add(ledger, "ada", "zoe", [Role.AUDITOR])


@pytest.fixture(scope="session")
def case_template(databases: Databases, migrated: str) -> str:
    """A template with what `build` makes."""
    return make_template(databases, build, migrated)


@pytest.fixture
def cases(copy_ledger: Callable[[str], Ledger], case_template: str) -> Ledger:
    """A ledger with what `build` makes."""
    return copy_ledger(case_template)


def _add_version(
    session: Session,
    model: Model,
    number: int,
    digest: str,
    projector: Projector,
    active: Sequence[Mapping[str, Any]] = (),
) -> ModelVersion:
    version = ModelVersion(
        model_id=model.id,
        number=number,
        parent=number - 1 or None,
        digest=digest,
        recipe={"active": list(active)},
        factor_a=arrays.store(session, projector.a),
        factor_b=arrays.store(session, projector.b),
        weights_digest=WEIGHTS if number == 1 else digest_bytes(b"edited weights"),
        created_by="mona",
        created_at=now(),
        run_id=f"run-{number}",
        registry_version=str(number),
    )
    session.add(version)
    session.flush()
    return version
