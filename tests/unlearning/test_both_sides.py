"""Requests that edit both sides: the second matrix, which is for prompts."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from governance.unlearning.bank import PromptBank
from governance.unlearning.capacity import margins
from governance.unlearning.composition import Composition, Edit, compose
from governance.unlearning.projector import Projector, solve
from governance.unlearning.prototypes import Prototypes
from governance.unlearning.recipe import Method, Recipe
from governance.unlearning.targets import Target, covered

PrototypeMaker = Callable[..., Prototypes]
DOG, DOG_SKETCH, SKETCH = Target("dog", None), Target("dog", "sketch"), Target(None, "sketch")


def both(target: Target, method: str = "redirect", strength: float = 1.0) -> Edit:
    return Edit((target,), Recipe.of(method, strength, both_sides=True))


def image_only(target: Target, method: str = "redirect") -> Edit:
    return Edit((target,), Recipe.of(method))


@pytest.fixture(params=Method)
def method_edit(
    request: pytest.FixtureRequest, bank: PromptBank, make_prototypes: PrototypeMaker
) -> Callable[..., Edit]:
    """An edit of both sides with each method, with prototypes where the method cannot do without."""

    def make(target: Target, strength: float = 1.0) -> Edit:
        recipe = Recipe.of(request.param, strength, both_sides=True)
        if request.param is not Method.MULTIMODAL:
            return Edit((target,), recipe)
        pairs = [pair for pair in bank.pairs if pair[1] and target.covers(*pair)]
        return Edit((target,), recipe, (make_prototypes(bank, pairs),))

    return make


def split(bank: PromptBank, *targets: Target) -> tuple[list[int], list[int]]:
    """Numbers of the rows that are forgotten, and of those that are retained."""
    lost = [row for row, pair in enumerate(bank.pairs) if covered(targets, *pair)]
    return lost, [row for row in range(len(bank.pairs)) if row not in lost]


def means(bank: PromptBank, lost: Sequence[int]) -> Tensor:
    """Mean of the retained rows of the domain of each forgotten row; of the whole domain if none is retained."""
    found = []
    for row in lost:
        same = [other for other, pair in enumerate(bank.pairs) if pair[1] == bank.pairs[row][1]]
        found.append(bank.rows[[o for o in same if o not in lost] or same].mean(dim=0))
    return torch.stack(found)


def text_of(composition: Composition) -> Projector:
    assert composition.text is not None
    return composition.text


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("target", [DOG, DOG_SKETCH, SKETCH], ids=str)
def test_prompts_go_to_the_mean_of_the_retained_whatever_the_method(
    bank: PromptBank, method_edit: Callable[..., Edit], target: Target, strength: float
) -> None:
    lost, _ = split(bank, target)
    goals = (1 - strength) * bank.rows[lost] + strength * means(bank, lost)
    composition = compose(bank, [method_edit(target, strength)])
    tower = composition.tower
    assert tower is not None
    assert [block.pair for block in tower.blocks] == [bank.pairs[n] for n in lost]
    way = (bank.rows[lost] - goals).norm(dim=1)
    left = (text_of(composition).apply(bank.rows[lost]) - goals).norm(dim=1)
    torch.testing.assert_close(tower.way, way)
    torch.testing.assert_close(tower.left, left, atol=1e-12, rtol=0)
    assert bool((left <= 0.01 * way).all())


@pytest.mark.parametrize("target", [DOG, DOG_SKETCH, SKETCH], ids=str)
def test_every_edited_prompt_is_finite_and_of_unit_length(
    bank: PromptBank, method_edit: Callable[..., Edit], target: Target
) -> None:
    text = text_of(compose(bank, [method_edit(target)]))
    assert float(text.apply(bank.scores).norm(dim=1).min()) > 0.1
    scores = bank.edited(text).scores
    assert bool(torch.isfinite(scores).all())
    torch.testing.assert_close(scores.norm(dim=1), torch.ones(len(bank.pairs), dtype=torch.float64))


def test_the_projector_of_the_images_would_leave_prompts_of_rounding_noise(
    bank: PromptBank,
) -> None:
    """Why the text side is fitted anew: a prompt sent to zero is 0/0 once it is normalised, as open_clip does."""
    composition = compose(bank, [both(DOG, "nullspace")])
    lost, _ = split(bank, DOG)
    prompts = bank.rows[lost].float()

    def two_ways(edit: Projector) -> Tensor:
        """Cosines of the normalised prompts by the factors and by the dense matrix, float32 as served."""
        factored, dense = edit.apply(prompts), prompts @ edit.dense().float()
        normalised = (torch.nn.functional.normalize(made, dim=1) for made in (factored, dense))
        return torch.linalg.vecdot(*normalised)

    naive, fitted = composition.projector, text_of(composition)
    assert float(naive.apply(prompts).norm(dim=1).max()) < 1e-6
    assert float(two_ways(naive).min()) < 0.9  # the same matrix, other prompts
    assert float(two_ways(fitted).min()) > 0.999999


def test_retained_prompts_stay_whatever_the_method(
    bank: PromptBank, method_edit: Callable[..., Edit]
) -> None:
    _, kept = split(bank, DOG)
    before = margins(bank, bank.rows)
    assert bool((before[kept] > 0).all())
    edited = bank.edited(text_of(compose(bank, [method_edit(DOG)])))
    cosines = (edited.scores * bank.scores).sum(dim=1)[kept]
    assert float(cosines.min()) > 0.98
    after = margins(edited, bank.rows)
    assert bool((after[kept] > 0).all())
    lost, _ = split(bank, DOG)
    assert bool((after[lost] < 0.25 * before[lost]).all())  # what the forgotten prompts find


@pytest.mark.parametrize("target", [DOG, DOG_SKETCH], ids=str)
def test_a_method_that_holds_nothing_holds_retained_prompts(
    bank: PromptBank, target: Target
) -> None:
    """Without that, `nullspace` turns the retained prompts with the forgotten ones."""
    lost, kept = split(bank, target)
    held = text_of(compose(bank, [both(target, "nullspace")]))
    assert held.digest == text_of(compose(bank, [both(target, "ccup")])).digest
    weights = torch.full((len(lost),), 1e3, dtype=torch.float64)
    free = solve(bank.rows[lost], means(bank, lost), weights, bank.rows[:0], weights[:0], 0.0)
    assert moved(bank, held, kept) < 0.5 * moved(bank, free, kept)


def moved(bank: PromptBank, edit: Projector, rows: Sequence[int]) -> float:
    return float((edit.apply(bank.rows[rows]) - bank.rows[rows]).norm(dim=1).mean())


def test_the_matrix_of_the_images_is_the_same_with_and_without(
    bank: PromptBank, method_edit: Callable[..., Edit]
) -> None:
    with_text = method_edit(DOG)
    without = replace(with_text, recipe=replace(with_text.recipe, both_sides=False))
    assert compose(bank, [without]).text is None
    assert compose(bank, [with_text]).projector.digest == compose(bank, [without]).projector.digest


MIXED = [
    both(DOG),
    image_only(Target("cat", None)),
    both(Target("horse", "photo"), "nullspace", 0.5),
    both(SKETCH, "ccup"),
]


def test_the_text_side_does_not_depend_on_the_order(bank: PromptBank) -> None:
    orders = [list(order) for order in itertools.permutations(MIXED)]
    composed = [compose(bank, order) for order in orders]
    assert len({text_of(made).digest for made in composed}) == 1
    assert len({made.projector.digest for made in composed}) == 1
    assert text_of(composed[0]).digest != composed[0].projector.digest


@pytest.mark.parametrize("dropped", range(len(MIXED)))
def test_dropping_a_request_is_solving_without_it(bank: PromptBank, dropped: int) -> None:
    rest = MIXED[:dropped] + MIXED[dropped + 1 :]
    there, gone = text_of(compose(bank, MIXED)), text_of(compose(bank, rest))
    if MIXED[dropped].recipe.both_sides:
        assert gone.digest != there.digest
        only_text = [edit for edit in rest if edit.recipe.both_sides]
        assert gone.digest == text_of(compose(bank, only_text)).digest
    else:
        assert gone.digest == there.digest  # it had no part in the text side
    assert compose(bank, [MIXED[dropped], *rest]).text is not None
    back = compose(bank, [*rest, MIXED[dropped]])
    assert text_of(back).digest == there.digest


def test_without_a_request_of_both_sides_there_is_no_text_side(bank: PromptBank) -> None:
    assert compose(bank, []).text is None
    assert compose(bank, [image_only(DOG), image_only(SKETCH)]).text is None
    assert compose(bank, [both(DOG)]).text is not None


def test_prompts_of_a_request_of_images_only_are_retained_prompts(bank: PromptBank) -> None:
    cat = image_only(Target("cat", None))
    together = compose(bank, [both(DOG), cat])
    assert together.tower is not None
    assert {block.pair[0] for block in together.tower.blocks} == {"dog"}
    assert {block.pair[0] for block in together.blocks} == {"dog", "cat"}
    assert text_of(together).digest == text_of(compose(bank, [both(DOG)])).digest
    cats, _ = split(bank, Target("cat", None))
    edited = bank.edited(text_of(together))
    assert float((edited.scores * bank.scores).sum(dim=1)[cats].min()) > 0.98
    assert bool((margins(edited, bank.rows)[cats] > 0).all())


def test_the_residual_is_that_of_the_worse_side(bank: PromptBank) -> None:
    edit, cat = both(DOG), image_only(Target("cat", None))
    solved = compose(bank, [edit, cat])
    tower = solved.tower
    assert tower is not None
    assert solved.residual(edit) < 0.1
    images_undone = replace(solved, left=solved.way)
    assert images_undone.residual(edit) == pytest.approx(1)
    text_undone = replace(solved, tower=replace(tower, left=tower.way))
    assert text_undone.residual(edit) == pytest.approx(1)
    assert text_undone.residual(cat) == solved.residual(cat) < 0.1  # it has no text side
    image = solved.residual(replace(edit, recipe=Recipe()))
    text = replace(solved, left=0 * solved.left).residual(edit)
    assert image != text
    assert solved.residual(edit) == max(image, text)


def test_the_weights_of_the_text_side_are_the_same_whatever_those_of_the_images(
    bank: PromptBank,
) -> None:
    digests = {
        text_of(
            compose(bank, [Edit((DOG,), Recipe.of("redirect", both_sides=True, **given))])
        ).digest
        for given in ({}, {"lambda_forget": 77.0}, {"mu": 0.3, "anchors": 1.0})
    }
    assert len(digests) == 1
