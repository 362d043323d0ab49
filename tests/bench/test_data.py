from pathlib import Path

import pytest
import torch

from bench.data import SCOPES, read_benchmark, synthesise_all, targets_of
from governance.unlearning.bank import unit
from governance.unlearning.prototypes import PrototypeKind
from governance.unlearning.targets import Target


def test_a_benchmark_becomes_bank_samples_and_prototypes(small_benchmark: Path) -> None:
    found = read_benchmark(small_benchmark)
    assert len(found.bank.pairs) == 35
    assert len(found.samples.labels) == 7 * 4 * 8
    assert len(found.shots.pairs) == 7 * 4 * 4
    assert len(found.prompts.pairs) == 35, "a prompt without a class belongs to no pair"
    row = found.bank.pairs.index(("horse", "sketch"))
    own = [n for n, pair in enumerate(found.prompts.pairs) if pair == ("horse", "sketch")]
    assert torch.allclose(found.bank.rows[row], unit(found.prompts.features[own].mean(dim=0)))
    (few_shot,) = found.prototypes(PrototypeKind.FEW_SHOT, Target("horse", "sketch"))
    assert len(few_shot.pairs) == 28
    assert found.prototypes(PrototypeKind.TEXT, Target("horse", None)) == ()
    assert found.kinds == [PrototypeKind.TEXT, PrototypeKind.FEW_SHOT]


def test_each_scope_has_every_choice(small_benchmark: Path) -> None:
    labels = read_benchmark(small_benchmark).bank.labels
    assert [len(list(targets_of(scope, labels))) for scope in SCOPES] == [7, 28, 4]


@pytest.mark.slow
def test_prototypes_are_synthesised_with_the_benchmarks_own_model_and_kept(
    modelled_benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = read_benchmark(modelled_benchmark).bank
    made = synthesise_all(modelled_benchmark, bank, tmp_path, steps=1)
    assert made.features.shape == (len(made.pairs), 128)
    assert len(set(made.pairs)) == 28
    assert made.pairs[0] == made.pairs[1] == ("dog", "photo")

    def refuse(*_: object) -> None:
        raise AssertionError("synthesised again")

    monkeypatch.setattr("governance.clip.synthesise._Run.optimise", refuse)
    again = synthesise_all(modelled_benchmark, bank, tmp_path, steps=1)
    assert torch.equal(again.features, made.features)
