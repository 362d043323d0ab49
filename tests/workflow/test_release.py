"""Promotion and rollback of the alias."""

import pytest

from governance.errors import (
    ConflictError,
    GateError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from governance.ledger.lookup import find_model, find_version
from governance.policy import Gates
from governance.reports.records import version_record
from governance.states import Role
from governance.unlearning.recipe import Recipe
from governance.workflow import actors, prepare, release, requests, versions
from tests.policies import GUARDED, OPEN
from tests.workflow.helpers import actions, champion, dump, gates, holds, refusals, state
from tests.workflow.shop import Shop

LOOSE = Gates(max_forget_accuracy=0.5, max_retain_drop=0.1)


def promote(shop: Shop, number: int, limits: Gates = LOOSE) -> None:
    gates(shop.ledger, limits)
    release.promote(shop.ledger, shop.registry, "mona", None, number)


def roll_back(shop: Shop, to: int | None = None) -> tuple[str, int, list[int]]:
    return release.roll_back(shop.ledger, shop.registry, "mona", None, to, "a reason")


def test_promotion_moves_the_alias_in_both_stores_and_releases(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    assert champion(shop.ledger) == 1
    promote(shop, 2)
    assert champion(shop.ledger) == 2
    assert shop.registry.aliases("shop")["champion"] == "2"
    assert state(shop.ledger, mug) == "released"
    assert actions(shop.ledger)[-4:] == [
        "version.alias_intended",
        "version.promoted",
        "request.released",
        "checkpoint.taken",
    ]
    assert holds(shop.ledger)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        # Too short a way to forget anything; sending a whole domain to zero costs a lot elsewhere.
        (Recipe.of("redirect", contraction=0.05, shift=0.05), "forget accuracy"),
        (Recipe.of("nullspace"), "retain drop"),
    ],
)
def test_a_failed_gate_refuses_and_changes_nothing(
    shop: Shop, recipe: Recipe, message: str
) -> None:
    number = shop.file(None, "cartoon")
    prepare.prepare(shop.tools, "mona", number, None, recipe)
    gates(shop.ledger, OPEN)
    requests.approve(shop.ledger, "dmitri", number)
    versions.apply(shop.tools, "mona", [number])
    gates(shop.ledger, Gates())
    before = dump(shop.ledger)
    with pytest.raises(RefusedError, match=f"version 2 fails .*{message} .* on eval"):
        promote(shop, 2, Gates())
    assert dump(shop.ledger) == before
    assert shop.registry.aliases("shop")["champion"] == "1"


def test_a_partial_strength_is_not_held_to_the_forget_gate(shop: Shop) -> None:
    number = shop.approved("mug", strength=0.1)
    versions.apply(shop.tools, "mona", [number])
    promote(shop, 2, Gates(max_forget_accuracy=0.0, max_retain_drop=0.1))
    assert champion(shop.ledger) == 2


def test_only_newer_versions_are_promoted(shop: Shop) -> None:
    versions.apply(shop.tools, "mona", [shop.approved("mug")])
    promote(shop, 2)
    with pytest.raises(RefusedError, match="champion already"):
        promote(shop, 2)
    with pytest.raises(RefusedError, match="rollback --to 1"):
        promote(shop, 1)
    with pytest.raises(NotFoundError, match="no version 9"):
        promote(shop, 9)


def test_rolling_back_reinstates_and_rolling_forward_releases_again(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    promote(shop, 2)
    assert roll_back(shop) == ("shop", 1, [mug])
    assert state(shop.ledger, mug) == "reinstated"
    assert champion(shop.ledger) == 1
    with pytest.raises(RefusedError, match="holds request 1, which is reinstated"):
        promote(shop, 2)
    assert roll_back(shop, to=2) == ("shop", 2, [])
    assert state(shop.ledger, mug) == "released"
    assert holds(shop.ledger)


def test_there_must_be_something_to_roll_back_to(shop: Shop) -> None:
    with pytest.raises(RefusedError, match="name one with --to"):
        roll_back(shop)
    with pytest.raises(RefusedError, match="champion already"):
        roll_back(shop, to=1)


def test_a_version_with_a_withdrawn_request_is_not_served_again(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    promote(shop, 2)
    roll_back(shop)
    requests.withdraw(shop.ledger, "carla", mug, "settled")
    with pytest.raises(RefusedError, match="holds request 1, which is withdrawn"):
        roll_back(shop, to=2)


def test_a_closed_request_stays_in_every_later_version(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    promote(shop, 2)
    requests.close(shop.ledger, "carla", mug, "done")
    cat = shop.approved("cat")
    versions.apply(shop.tools, "mona", [cat])
    promote(shop, 3)
    assert state(shop.ledger, mug) == "closed"
    assert roll_back(shop, to=1) == ("shop", 1, [mug, cat])
    assert state(shop.ledger, mug) == "reinstated"
    assert holds(shop.ledger)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("problem", [UnavailableError("MLflow is down"), KeyboardInterrupt()])
def test_an_interrupted_promotion_converges(shop: Shop, when: str, problem: BaseException) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    shop.registry.fail(when, "set_alias", problem)
    with pytest.raises(type(problem)):
        promote(shop, 2)
    assert champion(shop.ledger) == 1
    assert state(shop.ledger, mug) == "applied"
    promote(shop, 2)
    assert champion(shop.ledger) == 2
    assert shop.registry.aliases("shop")["champion"] == "2"
    assert holds(shop.ledger)


def test_of_two_promotions_at_once_one_wins(shop: Shop) -> None:
    versions.apply(shop.tools, "mona", [shop.approved("mug")])
    versions.apply(shop.tools, "mona", [shop.approved("cat")])
    move, nested = shop.registry.set_alias, []

    def race(model: str, alias: str, version: str) -> None:
        if not nested:
            nested.append(True)
            promote(shop, 3)
        move(model, alias, version)

    shop.registry.set_alias = race  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="became version 3 meanwhile"):
        promote(shop, 2)
    assert champion(shop.ledger) == 3
    assert shop.registry.aliases("shop")["champion"] == "3"  # not what the loser wrote last
    assert holds(shop.ledger)


def test_a_version_that_failed_its_gates_is_not_served_by_a_rollback(shop: Shop) -> None:
    number = shop.file(None, "cartoon")
    prepare.prepare(shop.tools, "mona", number, None, Recipe.of("nullspace"))
    gates(shop.ledger, OPEN)
    requests.approve(shop.ledger, "dmitri", number)
    versions.apply(shop.tools, "mona", [number])
    with pytest.raises(RefusedError, match="version 2 fails"):
        promote(shop, 2, Gates())
    before = dump(shop.ledger)
    with pytest.raises(RefusedError, match="version 2 was never served"):
        roll_back(shop, to=2)
    assert dump(shop.ledger) == before
    assert shop.registry.aliases("shop")["champion"] == "1"


def test_a_promotion_never_brings_a_served_request_back(shop: Shop) -> None:
    mug, cat = shop.approved("mug"), shop.approved("cat")
    versions.apply(shop.tools, "mona", [mug])
    versions.apply(shop.tools, "mona", [cat])
    promote(shop, 3)
    versions.drop(shop.tools, "mona", cat, "appeal")
    roll_back(shop, to=3)
    assert state(shop.ledger, cat) == "released"
    with pytest.raises(RefusedError, match=f"does not hold request {cat}, which is served now"):
        promote(shop, 4)
    assert champion(shop.ledger) == 3


def test_rolling_back_twice_does_not_go_forward_again(shop: Shop) -> None:
    versions.apply(shop.tools, "mona", [shop.approved("mug")])
    promote(shop, 2)
    versions.apply(shop.tools, "mona", [shop.approved("cat")])
    promote(shop, 3)
    assert roll_back(shop)[1] == 2
    assert roll_back(shop)[1] == 1
    with pytest.raises(RefusedError, match="name one with --to"):
        roll_back(shop)


def test_a_void_approval_is_not_served_again(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    promote(shop, 2)
    roll_back(shop)
    prepare.prepare(shop.tools, "mona", mug, None, Recipe.of("redirect", 0.5))
    requests.approve(shop.ledger, "dmitri", mug)
    versions.apply(shop.tools, "mona", [mug])
    with pytest.raises(RefusedError, match="approval is void"):
        roll_back(shop, to=2)


def test_a_drop_during_a_promotion_is_not_undone_by_it(shop: Shop) -> None:
    mug, cat = shop.approved("mug"), shop.approved("cat")
    versions.apply(shop.tools, "mona", [mug, cat])
    move, nested = shop.registry.set_alias, []

    def race(model: str, alias: str, version: str) -> None:
        move(model, alias, version)
        if not nested:
            nested.append(True)
            versions.drop(shop.tools, "mona", cat, "appeal")

    shop.registry.set_alias = race  # type: ignore[method-assign]
    with pytest.raises(RefusedError, match=f"holds request {cat}, which is reinstated"):
        promote(shop, 2)
    assert state(shop.ledger, cat) == "reinstated"
    assert champion(shop.ledger) == 1
    assert shop.registry.aliases("shop")["champion"] == "1"
    assert holds(shop.ledger)


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_rollback_demands_a_reason(shop: Shop, reason: str) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    promote(shop, 2)
    before = dump(shop.ledger)
    for attempt in (
        lambda: release.roll_back(shop.ledger, shop.registry, "mona", None, None, reason),
        lambda: versions.drop(shop.tools, "mona", mug, reason),
        lambda: requests.close(shop.ledger, "carla", mug, reason),
    ):
        with pytest.raises(InvalidInputError, match="a reason is needed"):
            attempt()
    assert dump(shop.ledger) == before


def dropped_from_three(shop: Shop) -> tuple[int, int]:
    """Two released requests, and limits that were tightened since: what stays does not keep them."""
    mug, cat = shop.approved("mug"), shop.approved("cat", "sketch")
    versions.apply(shop.tools, "mona", [mug, cat])
    promote(shop, 2)
    gates(shop.ledger, GUARDED)
    return mug, cat


def test_a_version_without_a_request_is_held_to_the_gates(shop: Shop) -> None:
    mug, _ = dropped_from_three(shop)
    registered = set(shop.registry.all_tags("shop"))
    with pytest.raises(GateError, match="version 3 fails guard drop not measured"):
        versions.drop(shop.tools, "mona", mug, "appeal")
    assert set(shop.registry.all_tags("shop")) == registered
    assert (champion(shop.ledger), state(shop.ledger, mug)) == (2, "released")
    with pytest.raises(RefusedError, match=r"version\.override needs admin"):
        versions.drop(shop.tools, "mona", mug, "appeal", override="the court wants it today")
    assert [found[1] for found in refusals(shop.ledger)[-2:]] == [f"request:{mug}"] * 2
    actors.add(shop.ledger, "ada", "oscar", [Role.ADMIN, Role.MLOPS])
    versions.drop(shop.tools, "oscar", mug, "appeal", override="the court wants it today")
    assert (champion(shop.ledger), state(shop.ledger, mug)) == (3, "reinstated")
    with shop.ledger.read() as session:
        record = version_record(session, find_version(session, find_model(session, None), 3))
    (override,) = record["overrides"]
    assert (override["actor"], override["reason"]) == ("oscar", "the court wants it today")
    assert [gate["name"] for gate in override["gates"]] == ["guard drop"]
    assert holds(shop.ledger)


def test_there_is_nothing_to_override_where_nothing_is_served(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    with pytest.raises(RefusedError, match="not served at once"):
        versions.drop(shop.tools, "ada", mug, "appeal", override="why not")


def test_whoever_saw_another_version_served_changes_nothing(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    gates(shop.ledger, LOOSE)
    with pytest.raises(ConflictError, match="version 1 of 'shop' is served, not version 2"):
        release.promote(shop.ledger, shop.registry, "mona", None, 2, expect=2)
    release.promote(shop.ledger, shop.registry, "mona", None, 2, expect=1)
    before = dump(shop.ledger)
    for attempt in (
        lambda: release.roll_back(shop.ledger, shop.registry, "mona", None, None, "x", expect=1),
        lambda: versions.drop(shop.tools, "mona", mug, "x", expect=1),
    ):
        with pytest.raises(ConflictError, match="version 2 of 'shop' is served, not version 1"):
            attempt()
    assert dump(shop.ledger) == before


def test_going_back_is_considered_without_doing_it(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    promote(shop, 2)
    before = dump(shop.ledger)
    with shop.ledger.read() as session:
        found = release.consider(session, None, None)
        with pytest.raises(RefusedError, match="champion already"):
            release.consider(session, None, 2)
    assert (found.model, found.number, found.served, found.lost) == ("shop", 1, 2, [mug])
    assert dump(shop.ledger) == before
