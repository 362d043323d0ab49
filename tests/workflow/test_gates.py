"""Approval and promotion against the policy in force: refusals, overrides, what is measured, who may do what."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from governance.audit.verify import verify
from governance.clip.encoder import Encoder
from governance.clip.source import parse_source
from governance.datasets import DatasetRole
from governance.demo import LABELS_FILE, MODEL_DIR
from governance.digests import load_json
from governance.errors import ConflictError, InvalidInputError, RefusedError
from governance.ledger.database import Ledger
from governance.ledger.events import stream
from governance.ledger.lookup import every, find_model, find_request, find_version
from governance.ledger.rules import current
from governance.ledger.tables import Override
from governance.policy import Gates, Policy
from governance.reports.document import request_document, version_document
from governance.reports.html import render
from governance.reports.records import request_record, version_record
from governance.states import Basis, Role
from governance.unlearning.labels import parse_labels
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import (
    actors,
    datasets,
    models,
    policies,
    prepare,
    release,
    requests,
    versions,
)
from governance.workflow.packages import card_contents
from governance.workflow.tools import Tools
from tests.fakes import FakeRegistry
from tests.policies import GUARDED, OPEN
from tests.workflow.helpers import (
    actions,
    champion,
    dump,
    gates,
    holds,
    refusals,
    state,
    version_report,
)
from tests.workflow.shop import Shop

WHY = "the court does not wait for a better edit"
WEAK = Recipe.of("redirect", contraction=0.05, shift=0.05)
"""Goes all of a way that is too short to forget anything."""


WEAK = Recipe.of("redirect", contraction=0.1, shift=0.1)


def weak(shop: Shop) -> int:
    """A request whose edit is too weak to forget anything."""
    number = shop.file(None, "cartoon")
    prepare.prepare(shop.tools, "mona", number, None, WEAK)
    return number


def adopt(shop: Shop, policy: Policy) -> None:
    policies.adopt(shop.ledger, "ada", policy, "a test wants it")


def overridden(shop: Shop) -> int:
    """Such a request, approved by the admin in spite of its gates."""
    number = weak(shop)
    requests.approve(shop.ledger, "ada", number, override=WHY)
    return number


def promote(shop: Shop, number: int, actor: str = "mona", override: str | None = None) -> None:
    release.promote(shop.ledger, shop.registry, actor, None, number, override)


def test_an_approval_of_what_fails_is_refused_and_on_record(shop: Shop) -> None:
    number = weak(shop)
    before = dump(shop.ledger)
    with pytest.raises(
        RefusedError, match=r"request 1 fails forget accuracy \d.* on eval \(gates\)"
    ) as caught:
        requests.approve(shop.ledger, "dmitri", number)
    assert "\n" not in str(caught.value)
    assert dump(shop.ledger) == before
    assert refusals(shop.ledger)[-1] == ("dmitri", "request:1", str(caught.value))
    assert holds(shop.ledger)


def test_an_override_is_in_event_and_tables_and_shown_for_ever(shop: Shop) -> None:
    number = overridden(shop)
    assert state(shop.ledger, number) == "approved"
    versions.apply(shop.tools, "mona", [number])
    with pytest.raises(RefusedError, match="version 2 fails forget accuracy of request 1"):
        promote(shop, 2)
    promote(shop, 2, "ada", "the court again")
    assert champion(shop.ledger) == 2
    assert verify(shop.ledger).faults == ()
    with shop.ledger.read() as session:
        kept = [(row.request_id, row.actor, row.reason) for row in every(session, Override)]
        version = find_version(session, find_model(session, "shop"), 2)
        request = find_request(session, number)
        shown = request_record(request)["overrides"], version_record(session, version)["overrides"]
        pages = [
            render(request_document(session, request)),
            render(version_document(session, version)),
        ]
        events = [
            load_json(e.payload) for e in stream(session) if "override" in load_json(e.payload)
        ]
        _, (told,), _ = card_contents(session, version)
    assert kept == [(number, "ada", WHY), (None, "ada", "the court again")]
    assert [[entry["reason"] for entry in entries] for entries in shown] == [
        [WHY],
        [WHY, "the court again"],
    ]
    assert not shown[0][0]["void"]
    assert [event["override"]["reason"] for event in events] == [WHY, "the court again"]
    failing = [gate for gate in events[0]["gates"] if not gate["passed"]]
    assert failing == events[0]["override"]["gates"] != []
    assert told.overridden == tuple(dict.fromkeys(gate["name"] for gate in failing))
    for page in pages:
        assert WHY in page
        assert "ada let request 1 pass" in page
        assert "forget accuracy" in page
    assert "ada let version 2 pass" in pages[1]


def test_an_override_stays_when_the_request_is_prepared_again(shop: Shop) -> None:
    number = overridden(shop)
    prepare.prepare(shop.tools, "mona", number, None, WEAK)
    with shop.ledger.read() as session:
        [entry] = request_record(find_request(session, number))["overrides"]
        page = render(request_document(session, find_request(session, number)))
    assert entry["void"]
    assert "prepared again since" in page


def test_who_may_not_override_is_refused(shop: Shop) -> None:
    number = weak(shop)
    before = dump(shop.ledger)
    with pytest.raises(RefusedError, match=r"request\.override needs admin"):
        requests.approve(shop.ledger, "dmitri", number, override=WHY)
    with pytest.raises(InvalidInputError, match="a reason is needed"):
        requests.approve(shop.ledger, "ada", number, override="  ")
    assert dump(shop.ledger) == before
    requests.approve(shop.ledger, "ada", number, override=WHY)
    versions.apply(shop.tools, "mona", [number])
    with pytest.raises(RefusedError, match=r"version\.override needs admin"):
        promote(shop, 2, "mona", WHY)
    assert champion(shop.ledger) == 1


def test_the_policy_names_who_may_override(shop: Shop) -> None:
    roles = {
        "request.override": frozenset({Role.APPROVER}),
        "version.override": frozenset({Role.MLOPS}),
    }
    adopt(shop, Policy(roles=roles))
    number = weak(shop)
    with pytest.raises(RefusedError, match=r"request\.override needs approver"):
        requests.approve(shop.ledger, "ada", number, override=WHY)
    requests.approve(shop.ledger, "dmitri", number, override=WHY)
    versions.apply(shop.tools, "mona", [number])
    promote(shop, 2, "mona", WHY)
    assert champion(shop.ledger) == 2
    assert holds(shop.ledger)


def test_there_must_be_something_to_override(shop: Shop) -> None:
    number = shop.prepared()
    with pytest.raises(RefusedError, match="every gate of request 1 passes"):
        requests.approve(shop.ledger, "ada", number, override=WHY)
    requests.approve(shop.ledger, "dmitri", number)
    versions.apply(shop.tools, "mona", [number])
    with pytest.raises(RefusedError, match="every gate of version 2 passes"):
        promote(shop, 2, "ada", WHY)


def test_an_override_is_no_way_around_four_eyes(shop: Shop) -> None:
    number = shop.file(None, "cartoon")
    prepare.prepare(shop.tools, "ada", number, None, WEAK)
    with pytest.raises(RefusedError, match="four eyes"):
        requests.approve(shop.ledger, "ada", number, override=WHY)
    with pytest.raises(RefusedError, match="fails"):  # nor is the broken glass one around the gates
        requests.approve(shop.ledger, "ada", number, "now", break_glass=True)
    requests.approve(shop.ledger, "ada", number, "now", break_glass=True, override=WHY)
    assert holds(shop.ledger)


def test_limits_by_scope_and_basis_decide(shop: Shop) -> None:
    strict = {"bias": {"max_probe_auc": 0.0}}
    adopt(shop, Policy(replace(OPEN, basis=strict)))
    number = shop.prepared()
    with pytest.raises(RefusedError, match=r"probe AUC .* on eval \(gates\.basis\.bias\)"):
        requests.approve(shop.ledger, "dmitri", number)
    adopt(shop, Policy(replace(OPEN, scope={"domain": {"max_probe_auc": 0.0}})))
    requests.approve(shop.ledger, "dmitri", number)
    assert holds(shop.ledger)


def test_a_version_is_measured_on_the_attacks_that_the_policy_limits(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    assert version_report(shop.ledger, 2)["requests"][0]["attacks"] is None
    adopt(shop, Policy(replace(OPEN, max_paraphrase=1.0, max_relearning=1.0, max_probe_auc=1.0)))
    with pytest.raises(
        RefusedError, match=r"paraphrase of request 1 not measured .*governance version evaluate 2"
    ):
        promote(shop, 2)
    versions.evaluate_version(shop.tools, "mona", None, 2, None)
    promote(shop, 2)
    cat = shop.approved("cat", "sketch")
    versions.apply(shop.tools, "mona", [cat])
    found = version_report(shop.ledger, 3)["requests"]
    assert all(entry["attacks"]["paraphrase"]["max"]["n"] for entry in found)
    promote(shop, 3)
    assert holds(shop.ledger)


@pytest.fixture
def others(images: Path, tmp_path: Path) -> Path:
    """Images under names that the label space lacks."""
    place = tmp_path / "others"
    for name, source in (("spoon", "mug"), ("sofa", "cat")):
        (place / name).mkdir(parents=True)
        for number, path in enumerate(sorted(images.glob(f"*/{source}/*"))[:6]):
            shutil.copy(path, place / name / f"{number}{path.suffix}")
    (place / "cat").mkdir()
    shutil.copy(path, place / "cat" / path.name)
    return place


def test_what_was_measured_nowhere_fails_until_it_is_measured(shop: Shop, others: Path) -> None:
    adopt(shop, Policy(replace(GUARDED, max_guard_drop=1.0)))
    number = shop.prepared()
    with pytest.raises(RefusedError, match="guard drop not measured") as caught:
        requests.approve(shop.ledger, "dmitri", number)
    assert "governance dataset add NAME PLACE --role guard" in str(caught.value)
    assert "governance request evaluate 1 --dataset NAME" in str(caught.value)
    datasets.add(shop.ledger, "mona", "others", others, DatasetRole.GUARD)
    prepare.evaluate_request(shop.tools, "mona", number, None)
    requests.approve(shop.ledger, "dmitri", number)
    versions.apply(shop.tools, "mona", [number])
    [guard] = version_report(shop.ledger, 2)["guard"]
    assert (guard["classes"], guard["before"]["n"]) == (
        ["sofa", "spoon"],
        12,
    )  # the label space has cats
    assert guard["dataset"]["name"] == "others"
    promote(shop, 2)
    assert holds(shop.ledger)


def test_every_report_on_the_preparation_must_pass(
    shop: Shop, images: Path, tmp_path: Path
) -> None:
    number = shop.prepared()
    for label in ("mug", "cat"):  # mugs that are cats, so that forgetting mugs is not seen
        (tmp_path / "odd" / label).mkdir(parents=True)
        for path in sorted(images.glob("*/cat/*"))[:6]:
            shutil.copy(path, tmp_path / "odd" / label / f"{path.parent.parent.name}-{path.name}")
    datasets.add(shop.ledger, "mona", "odd", tmp_path / "odd")
    adopt(shop, Policy(replace(OPEN, max_retain_drop=0.1)))
    prepare.evaluate_request(shop.tools, "mona", number, "odd")
    with shop.ledger.read() as session:
        assert len(find_request(session, number).projector.reports) == 2  # type: ignore[union-attr]
    requests.approve(shop.ledger, "dmitri", number)
    with shop.ledger.read() as session:
        approved = [load_json(e.payload) for e in stream(session) if e.action == "request.approved"]
    assert {gate["dataset"] for gate in approved[0]["gates"]} == {"eval", "odd"}
    assert len(approved[0]["report_digests"]) == 2


def test_the_policy_in_force_says_who_may_do_what(shop: Shop) -> None:
    adopt(shop, Policy(roles={"request.file": frozenset({Role.MLOPS})}))
    with pytest.raises(RefusedError, match=r"request\.file needs mlops"):
        shop.file()
    requests.file(shop.ledger, "mona", "shop", [Target("mug", None)], Basis.BIAS, "a reason")
    adopt(shop, Policy())
    shop.file()
    assert holds(shop.ledger)


def test_a_policy_that_leaves_a_ledger_helpless_is_refused(shop: Shop) -> None:
    before = dump(shop.ledger)
    actors.deactivate(shop.ledger, "ada", "otto", "left")
    after = dump(shop.ledger)
    for permission in ("policy.adopt", "actor.manage", "request.decide"):
        rules = Policy(roles={permission: frozenset({Role.AUDITOR})})
        with pytest.raises(
            RefusedError, match=f"nobody who is active could do {permission} any more"
        ):
            adopt(shop, rules)
    assert dump(shop.ledger) == after != before
    adopt(shop, Policy(roles={"policy.adopt": frozenset({Role.COMPLIANCE})}))
    with pytest.raises(RefusedError, match=r"nobody who is active could do policy\.adopt any more"):
        actors.deactivate(shop.ledger, "ada", "carla", "left")
    assert holds(shop.ledger)


def test_of_two_adoptions_at_once_one_wins(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    look, nested = policies.current, []

    def race(session: object) -> tuple[Policy, str]:
        seen = look(session)  # type: ignore[arg-type]
        if not nested:
            nested.append(True)
            policies.adopt(shop.ledger, "ada", Policy(OPEN), "the first")
        return seen

    monkeypatch.setattr(policies, "current", race)
    with pytest.raises(ConflictError, match="somebody else adopted a policy meanwhile"):
        policies.adopt(shop.ledger, "ada", Policy(GUARDED), "the second")
    with shop.ledger.read() as session:
        assert current(session)[0] == Policy(OPEN)
    assert actions(shop.ledger).count("policy.adopted") == 2
    assert holds(shop.ledger)


@pytest.mark.parametrize("what", ["policy", "report"])
def test_a_promotion_is_by_the_gates_that_were_looked_at(shop: Shop, what: str) -> None:
    versions.apply(shop.tools, "mona", [shop.approved("mug")])
    move, nested = shop.registry.set_alias, []

    def race(model: str, alias: str, version: str) -> None:
        move(model, alias, version)
        if not nested:
            nested.append(True)
            if what == "policy":
                gates(shop.ledger, Gates(max_retain_drop=0.5))
            else:
                versions.evaluate_version(shop.tools, "mona", None, 2, None)

    shop.registry.set_alias = race  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="meanwhile"):
        promote(shop, 2)
    assert champion(shop.ledger) == 1
    assert shop.registry.aliases("shop")["champion"] == "1"
    promote(shop, 2)
    assert holds(shop.ledger)


def test_the_production_alias_stays_once_something_is_served(shop: Shop) -> None:
    with pytest.raises(RefusedError, match="must stay 'champion'"):
        adopt(shop, Policy(production="live"))


def test_the_policy_says_which_alias_is_production(
    copy_ledger: Callable[[str], Ledger], migrated: str, encoder: Encoder, images: Path
) -> None:
    ledger, registry = copy_ledger(migrated), FakeRegistry()
    tools = Tools(ledger, registry, encoder)
    actors.found(ledger, "ada")
    actors.add(ledger, "ada", "mona", [Role.MLOPS])
    policies.adopt(ledger, "ada", Policy(production="live"), "our word for it")
    labels = parse_labels(LABELS_FILE.read_text(), toml=True)
    models.register(tools, "mona", "shop", parse_source(f"local-dir:{MODEL_DIR}", None), labels)
    datasets.add(ledger, "mona", "eval", images)
    assert registry.aliases("shop") == {"live": "1"}
    number, _ = requests.file(ledger, "ada", "shop", [Target("mug", None)], Basis.BIAS, "a reason")
    prepare.prepare(tools, "mona", number, "eval", Recipe.of("redirect"))
    actors.add(ledger, "ada", "dmitri", [Role.APPROVER])
    requests.approve(ledger, "dmitri", number)
    versions.apply(tools, "mona", [number])
    release.promote(ledger, registry, "mona", None, 2)
    assert registry.aliases("shop") == {"live": "2", "candidate": "2"}
    assert state(ledger, number) == "released"
    with ledger.read() as session:
        version = find_version(session, find_model(session, "shop"), 2)
        assert version_record(session, version)["served"]
        assert "the version to be served" in render(version_document(session, version))
    assert verify(ledger, registry=lambda: registry).faults == ()
    release.roll_back(ledger, registry, "mona", None, 1, "a test")
    assert registry.aliases("shop")["live"] == "1"
    assert holds(ledger)


def test_a_policy_that_would_be_read_as_another_one_is_refused(shop: Shop) -> None:
    before = dump(shop.ledger)
    with pytest.raises(InvalidInputError, match="cannot be left out"):
        policies.adopt(shop.ledger, "ada", Policy(Gates(None)), "no limit at all")
    with shop.ledger.read() as session:
        assert current(session)[0].gates.max_forget_accuracy is not None
    assert dump(shop.ledger) == before
