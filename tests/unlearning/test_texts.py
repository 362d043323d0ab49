"""Theorems of the text side: what holds for every image there could be, on easy and on degenerate texts."""

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from governance.errors import InvalidInputError
from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.composition import Composition, Edit, compose
from governance.unlearning.labels import LabelSpace
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from tests.unlearning.spaces import Space, spaces

FEW = settings(max_examples=40, deadline=None)
RECIPES = st.sampled_from(
    [
        Recipe(),
        Recipe(anchors=1),
        Recipe(anchors=5, lambda_forget=100.0, mu=0.1),
        Recipe(lambda_forget=0.5, forget_room=0.0, lambda_retain=10.0, mu_room=0.0),
    ]
)
EXACT = Recipe(irreversible=True)


def forget(space: Space, recipe: Recipe | None = None) -> Composition:
    return compose(space.bank, [Edit(space.targets, recipe or Recipe())])


def anchors(space: Space, count: int) -> Tensor:
    """Mean of the nearest retained texts of the same domain, from the definition."""
    found = []
    for row in space.lost:
        domain = space.bank.pairs[row][1]
        same = [n for n in space.kept if space.bank.pairs[n][1] == domain]
        cosines = space.bank.rows[same] @ space.bank.rows[row]
        near = cosines.argsort(descending=True, stable=True)[:count]
        found.append(space.bank.rows[same][near].mean(dim=0))
    return torch.stack(found)


def on_texts(composition: Composition, texts: Tensor) -> Tensor:
    """Texts t as P̃ = Pᵀ scores them: (z P)·t = z·(t P̃)."""
    return texts @ composition.projector.dense().T


@FEW
@given(spaces(), RECIPES)
def test_it_is_the_dense_solution_of_its_objective(space: Space, recipe: Recipe) -> None:
    """P̃ = (N + Σ λ uᵀu)⁻¹ N, whichever of the two systems is solved."""
    U = space.bank.rows[space.lost] - anchors(space, recipe.anchors)
    R, d = space.bank.rows[space.kept], space.bank.dimension
    room = d / len(space.chosen)
    ridge = (recipe.mu + recipe.mu_room * room) * len(R) / d
    N = recipe.lambda_retain * R.T @ R + ridge * torch.eye(d, dtype=torch.float64)
    weight = recipe.lambda_forget + recipe.forget_room * room
    expected = torch.linalg.solve(N + weight * U.T @ U, N)
    composition = forget(space, recipe)
    torch.testing.assert_close(composition.texts.u, U, atol=1e-12, rtol=0)
    torch.testing.assert_close(composition.projector.dense().T, expected, atol=1e-7, rtol=0)


@FEW
@given(spaces(), RECIPES)
def test_no_image_tells_a_forgotten_text_from_its_anchor_by_more_than_is_recorded(
    space: Space, recipe: Recipe
) -> None:
    composition = forget(space, recipe)
    F, G = space.bank.rows[space.lost], anchors(space, recipe.anchors)
    gap = on_texts(composition, F - G)
    torch.testing.assert_close(composition.left, gap.norm(dim=1), atol=1e-9, rtol=0)
    torch.testing.assert_close(composition.way, (F - G).norm(dim=1), atol=1e-12, rtol=0)
    images = composition.projector.apply(space.images())
    assert bool((images @ (F - G).T <= composition.left + 1e-9).all())
    # The bound is the best there is: the image in the direction of the gap reaches it.
    worst = composition.projector.apply(unit(gap))
    torch.testing.assert_close((worst * (F - G)).sum(dim=1), composition.left, atol=1e-9, rtol=0)


@FEW
@given(spaces(), RECIPES)
def test_no_image_changes_the_score_of_a_retained_text_by_more_than_the_text_moves(
    space: Space, recipe: Recipe
) -> None:
    composition, R = forget(space, recipe), space.bank.rows[space.kept]
    change = on_texts(composition, R) - R
    images = space.images()
    moved = (composition.projector.apply(images) - images) @ R.T
    assert bool((moved.abs() <= change.norm(dim=1) + 1e-9).all())
    worst = unit(change)
    moved = ((composition.projector.apply(worst) - worst) * R).sum(dim=1)
    torch.testing.assert_close(moved, change.norm(dim=1), atol=1e-9, rtol=0)


@FEW
@given(spaces(), RECIPES)
def test_what_is_left_and_what_is_damaged_cost_no_more_than_doing_nothing(
    space: Space, recipe: Recipe
) -> None:
    """Of the minimiser: Σ λ‖u P̃‖² + λr Σ‖r P̃ − r‖² ≤ Σ λ‖u‖², strictly less if there is anything to do."""
    composition, R = forget(space, recipe), space.bank.rows[space.kept]
    weight = recipe.lambda_forget + recipe.forget_room * space.bank.dimension / len(space.chosen)
    damage = recipe.lambda_retain * float((on_texts(composition, R) - R).square().sum())
    nothing = weight * float(composition.way.square().sum())
    assume(nothing > 1e-6)  # every forgotten text may have a retained one that is its copy
    assert weight * float(composition.left.square().sum()) + damage < nothing


@FEW
@given(spaces())
def test_an_irreversible_edit_scores_a_forgotten_text_exactly_like_its_anchor(
    space: Space,
) -> None:
    """The text that names no domain; the others, nearly parallel, follow as in any edit."""
    assume(len(space.chosen) < space.bank.dimension)
    composition = forget(space, EXACT)
    size = len(space.bank.labels.classes)
    mine = [place for place, row in enumerate(space.lost) if row < size]
    F, G = space.bank.rows[space.lost][mine], anchors(space, EXACT.anchors)[mine]
    images = space.images()
    before = images @ F.T
    after = composition.projector.apply(images)
    torch.testing.assert_close(after @ F.T, after @ G.T, atol=1e-3, rtol=0)
    if space.shape in ("roomy", "square", "cone", "copied domain"):
        torch.testing.assert_close(after @ F.T, after @ G.T, atol=1e-6, rtol=0)
        assert float((before - images @ G.T).abs().max()) > 0.05
    # So it never beats the best retained text.
    best = (after @ space.bank.rows[[n for n in space.kept if n < size]].T).max(dim=1).values
    assert bool((after @ F.T <= best.unsqueeze(1) + 1e-3).all())


@FEW
@given(spaces(("roomy", "square", "cone", "copied domain")))
def test_an_irreversible_edit_cannot_be_inverted(space: Space) -> None:
    """P is an oblique projection: idempotent, and zero in as many directions as there are differences."""
    P = forget(space, EXACT).projector.dense()
    d = space.bank.dimension
    removed = len(space.chosen)  # a copied domain brings no direction of its own
    values = torch.linalg.svdvals(P)
    assert float(values[d - removed :].max()) < 1e-5
    assert bool((values[: d - removed] > 1 - 1e-5).all())  # as of every projection
    torch.testing.assert_close(P @ P, P, atol=1e-5, rtol=0)
    # The default is not: what it does can be undone by whoever has the matrix.
    assert float(torch.linalg.svdvals(forget(space).projector.dense())[-1]) > 1e-4


@pytest.mark.xfail(
    reason="as many differences as dimensions leave P = 0: every image becomes the zero vector"
)
def test_more_texts_than_dimensions_cannot_be_removed_irreversibly() -> None:
    rows = unit(torch.randn(20, 6, generator=torch.Generator().manual_seed(0)))
    bank = PromptBank(LabelSpace(tuple(f"c{n}" for n in range(20))), rows, rows)
    edit = Edit(tuple(Target(f"c{n}", None) for n in range(6)), EXACT)
    with pytest.raises(InvalidInputError):
        compose(bank, [edit])


@FEW
@given(spaces(("roomy", "square", "cone")))
def test_where_texts_are_independent_the_retained_scores_stay_as_mu_vanishes(space: Space) -> None:
    """The exact dual basis: every image scores the retained texts as before, and forgotten ones like anchors."""
    recipe = replace(EXACT, mu=1e-9, mu_room=0.0)
    F, R = space.bank.rows[space.lost], space.bank.rows[space.kept]
    assume(float(torch.linalg.svdvals(space.bank.rows)[-1]) > 0.02)
    images = space.images()
    after = forget(space, recipe).projector.apply(images)
    torch.testing.assert_close(after @ R.T, images @ R.T, atol=1e-4, rtol=0)
    goals = images @ anchors(space, recipe.anchors).T
    torch.testing.assert_close(after @ F.T, goals, atol=1e-4, rtol=0)
    loose = forget(space).projector.apply(images)
    assert float((loose @ R.T - images @ R.T).abs().max()) > 1e-4  # the ridge does cost something


@FEW
@given(spaces(), RECIPES, st.floats(0.01, 1.0))
def test_strength_is_a_dial_from_the_identity(space: Space, recipe: Recipe, alpha: float) -> None:
    """P(α) = I + α (P(1) − I): it vanishes with α and grows in proportion."""
    eye = torch.eye(space.bank.dimension, dtype=torch.float64)
    whole = forget(space, recipe).projector.dense() - eye
    part = forget(space, replace(recipe, strength=alpha)).projector.dense() - eye
    torch.testing.assert_close(part, alpha * whole, atol=1e-9, rtol=1e-9)


@FEW
@given(spaces(), RECIPES)
def test_every_score_moves_in_a_straight_line_with_strength(space: Space, recipe: Recipe) -> None:
    images, F = space.images(), space.bank.rows[space.lost]
    scores = [
        forget(space, replace(recipe, strength=alpha)).projector.apply(images) @ F.T
        for alpha in (0.25, 0.5, 0.75, 1.0)
    ]
    steps = [b - a for a, b in zip([images @ F.T, *scores], scores, strict=False)]
    for step in steps[1:]:
        torch.testing.assert_close(step, steps[0], atol=1e-9, rtol=0)


def test_more_room_removes_more_exactly() -> None:
    """λf and μ grow with d / k: one class goes almost whole, hundreds as far as the others allow."""
    rows = unit(
        torch.randn(60, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    bank = PromptBank(LabelSpace(tuple(f"c{n}" for n in range(60))), rows, rows)

    def left(count: int, recipe: Recipe) -> float:
        edit = Edit(tuple(Target(f"c{n}", None) for n in range(count)), recipe)
        return compose(bank, [edit]).residual(edit)

    assert left(1, Recipe()) < left(10, Recipe()) < left(40, Recipe())
    assert left(1, Recipe()) < 0.3 * left(1, Recipe(forget_room=0.0))


SYNONYMS = {"dog": ("hound", "puppy"), "cat": ("kitten",)}


def spoken(dimension: int = 32) -> PromptBank:
    """A bank with synonyms a little away from their class, and held-out templates after them."""
    generator = torch.Generator().manual_seed(0)

    def directions(count: int) -> Tensor:
        return unit(torch.randn(count, dimension, generator=generator, dtype=torch.float64))

    classes = ("dog", "cat", "horse", "house", "guitar")
    labels = LabelSpace(classes, synonyms=SYNONYMS)
    rows = directions(len(classes))
    said = torch.stack([rows[classes.index(label)] for label, _ in labels.paraphrases])
    return PromptBank(labels, rows, rows, unit(said + 0.7 * directions(len(said))))


def test_synonyms_move_like_the_class_itself_when_they_are_asked_for() -> None:
    bank = spoken()
    edit = Edit((Target("dog", None),), Recipe(synonyms=True))
    composition = compose(bank, [edit])
    assert [(block.pair[0], block.synonym) for block in composition.blocks] == [
        ("dog", None),
        ("dog", "a photo of a hound"),
        ("dog", "a photo of a puppy"),
    ]
    own, *others = composition.blocks
    assert all(block.anchor == own.anchor for block in others)
    places = [
        n
        for n, (_, said) in enumerate(bank.labels.paraphrases)
        if "hound" in said or "puppy" in said
    ]
    goal = bank.rows[list(own.anchor)].mean(dim=0)

    def gap(recipe: Recipe) -> float:
        made = compose(bank, [replace(edit, recipe=recipe)])
        return float(on_texts(made, bank.paraphrases[places] - goal).norm(dim=1).max())

    assert gap(Recipe(synonyms=True)) < 0.1
    assert gap(Recipe()) > 0.4  # off by default


def test_synonyms_of_another_class_and_held_out_templates_stay_out_of_the_fit() -> None:
    bank = spoken()
    edits = [
        Edit((Target("dog", None),), Recipe(synonyms=True)),
        Edit((Target("cat", None),), Recipe()),
    ]
    words = {block.synonym for block in compose(bank, edits).blocks}
    assert words == {None, "a photo of a hound", "a photo of a puppy"}
    both = [replace(edit, recipe=Recipe(synonyms=True)) for edit in edits]
    assert len(compose(bank, both).blocks) == 2 + 3


def test_synonyms_that_there_are_none_of_are_refused() -> None:
    bank = spoken()
    for edit, where in (
        (Edit((Target("horse", None),), Recipe(synonyms=True)), bank),
        (
            Edit((Target("dog", None),), Recipe(synonyms=True)),
            PromptBank(bank.labels, bank.rows, bank.rows),
        ),
    ):
        with pytest.raises(InvalidInputError, match="the label file names no synonym of"):
            compose(where, [edit])


def test_a_request_of_several_classes_moves_all_of_them_in_one_solution() -> None:
    bank = spoken()
    several = Edit((Target("dog", None), Target("cat", None)), Recipe())
    apart = [Edit((target,), Recipe()) for target in several.targets]
    together = compose(bank, [several])
    assert together.projector.digest == compose(bank, apart).projector.digest
    assert [block.pair[0] for block in together.blocks] == ["dog", "cat"]
    assert together.residual(several) < 0.2
    # Neither is the anchor of the other.
    assert not {0, 1} & {n for block in together.blocks for n in block.anchor}


def test_each_request_has_as_many_anchors_as_it_asks_for() -> None:
    edits = [
        Edit((Target("dog", None),), Recipe(anchors=1)),
        Edit((Target("cat", None),), Recipe(anchors=2)),
    ]
    dog, cat = compose(spoken(), edits).blocks
    assert (len(dog.anchor), len(cat.anchor)) == (1, 2)
