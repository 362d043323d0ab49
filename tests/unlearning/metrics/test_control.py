"""The random control: a projection of the right rank that depends on the seed alone."""

import pytest
import torch

from governance.unlearning.metrics.control import random_control


@pytest.mark.parametrize("rank", [0, 1, 4, 9])
def test_the_control_is_an_orthogonal_projection_of_the_given_rank(rank: int) -> None:
    control = random_control(9, rank, seed=0)
    dense = control.dense()
    torch.testing.assert_close(dense @ dense, dense)
    torch.testing.assert_close(dense, dense.T)
    assert control.rank == rank
    assert float(dense.trace()) == pytest.approx(9 - rank)


def test_the_control_depends_on_its_seed_alone() -> None:
    assert random_control(9, 2, seed=1).digest == random_control(9, 2, seed=1).digest
    assert random_control(9, 2, seed=1).digest != random_control(9, 2, seed=2).digest
