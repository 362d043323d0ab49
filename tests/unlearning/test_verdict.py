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


def auc(value: float, half: float = 0.02, n: int = 200) -> dict[str, Any]:
    return {
        "value": value,
        "low": value - half,
        "high": value + half,
        "positives": n,
        "negatives": 1000,
    }


def recall(n: int, r1: float, r5: float, r10: float) -> dict[str, Any]:
    return {"n": n, "r1": r1, "r5": r5, "r10": r10}


def retrieval(text: dict[str, Any] | None, image: dict[str, Any] | None) -> dict[str, Any]:
    return {"text_to_image": {"forget": text}, "image_to_text": {"forget": image}}


FOUND = retrieval(recall(4, 1.0, 1.0, 1.0), recall(200, 0.9, 1.0, 1.0))
LOST = retrieval(recall(4, 0.0, 0.0, 0.25), recall(200, 0.0, 0.1, 0.3))


def view(forget: tuple[int, int], retain: tuple[int, int], **changes: Any) -> dict[str, Any]:
    return {
        "zero_shot": {"forget": share(*forget), "retain": share(*retain), "guard": None},
        "relearning": [attack(0.9), attack(0.8, mix=None)],
        "paraphrase": {"max": share(150, 200), "mean": 0.5, "prompts": 8},
        "probe_auc": auc(0.98),
        "membership_auc": auc(0.9),
        "retrieval": FOUND,
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
        "protocol": {"classes": classes, "recall": [1, 5, 10], "gallery_size": 4 * classes},
        "sets": {"forget": after[1], "retain": 1000, "guard": 0},
        "before": view(before, (retain[0], 1000)),
        "after": view(
            after,
            (retain[1], 1000),
            **(
                {
                    "relearning": [attack(0.21), attack(0.15, mix=None)],
                    "paraphrase": None,
                    "retrieval": LOST,
                }
                | changes
            ),
        ),
        "control": view(control, (retain[0], 1000)),
    }


def test_a_good_edit_is_called_suppressed_with_what_still_leaks() -> None:
    value = assessment(paraphrase={"max": share(8, 200), "mean": 0.01, "prompts": 8})
    value["after"]["membership_auc"] = auc(0.51)
    assert verdict(value, DOG, 1.0) == (
        "Suppressed in zero-shot use: of 200 images (dog everywhere) 0.0% are recognised, 90.0% before. "
        "A random projection of the same rank leaves 89.0%. "
        "The strongest leak found: a linear probe on the embedding tells it apart (AUC 0.980; 0.980 before). "
        "Other attacks: "
        "5 labelled images bring back 21.0% (90.0% before; false alarms on 5.0% of the other images); "
        "what the model says of the nearest retained classes does not reliably tell it apart (AUC 0.510; 0.900 "
        "before); "
        "the right prompt comes first of 40 for 0.0% of its images (90.0% before); "
        "in a search by text a right image comes first for 0.0% of 4 prompts (100.0% before); "
        "the best of the 8 other prompts tried finds 4.0% (75.0% before). "
        "Comparing images with images alone (nearest prototype, 5 labelled images) finds 15.0% (80.0% before). "
        "What is to be kept keeps its accuracy: 90.0% before, 91.0% after, 1000 images. "
        "Features before the projection are unchanged, and whoever has them or the original weights is not held "
        "back by this edit."
    )


STRONG = {
    "relearning": ([attack(0.99, 0.0)], "5 labelled images bring back 99.0%"),
    "relearning from one": ([attack(0.99, 0.0, shots=1)], "1 labelled image brings back 99.0%"),
    "relearning from many": ([attack(0.99, 0.0, shots=16)], "16 labelled images bring back 99.0%"),
    "paraphrase": (
        {"max": share(199, 200), "mean": 0.5, "prompts": 8},
        "the best of the 8 other prompts tried finds 99.5%",
    ),
    "probe_auc": (auc(0.99, 0.01), "a linear probe on the embedding tells it apart (AUC 0.990"),
    "membership_auc": (
        auc(0.99, 0.01),
        "what the model says of the nearest retained classes tells it apart (AUC 0.990",
    ),
    "search": (
        retrieval(recall(40, 1.0, 1.0, 1.0), recall(200, 0.0, 0.0, 0.0)),
        "in a search by text a right image comes first for 100.0% of 40 prompts",
    ),
    "describing": (
        retrieval(recall(40, 0.0, 0.0, 0.0), recall(200, 0.2, 1.0, 1.0)),
        "the right prompt is among the first 5 of 40 for 100.0% of its images",
    ),
}


@pytest.mark.parametrize("name", STRONG)
def test_the_strongest_of_all_attacks_is_named_whichever_it_is(name: str) -> None:
    found, words = STRONG[name]
    weak: dict[str, Any] = {
        "relearning": [attack(0.3)],
        "paraphrase": {"max": share(60, 200), "mean": 0.1, "prompts": 8},
        "probe_auc": auc(0.7),
        "membership_auc": auc(0.7),
        "retrieval": LOST,
    }
    key = {"search": "retrieval", "describing": "retrieval"}.get(name, name.split(" ")[0])
    value = assessment(**(weak | {key: found}))
    value["before"]["relearning"] = [attack(0.9, shots=shots) for shots in (1, 5, 16)]
    text = verdict(value, DOG, 1.0)
    assert "weak basis" not in text
    assert f"The strongest leak found: {words}" in text
    assert text.count("strongest") == 1
    assert "Not measured" not in text


def test_a_few_images_do_not_outweigh_many() -> None:
    value = assessment(relearning=[attack(1.0, 0.0, n=3)], probe_auc=auc(0.95))
    text = verdict(value, DOG, 1.0)
    assert "The strongest leak found: a linear probe" in text
    assert "5 labelled images bring back 100.0% (90.0% before; false alarms on 0.0%" in text
    assert "; 3 images only)" in text
    assert text.count("weak basis") == 1


def test_guessing_is_no_leak() -> None:
    """Ten of 1,200 images drawn at random hold one of 200 more often than not."""
    value = assessment(
        relearning=[attack(0.05)],
        probe_auc=auc(0.51),
        membership_auc=auc(0.49),
        retrieval=retrieval(recall(1, 0.0, 0.0, 1.0), recall(200, 0.02, 0.1, 0.2)),
    )
    text = verdict(value, DOG, 1.0)
    assert "These images do not show that any attack finds more than guessing would." in text
    assert "strongest" not in text


@pytest.mark.parametrize(
    ("after", "before", "said"),
    [(0.92, 0.93, True), (0.47, 0.93, True), (0.4, 0.93, False), (0.0, 0.0, False)],
)
def test_what_images_alone_still_find_was_not_deleted(
    after: float, before: float, said: bool
) -> None:
    value = assessment(relearning=[attack(0.3), attack(after, 0.0, mix=None)])
    value["before"]["relearning"] = [attack(0.9), attack(before, 0.0, mix=None)]
    text = verdict(value, DOG, 1.0)
    figures = f"(nearest prototype, 5 labelled images) finds {100 * after:.1f}% ({100 * before:.1f}% before)"
    assert figures in text
    assert (": the edit suppresses, it does not delete." in text) is said


def test_an_edit_that_did_nothing_suppresses_nothing() -> None:
    alike = [attack(0.9), attack(0.9, mix=None)]
    value = assessment(after=(180, 200), relearning=alike)
    assert "suppresses" not in verdict(value, DOG, 1.0)


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
    for word in ("random projection", "Suppressed"):
        assert word not in text


def test_few_images_give_counts_and_no_judgement() -> None:
    text = verdict(assessment(before=(1, 12), after=(0, 12)), DOG, 1.0)
    assert "of 12, 1 was recognised before and 0 after" in text
    assert "uppressed in" not in text


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
    lost = "Its nearest neighbours lost more: 90.0% before, 80.0% after, 300 images."
    assert lost in verdict(assessment(neighbours=share(240, 300)), DOG, 1.0)
    assert "neighbours" not in verdict(assessment(neighbours=share(260, 300)), DOG, 1.0)
    assert "neighbours" not in verdict(
        assessment(neighbours=share(240, 300), retain=(900, 790)), DOG, 1.0
    )


@pytest.mark.parametrize("n", [1, 12, 19])
@pytest.mark.parametrize("after", [0.0, 0.5, 1.0])
def test_a_handful_of_images_shows_no_kept_accuracy(n: int, after: float) -> None:
    value = assessment()
    value["before"]["zero_shot"]["retain"] = share(n, n)
    value["after"]["zero_shot"]["retain"] = share(int(after * n), n)
    text = verdict(value, DOG, 1.0)
    assert f"Too few images show what the edit costs: of {n} to be kept" in text
    for word in ("keeps its accuracy", "damaged", "lost accuracy"):
        assert word not in text


@pytest.mark.parametrize(("n", "sure"), [(20, False), (30, False), (1000, True)])
def test_a_wide_interval_is_said_to_be_wide(n: int, sure: bool) -> None:
    value = assessment()
    for when in ("before", "after"):
        value[when]["zero_shot"]["retain"] = share(9 * n // 10, n)
    text = verdict(value, DOG, 1.0)
    assert ("keeps its accuracy" in text) is sure
    assert ("shows no loss of accuracy as far as so few images can show" in text) is not sure


def test_an_attack_that_answers_the_class_to_everything_is_no_recovery() -> None:
    trivial = [attack(1.0, 1.0, mix=1.0), attack(0.3, 0.4, mix=None)]
    text = verdict(assessment(relearning=trivial), DOG, 1.0)
    assert "5 labelled images bring back no more than chance would, 100.0% (90.0% before;" in text
    assert "strongest leak found: 5 labelled" not in text
    chosen = strongest([*trivial, attack(0.6, 0.1, mix=0.5), attack(0.99, 0.0, shots=16)])
    assert chosen is not None
    assert chosen["recovered"] == 0.6


def test_what_was_measured_on_few_images_is_never_called_unmeasured() -> None:
    few = [attack(0.2, n=19), attack(0.4, n=1, shots=1)]
    value = assessment(relearning=few)
    value["before"]["relearning"] = [attack(0.9, n=19), attack(0.8, n=1, shots=1)]
    text = verdict(value, DOG, 1.0)
    alarms = "false alarms on 5.0% of the other images"
    many, one = (f"{alarms}; {n} only)" for n in ("19 images", "1 image"))
    assert f"5 labelled images bring back 20.0% (90.0% before; {many}" in text
    assert f"1 labelled image brings back 40.0% (80.0% before; {one}" in text
    assert "Figures from fewer than 20 images are a weak basis." in text
    assert "relearning" not in text


def test_what_was_not_measured_is_not_taken_for_failed() -> None:
    nothing: dict[str, Any] = {
        "relearning": [],
        "paraphrase": None,
        "probe_auc": None,
        "membership_auc": None,
        "retrieval": retrieval(None, None),
    }
    text = verdict(assessment(**nothing), DOG, 1.0)
    assert (
        "Not measured: relearning, other words, linear probe, class membership, retrieval." in text
    )
    for word in ("strongest", "Other attacks", "any attack"):
        assert word not in text


def test_what_is_missing_is_said_to_be_missing() -> None:
    assert "Not measured: other words." in verdict(assessment(), DOG, 1.0)
    blind = copy.deepcopy(assessment())
    blind["after"]["probe_auc"] = auc(0.53, 0.04)
    assert "does not reliably tell it apart (AUC 0.530" in verdict(blind, DOG, 1.0)
    blind["after"]["zero_shot"]["retain"] = None
    assert "Nothing is known here about what is to be kept." in verdict(blind, DOG, 1.0)


def test_a_partial_strength_is_named() -> None:
    assert "At strength 0.5 some recognition is intended to remain." in verdict(
        assessment(), DOG, 0.5
    )
    assert "At strength" not in verdict(assessment(), DOG, 1.0)


@pytest.mark.parametrize("after", [0, 15, 100, 180])
def test_words_that_promise_too_much_never_appear(after: int) -> None:
    text = verdict(assessment(after=(after, 200)), DOG, 1.0).lower()
    text = text.replace("it does not delete", "")
    for word in ("certif", "delet", "erase", "guarantee", "impossible", "completely"):
        assert word not in text
