"""Nearest retained rows."""

import pytest
import torch

from governance.unlearning.bank import unit
from governance.unlearning.metrics.neighbours import nearest_retained

ROWS = unit(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [-1.0, 0.0]]))


def test_the_nearest_of_every_forgotten_row_are_joined_and_never_forgotten_themselves() -> None:
    found = nearest_retained(ROWS, [0, 2], [1, 3, 4], count=1)
    assert list(found) in ([1, 3], [3, 1])
    assert found[1] == pytest.approx(float(ROWS[0] @ ROWS[1]))
    assert list(nearest_retained(ROWS, [0], [1, 2, 3, 4], count=2)) == [1, 3]


def test_a_row_that_is_near_twice_keeps_the_greater_cosine() -> None:
    found = nearest_retained(ROWS, [0, 2], [1, 4], count=2)
    assert found == {1: pytest.approx(float(ROWS[0] @ ROWS[1])), 4: pytest.approx(0.0)}


@pytest.mark.parametrize(("forgotten", "retained"), [([], [1]), ([1], [])])
def test_without_rows_there_are_no_neighbours(forgotten: list[int], retained: list[int]) -> None:
    assert nearest_retained(ROWS, forgotten, retained, count=3) == {}
