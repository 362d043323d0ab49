"""Whoever is refused leaves a trace, and nothing else."""

import pytest

from governance.audit.verify import verify
from governance.errors import InvalidInputError, NotFoundError, RefusedError
from governance.evidence.keyring import MemoryKeyring
from governance.ledger.database import Ledger
from governance.policy import Gates
from governance.states import Role
from governance.unlearning.recipe import Recipe
from governance.workflow import (
    actors,
    cases,
    policies,
    prepare,
    readouts,
    release,
    requests,
    versions,
)
from tests.workflow.helpers import dump, gates, refusals
from tests.workflow.shop import Shop


def test_four_eyes(shop: Shop) -> None:
    number = shop.file()
    prepare.prepare(shop.tools, "ada", number, "eval", Recipe.of("redirect"))
    before = dump(shop.ledger)
    with pytest.raises(RefusedError, match="four eyes"):
        requests.approve(shop.ledger, "ada", number)
    assert dump(shop.ledger) == before
    ((actor, subject, problem),) = refusals(shop.ledger)
    assert (actor, subject) == ("ada", f"request:{number}")
    assert problem.startswith("four eyes: 'ada' prepared")


def test_an_illegal_step_of_several_requests(shop: Shop) -> None:
    one, two = shop.file("mug"), shop.file("cat")
    with pytest.raises(RefusedError):
        versions.apply(shop.tools, "mona", [one, two])
    assert [subject for _, subject, _ in refusals(shop.ledger)] == ["request:1", "request:2"]


def test_a_failed_gate(shop: Shop) -> None:
    number = shop.approved("mug", strength=0.3)
    versions.apply(shop.tools, "mona", [number])
    gates(shop.ledger, Gates(max_retain_drop=0.0, max_forget_accuracy=0.0))
    prepared = shop.prepared("cat")
    del prepared
    with pytest.raises(RefusedError):
        release.promote(shop.ledger, shop.registry, "mona", None, 1)
    with pytest.raises(RefusedError):
        release.roll_back(shop.ledger, shop.registry, "mona", None, None, "why not")
    assert [subject for _, subject, _ in refusals(shop.ledger)] == ["version:shop/1", "model:shop"]


def test_a_missing_role_a_deactivated_actor_and_a_missing_key(shop: Shop) -> None:
    with pytest.raises(RefusedError):
        actors.add(shop.ledger, "mona", "eve", [Role.ADMIN])
    actors.deactivate(shop.ledger, "ada", "otto", "left")
    with pytest.raises(RefusedError):
        policies.adopt(shop.ledger, "otto", policies.Policy(), "mine")
    keyless = Ledger(shop.ledger.url, MemoryKeyring())
    with pytest.raises(RefusedError, match="'carla' has no signing key"):
        requests.withdraw(keyless, "carla", shop.file(), "no")
    keyless.dispose()
    assert [(actor, subject) for actor, subject, _ in refusals(shop.ledger)] == [
        ("mona", "actor:eve"),
        ("otto", "policy:ledger"),
        ("carla", "request:1"),
    ]
    assert verify(shop.ledger).ok


def test_erasing_what_is_due(shop: Shop) -> None:
    before = dump(shop.ledger)
    with pytest.raises(RefusedError, match=r"request\.redact needs"):
        cases.redact_due(shop.ledger, "mona")
    assert dump(shop.ledger) == before
    ((actor, subject, _),) = refusals(shop.ledger)
    assert (actor, subject) == ("mona", "policy:ledger")
    assert verify(shop.ledger).ok


def test_bad_input_is_no_refusal(shop: Shop) -> None:
    before = dump(shop.ledger)
    with pytest.raises(InvalidInputError):
        actors.add(shop.ledger, "ada", "no spaces, please", [Role.ADMIN])
    with pytest.raises(NotFoundError):
        requests.approve(shop.ledger, "dmitri", 99)
    with pytest.raises(NotFoundError):
        requests.approve(shop.ledger, "nobody", 1)
    assert dump(shop.ledger) == before
    assert refusals(shop.ledger) == []


@pytest.mark.parametrize("subject", ["request:1", "version:shop/1"])
def test_taking_a_report(shop: Shop, subject: str) -> None:
    shop.file()
    actors.deactivate(shop.ledger, "ada", "otto", "left")
    before = dump(shop.ledger)
    with pytest.raises(RefusedError, match="deactivated"):
        readouts.record(shop.ledger, "otto", subject, "json", b"content")
    assert dump(shop.ledger) == before
    assert refusals(shop.ledger) == [("otto", subject, "actor 'otto' is deactivated")]
    assert verify(shop.ledger).ok
