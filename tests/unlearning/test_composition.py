"""Theorems of composition: one matrix for many requests, in any order, and back again."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from governance.errors import InvalidInputError
from governance.unlearning.bank import PromptBank
from governance.unlearning.composition import Composition, Edit, compose, tolerance
from governance.unlearning.projector import Projector, identity
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

FEW = settings(max_examples=20, deadline=None)
PLAIN = Recipe(
    lambda_retain=10.0, mu=0.1, overshoot=1.0, sibling_weight=1.0, margin=0.0, contraction=1.0,
    shift=0.0,
)  # fmt: skip
"""To the anchor and no further, every retained row held alike: what `reference` writes out."""
NULLSPACE = Recipe.of("nullspace")


def edit(*targets: Target, recipe: Recipe = PLAIN) -> Edit:
    return Edit(targets, recipe)


DOG = edit(Target("dog", None))
CAT = edit(Target("cat", None))
SKETCH = edit(Target(None, "sketch"))
DOG_SKETCH = edit(Target("dog", "sketch"))

TARGETS = st.sampled_from(
    [
        *[Target(label, None) for label in ("dog", "cat", "horse")],
        *[Target(label, d) for label in ("dog", "cat", "house") for d in ("photo", "sketch")],
        *[Target(None, domain) for domain in ("photo", "sketch")],
    ]
)
RECIPES = st.sampled_from(
    [PLAIN, replace(PLAIN, strength=0.5), replace(PLAIN, lambda_retain=3.0, mu=0.3)]
)
EDITS = st.builds(
    lambda targets, recipe: Edit(tuple(targets), recipe),
    st.lists(TARGETS, min_size=1, max_size=2),
    RECIPES,
)
ANY_EDITS = st.builds(
    lambda made, recipe: Edit(made.targets, recipe),
    EDITS,
    RECIPES
    | st.sampled_from(
        [Recipe(), Recipe(strength=0.7), NULLSPACE, Recipe.of("nullspace", 0.25), Recipe.of("ccup")]
    ),
)


def wish(bank: PromptBank, edits: list[Edit]) -> tuple[list[int], Tensor, dict[int, Edit]]:
    """Forgotten rows, their goals and the edit that rules each, written from the definition.

    For redirect edits only; of several that cover a row the strongest rules.
    """
    rulers: dict[int, Edit] = {}
    for row, pair in enumerate(bank.pairs):
        fitting = [e for e in edits if any(t.covers(*pair) for t in e.targets)]
        if fitting:
            rulers[row] = max(fitting, key=lambda e: e.recipe.strength)
    goals = []
    classes = {label for row, (label, _) in enumerate(bank.pairs) if row not in rulers}
    for row, ruler in rulers.items():
        same = [i for i, pair in enumerate(bank.pairs) if pair[1] == bank.pairs[row][1]]
        kept = [i for i in same if i not in rulers]
        elsewhere = [i for i in same if bank.pairs[i][0] in classes]
        anchor = bank.rows[kept or elsewhere or same].mean(dim=0)
        alpha = ruler.recipe.strength
        goals.append((1 - alpha) * bank.rows[row] + alpha * anchor)
    return list(rulers), torch.stack(goals), rulers


def reference(bank: PromptBank, edits: list[Edit]) -> Tensor:
    """P of the stacked problem by one dense solve."""
    forgotten, goals, _ = wish(bank, edits)
    retained = [row for row in range(len(bank.pairs)) if row not in forgotten]
    F, R = bank.rows[forgotten], bank.rows[retained]
    lambda_retain = max(e.recipe.lambda_retain for e in edits)
    mu = min(e.recipe.mu for e in edits)
    held = lambda_retain * R.T @ R + mu * torch.eye(bank.dimension, dtype=torch.float64)
    solution: Tensor = torch.linalg.solve(1e3 * F.T @ F + held, 1e3 * F.T @ goals + held)
    return solution


def places(bank: PromptBank, composition: Composition) -> list[int]:
    """Numbers of the bank's rows that are forgotten."""
    assert all(row.source is None for row in composition.forgotten)
    return [bank.pairs.index(row.pair) for row in composition.forgotten]


def recognised(bank: PromptBank, projector: Projector) -> set[int]:
    """Score rows without a domain that are classified as themselves after the edit."""
    best = (projector.apply(bank.plain_scores) @ bank.plain_scores.T).argmax(dim=1)
    return {row for row, winner in enumerate(best.tolist()) if row == winner}


@FEW
@given(st.lists(EDITS, min_size=1, max_size=4))
def test_composition_is_the_dense_solution_of_the_stacked_problem(
    bank: PromptBank, edits: list[Edit]
) -> None:
    composition = compose(bank, edits)
    forgotten, goals, _ = wish(bank, edits)
    assert places(bank, composition) == forgotten
    assert torch.equal(composition.rows, bank.rows[forgotten])
    torch.testing.assert_close(composition.goals, goals, atol=1e-12, rtol=0)
    P = reference(bank, edits)
    torch.testing.assert_close(composition.projector.dense(), P, atol=1e-8, rtol=0)


@FEW
@given(st.lists(ANY_EDITS, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_order_does_not_change_a_single_bit(
    bank: PromptBank, edits: list[Edit], shuffler: random.Random
) -> None:
    shuffled = shuffler.sample(edits, len(edits))
    first, second = compose(bank, edits), compose(bank, shuffled)
    assert first.projector.digest == second.projector.digest
    assert first.forgotten == second.forgotten
    assert torch.equal(first.goals, second.goals)


def test_reversed_orders_are_the_same_to_the_bit(bank: PromptBank) -> None:
    weak = edit(Target("dog", None), recipe=Recipe(strength=0.5))
    edits = [DOG_SKETCH, weak, SKETCH, edit(Target("cat", None), recipe=NULLSPACE)]
    digests = {compose(bank, order).projector.digest for order in (edits, edits[::-1])}
    assert len(digests) == 1


@FEW
@given(st.lists(EDITS, min_size=2, max_size=4), st.integers(0, 3))
def test_dropping_a_request_is_solving_without_it(
    bank: PromptBank, edits: list[Edit], place: int
) -> None:
    dropped = edits[place % len(edits)]
    rest = [e for e in edits if e != dropped]
    assume(rest)
    kept = compose(bank, rest)
    expected = reference(bank, rest)
    torch.testing.assert_close(kept.projector.dense(), expected, atol=1e-8, rtol=0)
    assert compose(bank, [*rest, dropped, *rest]).projector.digest == (
        compose(bank, [dropped, *rest]).projector.digest
    )


def test_dropping_a_request_brings_its_concept_back_and_no_other(bank: PromptBank) -> None:
    nobody = identity(bank.dimension)
    assert recognised(bank, nobody) == {0, 1, 2, 3, 4}
    assert recognised(bank, compose(bank, [DOG, CAT]).projector) == {2, 3, 4}
    assert recognised(bank, compose(bank, [CAT]).projector) == {0, 2, 3, 4}


def test_a_single_class_goes_to_the_mean_of_the_classes_retained_in_each_domain(
    bank: PromptBank,
) -> None:
    composition = compose(bank, [DOG])
    assert places(bank, composition) == [0, 5, 10, 15]
    for position, row in enumerate(places(bank, composition)):
        expected = bank.rows[row + 1 : row + 5].mean(dim=0)
        torch.testing.assert_close(composition.goals[position], expected)
    after = composition.projector.apply(bank.rows[0])
    assert (bank.rows[0] - composition.goals[0]).norm() > 0.8
    assert (after - composition.goals[0]).norm() < 0.01


def test_a_whole_domain_goes_to_the_mean_of_its_own_rows(bank: PromptBank) -> None:
    composition = compose(bank, [SKETCH])
    assert places(bank, composition) == [15, 16, 17, 18, 19]
    mean = bank.rows[15:20].mean(dim=0)
    torch.testing.assert_close(composition.goals, mean.expand(5, -1))
    after = composition.projector.apply(bank.rows)
    # The classes become alike in the domain and stay apart outside of it.
    assert torch.pdist(bank.rows[15:20]).min() > 0.8
    assert torch.pdist(after[15:20]).max() < 0.05
    assert torch.pdist(after[:5]).min() > 0.8


def test_the_strongest_request_rules_a_row_that_several_cover(bank: PromptBank) -> None:
    half = edit(Target("dog", None), recipe=replace(PLAIN, strength=0.5))
    composition = compose(bank, [half, DOG_SKETCH])
    apart = compose(bank, [half])
    assert places(bank, composition) == places(bank, apart) == [0, 5, 10, 15]
    torch.testing.assert_close(composition.goals[:3], apart.goals[:3])
    torch.testing.assert_close(composition.goals[3], bank.rows[16:20].mean(dim=0))
    assert (composition.goals[3] - apart.goals[3]).norm() > 0.3


def test_of_equal_strength_the_anchor_rules_over_zero(bank: PromptBank) -> None:
    zero = edit(Target("dog", None), recipe=NULLSPACE)
    assert not compose(bank, [zero]).goals.any()
    assert torch.equal(compose(bank, [zero, DOG]).goals, compose(bank, [DOG]).goals)


def test_a_request_inside_another_one_of_the_same_recipe_adds_nothing(bank: PromptBank) -> None:
    whole, both = compose(bank, [SKETCH]), compose(bank, [DOG_SKETCH, SKETCH])
    assert set(compose(bank, [DOG_SKETCH]).forgotten) < set(whole.forgotten)
    assert both.projector.digest == whole.projector.digest
    assert both.residual(DOG_SKETCH) <= tolerance(0.0)


def test_a_stronger_request_inside_a_weaker_whole_domain_is_still_complete(
    bank: PromptBank,
) -> None:
    weak = edit(Target(None, "sketch"), recipe=replace(PLAIN, strength=0.25))
    composition = compose(bank, [weak, DOG_SKETCH])
    mean = bank.rows[15:20].mean(dim=0)
    after = composition.projector.apply(bank.rows)
    assert (after[15] - mean).norm() < 0.05
    torch.testing.assert_close(
        after[16:20], 0.75 * bank.rows[16:20] + 0.25 * mean, atol=0.05, rtol=0
    )


def test_the_same_request_twice_is_the_request_once(bank: PromptBank) -> None:
    assert compose(bank, [DOG, DOG]).projector.digest == compose(bank, [DOG]).projector.digest
    assert compose(bank, [DOG]).projector.digest != compose(bank, [CAT]).projector.digest


def test_nothing_to_forget_is_the_identity(bank: PromptBank) -> None:
    composition = compose(bank, [])
    assert composition.forgotten == ()
    assert composition.projector.digest == identity(bank.dimension).digest
    assert composition.residual(DOG) == 0


def test_nullspace_alone_uses_no_retained_row(bank: PromptBank) -> None:
    U = torch.linalg.svd(bank.rows[[0, 5, 10, 15]], full_matrices=False).Vh
    eye = torch.eye(bank.dimension, dtype=torch.float64)
    P = compose(bank, [edit(Target("dog", None), recipe=NULLSPACE)]).projector.dense()
    torch.testing.assert_close(P, eye - U.T @ U, atol=1e-9, rtol=0)


def test_a_redirect_beside_a_nullspace_holds_the_retained_rows(bank: PromptBank) -> None:
    zero = edit(Target("cat", None), recipe=NULLSPACE)

    def moved(edits: list[Edit]) -> float:
        after = compose(bank, edits).projector.apply(bank.rows[2:5])
        return float((after - bank.rows[2:5]).norm(dim=1).max())

    assert moved([zero]) > 0.1 > moved([zero, DOG])


@pytest.mark.parametrize(
    "edits",
    [
        [edit(*(Target(c, None) for c in ("dog", "cat", "horse", "house", "guitar")))],
        [SKETCH, edit(Target(None, "photo")), edit(Target(None, "cartoon"))],
        [
            SKETCH,
            edit(Target(None, "photo")),
            edit(*(Target(c, "cartoon") for c in ("dog", "cat", "horse", "house"))),
            edit(Target("guitar", None)),
        ],
    ],
    ids=["every class", "every domain", "mixed"],
)
def test_forgetting_everything_together_is_refused(bank: PromptBank, edits: list[Edit]) -> None:
    with pytest.raises(InvalidInputError, match="leave nothing to retain"):
        compose(bank, edits)
    for one in edits if len(edits) > 1 else []:
        compose(bank, [one])  # each alone is a fair request


def test_a_target_outside_the_bank_is_refused(bank: PromptBank) -> None:
    with pytest.raises(InvalidInputError, match="'cow' is not in the model's label space"):
        compose(bank, [DOG, edit(Target("cow", None))])


@given(ANY_EDITS)
@FEW
def test_an_edit_survives_its_dictionary_among_other_keys(one: Edit) -> None:
    assert Edit.from_dict(one.to_dict() | {"purpose": "case 4711"}, {}) == one
