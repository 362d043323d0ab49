"""Each method of the papers, from targets to matrix: all are settings of one solver."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from governance.errors import InvalidInputError
from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.composition import Edit, compose
from governance.unlearning.margins import margins
from governance.unlearning.prototypes import PrototypeKind, Prototypes
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

BankMaker = Callable[..., PromptBank]
PrototypeMaker = Callable[..., Prototypes]

TARGETS = {
    "class": (Target("dog", None),),
    "class in a domain": (Target("dog", "sketch"),),
    "domain": (Target(None, "sketch"),),
    "several": (Target("dog", None), Target("cat", "photo"), Target(None, "sketch")),
}
STRENGTHS = [0.25, 0.9, 1.0]


def eye(bank: PromptBank) -> Tensor:
    return torch.eye(bank.dimension, dtype=torch.float64)


def split(bank: PromptBank, targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
    """Text rows that `targets` cover, and the others."""
    lost = torch.tensor([any(t.covers(*pair) for t in targets) for pair in bank.pairs])
    assert lost.any()
    assert not lost.all()
    return bank.rows[lost], bank.rows[~lost]


def span(rows: Tensor) -> Tensor:
    """Orthogonal projector on the span of `rows`."""
    _, values, V = torch.linalg.svd(rows, full_matrices=False)
    U = V[values > 1e-6 * values[0]]
    return U.T @ U


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_ccup_is_the_direct_solution_of_its_objective(
    bank: PromptBank, targets: tuple[Target, ...], strength: float
) -> None:
    """P = (λf FᵀF + λr RᵀR + μI)⁻¹(λr RᵀR + μI), arXiv 2512.14137."""
    F, R = split(bank, targets)
    kept = 7.0 * R.T @ R + 0.3 * eye(bank)
    full = torch.linalg.solve(500.0 * F.T @ F + kept, kept)
    recipe = Recipe.of("ccup", strength, lambda_forget=500.0, lambda_retain=7.0, mu=0.3)
    P = compose(bank, [Edit(targets, recipe)]).projector.dense()
    expected = (1 - strength) * eye(bank) + strength * full
    torch.testing.assert_close(P, expected, atol=1e-8, rtol=0)
    assert (P - eye(bank)).norm() > 0.1


def test_ccup_holds_what_nullspace_lets_go(bank: PromptBank) -> None:
    targets = TARGETS["class"]
    _, R = split(bank, targets)

    def drift(method: str) -> float:
        P = compose(bank, [Edit(targets, Recipe.of(method))]).projector
        return float((P.apply(R) - R).norm(dim=1).max())

    assert drift("nullspace") > 3 * drift("ccup") > 0


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_nullspace_takes_a_share_of_the_span_of_the_text_rows_away(
    bank: PromptBank, targets: tuple[Target, ...], strength: float
) -> None:
    F, _ = split(bank, targets)
    P = compose(bank, [Edit(targets, Recipe.of("nullspace", strength))]).projector
    torch.testing.assert_close(P.dense(), eye(bank) - strength * span(F), atol=1e-8, rtol=0)
    assert P.rank == len(F)


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_multimodal_is_the_nullspace_of_text_and_prototypes_together(
    bank: PromptBank,
    make_prototypes: PrototypeMaker,
    targets: tuple[Target, ...],
    strength: float,
) -> None:
    """arXiv 2512.14113; prototypes of what is retained stay out of it."""
    visual = make_prototypes(bank, [(c, "sketch") for c in ("dog", "cat")] + [("dog", "photo")])
    covered = [any(t.covers(*pair) for t in targets) for pair in visual.pairs]
    F, _ = split(bank, targets)
    joined = torch.cat([F, visual.rows[torch.tensor(covered)]])
    composition = compose(bank, [Edit(targets, Recipe.of("multimodal", strength), (visual,))])
    P = composition.projector
    torch.testing.assert_close(P.dense(), eye(bank) - strength * span(joined), atol=1e-8, rtol=0)
    assert P.rank == len(joined) > len(F)
    sources = [row.source for row in composition.forgotten]
    assert sources == [None] * len(F) + [visual.identity] * sum(covered)


def test_multimodal_with_rank_deficient_prototypes(bank: PromptBank) -> None:
    """A prototype that is the text row itself, and one that lies between two: no rank, no harm."""
    targets = TARGETS["several"]
    F, _ = split(bank, targets)
    pairs = (("dog", "photo"), ("dog", "cartoon"))
    rows = unit(torch.stack([F[0], F[0] + 2 * F[1]]))
    visual = Prototypes(PrototypeKind.SYNTHESISED, pairs, rows, {})
    P = compose(bank, [Edit(targets, Recipe.of("multimodal"), (visual,))]).projector
    torch.testing.assert_close(P.dense(), eye(bank) - span(F), atol=1e-7, rtol=0)
    assert P.rank == len(F)


@pytest.mark.parametrize(
    "pairs", [[], [("cat", "sketch"), ("dog", "photo")]], ids=["none", "other"]
)
def test_multimodal_without_a_prototype_of_what_is_forgotten_is_refused(
    bank: PromptBank, make_prototypes: PrototypeMaker, pairs: list[tuple[str, str]]
) -> None:
    visual = (make_prototypes(bank, pairs),) if pairs else ()
    targets = (Target("dog", "sketch"),)
    with pytest.raises(InvalidInputError, match="add --prototypes synthesised or --prototypes few"):
        Edit(targets, Recipe.of("multimodal"), visual)
    Edit(targets, Recipe.of("nullspace"), visual)  # the others do not need any
    Edit(
        (Target("dog", None),),
        Recipe.of("multimodal"),
        (make_prototypes(bank, [("dog", "photo")]),),
    )


@pytest.mark.parametrize("method", ["redirect", "ccup"])
def test_prototypes_are_forgotten_and_retained_like_their_text_rows(
    bank: PromptBank, make_prototypes: PrototypeMaker, method: str
) -> None:
    visual = make_prototypes(bank, [("dog", "sketch"), ("cat", "sketch"), ("horse", "photo")])
    targets = (Target("dog", "sketch"),)

    forgotten = Prototypes(visual.kind, visual.pairs[:1], visual.rows[:1], {})

    def moved(*prototypes: Prototypes) -> Tensor:
        P = compose(bank, [Edit(targets, Recipe.of(method), prototypes)]).projector
        return (P.apply(visual.rows) - visual.rows).norm(dim=1)

    blind, seen, held = moved(), moved(forgotten), moved(visual)
    assert seen[0] > blind[0] > 0.1  # the forgotten one goes further when it is seen
    assert held[0] > blind[0]
    assert (held[1:] < 0.9 * seen[1:]).all()  # the retained ones are held when they are seen


def test_a_redirected_prototype_goes_as_far_and_in_the_direction_of_its_text_row(
    bank: PromptBank, make_prototypes: PrototypeMaker
) -> None:
    visual = make_prototypes(bank, [("dog", "sketch")])
    composition = compose(bank, [Edit((Target("dog", "sketch"),), Recipe(strength=0.5), (visual,))])
    way = composition.goals - composition.rows
    assert torch.equal(composition.rows[1], visual.rows[0])
    torch.testing.assert_close(way[1], way[0])
    assert way[0].norm() > 0.3


def test_the_dial_of_strength_runs_from_recognised_to_forgotten(bank: PromptBank) -> None:
    def margin(strength: float) -> float:
        edit = Edit((Target("dog", None),), Recipe.of("redirect", strength))
        return float(margins(bank, compose(bank, [edit]).projector.apply(bank.rows))[0])

    before = float(margins(bank, bank.rows)[0])
    figures = [before, *(margin(strength) for strength in (0.25, 0.5, 0.75, 1.0))]
    assert figures == sorted(figures, reverse=True)
    assert figures[0] > 0.3 > 0 > figures[-1]


def test_rows_of_the_same_class_elsewhere_are_held_harder(bank: PromptBank) -> None:
    """Sibling weight: other rows pay for it, so it must not be everyone's weight."""
    dogs, others = [5, 10], [6, 7, 8, 9, 16, 17, 18, 19]

    def drift(recipe: Recipe, rows: list[int]) -> float:
        P = compose(bank, [Edit((Target("dog", "sketch"),), recipe)]).projector
        after = P.apply(bank.rows[rows])
        return float((after - bank.rows[rows]).norm())

    plain = Recipe(sibling_weight=1.0, margin=0.0)
    held = Recipe(sibling_weight=10.0, margin=0.0)
    assert drift(held, dogs) < 0.6 * drift(plain, dogs)
    assert drift(held, others) > drift(plain, others)
    everywhere = (Target("dog", None),)
    unchanged = {
        compose(bank, [Edit(everywhere, recipe)]).projector.digest for recipe in (plain, held)
    }
    assert len(unchanged) == 1  # a class forgotten everywhere has no rows elsewhere
