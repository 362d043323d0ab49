"""The image side: which images an edit in one domain changes, and how their scores change."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from governance.errors import InvalidInputError
from governance.unlearning.anchors import class_directions, fates
from governance.unlearning.bank import Pair, PromptBank, unit
from governance.unlearning.composition import Composition, Edit, compose
from governance.unlearning.images import (
    MU_IMAGES,
    MU_TEXTS,
    OVERSHOOT_BOTH,
    OVERSHOOT_IMAGE,
    OVERSHOOT_TEXT,
    SIBLING_IMAGE,
    SIBLING_TEXT,
    fit_images,
    image_rows,
)
from governance.unlearning.prototypes import (
    PrototypeKind,
    Prototypes,
    measure_reference,
    prototypes_of,
)
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

BankMaker = Callable[..., PromptBank]
PrototypeMaker = Callable[..., Prototypes]

DOG_SKETCH, SKETCH = Target("dog", "sketch"), Target(None, "sketch")
PAIR: Pair = ("dog", "sketch")


@pytest.fixture
def shots(bank: PromptBank) -> Prototypes:
    """Means and scatter of four images of each pair."""
    pairs = [pair for pair in bank.pairs if pair[1] for _ in range(4)]
    generator = torch.Generator().manual_seed(3)
    away = unit(torch.randn(1, bank.dimension, generator=generator, dtype=torch.float64))
    noise = torch.randn(len(pairs), bank.dimension, generator=generator, dtype=torch.float64)
    rows = bank.rows[[bank.pairs.index(pair) for pair in pairs]] + 0.5 * away + 0.4 * unit(noise)
    return prototypes_of(PrototypeKind.FEW_SHOT, rows, pairs, {})


def place(bank: PromptBank, *pairs: Pair) -> list[int]:
    return [bank.pairs.index(pair) for pair in pairs]


def ours(
    bank: PromptBank, target: Target, recipe: Recipe | None = None, *visual: Prototypes
) -> Composition:
    return compose(bank, [Edit((target,), recipe or Recipe(), visual)])


def lead(scores: Tensor, own: int, rivals: Sequence[int]) -> float:
    """What is taken from a class, times the overshoot."""
    others = scores[list(rivals)]
    return max(0.0, float(scores[own] - others.max()), float(scores[own] - others.mean()) / 2)


def test_a_class_in_a_domain_is_the_dense_solution_from_texts(bank: PromptBank) -> None:
    """P = I + Ax E Atᵀ with one affected row: the text of the pair; E touches every text of the class."""
    recipe = Recipe(lambda_image=7.0, sibling_weight=3.0, mu_image=2.0, overshoot=1.5, mu=0.2)
    T, d = bank.rows, bank.dimension
    eye = torch.eye(d, dtype=torch.float64)
    (row,) = place(bank, PAIR)
    X = T[5:]  # texts that name no domain stand for no image of one
    W = torch.tensor(
        [7.0 if n == row else 3.0 if n % 5 == 0 else 1.0 for n in range(5, 20)], dtype=torch.float64
    )
    Ax = torch.linalg.solve((X.T * W) @ X + 2.0 * len(X) / d * eye, (X.T * W)[:, [row - 5]])
    At = torch.linalg.solve(T.T @ T + 0.2 * len(T) / d * eye, T.T)
    scores = T[row] @ T.T
    E = torch.zeros(1, len(T), dtype=torch.float64)
    for start in (0, 5, 10, 15):
        E[0, start] = -1.5 * lead(scores, start, range(start + 1, start + 5))
    assert bool((E[0, ::5] < 0).all())
    found = ours(bank, DOG_SKETCH, recipe).projector.dense()
    torch.testing.assert_close(found, eye + Ax @ E @ At.T, atol=1e-9, rtol=0)


def test_a_whole_domain_is_the_dense_solution_from_texts(bank: PromptBank) -> None:
    """Every score of its images goes towards their mean, and that of one class rises by a lead."""
    recipe = Recipe(lambda_image=7.0, mu_image=2.0, mu=0.2, contraction=0.4, shift=0.8)
    T, d = bank.rows, bank.dimension
    eye = torch.eye(d, dtype=torch.float64)
    X = T[5:]
    W = torch.tensor([7.0 if n >= 15 else 1.0 for n in range(5, 20)], dtype=torch.float64)
    Ax = torch.linalg.solve((X.T * W) @ X + 2.0 * len(X) / d * eye, (X.T * W)[:, 10:])
    At = torch.linalg.solve(T.T @ T + 0.2 * len(T) / d * eye, T.T)
    scores = T[15:] @ T.T
    plain = scores[:, :5]
    others = (plain.sum(dim=1) - plain.diagonal()) / 4
    step = 0.8 * float((plain.diagonal() - others).mean())
    sink = int(class_directions(bank).norm(dim=1).argmin())
    E = torch.zeros_like(scores)
    for start in (0, 5, 10, 15):
        block = scores[:, start : start + 5]
        E[:, start : start + 5] = 0.4 * (block.mean(dim=1, keepdim=True) - block) - step / 5
        E[:, start + sink] += step
    found = ours(bank, SKETCH, recipe).projector.dense()
    torch.testing.assert_close(found, eye + Ax @ E @ At.T, atol=1e-9, rtol=0)


def test_few_shot_means_and_their_scatter_are_the_dense_solution(
    bank: PromptBank, shots: Prototypes
) -> None:
    recipe = Recipe(
        lambda_image=7.0, sibling_weight=3.0, mu_image=2.0, overshoot=1.5, mu=0.2, scatter=50.0
    )
    T, d = bank.rows, bank.dimension
    eye = torch.eye(d, dtype=torch.float64)
    gap = (shots.rows - T[5:]).mean(dim=0)
    X = torch.cat([unit(T[5:] + gap), shots.rows])
    pairs = [*bank.pairs[5:], *shots.pairs]
    mine = [n for n, pair in enumerate(pairs) if pair == PAIR]
    assert len(mine) == 2
    W = torch.tensor(
        [7.0 if n in mine else 3.0 if pair[0] == "dog" else 1.0 for n, pair in enumerate(pairs)],
        dtype=torch.float64,
    )
    assert shots.scatter is not None
    normal = (X.T * W) @ X + 50.0 * shots.scatter + 2.0 * len(X) / d * eye
    Ax = torch.linalg.solve(normal, (X.T * W)[:, mine])
    At = torch.linalg.solve(T.T @ T + 0.2 * len(T) / d * eye, T.T)
    E = torch.zeros(2, len(T), dtype=torch.float64)
    for i, n in enumerate(mine):
        scores = X[n] @ T.T
        for start in (0, 5, 10, 15):
            E[i, start] = -1.5 * lead(scores, start, range(start + 1, start + 5))
    found = ours(bank, DOG_SKETCH, recipe, shots).projector.dense()
    torch.testing.assert_close(found, eye + Ax @ E @ At.T, atol=1e-9, rtol=0)


def test_numbers_that_are_left_open_follow_from_what_stands_for_images(
    bank: PromptBank, shots: Prototypes
) -> None:
    def digest(recipe: Recipe, *visual: Prototypes) -> str:
        return ours(bank, DOG_SKETCH, recipe, *visual).projector.digest

    from_text = Recipe(mu_image=MU_TEXTS, overshoot=OVERSHOOT_TEXT, sibling_weight=SIBLING_TEXT)
    assert digest(Recipe()) == digest(from_text)
    assert digest(Recipe(), shots) == digest(
        Recipe(mu_image=MU_IMAGES, overshoot=OVERSHOOT_BOTH), shots
    )
    # Where no prompt names the domain, images alone stand for it.
    rows = bank.rows[:5].repeat(4, 1)
    mute = PromptBank(bank.labels, rows, rows)
    images_alone = Recipe(
        mu_image=MU_IMAGES, overshoot=OVERSHOOT_IMAGE, sibling_weight=SIBLING_IMAGE
    )
    one, other = (
        ours(mute, DOG_SKETCH, recipe, shots).projector.digest
        for recipe in (Recipe(), images_alone)
    )
    assert one == other


def test_texts_are_moved_by_the_gap_between_images_and_texts(
    bank: PromptBank, shots: Prototypes
) -> None:
    identities, rows, _ = image_rows(bank, (), None)
    assert [row.pair for row in identities] == bank.pairs[5:]
    torch.testing.assert_close(rows, bank.rows[5:])  # nothing is known of images
    identities, rows, scatter = image_rows(bank, (shots,), None)
    assert [row.pair for row in identities] == [*bank.pairs[5:], *shots.pairs]
    gap = (shots.rows - bank.rows[5:]).mean(dim=0)
    torch.testing.assert_close(rows[:15], unit(bank.rows[5:] + gap))
    assert torch.equal(rows[15:], shots.rows)
    assert scatter is not None
    assert shots.scatter is not None
    assert torch.equal(scatter, shots.scatter)
    images = torch.randn(30, bank.dimension, generator=torch.Generator().manual_seed(0)) + 1
    reference = measure_reference(images, {})
    _, rows, _ = image_rows(bank, (shots,), reference)
    gap = reference.mean - bank.rows[5:].mean(dim=0)
    torch.testing.assert_close(rows[:15], unit(bank.rows[5:] + gap))


def test_a_prompt_that_names_no_domain_takes_part_only_where_nothing_else_does(
    bank: PromptBank, make_prototypes: PrototypeMaker
) -> None:
    rows = bank.rows[:5].repeat(4, 1)
    mute = PromptBank(bank.labels, rows, rows)
    seen: list[Pair] = [("dog", "sketch"), ("cat", "photo")]
    identities, _, _ = image_rows(mute, (make_prototypes(bank, seen),), None)
    texts = [row.pair for row in identities if row.source is None]
    assert texts == [pair for pair in bank.pairs[5:] if pair not in seen]
    assert [row.pair for row in identities if row.source is not None] == seen


@pytest.mark.parametrize("few_shot", [False, True], ids=["text", "few-shot"])
def test_only_images_of_the_pair_lose_the_class(
    bank: PromptBank, shots: Prototypes, few_shot: bool
) -> None:
    visual = (shots,) if few_shot else ()
    rows = shots.rows if few_shot else bank.rows[5:]
    P = ours(bank, DOG_SKETCH, None, *visual).projector
    before, after = (made @ bank.rows[:5].T for made in (rows, P.apply(rows)))
    own = torch.arange(5).repeat(3)
    assert torch.equal(before.argmax(dim=1), own)
    pairs = bank.pairs[5:]
    wrong = [pairs[n] for n in range(15) if int(after[n].argmax()) != own[n]]
    assert wrong == [PAIR]


def test_a_whole_domain_loses_its_classes_to_one_and_the_others_keep_theirs(
    bank: PromptBank,
) -> None:
    after = ours(bank, SKETCH).projector.apply(bank.rows[5:]) @ bank.rows[:5].T
    winners = after.argmax(dim=1)
    assert torch.equal(winners[:10], torch.arange(5).repeat(2))
    assert len(set(winners[10:].tolist())) == 1


@pytest.mark.parametrize("target", [DOG_SKETCH, SKETCH], ids=str)
@pytest.mark.parametrize("few_shot", [False, True], ids=["text", "few-shot"])
def test_strength_is_a_dial_from_the_identity(
    bank: PromptBank, shots: Prototypes, target: Target, few_shot: bool
) -> None:
    visual = (shots,) if few_shot else ()
    eye = torch.eye(bank.dimension, dtype=torch.float64)
    whole = ours(bank, target, None, *visual).projector.dense() - eye
    assert whole.norm() > 0.1
    for alpha in (1e-6, 0.25, 0.8):
        part = ours(bank, target, Recipe(strength=alpha), *visual).projector.dense() - eye
        torch.testing.assert_close(part, alpha * whole, atol=1e-10, rtol=1e-7)


def test_the_residual_is_the_part_of_the_wanted_change_that_is_missing(
    bank: PromptBank, shots: Prototypes
) -> None:
    for recipe in (Recipe(), Recipe(strength=0.5), Recipe(mu_image=0.01, mu=1e-4, scatter=0.0)):
        edit = Edit((DOG_SKETCH,), recipe, (shots,))
        composition = compose(bank, [edit])
        assert [block.side for block in composition.blocks] == ["images", "images"]
        assert {block.pair for block in composition.blocks} == {PAIR}
        share = composition.left / composition.way
        assert composition.residual(edit) <= float(share.max()) + 1e-12
    assert compose(bank, [edit]).residual(edit) < 0.05  # little is held back
    stiff = replace(edit, recipe=Recipe(mu_image=1e4))
    assert compose(bank, [stiff]).residual(stiff) > 0.95  # nothing moves


def test_sibling_weight_holds_the_class_in_the_other_domains(bank: PromptBank) -> None:
    dogs, others = place(bank, ("dog", "photo"), ("dog", "cartoon")), [6, 7, 8, 9, 11, 12, 13, 14]

    def drift(weight: float, rows: list[int]) -> float:
        P = ours(bank, DOG_SKETCH, Recipe(sibling_weight=weight)).projector
        return float(((P.apply(bank.rows[rows]) - bank.rows[rows]) @ bank.rows[0]).abs().sum())

    assert drift(30.0, dogs) < 0.6 * drift(1.0, dogs)
    assert drift(30.0, others) > 0


def test_scatter_takes_the_decision_away_from_directions_in_which_images_differ_anyway(
    bank: PromptBank, shots: Prototypes
) -> None:
    """Images of one kind move alike if their differences do not decide."""
    assert shots.scatter is not None
    across = torch.linalg.eigh(shots.scatter).eigenvectors[:, -5:].T

    def swayed(weight: float) -> float:
        P = ours(bank, DOG_SKETCH, Recipe(scatter=weight), shots).projector
        return float((P.apply(across) - across).norm())

    assert swayed(3000.0) < 0.3 * swayed(0.0)


def test_unlabelled_images_are_held(bank: PromptBank, shots: Prototypes) -> None:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(200, 8, generator=generator) @ torch.randn(
        8, bank.dimension, generator=generator
    )
    rows = unit(images)

    def moved(weight: int) -> float:
        reference = None
        if weight:
            made = measure_reference(images, {})
            reference = replace(made, mean=bank.rows[5:].mean(dim=0), moment=weight * made.moment)
        edit = Edit((DOG_SKETCH,), Recipe(), (shots,), reference)
        return float((compose(bank, [edit]).projector.apply(rows) - rows).norm(dim=1).mean())

    assert moved(1000) < 0.3 * moved(0)


def test_a_class_that_is_forgotten_everywhere_has_no_part_in_a_domain(bank: PromptBank) -> None:
    """Its columns stay zero: the text side has them, and must not be given anything back."""
    domain, dog = Edit((SKETCH,), Recipe()), Edit((Target("dog", None),), Recipe())
    composition = compose(bank, [domain, dog])
    sides = {(block.side, block.pair) for block in composition.blocks}
    assert sides == {
        *(("images", (label, "sketch")) for label in bank.labels.classes[1:]),
        *(("texts", pair) for pair in bank.pairs if pair[0] == "dog"),
    }


@pytest.mark.parametrize("domain", [DOG_SKETCH, SKETCH], ids=str)
def test_scores_of_a_class_that_is_forgotten_everywhere_are_not_touched(
    bank: PromptBank, domain: Target
) -> None:
    everywhere = Target("cat", None)
    owners = {
        n: Recipe()
        for n, pair in enumerate(bank.pairs)
        if everywhere.covers(*pair) or domain.covers(*pair)
    }
    images = fit_images(bank, owners, fates(bank, owners), (), None)
    cats = [n for n, pair in enumerate(bank.pairs) if pair[0] == "cat"]
    assert not images.wanted[:, cats].any()
    assert bool(images.wanted.any(dim=1).all())


def test_the_sink_is_never_a_class_that_is_itself_forgotten(bank: PromptBank) -> None:
    """Classes are taken away in the order in which they would be chosen."""
    order = class_directions(bank).norm(dim=1).argsort().tolist()
    for gone in range(4):
        names = [bank.labels.classes[n] for n in order[:gone]]
        targets = (SKETCH, *(Target(name, None) for name in names))
        P = compose(bank, [Edit(targets, Recipe(contraction=0.0, shift=1.5))]).projector
        rows = bank.rows[[15 + n for n in order[gone:]]]
        change = ((P.apply(rows) - rows) @ bank.rows[:5].T).mean(dim=0)
        assert int(change[order[gone:]].argmax()) == 0


def test_weights_that_float64_cannot_bring_together_are_refused(bank: PromptBank) -> None:
    with pytest.raises(InvalidInputError, match="too far apart to solve for; raise mu-image"):
        ours(bank, DOG_SKETCH, Recipe(lambda_image=1e300, mu_image=1e-300))


def test_without_an_edit_in_a_domain_the_image_side_is_the_identity(
    bank: PromptBank, shots: Prototypes
) -> None:
    dog = Target("dog", None)
    assert ours(bank, dog).projector.digest == ours(bank, dog, None, shots).projector.digest
    assert {block.side for block in ours(bank, dog).blocks} == {"texts"}
