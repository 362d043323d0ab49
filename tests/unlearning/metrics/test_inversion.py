"""What inverting an edit restores."""

import pytest
import torch
from torch import Tensor

from governance.unlearning.bank import unit
from governance.unlearning.metrics.inversion import invert
from governance.unlearning.projector import Projector, identity, random_edit

D = 24


def images(count: int = 60, seed: int = 0) -> Tensor:
    """Unit rows that vary in some directions more than in others, as embeddings do."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(6, D, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    rows = torch.randn(count, 6, generator=generator, dtype=torch.float64) @ mixing
    return unit(rows + 0.1 * torch.randn(count, D, generator=generator, dtype=torch.float64))


def moment(rows: Tensor) -> Tensor:
    return rows.T @ rows / len(rows)


def nulling(*directions: Tensor) -> Projector:
    n = torch.linalg.qr(torch.stack(directions).T).Q
    return Projector(-n, n.T.contiguous(), 1.0)


def missing(restored: Tensor, rows: Tensor) -> float:
    return float((restored - rows).norm(dim=1).max())


@pytest.mark.parametrize("rank", [1, 5])
def test_an_edit_that_has_an_inverse_gives_everything_back(rank: int) -> None:
    edit, rows = random_edit(D, rank, torch.Generator().manual_seed(1)), images()
    found = invert(rows, edit, moment(rows))
    assert missing(edit.apply(rows), rows) > 0.08
    assert missing(found.plain, rows) < 0.02  # but for half precision
    assert missing(found.informed, rows) < 0.02


def test_what_is_nulled_does_not_come_back_by_the_matrix_alone() -> None:
    rows = images()
    n = unit(rows[0])
    edit = nulling(n)
    found = invert(rows, edit, moment(rows))
    assert float((found.plain @ n).abs().max()) < 1e-3
    assert missing(found.plain[:1], rows[:1]) == pytest.approx(1, abs=1e-3)
    # The pseudo-inverse is the orthogonal projector itself, so the rest is as it was.
    torch.testing.assert_close(found.plain, edit.apply(rows), atol=2e-3, rtol=0)


def test_other_images_tell_what_was_nulled() -> None:
    """Images vary in six directions, so the rest of one says nearly all of what is missing."""
    rows, others = images(), images(400, seed=7)
    n = unit(rows[0])
    found = invert(rows, nulling(n), moment(others))
    errors = [(made - rows).norm(dim=1).mean() for made in (found.plain, found.informed)]
    assert float(errors[1]) < 0.75 * float(errors[0])
    # With images that vary alike in every direction there is nothing to learn.
    blind = invert(rows, nulling(n), torch.eye(D, dtype=torch.float64) / D)
    torch.testing.assert_close(blind.informed, blind.plain, atol=1e-2, rtol=0)


def test_the_smallest_singular_values_are_those_of_the_matrix() -> None:
    rows = images()
    assert invert(rows, identity(D), moment(rows)).smallest == pytest.approx((1, 1, 1))
    two = nulling(unit(rows[0]), unit(rows[1]))
    smallest = invert(rows, two, moment(rows)).smallest
    assert smallest == pytest.approx((0, 0, 1), abs=1e-6)
    edit = random_edit(D, 3, torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(edit.dense()).flip(0)[:3]
    found = invert(rows, edit, moment(rows)).smallest
    assert found == pytest.approx(values.tolist(), rel=1e-6)
    assert list(found) == sorted(found)


def test_vectors_are_taken_as_they_are_stored_in_half_precision() -> None:
    rows = images()
    found = invert(rows, identity(D), moment(rows))
    torch.testing.assert_close(found.plain, rows.half().double(), atol=1e-12, rtol=0)
    assert missing(found.plain, rows) > 1e-6
