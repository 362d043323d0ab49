"""Recipes: the defaults of each method, and the ranges of their values."""

from dataclasses import fields, replace
from typing import Any

import pytest

from governance.errors import InvalidInputError
from governance.unlearning.recipe import (
    HYPERPARAMETERS,
    REDIRECT_ONLY,
    Method,
    Recipe,
    default_of,
)

NAN, INF = float("nan"), float("inf")
PAPERS = ("ccup", "multimodal", "nullspace")


def numbers(method: str) -> tuple[float, ...]:
    recipe = Recipe.of(method)
    return tuple(getattr(recipe, name) for name in ("lambda_forget", "lambda_retain", "mu"))


def test_defaults_of_each_method() -> None:
    assert Recipe.of("redirect") == Recipe()
    assert numbers("ccup") == (1e3, 10.0, 0.1)
    assert numbers("multimodal") == numbers("nullspace") == (1e3, 0.0, 0.0)
    for method in PAPERS:
        assert Recipe.of(method).method == method
        for name in REDIRECT_ONLY:  # what a method ignores stays as it is
            assert getattr(Recipe.of(method), name) == getattr(Recipe(), name)
    for method in Method:
        for name in HYPERPARAMETERS:
            assert default_of(method, name) == getattr(Recipe.of(method), name)


def test_defaults_of_redirect_leave_what_depends_on_the_rows_to_the_fit() -> None:
    open_ = {name for name in HYPERPARAMETERS if getattr(Recipe(), name) is None}
    assert open_ == {"sibling_weight", "mu_image", "overshoot"}
    switches = Recipe().irreversible, Recipe().synonyms, Recipe().both_sides
    assert not any(switches)


def test_what_each_method_does() -> None:
    assert [method.value for method in Method if Recipe.of(method).anchored] == ["redirect"]
    held = [method.value for method in Method if Recipe.of(method).holds_retained]
    assert held == ["redirect", "ccup"]
    assert not Recipe.of("ccup", lambda_retain=0.0).holds_retained


def test_given_weights_win_over_the_defaults_and_none_leaves_them() -> None:
    recipe = Recipe.of("nullspace", 0.5, lambda_forget=7.0, lambda_retain=2.0, mu=0.3)
    assert (recipe.method, recipe.strength) == (Method.NULLSPACE, 0.5)
    assert (recipe.lambda_forget, recipe.lambda_retain, recipe.mu) == (7.0, 2.0, 0.3)
    assert Recipe.of("redirect", **dict.fromkeys(HYPERPARAMETERS)) == Recipe()
    given = dict.fromkeys(HYPERPARAMETERS, 3.0)
    assert {getattr(Recipe.of("redirect", **given), name) for name in HYPERPARAMETERS} == {3.0}


def test_the_number_of_anchors_is_whole() -> None:
    """From the command line it comes as a number like any other."""
    assert type(Recipe.of("redirect", anchors=5.0).anchors) is int
    with pytest.raises(InvalidInputError, match=r"anchors must be a whole number, not 2\.5"):
        Recipe.of("redirect", anchors=2.5)
    with pytest.raises(InvalidInputError, match="anchors must be positive, not 0"):
        Recipe.of("redirect", anchors=0.0)


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_number_of_anchors_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(InvalidInputError, match="anchors must be positive"):
        Recipe.of("redirect", anchors=value)


@pytest.mark.parametrize("method", PAPERS)
@pytest.mark.parametrize("name", sorted(REDIRECT_ONLY))
def test_a_number_that_the_method_would_ignore_is_refused(method: str, name: str) -> None:
    flag = name.replace("_", "-")
    with pytest.raises(InvalidInputError, match=f"^{flag} is for the method redirect only$"):
        Recipe.of(method, **{name: 2.0})
    assert getattr(Recipe.of("redirect", **{name: 2.0}), name) == 2.0


@pytest.mark.parametrize("method", PAPERS)
@pytest.mark.parametrize("name", ["irreversible", "synonyms"])
def test_a_switch_that_the_method_would_ignore_is_refused(method: str, name: str) -> None:
    on: dict[str, Any] = {name: True}
    with pytest.raises(InvalidInputError, match=f"^{name} is for the method redirect only$"):
        Recipe.of(method, **on)
    assert getattr(Recipe.of("redirect", **on), name) is True


def test_an_unknown_method_is_refused_and_the_known_ones_listed() -> None:
    known = "redirect, ccup, multimodal, nullspace"
    with pytest.raises(InvalidInputError, match=f"'magic'; known: {known}"):
        Recipe.of("magic")


POSITIVE = ("lambda_forget", "lambda_image", "sibling_weight", "mu_image", "overshoot")
NOT_NEGATIVE = ("forget_room", "lambda_retain", "mu", "mu_room", "scatter", "contraction", "shift")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("strength", (0.0, -0.5, 1.0001, INF, NAN), r"strength must lie in \(0, 1\]"),
        *((n, (0.0, -1.0, INF, NAN), f"{n.replace('_', '-')} must be positive") for n in POSITIVE),
        *(
            (n, (-1e-9, INF, NAN), f"{n.replace('_', '-')} must not be negative")
            for n in NOT_NEGATIVE
        ),
        ("mu", (0.0,), "mu must be positive when retained rows are used"),
        ("lambda_retain", (0.0,), "lambda-retain must be positive for the method redirect"),
    ],
)
def test_recipes_out_of_range_are_refused(
    name: str, values: tuple[float, ...], message: str
) -> None:
    for value in values:
        with pytest.raises(InvalidInputError, match=message):
            Recipe.of("redirect", **{name: value})


def test_every_number_has_a_range() -> None:
    assert {*POSITIVE, *NOT_NEGATIVE, "anchors"} == set(HYPERPARAMETERS)


def test_a_domain_must_not_stay_where_it_is() -> None:
    with pytest.raises(InvalidInputError, match="contraction and shift must not both be 0"):
        Recipe(contraction=0.0, shift=0.0)
    assert Recipe(contraction=0.0).shift > 0
    assert Recipe(shift=0.0).contraction > 0


def test_only_a_full_edit_is_irreversible() -> None:
    with pytest.raises(InvalidInputError, match="of partial strength cannot be irreversible"):
        Recipe(strength=0.99, irreversible=True)
    assert Recipe(irreversible=True).strength == 1


@pytest.mark.parametrize("method", Method)
def test_a_recipe_survives_its_dictionary(method: Method) -> None:
    changed = {name: 2.0 + place for place, name in enumerate(HYPERPARAMETERS)}
    recipe = replace(Recipe(), method=method, strength=0.75, both_sides=True, synonyms=True,
                     **{**changed, "anchors": 7})  # type: ignore[arg-type]  # fmt: skip
    for one in (recipe, Recipe.of(method), Recipe(irreversible=True)):
        value = one.to_dict()
        assert Recipe.from_dict(value) == one
        assert list(value) == [field.name for field in fields(Recipe)]
        assert type(value["method"]) is str
    assert recipe.to_dict()["anchors"] == 7
    assert recipe.to_dict()["strength"] == 0.75
