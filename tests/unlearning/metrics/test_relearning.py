"""Relearning: what is replaced, what is scored, and what is never both."""

import pytest
import torch

from governance.unlearning.bank import unit
from governance.unlearning.metrics.relearning import Attack, relearn

TEXTS = torch.eye(4)[:3]
"""Three classes; the fourth axis has no text."""


def images(*rows: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows), dim=1)


# Class 0 was moved to the fourth axis, where no text finds it. Two images of class 1 lean there too.
HIDDEN = (0.0, 0.3, 0.0, 1.0)
FEATURES = images(
    *[HIDDEN] * 6,
    *[(0.0, 1.0, 0.0, 0.1)] * 4,
    *[(0.0, 0.3, 0.0, 0.9)] * 2,
    *[(0.0, 0.0, 1.0, 0.0)] * 4,
)
TRUTH = torch.tensor([0] * 6 + [1] * 6 + [2] * 4)
FORGET = TRUTH == 0


def test_without_an_attack_nothing_of_it_is_found() -> None:
    assert ((FEATURES @ TEXTS.T).argmax(dim=1)[FORGET] != 0).all()


def test_a_prototype_in_place_of_the_text_finds_all_and_takes_what_leans_to_it() -> None:
    found = relearn(FEATURES, TEXTS, TRUTH, FORGET, Attack(2, 1.0), draws=4, seed=0)
    assert found is not None
    assert (found.recovered, found.lowest, found.highest) == (1.0, 1.0, 1.0)
    assert found.n == 4  # six less the two labelled ones
    assert found.attacked == (0,)
    # Labelled images of the other classes are not scored either: of 10 less 2 + 2, those that lean remain.
    assert 0 < found.false_alarms <= 2 / 6


def test_a_mix_of_zero_is_the_unattacked_classifier() -> None:
    found = relearn(FEATURES, TEXTS, TRUTH, FORGET, Attack(2, 0.0), draws=2, seed=0)
    assert found is not None
    assert (found.recovered, found.false_alarms) == (0.0, 0.0)


def test_the_mix_weighs_text_against_prototype() -> None:
    # An image that scores .5 on the rival; the prototype scores 1 on it, the text 0.
    features = images(*[(0.0, 0.6, 0.0, 0.8)] * 4, (0.0, 1.0, 0.0, 0.0))
    truth = torch.tensor([0, 0, 0, 0, 1])

    def recovered(mix: float) -> float:
        found = relearn(features, TEXTS, truth, truth == 0, Attack(1, mix), draws=1, seed=0)
        assert found is not None
        return found.recovered

    # unit((1 − α) t + α p) · x = α / √((1 − α)² + α²) for orthogonal t and p; it beats .6 from α = 3/7 on.
    assert recovered(0.42) == 0.0
    assert recovered(0.44) == 1.0


def test_nearest_prototypes_replace_every_class() -> None:
    # Texts that are all wrong do not matter: none of them is used.
    found = relearn(FEATURES, -TEXTS, TRUTH, FORGET, Attack(2, None), draws=3, seed=0)
    assert found is not None
    assert found.recovered == 1.0


def test_a_class_without_any_image_has_no_prototype() -> None:
    texts = torch.cat([TEXTS, -torch.eye(4)[3:]])
    found = relearn(FEATURES, texts, TRUTH, FORGET, Attack(2, None), draws=1, seed=0)
    assert found is not None
    assert found.recovered == 1.0


def test_labelled_images_are_never_scored() -> None:
    """Each image of class 0 is alone on its axis: a prototype finds its labelled images and no other."""
    width = 12
    features = torch.eye(width)[:6]
    features = torch.cat([features, unit(torch.eye(width)[6:8].sum(dim=0, keepdim=True)).float()])
    texts = torch.zeros(2, width)
    texts[0, 10] = texts[1, 6] = 1.0
    truth = torch.tensor([0] * 6 + [1])
    for shots in (1, 3, 5):
        found = relearn(features, texts, truth, truth == 0, Attack(shots, 0.9), draws=5, seed=0)
        assert found is not None
        assert found.recovered == 0.0
        assert found.n == 6 - shots


@pytest.mark.parametrize("shots", [6, 16])
def test_too_few_images_cannot_be_attacked(shots: int) -> None:
    assert relearn(FEATURES, TEXTS, TRUTH, FORGET, Attack(shots, 1.0), draws=2, seed=0) is None


def test_classes_with_too_few_images_are_left_out_of_the_score() -> None:
    truth = TRUTH.clone()
    truth[5] = 2  # of what is forgotten, five images are of class 0 and one of class 2
    found = relearn(FEATURES, TEXTS, truth, FORGET, Attack(2, 1.0), draws=2, seed=0)
    assert found is not None
    assert found.attacked == (0,)
    assert found.n == 3


def test_draws_are_seeded_and_the_same_for_every_version() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(60, 4, generator=generator), dim=1)
    truth = torch.arange(60) % 3

    def run(seed: int, draws: int = 5) -> object:
        return relearn(features, TEXTS, truth, truth == 0, Attack(3, 1.0), draws, seed)

    assert run(1) == run(1)
    assert run(1) != run(2)
    found = run(1, 1)
    assert found is not None
