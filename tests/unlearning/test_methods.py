"""Each method of the papers, from targets to matrix: nothing of ours takes part in them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from governance.errors import InvalidInputError
from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.capacity import margins
from governance.unlearning.composition import Edit, compose
from governance.unlearning.prototypes import PrototypeKind, Prototypes
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from tests.unlearning.spaces import Space, spaces

PrototypeMaker = Callable[..., Prototypes]
FEW = settings(max_examples=30, deadline=None)

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


def solved(F: Any, R: Any, forget: float, retain: float, mu: float) -> Any:
    """CCUP by NumPy: P = (λf FᵀF + λr RᵀR + μI)⁻¹(λr RᵀR + μI), arXiv 2512.14137."""
    kept = retain * R.T @ R + mu * np.eye(F.shape[1])
    return np.linalg.solve(forget * F.T @ F + kept, kept)


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_ccup_is_the_direct_solution_of_its_objective(
    bank: PromptBank, targets: tuple[Target, ...], strength: float
) -> None:
    F, R = split(bank, targets)
    full = torch.from_numpy(solved(F.numpy(), R.numpy(), 500.0, 7.0, 0.3))
    recipe = Recipe.of("ccup", strength, lambda_forget=500.0, lambda_retain=7.0, mu=0.3)
    P = compose(bank, [Edit(targets, recipe)]).projector.dense()
    expected = (1 - strength) * eye(bank) + strength * full
    torch.testing.assert_close(P, expected, atol=1e-8, rtol=0)
    assert (P - eye(bank)).norm() > 0.1


@FEW
@given(spaces(), st.sampled_from(STRENGTHS))
def test_ccup_and_nullspace_are_the_papers_on_every_shape(space: Space, strength: float) -> None:
    bank = space.bank
    F, R = bank.rows[space.lost], bank.rows[space.kept]

    def matrix(method: str) -> Tensor:
        edit = Edit(space.targets, Recipe.of(method, strength))
        return compose(bank, [edit]).projector.dense()

    full = torch.from_numpy(solved(F.numpy(), R.numpy(), 1e3, 10.0, 0.1))
    expected = (1 - strength) * eye(bank) + strength * full
    torch.testing.assert_close(matrix("ccup"), expected, atol=1e-7, rtol=0)
    values = torch.linalg.svdvals(F)
    assume(not ((values / values[0] > 1e-8) & (values / values[0] < 1e-4)).any())
    torch.testing.assert_close(
        matrix("nullspace"), eye(bank) - strength * span(F), atol=1e-6, rtol=0
    )


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
    """P = I − αUUᵀ, arXiv 2512.14137."""
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
    assert {block.side for block in composition.blocks} == {"rows"}
    sources = [block.source for block in composition.blocks]
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


def test_prototypes_are_forgotten_and_retained_like_their_text_rows_by_ccup(
    bank: PromptBank, make_prototypes: PrototypeMaker
) -> None:
    visual = make_prototypes(bank, [("dog", "sketch"), ("cat", "sketch"), ("horse", "photo")])
    targets = (Target("dog", "sketch"),)
    F, R = split(bank, targets)
    F, R = torch.cat([F, visual.rows[:1]]), torch.cat([R, visual.rows[1:]])
    found = compose(bank, [Edit(targets, Recipe.of("ccup"), (visual,))]).projector.dense()
    expected = torch.from_numpy(solved(F.numpy(), R.numpy(), 1e3, 10.0, 0.1))
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("method", ["nullspace", "ccup", "redirect"])
def test_the_dial_of_strength_runs_from_recognised_to_forgotten(
    bank: PromptBank, method: str
) -> None:
    def margin(strength: float) -> float:
        edit = Edit((Target("dog", None),), Recipe.of(method, strength))
        return float(margins(bank, compose(bank, [edit]).projector.apply(bank.rows))[0])

    before = float(margins(bank, bank.rows)[0])
    figures = [before, *(margin(strength) for strength in (0.25, 0.5, 0.75, 1.0))]
    assert figures == sorted(figures, reverse=True)
    assert figures[0] > 0.3
    assert figures[-1] < 0.01
