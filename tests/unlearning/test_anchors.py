"""Where forgotten rows go: which fate, how far, towards what."""

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor

from governance.unlearning import anchors
from governance.unlearning.anchors import Fate, class_directions, fates, movements
from governance.unlearning.bank import Pair, PromptBank
from governance.unlearning.labels import LabelSpace
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target, covered

BankMaker = Callable[..., PromptBank]
RECIPE = Recipe(overshoot=1.5, contraction=0.25, shift=2.0)


def owners(bank: PromptBank, *targets: Target, recipe: Recipe = RECIPE) -> dict[int, Recipe]:
    return {row: recipe for row, pair in enumerate(bank.pairs) if covered(targets, *pair)}


def rows_of(bank: PromptBank, *pairs: Pair) -> list[int]:
    return [bank.pairs.index(pair) for pair in pairs]


def found(bank: PromptBank, *targets: Target) -> dict[Pair, Fate]:
    return {bank.pairs[row]: fate for row, fate in fates(bank, owners(bank, *targets)).items()}


def test_a_class_everywhere_in_one_domain_and_with_its_domain(bank: PromptBank) -> None:
    everywhere = found(bank, Target("dog", None))
    assert everywhere == {("dog", d): Fate.EVERYWHERE for d in (None, "photo", "cartoon", "sketch")}
    assert found(bank, Target("dog", "sketch")) == {("dog", "sketch"): Fate.IN_ITS_DOMAIN}
    whole = found(bank, Target(None, "sketch"))
    assert whole == {(c, "sketch"): Fate.WITH_ITS_DOMAIN for c in bank.labels.classes}


def test_fates_follow_from_what_is_still_retained_not_from_the_request(bank: PromptBank) -> None:
    one_by_one = found(bank, *(Target(c, "sketch") for c in bank.labels.classes))
    assert set(one_by_one.values()) == {Fate.WITH_ITS_DOMAIN}
    *most, last = bank.labels.classes
    assert set(found(bank, *(Target(c, "sketch") for c in most)).values()) == {Fate.IN_ITS_DOMAIN}
    # Forgotten in every domain but not without one, the class is still retained.
    in_each = found(bank, *(Target("dog", d) for d in bank.labels.domains))
    assert set(in_each.values()) == {Fate.IN_ITS_DOMAIN}
    both = found(bank, Target("dog", None), Target(None, "sketch"))
    assert both["dog", "sketch"] == both["cat", "sketch"] == Fate.WITH_ITS_DOMAIN
    assert both["dog", "photo"] == Fate.EVERYWHERE
    assert found(bank) == {}
    assert last == "guitar"


def moved(bank: PromptBank, *targets: Target, recipe: Recipe = RECIPE) -> dict[Pair, Tensor]:
    moves = movements(bank, owners(bank, *targets, recipe=recipe))
    return {bank.pairs[row]: way for row, way in moves.items()}


def way_to_mean(bank: PromptBank, pair: Pair, of: Iterable[str]) -> Tensor:
    mean = bank.rows[rows_of(bank, *((label, pair[1]) for label in of))].mean(dim=0)
    return mean - bank.rows[rows_of(bank, pair)[0]]


def test_only_a_class_that_is_retained_elsewhere_overshoots(bank: PromptBank) -> None:
    others = bank.labels.classes[1:]
    for pair, way in moved(bank, Target("dog", None)).items():
        torch.testing.assert_close(way, way_to_mean(bank, pair, others))
    for pair, way in moved(bank, Target("dog", "sketch")).items():
        torch.testing.assert_close(way, 1.5 * way_to_mean(bank, pair, others))


def test_the_anchor_is_made_of_what_is_retained_in_the_domain(bank: PromptBank) -> None:
    moves = moved(bank, Target("dog", "sketch"), Target("cat", None))
    left = ("horse", "house", "guitar")
    torch.testing.assert_close(
        moves["dog", "sketch"], 1.5 * way_to_mean(bank, ("dog", "sketch"), left)
    )
    torch.testing.assert_close(
        moves["cat", "photo"], way_to_mean(bank, ("cat", "photo"), ("dog", *left))
    )


def test_a_whole_domain_contracts_and_moves_alike(bank: PromptBank) -> None:
    moves = moved(bank, Target(None, "sketch"))
    contracted = {pair: 0.25 * way_to_mean(bank, pair, bank.labels.classes) for pair in moves}
    shifts = [moves[pair] - contracted[pair] for pair in moves]
    for shift in shifts:
        torch.testing.assert_close(shift, shifts[0], atol=1e-12, rtol=0)
    directions = class_directions(bank)
    shortest = int(directions.norm(dim=1).argmin())
    torch.testing.assert_close(shifts[0], 2.0 * directions[shortest])


def test_a_class_forgotten_everywhere_leaves_no_trace_in_a_domain_that_is_forgotten_too(
    bank: PromptBank,
) -> None:
    moves = moved(bank, Target(None, "sketch"), Target("dog", None))
    others = bank.labels.classes[1:]
    dog = moves["dog", "sketch"] - way_to_mean(bank, ("dog", "sketch"), others)
    cat = moves["cat", "sketch"] - 0.25 * way_to_mean(bank, ("cat", "sketch"), others)
    torch.testing.assert_close(dog, cat)  # the shift of the domain, and nothing else
    # Where nothing at all is retained, no class is less retained than another.
    nothing = moved(bank, *(Target(c, None) for c in bank.labels.classes))
    pair = ("dog", "sketch")
    mean = way_to_mean(bank, pair, bank.labels.classes)
    torch.testing.assert_close(nothing[pair], 0.25 * mean)


def test_the_sink_is_never_a_class_that_is_itself_forgotten(
    bank: PromptBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classes are taken away in the order in which they would be chosen."""
    directions = class_directions(bank)
    order = directions.norm(dim=1).argsort().tolist()
    only_shift = Recipe(contraction=0.0, shift=1.0)
    for gone in range(4):
        names = [bank.labels.classes[n] for n in order[:gone]]
        targets = [Target(None, "sketch"), *(Target(name, None) for name in names)]
        way = moved(bank, *targets, recipe=only_shift)[bank.labels.classes[order[-1]], "sketch"]
        torch.testing.assert_close(way, directions[order[gone]], msg=f"with {names} forgotten")


def test_the_mean_of_a_domain_in_which_nothing_is_retained_is_of_all_its_rows() -> None:
    """Two classes, one domain, by hand: dog and cat meet halfway."""
    e = torch.eye(4, dtype=torch.float64)
    labels = LabelSpace(("dog", "cat"), ("sketch",), domain_templates={"sketch": ("a {class}",)})
    bank = PromptBank(labels, e, e)
    meet = Recipe(contraction=1.0, shift=0.0)
    moves = moved(bank, Target(None, "sketch"), recipe=meet)
    torch.testing.assert_close(moves["dog", "sketch"], (e[3] - e[2]) / 2)
    torch.testing.assert_close(moves["cat", "sketch"], (e[2] - e[3]) / 2)


def test_class_directions_by_hand() -> None:
    """Orthonormal rows, ridge 1: (I + I)⁻¹ times the sum of ±½ the rows."""
    e = torch.eye(5, dtype=torch.float64)
    labels = LabelSpace(("dog", "cat"), ("sketch",), domain_templates={"sketch": ("a {class}",)})
    rows = e[:4]
    expected = torch.tensor([1.0, -1.0, 1.0, -1.0, 0.0], dtype=torch.float64) / 4
    directions = class_directions(PromptBank(labels, rows, rows))
    torch.testing.assert_close(directions, torch.stack([expected, -expected]))


def test_class_directions_are_the_dual_basis_when_the_ridge_is_small(
    bank: PromptBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    indicators = (torch.eye(5, dtype=torch.float64) - 0.2).repeat(4, 1)
    damped = bank.rows @ class_directions(bank).T
    monkeypatch.setattr(anchors, "DUAL_RIDGE", 1e-9)
    exact = bank.rows @ class_directions(bank).T
    torch.testing.assert_close(exact, indicators, atol=1e-6, rtol=0)
    assert (damped - indicators).abs().max() > 0.01  # the ridge does something
    own = torch.arange(5).repeat(4)
    assert torch.equal(damped.argmax(dim=1), own)  # and not too much
