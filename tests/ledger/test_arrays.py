"""Matrices come back bit for bit, or not at all."""

import pytest
import torch

from governance.errors import IntegrityError
from governance.ledger import arrays
from governance.ledger.database import Ledger
from governance.ledger.lookup import find_model, find_request, find_version
from governance.ledger.tables import ProjectorRecord
from governance.unlearning.projector import Projector, digest_tensor
from tests.ledger.case import DIMENSION, LABELS, synthetic_bank
from tests.ledger.tampering import dump, tamper

TENSORS = {
    "float64": torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    "float32": torch.randn(2, 2, generator=torch.Generator().manual_seed(1)),
    "empty": torch.zeros(4, 0, dtype=torch.float64),
    "transposed": torch.arange(6, dtype=torch.float64).reshape(2, 3).T,
    "special": torch.tensor([-0.0, float("inf"), 5e-324], dtype=torch.float64),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_comes_back_bit_for_bit(ledger: Ledger, name: str) -> None:
    tensor = TENSORS[name]
    with ledger.write() as session:
        digest = arrays.store(session, tensor)
    with ledger.read() as session:
        loaded = arrays.load(session, digest)
    assert loaded.dtype == tensor.dtype
    assert loaded.shape == tensor.shape
    assert loaded.numpy().tobytes() == tensor.contiguous().numpy().tobytes()


def test_equal_tensors_are_kept_once_and_others_apart(ledger: Ledger) -> None:
    one = torch.ones(2, 3, dtype=torch.float64)
    with ledger.write() as session:
        digest = arrays.store(session, one)
        assert arrays.store(session, one.clone()) == digest
        assert arrays.store(session, one.reshape(3, 2)) != digest
        assert arrays.store(session, one.to(torch.float32)) != digest
    assert len(dump(ledger)["arrays"]) == 3


def test_what_is_loaded_can_be_changed_without_changing_the_ledger(ledger: Ledger) -> None:
    with ledger.write() as session:
        digest = arrays.store(session, torch.ones(2, dtype=torch.float64))
        arrays.load(session, digest).zero_()
        assert arrays.load(session, digest).sum() == 2


@pytest.mark.parametrize(
    "change",
    ["data = zeroblob(48)", "shape = '[3, 2]'", "shape = '[6]'", "dtype = 'int64'"],
)
def test_an_altered_array_is_refused(ledger: Ledger, change: str) -> None:
    with ledger.write() as session:
        digest = arrays.store(session, torch.ones(2, 3, dtype=torch.float64))
    tamper(ledger, f"UPDATE arrays SET {change}")
    with ledger.read() as session, pytest.raises(IntegrityError, match=f"{digest}.* was altered"):
        arrays.load(session, digest)


def test_a_missing_array_is_refused(ledger: Ledger) -> None:
    with ledger.read() as session, pytest.raises(IntegrityError, match="lacks the array sha256:0"):
        arrays.load(session, "sha256:0")


def test_bank_and_projectors_are_those_that_were_recorded(cases: Ledger) -> None:
    with cases.read() as session:
        model = find_model(session, "shop")
        bank = arrays.load_bank(session, model)
        record = find_request(session, 1).projector
        assert record is not None
        projector = arrays.load_projector(session, record)
        version = arrays.load_projector(session, find_version(session, model, 2))
        condition = record.condition
    assert bank.labels == LABELS
    assert torch.equal(bank.rows, synthetic_bank().rows)
    assert torch.equal(bank.scores, synthetic_bank().scores)
    assert projector.dimension == DIMENSION
    assert projector.rank > 0
    assert projector.condition == condition
    assert version.digest == projector.digest  # the only request of version 2


def test_a_text_side_is_kept_by_the_digests_in_the_recipe(ledger: Ledger) -> None:
    text = Projector(torch.rand(3, 2, dtype=torch.float64), torch.rand(2, 3).double(), 7.0)
    recipe = {"text_factors": {"a": digest_tensor(text.a), "b": digest_tensor(text.b)}}
    record = ProjectorRecord(recipe=recipe)
    with ledger.write() as session:
        arrays.store_text(session, None)
        with pytest.raises(IntegrityError, match=f"the ledger lacks the array {text_a(recipe)}"):
            arrays.load_text(session, record)
        arrays.store_text(session, text)
        stored = arrays.load_text(session, record)
        assert stored is not None
        assert stored.digest == text.digest
        for without in ({}, {"text_factors": None}):
            assert arrays.load_text(session, ProjectorRecord(recipe=without)) is None


def text_a(recipe: dict[str, dict[str, str]]) -> str:
    return recipe["text_factors"]["a"]
