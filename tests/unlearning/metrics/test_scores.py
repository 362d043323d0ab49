"""Single figures against values worked out by hand and by other people's code."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from governance.unlearning.bank import unit
from governance.unlearning.metrics import scores
from governance.unlearning.metrics.scores import (
    adaptive_score,
    alignment,
    harmonic_score,
    jensen_shannon,
    linear_cka,
    probabilities,
    representation_score,
    turning,
)


@pytest.mark.parametrize(
    ("forget", "retain", "expected"),
    [(0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.2, 0.4, 0.64 / 1.2)],
)
def test_harmonic_score(forget: float, retain: float, expected: float) -> None:
    assert harmonic_score(forget, retain) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("forget", "retain", "base", "expected"),
    [(0.0, 0.9, 0.9, 1.0), (1.0, 0.9, 0.9, 0.5), (0.0, 0.4, 0.9, 0.5), (0.25, 1.0, 0.75, 1.0)],
)
def test_adaptive_score(forget: float, retain: float, base: float, expected: float) -> None:
    assert adaptive_score(forget, retain, base) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("forget", "retain", "expected"),
    [(0, 1, 1), (1, 1, 0), (0.5, 1, 2 / 3), (0.4, 0.2, 0.24 / 0.8)],
)
def test_representation_score(forget: float, retain: float, expected: float) -> None:
    assert representation_score(forget, retain) == pytest.approx(expected)


def test_alignment_is_the_mean_cosine_to_the_own_text_only() -> None:
    features = unit(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, -1.0]]))
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    value = alignment(features, texts, torch.tensor([0, 1, 1]))
    assert value == pytest.approx((1 + math.sqrt(0.5) - 1) / 3)


def _cka_by_gram(x: torch.Tensor, y: torch.Tensor) -> float:
    """The n × n definition: centred Gram matrices."""
    n = len(x)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n
    k, m = (centre @ side @ side.T @ centre for side in (x.double(), y.double()))
    return float((k * m).sum() / (k.norm() * m.norm()))


def test_linear_cka_equals_its_definition_by_gram_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 6, generator=generator)
    y = x @ torch.randn(6, 6, generator=generator) + torch.randn(50, 6, generator=generator) + 3
    expected = _cka_by_gram(x, y)
    assert 0.05 < expected < 0.95
    assert linear_cka(x, y) == pytest.approx(expected)
    monkeypatch.setattr(scores, "CHUNK", 7)  # in pieces it is the same
    assert linear_cka(x, y) == pytest.approx(expected)


def test_linear_cka_is_blind_to_rotation_scale_and_shift_and_sees_independence() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4000, 5, generator=generator)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator))
    assert linear_cka(x, 3 * x @ rotation + 2) == pytest.approx(1)
    assert linear_cka(x, torch.randn(4000, 5, generator=generator)) < 0.01
    assert linear_cka(x, torch.ones(4000, 5)) == 0


def test_jensen_shannon_of_known_distributions() -> None:
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]])
    q = torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.5, 0.5]])
    # ½·log2(1/0.75) + ½·(½·log2(0.5/0.75) + ½·log2(0.5/0.25))
    third = 0.5 * math.log2(4 / 3) + 0.25 * math.log2(2 / 3) + 0.25
    assert jensen_shannon(p, q).tolist() == pytest.approx([1.0, 0.0, third])


def test_jensen_shannon_agrees_with_scipy() -> None:
    generator = np.random.default_rng(0)
    p, q = generator.dirichlet(np.ones(7) / 3, size=(2, 20))
    ours = jensen_shannon(torch.from_numpy(p), torch.from_numpy(q))
    theirs = jensenshannon(p, q, base=2, axis=1) ** 2
    assert ours.numpy() == pytest.approx(theirs, abs=1e-9)
    assert ours.max() > 0.1


def test_probabilities_are_the_softmax_of_scaled_cosines() -> None:
    found = probabilities(torch.tensor([[1.0, 0.0]]), torch.eye(2), scale=math.log(3))
    assert found.tolist() == [pytest.approx([0.75, 0.25])]


def test_turning_by_hand() -> None:
    """One image stays, one turns by 60°, one right round: 1 − (1 + .5 − 1) / 3."""
    before = torch.tensor([[1.0, 0.0]] * 3)
    after = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)], [-1.0, 0.0]])
    assert turning(before, after) == pytest.approx(1 - 0.5 / 3)
    assert turning(before, before) == 0
