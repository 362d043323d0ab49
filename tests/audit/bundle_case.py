"""A ledger with cases whose versions hold real compositions, and bundles of it, without any model.

Request 1 (mug everywhere) and request 2 (cat in sketches) are released together in version 3; 3 was rejected;
4 (everything in sketches) was approved by break-glass, in spite of a gate, and is applied in version 4; 5 waits.
"""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from governance.audit.bundle_contents import Scope
from governance.datasets import Item, Manifest
from governance.digests import digest_bytes, digest_json
from governance.ledger import arrays
from governance.ledger.database import Ledger
from governance.ledger.events import append
from governance.ledger.facts import dataset_facts, model_facts, report_facts, version_facts
from governance.ledger.identity import text_digests, version_digest
from governance.ledger.judgement import judge_version
from governance.ledger.lookup import active_requests, find_model, find_request
from governance.ledger.rules import production
from governance.ledger.tables import Alias, Dataset, Model, ModelVersion, VersionMember
from governance.ledger.types import now
from governance.policy import CANDIDATE, Policy
from governance.states import Action, Basis, Role
from governance.unlearning.bank import PromptBank, build_bank
from governance.unlearning.capacity import capacity
from governance.unlearning.composition import RECIPE_FORMAT, compose
from governance.unlearning.labels import LabelSpace, default_domain_templates
from governance.unlearning.projector import identity
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import actors, policies, prepare, requests
from governance.workflow.aliases import take_alias
from governance.workflow.build import _check_residuals, measure, read_plan
from governance.workflow.bundles import export
from governance.workflow.measure import Solved, problem_of, store_report, text_factors
from governance.workflow.prototypes import Wanted
from governance.workflow.tools import Tools
from governance.workflow.transition import advance
from tests.databases import Databases, make_template
from tests.fakes import FakeRegistry
from tests.ledger.case import RandomEncoder, add_people, file
from tests.policies import GUARDED

DIMENSION = 16
DOMAINS = ("sketch", "photo")
LABELS = LabelSpace(
    ("mug", "cat", "oak"),
    DOMAINS,
    domain_templates={domain: default_domain_templates(domain) for domain in DOMAINS},
    synonyms={"oak": ("tree",)},
)


def synthetic_bank() -> PromptBank:
    """A prompt bank of random rows."""
    generator = torch.Generator().manual_seed(3)
    return build_bank(
        LABELS, lambda prompts: torch.randn(len(prompts), DIMENSION, generator=generator)
    )


def add_model(ledger: Ledger) -> None:
    """What `workflow.models.register` records, for a model that exists only as a prompt bank."""
    bank, labels_digest = synthetic_bank(), digest_json(LABELS.to_dict())
    none, weights = identity(DIMENSION), digest_bytes(b"weights")
    digest = version_digest(weights, labels_digest, none.digest, [])
    with ledger.write() as session:
        model = Model(
            name="shop",
            source={"name": "local-dir:/models/shop", "pretrained": None, "quick_gelu": False},
            weights_digest=weights,
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
        version = ModelVersion(
            model_id=model.id,
            number=1,
            parent=None,
            digest=digest,
            recipe={"active": []},
            factor_a=arrays.store(session, none.a),
            factor_b=arrays.store(session, none.b),
            weights_digest=weights,
            created_by="mona",
            created_at=now(),
            run_id="run-1",
            registry_version="1",
        )
        session.add(version)
        session.flush()
        session.add(Alias(model_id=model.id, name=production(session), version_id=version.id))
        payload = {"model": model_facts(model), "version": version_facts(version)}
        append(session, "mona", "model.registered", "model:shop", payload)


def add_dataset(ledger: Ledger, name: str = "eval", role: str = "eval") -> None:
    """What `workflow.datasets.add` records, for images that do not exist."""
    manifest = Manifest(
        tuple(
            Item(
                f"{domain}/{label}/{number}.png",
                label,
                domain,
                digest_bytes(b"image of " + role.encode()),
            )
            for domain in sorted(DOMAINS)
            for label in sorted(LABELS.classes)
            for number in range(2)
        )
    )
    with ledger.write() as session:
        dataset = Dataset(
            name=name,
            role=role,
            location="/data",
            digest=manifest.digest,
            images=len(manifest.items),
            skipped=0,
            manifest=manifest.to_json(),
            added_at=now(),
        )
        session.add(dataset)
        payload = {"dataset": dataset_facts(dataset)}
        append(session, "mona", "dataset.added", f"dataset:{name}", payload)


def release(ledger: Ledger, request_ids: list[int], promote: bool = True) -> int:
    """What `versions.apply` and `release.promote` record, for a model that is only a prompt bank."""
    tools = Tools(ledger, FakeRegistry(), RandomEncoder())  # type: ignore[arg-type]
    with ledger.write() as session:
        model = find_model(session, "shop")
        wanted = [find_request(session, number) for number in request_ids]
        together = sorted({*active_requests(session, model), *wanted}, key=lambda r: r.id)
        plan = read_plan(session, model, "version.apply", together, [])
        edits = [member.edit for member in plan.members]
        composed = compose(plan.bank, edits)
        targets = [target for member in plan.members for target in member.targets]
        recipe = {
            "format": RECIPE_FORMAT,
            "active": [
                {"request": m.request, "projector_digest": m.projector_digest, **m.edit.to_dict()}
                for m in plan.members
            ],
            "problem": problem_of(composed, [(m.request, m.edit) for m in plan.members]),
            "residuals": _check_residuals(plan, composed),
            "text_factors": text_factors(composed.text),
        }
        arrays.store_text(session, composed.text)
        version = ModelVersion(
            model_id=model.id,
            number=plan.number,
            parent=plan.parent,
            digest=version_digest(
                model.weights_digest,
                model.labels_digest,
                composed.projector.digest,
                [member.projector_digest for member in plan.members],
                text_digests(recipe),
            ),
            recipe=recipe,
            factor_a=arrays.store(session, composed.projector.a),
            factor_b=arrays.store(session, composed.projector.b),
            weights_digest=digest_bytes(b"weights of version %d" % plan.number),
            created_by="mona",
            created_at=now(),
            run_id=f"run-{plan.number}",
            registry_version=str(plan.number),
            members=[
                VersionMember(request_id=m.request, projector_id=m.projector_id)
                for m in plan.members
            ],
        )
        session.add(version)
        session.flush()
        used = capacity(plan.bank, targets, composed.projector)
        for dataset in plan.datasets:
            content = measure(tools, plan, Solved.of(composed, edits), dataset, used)
            store_report(session, "version", dataset, content, version_id=version.id)
        subject = f"version:shop/{version.number}"
        reports = [report_facts(report) for report in version.reports]
        payload = {"version": version_facts(version), "reports": reports}
        append(session, "mona", "version.registered", subject, payload)
        for number in request_ids:
            applied = {"version": version.number, "version_digest": version.digest}
            advance(session, find_request(session, number), Action.APPLY, "mona", applied)
        take_alias(session, "mona", model, CANDIDATE, version, {})
        if promote:
            judgement = judge_version(session, version)
            promotion = {
                "version_digest": version.digest,
                "policy_digest": judgement.policy,
                **judgement.to_dict(),
            }
            take_alias(session, "mona", model, production(session), version, promotion)
        return version.number


def approved(
    ledger: Ledger,
    label: str | None,
    domain: str | None = None,
    wanted: Wanted = prepare.TEXT_ONLY,
    **recipe: object,
) -> int:
    """A request that carla filed, mona prepared and dmitri approved."""
    tools = Tools(ledger, FakeRegistry(), RandomEncoder())  # type: ignore[arg-type]
    number = file(ledger, label, domain)
    chosen = Recipe.of("redirect", **recipe)  # type: ignore[arg-type]
    prepare.prepare(tools, "mona", number, "eval", chosen, wanted)
    requests.approve(ledger, "dmitri", number, "agreed")
    return number


def build(ledger: Ledger) -> None:
    """Everything that the module says."""
    add_people(ledger)
    actors.add(ledger, "ada", "otto", [Role.AUDITOR])
    add_model(ledger)
    add_dataset(ledger)
    tools = Tools(ledger, FakeRegistry(), RandomEncoder())  # type: ignore[arg-type]
    first = approved(ledger, "mug")
    release(ledger, [first])
    second = approved(ledger, "cat", "sketch")
    release(ledger, [second])
    requests.reject(ledger, "dmitri", file(ledger, "oak"), "no ground")
    actors.rotate_key(ledger, "ada", "dmitri", "a new laptop")
    target = Target(None, "sketch")
    third, _ = requests.file(ledger, "carla", "shop", [target], Basis.COURT_ORDER, "ordered")
    prepare.prepare(tools, "mona", third, "eval", Recipe.of("redirect"))
    policies.adopt(ledger, "ada", Policy(GUARDED), "other classes count too")
    spite = "there are no other classes"
    requests.approve(ledger, "ada", third, "the court waits", break_glass=True, override=spite)
    release(ledger, [third], promote=False)
    file(ledger, "cat")


def bundle(ledger: Ledger, scope: Scope, path: Path, texts: bool = False) -> Path:
    """Export as the auditor."""
    return export(ledger, "otto", scope, path, texts).path


def members_of(path: Path) -> dict[str, bytes]:
    """Members of a ZIP file."""
    return members_of_bytes(path.read_bytes())


def members_of_bytes(data: bytes) -> dict[str, bytes]:
    """Members of a ZIP file in memory."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: dict[str, bytes]) -> Path:
    """A ZIP file of these members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    path.write_bytes(out.getvalue())
    return path


@pytest.fixture(scope="session")
def trail_template(databases: Databases, migrated: str) -> str:
    """A template with what `build` makes."""
    return make_template(databases, build, migrated)


@pytest.fixture
def trail(copy_ledger: Callable[[str], Ledger], trail_template: str) -> Ledger:
    """A ledger with what `build` makes."""
    return copy_ledger(trail_template)


@pytest.fixture(scope="session")
def bundles(
    databases: Databases, trail_template: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A bundle of each scope: ``all``, ``request`` 1, ``version`` 3, and ``texts`` of everything."""
    place = tmp_path_factory.mktemp("exported")

    def export_all(ledger: Ledger) -> None:
        bundle(ledger, Scope(), place / "all.zip")
        bundle(ledger, Scope(request=1), place / "request.zip")
        bundle(ledger, Scope(version=3), place / "version.zip")
        bundle(ledger, Scope(), place / "texts.zip", texts=True)

    databases.drop(make_template(databases, export_all, trail_template))
    return {path.stem: path for path in place.iterdir()}
