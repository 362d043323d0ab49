"""Prototypes: unit means of images, one a (class, domain), known by their digest."""

import json
import math

import pytest
import torch
from torch import Tensor

from governance.errors import InvalidInputError
from governance.unlearning.bank import Pair, unit
from governance.unlearning.prototypes import PrototypeKind, Prototypes, mean_rows

DOG, CAT = ("dog", "sketch"), ("cat", None)


def made(rows: Tensor | None = None, pairs: tuple[Pair, ...] = (DOG, CAT)) -> Prototypes:
    rows = torch.eye(3, dtype=torch.float64)[:2] if rows is None else rows
    return Prototypes(PrototypeKind.FEW_SHOT, pairs, rows, {"dataset": "shots", "shots": 4})


def test_means_by_hand() -> None:
    """Lengths do not count: (3, 0) and (0, 4) meet on the diagonal, not nearer to the longer one."""
    features = torch.tensor([[3.0, 0.0], [0.0, 0.5], [0.0, 4.0]])
    pairs, rows = mean_rows(features, [DOG, CAT, DOG])
    assert pairs == (DOG, CAT)
    half = math.sqrt(0.5)
    torch.testing.assert_close(rows, torch.tensor([[half, half], [0, 1]], dtype=torch.float64))


def test_means_are_in_order_of_appearance_in_float64_and_unit() -> None:
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)).half()
    labels: list[Pair] = [("c", None), ("a", "x"), ("b", None), ("a", None)] * 3
    pairs, rows = mean_rows(features, labels)
    assert pairs == (("c", None), ("a", "x"), ("b", None), ("a", None))
    assert rows.dtype == torch.float64
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(4, dtype=torch.float64))
    for number, row in enumerate(rows):
        expected = unit(unit(features[number::4]).mean(dim=0))
        torch.testing.assert_close(row, expected, atol=1e-12, rtol=0)


def test_prototypes_survive_their_dictionary_and_its_json() -> None:
    prototypes = made()
    value = json.loads(json.dumps(prototypes.to_dict()))
    assert value == {
        "kind": "few-shot",
        "pairs": [["dog", "sketch"], ["cat", None]],
        "rows": prototypes.digest,
        "settings": {"dataset": "shots", "shots": 4},
    }
    again = Prototypes.from_dict(value, prototypes.rows.clone())
    assert again.to_dict() == prototypes.to_dict()
    assert again.pairs == (DOG, CAT)


def test_the_digest_is_that_of_the_rows() -> None:
    other = torch.eye(3, dtype=torch.float64)[:2]
    other[1, 1] = math.nextafter(1.0, 0.0)
    assert made().digest == made(torch.eye(3, dtype=torch.float64)[:2].clone()).digest
    assert made().digest != made(other).digest


def test_the_identity_is_that_of_rows_and_pairs() -> None:
    relabelled = made(pairs=(DOG, ("cow", None)))
    assert relabelled.digest == made().digest
    assert relabelled.identity != made().identity
    assert made(made().rows.flip(0)).identity != made().identity
    renamed = Prototypes(PrototypeKind.SYNTHESISED, (DOG, CAT), made().rows, {"seed": 3})
    assert renamed.identity == made().identity  # where equal rows come from does not matter


@pytest.mark.parametrize(
    ("pairs", "rows"), [((DOG,), 2), ((DOG, CAT), 1), ((DOG, DOG), 2), ((), 1)]
)
def test_each_pair_has_exactly_one_row(pairs: tuple[Pair, ...], rows: int) -> None:
    with pytest.raises(InvalidInputError, match=f"{len(pairs)} pairs cannot have {rows} proto"):
        made(torch.eye(3, dtype=torch.float64)[:rows], pairs)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_prototypes_are_finite(bad: float) -> None:
    rows = torch.eye(3, dtype=torch.float64)[:2]
    rows[1, 2] = bad
    with pytest.raises(InvalidInputError, match="not finite"):
        made(rows)
