"""What forgotten images are taken for: counted, ordered, and the same on every machine."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from governance.unlearning.evaluation import Predictions, Samples
from governance.unlearning.metrics.confusion import LISTED, confusion, confusions, taker_share
from governance.unlearning.targets import Target

CLASSES = ("dog", "cat", "cow", "elk")
LABELS = ["dog"] * 6 + ["cat"] * 4
SAMPLES = Samples(torch.zeros(10, 1), LABELS, ["photo", "ink"] * 5)


def answers(*names: str) -> torch.Tensor:
    return torch.tensor([CLASSES.index(name) for name in names])


GIVEN = answers("elk", "cow", "cow", "dog", "cat", "elk", "cat", "dog", "dog", "cow")


def test_only_images_of_the_targets_are_counted_and_equals_keep_the_order_of_the_labels() -> None:
    assert confusion(SAMPLES, CLASSES, GIVEN, [Target("dog", None)]) == [
        {"class": "cow", "n": 2, "share": 2 / 6, "correct": 0},
        {"class": "elk", "n": 2, "share": 2 / 6, "correct": 0},
        {"class": "dog", "n": 1, "share": 1 / 6, "correct": 1},
        {"class": "cat", "n": 1, "share": 1 / 6, "correct": 0},
    ]


def test_a_domain_mixes_classes_and_says_how_many_answers_are_right() -> None:
    found = confusion(SAMPLES, CLASSES, GIVEN, [Target(None, "photo")])
    assert [(e["class"], e["n"], e["correct"]) for e in found] == [
        ("cat", 2, 1), ("dog", 1, 0), ("cow", 1, 0), ("elk", 1, 0),
    ]  # fmt: skip
    assert taker_share(found) == pytest.approx(1 / 5)


@given(st.lists(st.integers(0, 29), min_size=1, max_size=200), st.randoms(use_true_random=False))
def test_every_image_is_counted_once_in_whatever_order(given_: list[int], chance: object) -> None:
    classes = tuple(f"class {number}" for number in range(30))
    samples = Samples(torch.zeros(len(given_), 1), ["class 0"] * len(given_), [None] * len(given_))
    found = confusion(samples, classes, torch.tensor(given_), [Target("class 0", None)])
    assert sum(entry["n"] for entry in found) == len(given_)
    assert sum(entry["share"] for entry in found) == pytest.approx(1)
    assert sum(entry["correct"] for entry in found) == given_.count(0)
    listed = [entry for entry in found if entry["class"] is not None]
    assert len(listed) <= LISTED
    assert len(listed) + sum(e["classes"] for e in found if e["class"] is None) == len(set(given_))
    assert [entry["n"] for entry in listed] == sorted((e["n"] for e in listed), reverse=True)
    chance.shuffle(given_)  # type: ignore[attr-defined]
    assert confusion(samples, classes, torch.tensor(given_), [Target("class 0", None)]) == found


def test_before_and_after_stand_beside_each_other() -> None:
    nothing = torch.zeros(10, dtype=torch.bool)
    before, after = (Predictions(nothing, None, None, a) for a in (answers(*LABELS), GIVEN))
    found = confusions(SAMPLES, CLASSES, (before, after), [Target("cat", None)])
    assert found["n"] == 4
    assert found["before"] == [{"class": "cat", "n": 4, "share": 1.0, "correct": 4}]
    assert [entry["class"] for entry in found["after"]] == ["dog", "cat", "cow"]
    assert (taker_share(found["before"]), taker_share(found["after"])) == (0.0, 0.5)


def test_without_images_nothing_is_taken_for_anything() -> None:
    assert confusion(SAMPLES, CLASSES, GIVEN, [Target("elk", None)]) == []
    assert taker_share([]) == 0.0
