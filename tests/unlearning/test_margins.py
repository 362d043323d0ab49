"""Zero-shot margins, and holding on to the retained rows that an edit endangers."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from governance.unlearning import margins as module
from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.composition import Composition, Edit, compose
from governance.unlearning.labels import LabelSpace
from governance.unlearning.margins import ROUNDS, STEP, guard_margins, margins
from governance.unlearning.prototypes import Prototypes
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

BankMaker = Callable[..., PromptBank]
PrototypeMaker = Callable[..., Prototypes]


def tiny(*rows: list[float]) -> PromptBank:
    """Three classes in the plane, scored against the axes and the diagonal between them."""
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float64)
    labels = LabelSpace(("one", "two", "three"))
    return PromptBank(labels, torch.tensor(rows, dtype=torch.float64), scores)


def test_margins_by_hand() -> None:
    bank = tiny([1.0, 0.0], [0.6, 0.8], [0.6, 0.8])
    # Own logit less the best other one: 1 − .6; .8 − 1; 1 − .8.
    expected = torch.tensor([0.4, -0.2, 0.2], dtype=torch.float64)
    torch.testing.assert_close(margins(bank, bank.rows), expected)
    torch.testing.assert_close(margins(bank, 3 * bank.rows), 3 * expected)  # no scale is taken out


def test_margins_compete_within_their_own_domain_only() -> None:
    e = torch.eye(4, dtype=torch.float64)
    labels = LabelSpace(("dog", "cat"), ("sketch",), domain_templates={"sketch": ("a {class}",)})
    bank = PromptBank(labels, e, e)
    rows = torch.stack([e[0] + 5 * e[2], e[1] + 5 * e[3], e[2] + 0.5 * e[3], e[3] + 2 * e[2]])
    expected = torch.tensor([1.0, 1.0, 0.5, -1.0], dtype=torch.float64)
    torch.testing.assert_close(margins(bank, rows), expected)


CLASSES = 240


def crowded(seed: int, dimension: int = 64) -> PromptBank:
    """More concepts than dimensions, in one cone and in groups, as text embeddings of a large vocabulary are."""
    generator = torch.Generator().manual_seed(seed)

    def directions(count: int) -> Tensor:
        return unit(torch.randn(count, dimension, generator=generator, dtype=torch.float64))

    groups = directions(CLASSES // 3).repeat(3, 1)
    rows = unit(1.5 * directions(1) + groups + 0.5 * directions(CLASSES))
    return PromptBank(LabelSpace(tuple(f"c{n}" for n in range(CLASSES))), rows, rows)


def forget(bank: PromptBank, chosen: list[int], recipe: Recipe) -> Composition:
    return compose(bank, [Edit(tuple(Target(f"c{n}", None) for n in chosen), recipe)])


def lost(bank: PromptBank, chosen: list[int], composition: Composition) -> int:
    """Retained rows that are no longer recognised."""
    after = margins(bank, composition.projector.apply(bank.rows))
    after[chosen] = 1.0
    return int((after <= 0).sum())


@pytest.mark.parametrize("seed", range(4))
def test_the_guard_keeps_what_plain_weights_lose_and_gives_up_little_forgetting(seed: int) -> None:
    bank = crowded(seed)
    chosen = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(seed))[:24].tolist()
    plain = forget(bank, chosen, Recipe(margin=0.0))
    guarded = forget(bank, chosen, Recipe(margin=0.1))
    assert (margins(bank, bank.rows) > 0).all()
    assert lost(bank, chosen, plain) >= 3
    assert lost(bank, chosen, guarded) == 0
    assert (margins(bank, guarded.projector.apply(bank.rows))[chosen] < 0).all()


Guard = Callable[..., tuple[Tensor, Tensor]]


@pytest.fixture
def guard() -> Guard:
    """Weights of the retained rows before and after the guard, for the classes that are forgotten."""

    def call(bank: PromptBank, chosen: list[int], share: float) -> tuple[Tensor, Tensor]:
        kept = [n for n in range(len(bank.rows)) if n not in chosen]
        F, R = bank.rows[chosen], bank.rows[kept]
        goals = R.mean(dim=0).expand(len(F), -1)
        weights = torch.full((len(F),), 1e3, dtype=torch.float64)
        held = torch.full((len(R),), 3.0, dtype=torch.float64)
        start = held.clone()
        raised = guard_margins(bank, F, goals, weights, R, held, 1.0, kept, share)
        assert torch.equal(held, start)  # what it was given is left alone
        return start, raised

    return call


def test_only_endangered_rows_are_held_harder(guard: Guard) -> None:
    bank = crowded(0)
    chosen = list(range(24))
    start, raised = guard(bank, chosen, 0.1)
    steps = torch.log(raised / start) / math.log(STEP)
    torch.testing.assert_close(steps, steps.round(), atol=1e-9, rtol=0)
    assert 0 < (steps > 0).double().mean() < 0.5
    assert 1 <= steps.max() < ROUNDS  # it ended because it was done
    kept = [n for n in range(CLASSES) if n not in chosen]
    plain = margins(bank, forget(bank, chosen, Recipe(margin=0.0)).projector.apply(bank.rows))[kept]
    before = margins(bank, bank.rows)[kept]
    assert steps[plain < 0.1 * before].min() >= 1  # whatever was endangered was raised


def test_rows_out_of_danger_keep_their_weights(guard: Guard, bank: PromptBank) -> None:
    start, raised = guard(bank, [0, 5, 10, 15], 0.1)
    assert torch.equal(start, raised)


def test_a_wish_that_cannot_be_met_ends_after_the_rounds(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three classes in the plane: the first cannot move without the third, which is made of it."""
    calls = []
    original = module.coefficients
    monkeypatch.setattr(module, "coefficients", lambda *args: calls.append(args) or original(*args))
    bank = tiny([1.0, 0.0], [0.0, 1.0], [0.6, 0.8])
    start, raised = guard(bank, [0], 0.999999)
    assert len(calls) == ROUNDS
    assert float(raised.max()) == pytest.approx(3.0 * STEP**ROUNDS)
    assert (start == 3.0).all()


def test_a_row_that_was_never_recognised_is_nobody_to_hold(guard: Guard) -> None:
    bank = tiny([1.0, 0.0], [0.6, 0.8], [0.6, 0.8])
    assert margins(bank, bank.rows)[1] < 0
    start, raised = guard(bank, [0], 0.9)
    assert raised[0] == start[0]  # class two
    assert raised[1] > start[1]  # class three, which was recognised


def test_prototypes_take_part_but_only_text_rows_are_guarded(
    make_bank: BankMaker, make_prototypes: PrototypeMaker
) -> None:
    bank = make_bank(dimension=12, noise=0.5)
    visual = make_prototypes(bank, [("cat", "sketch"), ("horse", "sketch")])
    targets = (Target("dog", "sketch"), Target("dog", "photo"))
    plain = compose(bank, [Edit(targets, Recipe(margin=0.0), (visual,))])
    guarded = compose(bank, [Edit(targets, Recipe(margin=0.9), (visual,))])
    kept = torch.tensor([row not in (5, 15) for row in range(20)])
    before = margins(bank, bank.rows)
    for composition, held in ((plain, False), (guarded, True)):
        after = margins(bank, composition.projector.apply(bank.rows))
        endangered = kept & (before > 0) & (after < 0.9 * before)
        assert bool(endangered.any()) is not held


def test_the_largest_margin_of_the_requests_rules(make_bank: BankMaker) -> None:
    bank = make_bank(dimension=12, noise=0.5)
    dog, cat = (Target("dog", "sketch"),), (Target("cat", "photo"),)
    loose, tight = Recipe(margin=0.0), Recipe(margin=0.9)
    mixed = compose(bank, [Edit(dog, loose), Edit(cat, tight)]).projector.digest
    assert mixed == compose(bank, [Edit(dog, tight), Edit(cat, tight)]).projector.digest
    assert mixed != compose(bank, [Edit(dog, loose), Edit(cat, loose)]).projector.digest
    assert replace(tight, margin=0.0) == loose
