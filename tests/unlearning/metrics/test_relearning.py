"""Relearning: what is replaced, what is scored, and what is never both."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.unlearning.bank import unit
from governance.unlearning.metrics.relearning import Attack, centre, relearn

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
    """Both sides are centred already: opposite retained classes with opposite texts."""
    # An image that scores .6 on the rival; the prototype scores 1 on it, the text 0.
    features = images(*[(0.0, 0.6, 0.0, 0.8)] * 4, (0.0, 1.0, 0.0, 0.0), (0.0, -1.0, 0.0, 0.0))
    texts = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, -1.0, 0, 0]])
    truth = torch.tensor([0, 0, 0, 0, 1, 2])

    def recovered(mix: float) -> float:
        found = relearn(features, texts, truth, truth == 0, Attack(1, mix), draws=1, seed=0)
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
    beside = torch.eye(width)[[6, 7]]
    features = torch.cat([features, beside, -beside])
    texts = torch.zeros(3, width)
    texts[0, 10], texts[1, 6], texts[2, 6] = 1.0, 1.0, -1.0
    texts[1, :6] = 0.1  # the nearest to all of class 0, save to those that the prototype is made of
    truth = torch.tensor([0] * 6 + [1] * 2 + [2] * 2)
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


def gapped(
    classes: int, seed: int = 0, gap: float = 3.0, width: int = 32, edited: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images and texts in two narrow cones, as real CLIP has them: two images are more alike than an image and a text.

    With `edited`, images of class 0 have lost what they share with its text and keep a direction of their own.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=1)

    cones, concepts = gap * drawn(2, width), drawn(classes + 1, width)
    truth = torch.arange(classes).repeat_interleave(40)
    shown = concepts[:-1].clone()
    if edited:
        shown[0] = concepts[-1]
    features = unit(cones[0] + shown[truth] + 0.7 * drawn(len(truth), width)).float()
    return features, unit(cones[1] + concepts[:-1]).float(), truth


@pytest.mark.parametrize("mix", [0.5, 1.0])
@pytest.mark.parametrize("shots", [1, 5, 16])
@pytest.mark.parametrize("edited", [False, True])
def test_across_a_modality_gap_a_prototype_does_not_win_every_image(
    edited: bool, shots: int, mix: float
) -> None:
    features, texts, truth = gapped(8, edited=edited)
    between = (features @ texts.T).max()
    assert (features @ features.T).min() > between  # any image is nearer than any text
    found = relearn(features, texts, truth, truth == 0, Attack(shots, mix), draws=5, seed=0)
    assert found is not None
    assert found.false_alarms < 0.1
    assert found.recovered - found.false_alarms > (0.85 if shots > 1 else 0.7)


@settings(max_examples=30, deadline=None)
@given(gap=st.floats(0, 20), seed=st.integers(0, 50), scale=st.floats(0.1, 10))
def test_centred_embeddings_do_not_know_the_gap(gap: float, seed: int, scale: float) -> None:
    """Whatever is added to every image, and whatever to every text: directions from the centres stay."""
    generator = torch.Generator().manual_seed(seed)
    features, texts = (torch.randn(n, 8, generator=generator).double() for n in (30, 5))
    truth = torch.arange(30) % 5
    plain = centre(features, texts, truth, truth == 0)
    offsets = gap * torch.randn(2, 8, generator=generator).double()
    moved = centre(features * scale + offsets[0], texts + offsets[1], truth, truth == 0)
    for was, now in zip(plain, moved, strict=True):
        assert torch.allclose(was, now, atol=1e-6)
        assert torch.allclose(torch.linalg.vector_norm(now, dim=1), torch.ones(len(now)).double())


def test_the_centre_knows_neither_frequencies_nor_what_is_to_be_forgotten() -> None:
    features, texts, truth = gapped(4)
    often = torch.cat([torch.arange(len(truth)), (truth == 3).nonzero().flatten().repeat(9)])
    rare = centre(features, texts, truth, truth == 0)
    frequent = centre(features[often], texts, truth[often], truth[often] == 0)
    assert torch.allclose(rare[0], frequent[0][: len(truth)], atol=1e-6)
    elsewhere = features.clone()
    elsewhere[truth == 0] = -features[truth == 0]
    kept = truth != 0
    assert torch.allclose(
        centre(elsewhere, texts, truth, truth == 0)[0][kept], rare[0][kept], atol=1e-6
    )


def test_one_retained_class_alone_is_no_centre() -> None:
    features, texts, truth = gapped(2)
    found = relearn(features, texts, truth, truth == 0, Attack(5, 0.5), draws=5, seed=0)
    assert found is not None
    assert found.recovered > 0.9 > 0.1 > found.false_alarms


@pytest.mark.parametrize("mix", [0.5, 1.0, None])
def test_an_embedding_that_collapsed_is_not_found(mix: float | None) -> None:
    """All images in one point, save for rounding: no class is the nearest."""
    features = torch.nn.functional.normalize(torch.ones(16, 4) + 1e-8 * torch.randn(16, 4), dim=1)
    found = relearn(features, TEXTS, TRUTH, FORGET, Attack(2, mix), draws=3, seed=0)
    assert found is not None
    assert (found.recovered, found.false_alarms) == (0.0, 0.0)
