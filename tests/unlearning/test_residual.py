"""What an edit leaves undone: never more than recorded when requests are added, unlike a naive product."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from governance.unlearning.bank import PromptBank
from governance.unlearning.composition import (
    MAX_RESIDUAL,
    RESIDUAL_FLOOR,
    Composition,
    Edit,
    Row,
    compose,
    tolerance,
)
from governance.unlearning.labels import LabelSpace
from governance.unlearning.projector import Projector, identity
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

BankMaker = Callable[..., PromptBank]

DOG_SKETCH = Edit((Target("dog", "sketch"),), Recipe())
CAT_SKETCH = Edit((Target("cat", "sketch"),), Recipe())
SKETCH = Edit((Target(None, "sketch"),), Recipe())

TARGETS = [
    *[Target(label, None) for label in ("dog", "cat", "horse")],
    *[Target(label, domain) for label in ("dog", "house") for domain in ("photo", "sketch")],
    *[Target(None, domain) for domain in ("photo", "sketch")],
]
METHODS = [Recipe(), Recipe(strength=0.5), Recipe.of("nullspace"), Recipe.of("ccup", 0.25)]
EDITS = st.builds(
    lambda target, recipe: Edit((target,), recipe),
    st.sampled_from(TARGETS),
    st.sampled_from(METHODS),
)


def identity_residual(composition: Composition, bank: PromptBank, one: Edit) -> float:
    """Residual that the same wishes would have without any edit."""
    return replace(composition, projector=identity(bank.dimension)).residual(one)


def test_residual_is_one_untouched_and_zero_complete(bank: PromptBank) -> None:
    zero = Edit((Target("dog", None),), Recipe.of("nullspace", 0.5))
    solved = compose(bank, [zero])
    assert identity_residual(solved, bank, zero) == 1
    assert solved.residual(zero) == pytest.approx(0, abs=1e-9)
    half = Projector(solved.projector.a / 2, solved.projector.b, 1.0)
    halfway = replace(solved, projector=half)
    assert halfway.residual(zero) == pytest.approx(0.5)


@pytest.mark.parametrize(("done", "left"), [(DOG_SKETCH, CAT_SKETCH), (CAT_SKETCH, DOG_SKETCH)])
def test_residual_is_that_of_the_worst_row_of_the_request_alone(
    bank: PromptBank, done: Edit, left: Edit
) -> None:
    both = compose(bank, [done, left])
    half_done = replace(both, projector=compose(bank, [done]).projector)
    assert half_done.residual(left) > 0.9  # held in place
    assert half_done.residual(done) < 0.5
    assert half_done.residual(SKETCH) > 0.9  # the worse of the two


def test_a_row_that_is_to_stay_counts_as_done(make_bank: BankMaker) -> None:
    bank = make_bank()
    bank.rows[15:20] = bank.rows[15]  # the classes of the domain are alike already
    stay = Edit((Target(None, "sketch"),), Recipe(shift=0.0))
    assert identity_residual(compose(bank, [stay]), bank, stay) == 0
    assert identity_residual(compose(bank, [SKETCH]), bank, SKETCH) == pytest.approx(
        1
    )  # shifted all the same


def test_an_edit_that_is_not_finite_is_infinitely_far_from_done(bank: PromptBank) -> None:
    solved = compose(bank, [DOG_SKETCH])
    broken = Projector(solved.projector.a * torch.nan, solved.projector.b, 1.0)
    assert replace(solved, projector=broken).residual(DOG_SKETCH) == math.inf


def test_tolerance_has_a_floor_and_doubles_beyond_it() -> None:
    assert tolerance(0.0) == tolerance(RESIDUAL_FLOOR / 2) == RESIDUAL_FLOOR
    assert tolerance(0.2) == pytest.approx(0.4)
    assert tolerance(0.46) == tolerance(1.0) == MAX_RESIDUAL < 1


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    noise=st.sampled_from([0.2, 0.4, 0.8]),
    edits=st.lists(EDITS, min_size=2, max_size=5),
)
def test_adding_a_request_never_resurrects_an_earlier_one(
    make_bank: BankMaker, seed: int, noise: float, edits: list[Edit]
) -> None:
    bank = make_bank(seed=seed, noise=noise, dimension=48)
    allowed = []
    for count, newest in enumerate(edits, start=1):
        alone = compose(bank, [newest]).residual(newest)
        assert alone < 0.1
        allowed.append(tolerance(alone))
        together = compose(bank, edits[:count])
        for earlier, limit in zip(edits, allowed, strict=False):
            assert identity_residual(together, bank, earlier) == 1
            assert together.residual(earlier) <= limit


def two_similar_classes() -> PromptBank:
    rows = torch.eye(4, dtype=torch.float64)
    rows[1] = torch.tensor([0.6, 0.8, 0.0, 0.0])  # cosine 0.6 with the first
    return PromptBank(LabelSpace(("one", "two", "three", "four")), rows, rows)


def nullspace(label: str) -> Edit:
    return Edit((Target(label, None),), Recipe.of("nullspace"))


def test_the_naive_product_of_projectors_recognises_the_forgotten_class_again() -> None:
    """Two similar classes: the second projector moves what the first one had put out of the way."""
    bank = two_similar_classes()
    first, second = compose(bank, [nullspace("one")]), compose(bank, [nullspace("two")])
    joint = compose(bank, [nullspace("one"), nullspace("two")]).projector.dense()
    product = first.projector.dense() @ second.projector.dense()
    # An image of class one, a little away from two, with a hint of the retained class three.
    image = torch.tensor([1.0, -0.5, 0.05, 0.0], dtype=torch.float64)

    def winner(P: Tensor) -> int:
        return int((image @ P @ bank.plain_scores.T).argmax())

    assert winner(torch.eye(4, dtype=torch.float64)) == 0  # recognised before
    assert winner(first.projector.dense()) == 2  # forgotten by its own projector
    assert winner(product) == 0  # resurrected by the other's
    assert winner(joint) == 2


def test_the_naive_product_leaves_a_residual_that_the_composition_does_not() -> None:
    bank = two_similar_classes()
    edits = [nullspace("two"), nullspace("one")]
    joint = compose(bank, edits)
    one, two = (compose(bank, [e]).projector.dense() for e in edits)
    eye = torch.eye(4, dtype=torch.float64)
    naive = Projector(one @ two - eye, eye, 1.0)
    product = replace(joint, projector=naive)
    # Class one was moved out of the way of its own projector before that was applied.
    assert product.residual(edits[1]) > tolerance(0.0)
    assert joint.residual(edits[0]) < 1e-9
    assert joint.residual(edits[1]) < 1e-9


def test_a_row_with_a_short_way_is_held_to_the_mean_way_of_its_request() -> None:
    rows = torch.eye(3, dtype=torch.float64)[:2]
    goals = rows.clone()
    goals[0, 2], goals[1, 2] = 1.0, 0.01  # ways of 1 and 0.01, mean 0.505
    names = (Row(("dog", None), None), Row(("cat", None), None))
    edit = Edit((Target("dog", None), Target("cat", None)), Recipe())
    a = torch.zeros(3, 1, dtype=torch.float64)
    a[0] = 1.0  # the first row arrives, the second does not move
    done = Projector(a, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64), 1.0)
    assert Composition(done, names, rows, goals).residual(edit) == pytest.approx(0.01 / 0.505)
