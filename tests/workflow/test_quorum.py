"""How many must approve, and what happens in an emergency."""

from dataclasses import replace

import pytest

from governance.audit.verify import verify
from governance.errors import InvalidInputError, RefusedError
from governance.policy import Policy, Quorum
from governance.states import Role
from governance.unlearning.recipe import Recipe
from governance.workflow import actors, policies, prepare, requests, versions
from tests.workflow.helpers import actions, dump, holds, state
from tests.workflow.shop import Shop


def demand(shop: Shop, quorum: Quorum) -> None:
    policies.adopt(shop.ledger, "ada", replace(Policy(), quorum=quorum), "a test")
    actors.add(shop.ledger, "ada", "dora", [Role.APPROVER])


def test_two_must_approve(shop: Shop) -> None:
    demand(shop, Quorum(default=2))
    number = shop.prepared()
    assert not requests.approve(shop.ledger, "dmitri", number).complete
    assert state(shop.ledger, number) == "prepared"
    with pytest.raises(RefusedError):
        versions.apply(shop.tools, "mona", [number])
    with pytest.raises(RefusedError, match="approved request 1 already"):
        requests.approve(shop.ledger, "dmitri", number)
    assert requests.approve(shop.ledger, "dora", number).complete
    assert state(shop.ledger, number) == "approved"
    assert actions(shop.ledger)[-1] == "request.approved"
    assert holds(shop.ledger)


@pytest.mark.parametrize(
    ("quorum", "domain", "needed"),
    [
        (Quorum(scope={"class": 2}), None, 2),
        (Quorum(scope={"class": 2}), "sketch", 1),
        (Quorum(scope={"class-in-domain": 3}, basis={"bias": 2}), "sketch", 3),
        (Quorum(basis={"bias": 2}), None, 2),
        (Quorum(basis={"court-order": 2}), None, 1),
    ],
)
def test_scope_and_basis_raise_the_quorum(
    shop: Shop, quorum: Quorum, domain: str | None, needed: int
) -> None:
    demand(shop, quorum)
    number = shop.prepared("mug", domain)
    assert requests.approve(shop.ledger, "dmitri", number).needed == needed


def test_preparing_again_voids_what_was_approved_so_far(shop: Shop) -> None:
    demand(shop, Quorum(default=2))
    number = shop.prepared()
    requests.approve(shop.ledger, "dmitri", number)
    prepare.prepare(shop.tools, "mona", number, "eval", Recipe.of("redirect"))
    assert not requests.approve(shop.ledger, "dora", number).complete
    assert requests.approve(shop.ledger, "dmitri", number).complete
    assert holds(shop.ledger)


def test_an_admin_breaks_the_glass_with_a_reason_and_it_is_on_record(shop: Shop) -> None:
    demand(shop, Quorum(default=2))
    number = shop.file()
    prepare.prepare(shop.tools, "ada", number, "eval", Recipe.of("redirect"))
    before = dump(shop.ledger)
    with pytest.raises(InvalidInputError, match="reason"):
        requests.approve(shop.ledger, "ada", number, break_glass=True)
    with pytest.raises(RefusedError, match=r"request\.break-glass needs admin"):
        requests.approve(shop.ledger, "dmitri", number, "urgent", break_glass=True)
    assert dump(shop.ledger) == before
    requests.approve(shop.ledger, "ada", number, "the judge waits", break_glass=True)
    assert state(shop.ledger, number) == "approved"
    assert '"break_glass":true' in dump(shop.ledger)["events"][-1][5]
    assert verify(shop.ledger).faults == ()
    versions.apply(shop.tools, "mona", [number])
    assert holds(shop.ledger)
