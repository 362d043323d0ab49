"""Recipes: the defaults of each method, and the ranges of their values."""

import pytest

from governance.errors import InvalidInputError
from governance.unlearning.recipe import Method, Recipe

NAN, INF = float("nan"), float("inf")


def test_defaults_of_each_method() -> None:
    assert Recipe.of("redirect") == Recipe(Method.REDIRECT, 1.0, 1e3, 10.0, 0.1) == Recipe()
    assert Recipe.of("nullspace") == Recipe(Method.NULLSPACE, 1.0, 1e3, 0.0, 0.0)


def test_given_weights_win_over_the_defaults_and_none_leaves_them() -> None:
    recipe = Recipe.of("nullspace", 0.5, lambda_forget=7.0, lambda_retain=2.0, mu=0.3)
    assert recipe == Recipe(Method.NULLSPACE, 0.5, 7.0, 2.0, 0.3)
    nothing = {"lambda_forget": None, "lambda_retain": None, "mu": None}
    assert Recipe.of("redirect", **nothing) == Recipe()


def test_an_unknown_method_is_refused_and_the_known_ones_listed() -> None:
    with pytest.raises(InvalidInputError, match="'magic'; known: redirect, nullspace"):
        Recipe.of("magic")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("strength", (0.0, -0.5, 1.0001, INF, NAN), r"strength must lie in \(0, 1\]"),
        ("lambda_forget", (0.0, -1.0, INF, NAN), "lambda-forget must be positive"),
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


@pytest.mark.parametrize("method", Method)
def test_a_recipe_survives_its_dictionary(method: Method) -> None:
    recipe = Recipe(method, 0.75, 123.0, 4.0, 0.5)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.to_dict()["method"] == method.value
    assert type(recipe.to_dict()["method"]) is str
