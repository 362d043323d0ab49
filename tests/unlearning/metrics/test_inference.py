"""The probe: AUC as scikit-learn has it, and folds that keep what is scored out of the fit."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score

from governance.unlearning.metrics.inference import (
    RIDGE,
    Auc,
    area_under_curve,
    probe,
    stratified_folds,
)


def test_area_under_curve_by_hand_with_ties() -> None:
    scores = torch.tensor([3.0, 1.0, 2.0, 1.0, 0.0])
    positive = torch.tensor([True, True, False, False, False])
    # 3 beats all three; 1 beats 0, ties with 1, loses to 2: (3 + 1.5) / 6
    assert area_under_curve(scores, positive) == pytest.approx(0.75)
    assert area_under_curve(-scores, positive) == pytest.approx(0.25)


def test_area_under_curve_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 20, size=200).astype(float)
    positive = generator.random(200) < 0.3
    ours = area_under_curve(torch.from_numpy(scores), torch.from_numpy(positive))
    assert ours == pytest.approx(roc_auc_score(positive, scores))


def test_folds_are_balanced_seeded_and_shuffled() -> None:
    positive = torch.arange(53) < 17
    folds = stratified_folds(positive, 5, seed=0)
    assert sorted(torch.bincount(folds[positive]).tolist()) == [3, 3, 3, 4, 4]
    assert sorted(torch.bincount(folds[~positive]).tolist()) == [7, 7, 7, 7, 8]
    assert torch.equal(folds, stratified_folds(positive, 5, seed=0))
    assert not torch.equal(folds, stratified_folds(positive, 5, seed=1))


def groups(shift: float, n: int = 300, width: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n, width, generator=generator)
    positive = torch.arange(n) % 3 == 0
    features[positive, 4] += shift
    return features, positive


def test_the_probe_finds_what_is_there_and_nothing_where_nothing_is() -> None:
    found, nothing = probe(*groups(4.0), 5, 0), probe(*groups(0.0), 5, 0)
    assert found is not None
    assert nothing is not None
    assert found.value > 0.98
    # Were it scored on what it was fitted to, twenty noise features would give it well above one half.
    assert abs(nothing.value - 0.5) < 0.1
    assert (found.positives, found.negatives) == (100, 200)


def test_the_probe_is_ridge_regression_of_the_labels() -> None:
    features, positive = groups(1.2)
    fold = stratified_folds(positive, 5, seed=3)
    areas = []
    for held_out in range(5):
        train = (fold != held_out).numpy()
        x = features.numpy().astype(np.float64)
        penalty = RIDGE * np.var(x[train], axis=0).mean() * train.sum()
        model = RidgeClassifier(alpha=penalty).fit(x[train], positive.numpy()[train])
        scores = model.decision_function(x[~train])
        areas.append(roc_auc_score(positive.numpy()[~train], scores))
    ours = probe(features, positive, 5, 3)
    assert ours is not None
    assert 0.55 < ours.value < 0.95
    assert ours.value == pytest.approx(np.mean(areas))


def test_the_probe_is_blind_to_scale_and_shift() -> None:
    features, positive = groups(1.0)
    first, second = probe(features, positive, 5, 0), probe(7 * features + 3, positive, 5, 0)
    assert first is not None
    assert second is not None
    assert first.value == pytest.approx(second.value, abs=1e-6)


def test_constant_features_give_one_half_and_too_few_images_nothing() -> None:
    positive = torch.arange(20) < 10
    flat = probe(torch.ones(20, 3), positive, 5, 0)
    assert flat is not None
    assert flat.value == 0.5
    assert probe(torch.randn(20, 3), torch.arange(20) < 4, 5, 0) is None
    assert probe(torch.randn(20, 3), torch.arange(20) < 16, 5, 0) is None


def test_the_interval_is_that_of_the_smaller_group_and_never_a_point() -> None:
    low, high = Auc(1.0, 48, 432).interval
    assert (low, high) == pytest.approx((0.9259, 1.0), abs=1e-4)
    assert Auc(1.0, 432, 48).interval == (low, high)
    wide, narrow = Auc(0.7, 20, 500).interval, Auc(0.7, 200, 500).interval
    assert wide[0] < narrow[0] < 0.7 < narrow[1] < wide[1]
