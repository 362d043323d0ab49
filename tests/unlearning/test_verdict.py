"""The verdict at its boundaries: never more than the figures show."""

import copy
from typing import Any

import pytest

from governance.unlearning.evaluation import Proportion
from governance.unlearning.targets import Target
from governance.unlearning.verdict import strongest, verdict

DOG = [Target("dog", None)]


def share(correct: int, n: int) -> dict[str, Any]:
    found = Proportion(correct, n)
    return {"value": found.value, **found.to_dict()}


def attack(recovered: float, false_alarms: float = 0.05, **changes: Any) -> dict[str, Any]:
    return {
        "shots": 5,
        "mix": 1.0,
        "recovered": recovered,
        "false_alarms": false_alarms,
        "n": 195,
    } | changes


def view(forget: tuple[int, int], retain: tuple[int, int], **changes: Any) -> dict[str, Any]:
    return {
        "zero_shot": {"forget": share(*forget), "retain": share(*retain), "guard": None},
        "relearning": [attack(0.9)],
        "paraphrase": {"max": share(150, 200), "mean": 0.5, "prompts": 8},
        "probe_auc": {"value": 0.98, "low": 0.96, "high": 0.99},
        "neighbours": share(270, 300),
    } | changes


def assessment(
    before: tuple[int, int] = (180, 200),
    after: tuple[int, int] = (0, 200),
    control: tuple[int, int] = (178, 200),
    retain: tuple[int, int] = (900, 910),
    classes: int = 10,
    **changes: Any,
) -> dict[str, Any]:
    return {
        "protocol": {"classes": classes},
        "before": view(before, (retain[0], 1000)),
        "after": view(
            after,
            (retain[1], 1000),
            **({"relearning": [attack(0.21)], "paraphrase": None} | changes),
        ),
        "control": view(control, (retain[0], 1000)),
    }


def test_a_good_edit_is_called_suppressed_with_what_still_leaks() -> None:
    value = assessment()
    value["after"]["paraphrase"] = {"max": share(8, 200), "mean": 0.01, "prompts": 8}
    assert verdict(value, DOG, 1.0) == (
        "Suppressed in zero-shot use: of 200 images (dog everywhere) 0.0% are recognised, 90.0% before. "
        "A random projection of the same rank leaves 89.0%. "
        "Recoverable with 5 labelled images in 21.0% of cases (90.0% without the edit), with false alarms on "
        "5.0% of the other images. "
        "The best of the other prompts tried (8) finds it in 4.0%, 75.0% before. "
        "A linear probe on the embedding still tells it apart (AUC 0.98, 0.98 before). "
        "What is to be kept keeps its accuracy: 90.0% before, 91.0% after, 1000 images. "
        "Features before the projection are unchanged, and whoever has them or the original weights is not held "
        "back by this edit."
    )


@pytest.mark.parametrize(
    ("after", "n", "words"),
    [
        (0, 200, "Suppressed in zero-shot use: of 200 images"),
        (11, 200, "Suppressed in zero-shot use: of 200"),  # up to 9.6%
        (12, 200, "Suppressed to about what guessing would give (10.0%)"),  # up to 10.2%, and 6.0%
        (0, 34, "Suppressed in zero-shot use as far as so few images can show"),  # up to 10.2%
        (0, 35, "Suppressed in zero-shot use: of 35 images"),  # up to 9.9%
        (0, 20, "and up to 16.1% is possible"),
        (0, 19, "Too few images to say whether dog everywhere is suppressed: of 19,"),
        (28, 200, "Suppressed to about what guessing would give (10.0%)"),
        (29, 200, "Weakened, not suppressed: of 200"),  # at least 10.3%: above guessing
        (140, 200, "Weakened, not suppressed"),
        (168, 200, "Not suppressed: of 200"),  # the intervals meet
        (180, 200, "Not suppressed"),
        (200, 200, "Not suppressed"),
    ],
)
def test_what_is_said_of_suppression(after: int, n: int, words: str) -> None:
    value = assessment(before=(9 * n // 10, n), after=(after, n), control=(9 * n // 10, n))
    text = verdict(value, DOG, 1.0)
    assert words in text
    if not words.startswith(("Suppressed", "and up")):
        assert "Suppressed" not in text


def test_an_edit_that_did_nothing_is_not_credited_with_anything() -> None:
    text = verdict(assessment(after=(180, 200)), DOG, 1.0)
    assert text.startswith("Not suppressed: of 200 images (dog everywhere) 90.0% are recognised")
    for word in ("Recoverable", "random projection", "linear probe", "Suppressed"):
        assert word not in text


def test_few_images_give_counts_and_no_judgement() -> None:
    text = verdict(assessment(before=(1, 12), after=(0, 12)), DOG, 1.0)
    assert "of 12, 1 was recognised before and 0 after" in text
    assert "Recoverable" not in text


def test_what_was_never_recognised_cannot_be_suppressed() -> None:
    text = verdict(assessment(before=(25, 200), after=(0, 200)), DOG, 1.0)
    assert "does not recognise dog everywhere better than guessing would (12.5% of 200" in text
    assert "Suppressed" not in text
    better = verdict(assessment(before=(32, 200), after=(0, 200)), DOG, 1.0)
    assert better.startswith("Suppressed in zero-shot use")


@pytest.mark.parametrize(
    ("control", "specific"), [((0, 200), False), ((4, 200), False), ((30, 200), True)]
)
def test_a_control_that_does_as_much_is_admitted(control: tuple[int, int], specific: bool) -> None:
    text = verdict(assessment(control=control), DOG, 1.0)
    assert ("so the effect is not specific to this edit" in text) is not specific


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (950, "keeps its accuracy: 90.0% before, 95.0% after"),
        (896, "keeps its accuracy"),
        (895, "lost accuracy: 90.0% before, 89.5% after"),
        (801, "lost accuracy"),
        (
            800,
            "The rest of the model is damaged: accuracy on what is to be kept 90.0% before, 80.0%",
        ),
        (0, "The rest of the model is damaged"),
    ],
)
def test_what_is_said_of_the_rest(after: int, words: str) -> None:
    assert words in verdict(assessment(retain=(900, after)), DOG, 1.0)


def test_neighbours_that_lost_more_than_the_rest_are_named() -> None:
    lost = "Its nearest neighbours lost more: 90.0% before, 80.0% after."
    assert lost in verdict(assessment(neighbours=share(240, 300)), DOG, 1.0)
    assert "neighbours" not in verdict(assessment(neighbours=share(260, 300)), DOG, 1.0)
    assert "neighbours" not in verdict(
        assessment(neighbours=share(240, 300), retain=(900, 790)), DOG, 1.0
    )


def test_an_attack_that_answers_the_class_to_everything_is_no_recovery() -> None:
    trivial = [attack(1.0, 1.0, mix=1.0), attack(0.3, 0.4, mix=None)]
    text = verdict(assessment(relearning=trivial), DOG, 1.0)
    assert (
        "5 labelled images did not bring it back: 100.0% found with false alarms on 100.0%" in text
    )
    chosen = strongest([*trivial, attack(0.6, 0.1, mix=0.5), attack(0.99, 0.0, shots=16)])
    assert chosen is not None
    assert chosen["recovered"] == 0.6


@pytest.mark.parametrize("attacks", [[], [attack(0.2, n=19)], [attack(0.2, shots=1)]])
def test_an_attack_that_was_not_measured_is_not_taken_for_failed(
    attacks: list[dict[str, Any]],
) -> None:
    text = verdict(assessment(relearning=attacks), DOG, 1.0)
    assert "Whether 5 labelled images bring it back was not measured: too few images." in text


def test_what_is_missing_is_said_to_be_missing() -> None:
    assert "Other words for it were not tested." in verdict(assessment(), DOG, 1.0)
    blind = copy.deepcopy(assessment())
    blind["after"]["probe_auc"] = {"value": 0.53, "low": 0.49, "high": 0.57}
    assert "does not reliably tell it apart (AUC 0.53" in verdict(blind, DOG, 1.0)
    blind["after"]["probe_auc"] = None
    assert "linear probe" not in verdict(blind, DOG, 1.0)
    blind["after"]["zero_shot"]["retain"] = None
    assert "Nothing is known here about what is to be kept." in verdict(blind, DOG, 1.0)


def test_a_partial_strength_is_named() -> None:
    assert "At strength 0.5 a rest is meant to stay." in verdict(assessment(), DOG, 0.5)
    assert "At strength" not in verdict(assessment(), DOG, 1.0)


@pytest.mark.parametrize("after", [0, 15, 100, 180])
def test_words_that_promise_too_much_never_appear(after: int) -> None:
    text = verdict(assessment(after=(after, 200)), DOG, 1.0).lower()
    for word in ("certif", "delet", "erase", "guarantee", "impossible", "completely"):
        assert word not in text
