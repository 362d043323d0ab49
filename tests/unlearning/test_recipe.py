"""Recipes: the defaults of each method, and the ranges of their values."""

import pytest

from governance.errors import InvalidInputError
from governance.unlearning.recipe import HYPERPARAMETERS, Method, Recipe

NAN, INF = float("nan"), float("inf")


def numbers(method: str) -> tuple[float, ...]:
    recipe = Recipe.of(method)
    return tuple(getattr(recipe, name) for name in ("lambda_forget", "lambda_retain", "mu"))


def test_defaults_of_each_method() -> None:
    assert Recipe.of("redirect") == Recipe()
    assert numbers("redirect") == (1e3, 3.0, 1.0)
    assert numbers("ccup") == (1e3, 10.0, 0.1)
    assert numbers("multimodal") == numbers("nullspace") == (1e3, 0.0, 0.0)
    for method in ("ccup", "multimodal", "nullspace"):
        recipe = Recipe.of(method)
        assert recipe.method == method
        assert (recipe.overshoot, recipe.sibling_weight, recipe.margin) == (1.0, 1.0, 0.0)


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
    given = dict.fromkeys(HYPERPARAMETERS, 0.75)
    assert {getattr(Recipe.of("redirect", **given), name) for name in HYPERPARAMETERS} == {0.75}


@pytest.mark.parametrize("method", ["ccup", "multimodal", "nullspace"])
@pytest.mark.parametrize("name", ["overshoot", "sibling_weight", "margin", "contraction", "shift"])
def test_a_number_that_the_method_would_ignore_is_refused(method: str, name: str) -> None:
    flag = name.replace("_", "-")
    with pytest.raises(InvalidInputError, match=f"^{flag} is for the method redirect only$"):
        Recipe.of(method, **{name: 0.5})
    assert getattr(Recipe.of("redirect", **{name: 0.5}), name) == 0.5


def test_an_unknown_method_is_refused_and_the_known_ones_listed() -> None:
    known = "redirect, ccup, multimodal, nullspace"
    with pytest.raises(InvalidInputError, match=f"'magic'; known: {known}"):
        Recipe.of("magic")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("strength", (0.0, -0.5, 1.0001, INF, NAN), r"strength must lie in \(0, 1\]"),
        ("lambda_forget", (0.0, -1.0, INF, NAN), "lambda-forget must be positive"),
        ("overshoot", (0.0, -1.0, INF, NAN), "overshoot must be positive"),
        ("sibling_weight", (0.0, -1.0, INF, NAN), "sibling-weight must be positive"),
        ("contraction", (-1e-9, INF, NAN), "contraction must not be negative"),
        ("shift", (-1e-9, INF, NAN), "shift must not be negative"),
        ("margin", (-1e-9, 1.0, INF, NAN), r"margin must lie in \[0, 1\)"),
        ("lambda_retain", (-1e-9, INF, NAN), "lambda-retain must not be negative"),
        ("mu", (-1e-9, INF, NAN), "mu must not be negative"),
        ("mu", (0.0,), "mu must be positive when retained rows are used"),
    ],
)
def test_recipes_out_of_range_are_refused(
    name: str, values: tuple[float, ...], message: str
) -> None:
    for value in values:
        with pytest.raises(InvalidInputError, match=message):
            Recipe.of("redirect", **{name: value})


def test_a_domain_must_not_stay_where_it_is() -> None:
    with pytest.raises(InvalidInputError, match="contraction and shift must not both be 0"):
        Recipe(contraction=0.0, shift=0.0)
    assert Recipe(contraction=0.0).shift > 0
    assert Recipe(shift=0.0).contraction > 0


@pytest.mark.parametrize("method", Method)
def test_a_recipe_survives_its_dictionary(method: Method) -> None:
    recipe = Recipe(method, 0.75, 123.0, 4.0, 0.5, 1.5, 2.5, 0.25, 0.125, 0.0625, True)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.to_dict() == {
        "method": method.value,
        "strength": 0.75,
        "lambda_forget": 123.0,
        "lambda_retain": 4.0,
        "mu": 0.5,
        "overshoot": 1.5,
        "sibling_weight": 2.5,
        "margin": 0.25,
        "contraction": 0.125,
        "shift": 0.0625,
        "both_sides": True,
    }
    assert type(recipe.to_dict()["method"]) is str


@pytest.mark.parametrize("method", Method)
def test_the_text_side_redirects_and_holds_whatever_the_method(method: Method) -> None:
    recipe = Recipe.of(method, 0.5, both_sides=True, lambda_forget=77.0)
    text = recipe.for_text()
    assert (text.method, text.strength, text.lambda_forget) == (Method.REDIRECT, 0.5, 77.0)
    assert (text.overshoot, text.sibling_weight, text.contraction, text.shift) == (1, 1, 1, 0)
    assert text.margin == recipe.margin
    holding = recipe if recipe.holds_retained else Recipe.of("ccup")
    assert (text.lambda_retain, text.mu) == (holding.lambda_retain, holding.mu)
    assert text.holds_retained
    assert recipe.lambda_retain > 0 or method in (Method.NULLSPACE, Method.MULTIMODAL)


def test_weights_that_were_given_hold_for_the_text_side_too() -> None:
    text = Recipe.of("nullspace", both_sides=True, lambda_retain=2.0, mu=0.3).for_text()
    assert (text.lambda_retain, text.mu) == (2.0, 0.3)
