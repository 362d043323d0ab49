"""Prototypes: unit means of images, one a (class, domain), known by their digest."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from governance.errors import InvalidInputError
from governance.unlearning.bank import Pair, unit
from governance.unlearning.projector import digest_tensor
from governance.unlearning.prototypes import (
    PrototypeKind,
    Prototypes,
    Reference,
    mean_rows,
    measure_reference,
    prototypes_of,
    scatter_of,
)

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
    again = Prototypes.from_dict(value, {prototypes.digest: prototypes.rows.clone()})
    assert again.to_dict() == prototypes.to_dict()
    assert again.pairs == (DOG, CAT)
    assert again.scatter is None


def test_the_scatter_survives_the_dictionary_by_its_digest() -> None:
    scattered = replace(made(), scatter=0.5 * torch.eye(3, dtype=torch.float64))
    value = json.loads(json.dumps(scattered.to_dict()))
    assert value["scatter"] == digest_tensor(scattered.arrays[1])
    assert {**value, "rows": None} == {
        **made().to_dict(), "rows": None, "scatter": value["scatter"]
    }  # fmt: skip
    stored = {digest_tensor(tensor): tensor.clone() for tensor in scattered.arrays}
    again = Prototypes.from_dict(value, stored)
    assert again.scatter is not None
    assert torch.equal(again.scatter, scattered.arrays[1])
    assert len(made().arrays) == 1


def test_scatter_by_hand() -> None:
    """Two unit images of a dog at ±θ around the first axis, one of a cat: only the dogs scatter, along the second."""
    features = torch.tensor([[3.0, 4.0], [3.0, -4.0], [0.0, 7.0]])
    scatter = scatter_of(features, [DOG, DOG, CAT])
    expected = torch.tensor([[0.0, 0.0], [0.0, 2 * 0.8**2 / 3]], dtype=torch.float64)
    torch.testing.assert_close(scatter, expected)


def test_the_scatter_is_that_around_the_mean_of_each_pair() -> None:
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    labels: list[Pair] = [("c", None), ("a", "x"), ("b", None)] * 4
    rows = unit(features)
    around = torch.cat([rows[n::3] - rows[n::3].mean(dim=0) for n in range(3)])
    scatter = scatter_of(features, labels)
    torch.testing.assert_close(scatter, around.T @ around / 12)


def test_one_image_a_pair_has_no_scatter() -> None:
    assert scatter_of(torch.eye(3)[:2], [DOG, CAT]) is None
    assert prototypes_of(PrototypeKind.FEW_SHOT, torch.eye(3)[:2], [DOG, CAT], {}).scatter is None


def test_prototypes_from_images_are_means_and_scatter() -> None:
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    pairs = [DOG, CAT, DOG, CAT, DOG, CAT]
    found = prototypes_of(PrototypeKind.SYNTHESISED, features, pairs, {"seed": 3})
    distinct, rows = mean_rows(features, pairs)
    assert (found.pairs, found.kind, found.settings) == (
        distinct, PrototypeKind.SYNTHESISED, {"seed": 3}
    )  # fmt: skip
    assert torch.equal(found.rows, rows)
    assert found.scatter is not None
    assert torch.equal(found.scatter, scatter_of(features, pairs))


def test_a_reference_is_the_mean_and_second_moment_of_unit_images() -> None:
    reference = measure_reference(torch.tensor([[2.0, 0.0], [0.0, 0.5]]), {"dataset": "any"})
    torch.testing.assert_close(reference.mean, torch.tensor([0.5, 0.5], dtype=torch.float64))
    torch.testing.assert_close(reference.moment, 0.5 * torch.eye(2, dtype=torch.float64))
    value = json.loads(json.dumps(reference.to_dict()))
    assert value["settings"] == {"dataset": "any"}
    stored = {digest_tensor(tensor): tensor for tensor in reference.arrays}
    again = Reference.from_dict(value, stored)
    assert again.identity == reference.identity
    other = measure_reference(torch.eye(2), {"dataset": "any"})
    assert other.identity == reference.identity  # lengths do not count
    assert measure_reference(torch.eye(2)[:1], {}).identity != reference.identity


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
    with pytest.raises(InvalidInputError, match="not finite"):
        replace(made(), scatter=torch.full((3, 3), bad, dtype=torch.float64))
