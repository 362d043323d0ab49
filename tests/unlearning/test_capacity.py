"""What an edit costs the retained prompts, counted before any image is seen."""

import math

import pytest
import torch

from governance.unlearning.bank import PromptBank
from governance.unlearning.capacity import capacity, margins
from governance.unlearning.composition import Edit, compose
from governance.unlearning.labels import LabelSpace
from governance.unlearning.projector import Projector, identity
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target


def four() -> PromptBank:
    """Four classes on the axes; the scoring prompt of the third is nearer to the fourth row."""
    rows = torch.eye(4, dtype=torch.float64)
    scores = rows.clone()
    scores[2] = torch.tensor([0.0, 0.0, 0.6, 0.8])
    scores[3] = torch.tensor([0.0, 0.0, 0.8, 0.6])
    return PromptBank(LabelSpace(("one", "two", "three", "four")), rows, scores)


def swap(one: int, other: int) -> Projector:
    """Sends each of two axes to the other, as a rank-1 change of the identity."""
    way = torch.zeros(4, dtype=torch.float64)
    way[one], way[other] = 1.0, -1.0
    return Projector(way.unsqueeze(1), -way.unsqueeze(0), 7.0)


def test_capacity_by_hand() -> None:
    """Three and four are wrong already; swapping one and two loses both of them, unless one is forgotten."""
    bank = four()
    expected = {"rank": 1, "dimension": 4, "condition": 7.0}
    report = capacity(bank, [], swap(0, 1))
    assert report.pop("drift") == pytest.approx(2 * math.sqrt(2) / 4)
    assert report == expected | {"retained_rows": 2, "lost_rows": 2, "lost": 1.0}
    report = capacity(bank, [Target("one", None)], swap(0, 1))
    assert report.pop("drift") == pytest.approx(math.sqrt(2) / 3)
    assert report == expected | {"retained_rows": 1, "lost_rows": 1, "lost": 1.0}
    report = capacity(bank, [Target("four", None)], swap(2, 3))
    assert report.pop("drift") == pytest.approx(math.sqrt(2) / 3)
    assert report == expected | {"retained_rows": 2, "lost_rows": 0, "lost": 0.0}


def test_without_a_recognised_retained_prompt_nothing_is_lost() -> None:
    bank = four()
    report = capacity(bank, [Target("one", None), Target("two", None)], swap(0, 1))
    assert (report["retained_rows"], report["lost_rows"], report["lost"]) == (0, 0, 0.0)


def test_doing_nothing_costs_nothing(bank: PromptBank) -> None:
    report = capacity(bank, [], identity(bank.dimension))
    assert report == {
        "rank": 0,
        "dimension": 40,
        "condition": 1.0,
        "retained_rows": 20,
        "lost_rows": 0,
        "lost": 0.0,
        "drift": 0.0,
    }


def test_an_edit_takes_the_rank_of_its_rows_and_the_numbers_of_its_solution(
    bank: PromptBank,
) -> None:
    targets = (Target("dog", None), Target("cat", "sketch"))
    projector = compose(bank, [Edit(targets, Recipe())]).projector
    report = capacity(bank, targets, projector)
    assert report["rank"] == 5
    assert report["condition"] == projector.condition > 1
    assert report["retained_rows"] == 15
    assert report["lost"] == 0
    assert 0 < report["drift"] < 0.6  # a fifth of the classes goes, and rows turn with it


def test_a_space_that_is_too_small_is_noticed() -> None:
    """Sixty classes in twenty dimensions: forgetting half of them leaves no room for the rest."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(
        torch.randn(60, 20, generator=generator, dtype=torch.float64)
    )
    bank = PromptBank(LabelSpace(tuple(f"c{n}" for n in range(60))), rows, rows)

    def used(count: int) -> dict[str, float]:
        targets = tuple(Target(f"c{n}", None) for n in range(count))
        recipe = Recipe.of("nullspace")
        return capacity(bank, targets, compose(bank, [Edit(targets, recipe)]).projector)

    assert used(2)["lost"] < 0.1
    crowded = used(30)
    assert (crowded["rank"], crowded["dimension"], crowded["retained_rows"]) == (20, 20, 30)
    assert crowded["lost"] > 0.9


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
