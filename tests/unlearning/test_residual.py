"""What an edit leaves undone: seen whatever undoes it, and never more than recorded when requests are added."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.composition import (
    MAX_RESIDUAL,
    RESIDUAL_FLOOR,
    Block,
    Composition,
    Edit,
    compose,
    tolerance,
)
from governance.unlearning.labels import LabelSpace
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

BankMaker = Callable[..., PromptBank]

DOG = Edit((Target("dog", None),), Recipe())
DOG_SKETCH = Edit((Target("dog", "sketch"),), Recipe())
CAT_SKETCH = Edit((Target("cat", "sketch"),), Recipe())
SKETCH = Edit((Target(None, "sketch"),), Recipe())

METHODS = [
    Recipe(), Recipe(strength=0.5), Recipe(irreversible=True), Recipe.of("nullspace"),
    Recipe.of("ccup", 0.25),
]  # fmt: skip
EDITS = st.builds(
    lambda label, recipe: Edit((Target(label, None),), recipe),
    st.sampled_from(["dog", "cat", "horse"]),
    st.sampled_from(METHODS),
)


def lengths(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def composition(blocks: list[Block], way: Tensor, left: Tensor) -> Composition:
    """Some blocks with what they should do and have left; nothing else of it is asked."""
    return replace(compose(_four(), []), blocks=tuple(blocks), way=way, left=left)


def _four() -> PromptBank:
    rows = torch.eye(4, dtype=torch.float64)
    return PromptBank(LabelSpace(("one", "two", "three", "four")), rows, rows)


def test_it_is_the_share_of_the_way_that_is_left_of_the_worst_row() -> None:
    blocks = [Block("texts", ("dog", None)), Block("texts", ("cat", None))]
    both = Edit((Target("dog", None), Target("cat", None)), Recipe())
    made = composition(blocks, lengths(2.0, 2.0), lengths(0.5, 1.0))
    assert made.residual(both) == 0.5
    assert made.residual(DOG) == 0.25  # of its own rows only
    assert composition(blocks, lengths(2.0, 2.0), lengths(2.0, 2.0)).residual(both) == 1
    assert composition(blocks, lengths(2.0, 2.0), lengths(0.0, 0.0)).residual(both) == 0


def test_a_row_with_a_short_way_is_held_to_the_mean_way_of_its_request() -> None:
    blocks = [Block("texts", ("dog", None)), Block("texts", ("cat", None))]
    both = Edit((Target("dog", None), Target("cat", None)), Recipe())
    made = composition(blocks, lengths(1.0, 0.01), lengths(0.0, 0.01))
    assert made.residual(both) == pytest.approx(0.01 / 0.505)


def test_a_row_that_is_to_stay_counts_as_done(make_bank: BankMaker) -> None:
    blocks = [Block("images", ("dog", "sketch"))]
    assert composition(blocks, lengths(0.0), lengths(0.0)).residual(DOG_SKETCH) == 0
    bank = make_bank()
    bank.rows[15:20] = bank.rows[15]  # the classes of the domain look alike already
    stay = Edit((Target("cat", "sketch"),), Recipe())
    assert compose(bank, [stay]).residual(stay) == 0


def test_an_edit_that_is_not_finite_is_infinitely_far_from_done() -> None:
    broken = composition([Block("texts", ("dog", None))], lengths(1.0), lengths(math.nan))
    assert broken.residual(DOG) == math.inf


def test_prototypes_of_another_request_are_not_its_own() -> None:
    blocks = [Block("images", ("dog", "sketch")), Block("images", ("dog", "sketch"), "sha256:1")]
    made = composition(blocks, lengths(1.0, 1.0), lengths(0.1, 0.9))
    assert made.residual(DOG_SKETCH) == pytest.approx(0.1)


def test_tolerance_has_a_floor_and_doubles_beyond_it() -> None:
    assert tolerance(0.0) == tolerance(RESIDUAL_FLOOR / 2) == RESIDUAL_FLOOR
    assert tolerance(0.4) == pytest.approx(0.8)
    assert tolerance(0.46) == tolerance(1.0) == MAX_RESIDUAL < 1


@pytest.mark.parametrize("one", [DOG, DOG_SKETCH, SKETCH], ids=["class", "pair", "domain"])
@pytest.mark.parametrize("method", METHODS)
def test_alone_every_method_does_most_of_what_it_should(
    bank: PromptBank, one: Edit, method: Recipe
) -> None:
    alone = replace(one, recipe=method)
    assert compose(bank, [alone]).residual(alone) < 0.45


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    noise=st.sampled_from([0.2, 0.4, 0.8]),
    edits=st.lists(EDITS, min_size=2, max_size=5),
)
def test_adding_a_class_leaves_none_more_undone_than_was_recorded(
    make_bank: BankMaker, seed: int, noise: float, edits: list[Edit]
) -> None:
    """Among classes that are forgotten everywhere; in one domain the workflow may have to refuse."""
    bank = make_bank(seed=seed, noise=noise, dimension=48)
    allowed = []
    for count, newest in enumerate(edits, start=1):
        alone = compose(bank, [newest]).residual(newest)
        assert alone < 0.2
        allowed.append(tolerance(alone))
        together = compose(bank, edits[:count])
        for earlier, limit in zip(edits, allowed, strict=False):
            assert together.residual(earlier) <= limit


def test_weights_of_another_request_that_hold_too_hard_are_seen() -> None:
    """In a crowd, one request with an enormous λr would hold what another one forgets."""
    rows = unit(torch.randn(60, 20, generator=torch.Generator().manual_seed(0)).double())
    bank = PromptBank(LabelSpace(tuple(f"c{n}" for n in range(60))), rows, rows)
    mine = Edit((Target("c0", None),), Recipe())
    alone = compose(bank, [mine]).residual(mine)
    assert alone < 0.25
    stiff = Edit((Target("c1", None),), Recipe(lambda_retain=1e5))
    assert compose(bank, [mine, stiff]).residual(mine) > tolerance(alone)


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


def test_the_naive_product_leaves_what_the_composition_does_not() -> None:
    bank = two_similar_classes()
    edits = [nullspace("one"), nullspace("two")]
    one, two = (compose(bank, [edit]).projector for edit in edits)
    # Class two was moved out of the way of its own projector before that was applied.
    assert float(two.apply(one.apply(bank.rows[1])).norm()) > 0.1
    joint = compose(bank, edits)
    assert [joint.residual(edit) < 1e-9 for edit in edits] == [True, True]


@pytest.mark.parametrize("method", ["redirect", "ccup", "nullspace"])
def test_way_and_rest_of_every_row_are_those_of_the_matrix(bank: PromptBank, method: str) -> None:
    """Not of what was solved for: texts are read through Pᵀ, rows of the papers' methods through P."""
    composition = compose(bank, [replace(DOG, recipe=Recipe.of(method, 0.75))])
    P = composition.projector.dense()
    assert len(composition.blocks) == 4
    for block, way, left in zip(composition.blocks, composition.way, composition.left, strict=True):
        row = bank.rows[bank.pairs.index(block.pair)]
        if method == "redirect":
            row = row - bank.rows[list(block.anchor)].mean(dim=0)
        torch.testing.assert_close(way, 0.75 * row.norm())
        missed = row @ (P.T if method == "redirect" else P) - 0.25 * row
        torch.testing.assert_close(left, missed.norm(), atol=1e-9, rtol=0)
