"""Lines of the leakage table: the figures that an assessment holds, and none that it lacks."""

import copy
from typing import Any

import pytest

from governance.reports.leakage import Cell, Line, leakage


def share(value: float) -> dict[str, Any]:
    return {"value": value, "low": value / 2, "high": (1 + value) / 2, "n": 40, "correct": 1}


def view(level: float) -> dict[str, Any]:
    return {
        "relearning": [
            {"shots": 1, "mix": 1.0, "recovered": level, "false_alarms": 0.02, "n": 39},
            {"shots": 5, "mix": 1.0, "recovered": 1.0, "false_alarms": 1.0, "n": 35},
            {"shots": 5, "mix": None, "recovered": level, "false_alarms": 0.01, "n": 35},
        ],
        "paraphrase": {"max": share(level), "mean": level / 4, "prompts": 7},
        "top5": {"forget": share(level), "retain": share(1.0), "guard": None},
        "retrieval": {
            way: {
                "forget": {"n": 4, "r1": level / 4, "r5": level, "r10": level},
                "retain": {"n": 9, "r1": 1, "r5": 1, "r10": 1},
            }
            for way in ("image_to_text", "text_to_image")
        },
        "probe_auc": share(level),
        "membership_auc": share(level),
        "alignment": {"forget": -level, "retain": 0.3},
        "neighbours": share(level),
        "drift": level / 100,
        "harmonic": level,
        "aus": level,
        "rus": level,
    }


@pytest.fixture
def assessment() -> dict[str, Any]:
    return {
        "protocol": {"shots": [1, 5, 16], "draws": 10, "mixes": [0.5, 1.0]},
        "neighbours": [{"class": "cat", "domain": "photo"}, {"class": "cow", "domain": None}],
        "before": view(0.8),
        "after": view(0.2),
        "control": view(0.7),
    }


def lines(assessment: dict[str, Any]) -> dict[str, Line]:
    return {line.name: line for group in leakage(assessment) for line in group.lines}


def test_every_line_holds_before_after_and_control(assessment: dict[str, Any]) -> None:
    shown = lines(assessment)
    assert len(shown) == 18
    assert shown["Found by other words, best"].cells == [
        Cell("80.0%", "40.0% to 90.0%"), Cell("20.0%", "10.0% to 60.0%"), Cell("70.0%", "35.0% to 85.0%"),
    ]  # fmt: skip
    assert [cell.text for cell in shown["H"].cells] == ["0.800", "0.200", "0.700"]
    assert shown["Alignment"].cells[1].text == "−0.200"
    assert all(line.meaning.endswith(".") for line in shown.values())
    assert "cat in photo, cow" in shown["Nearest neighbours recognised"].meaning


def test_an_attack_that_finds_the_class_everywhere_is_not_the_strongest(
    assessment: dict[str, Any],
) -> None:
    cells = lines(assessment)["Relearned from 5 labelled images"].cells
    assert cells[1] == Cell("20.0%", "of 35; false alarms 1.0%")
    assert "Relearned from 16 labelled images" not in lines(assessment)


def test_the_nearest_prototype_has_a_line_of_its_own(assessment: dict[str, Any]) -> None:
    """The verdict quotes it, whichever attack is the strongest."""
    for name in ("before", "after", "control"):
        assessment[name]["relearning"].append(
            {"shots": 5, "mix": 0.5, "recovered": 0.95, "false_alarms": 0.0, "n": 35}
        )
    shown = lines(assessment)
    assert shown["Relearned from 5 labelled images"].cells[1].text == "95.0%"
    alone = shown["Nearest prototype, 5 labelled images"].cells
    assert [cell.text for cell in alone] == ["80.0%", "20.0%", "70.0%"]


def test_recall_is_shown_at_every_k(assessment: dict[str, Any]) -> None:
    cells = lines(assessment)["Searching for it by text, first 10"].cells
    assert cells[1] == Cell("20.0%", "of 4; first 5.0%, first 5 20.0%")


def test_what_was_not_measured_is_left_out(assessment: dict[str, Any]) -> None:
    full = set(lines(assessment))
    bare = copy.deepcopy(assessment)
    for name in ("before", "after", "control"):
        side = bare[name]
        side["relearning"] = []
        side |= dict.fromkeys(
            ("paraphrase", "top5", "probe_auc", "membership_auc", "neighbours", "drift")
        )
        for way in side["retrieval"].values():
            way["retain"] = None
    left = set(lines(bare))
    assert left < full
    assert left == {
        "Searching for it by text, first 10", "Describing images of it, first 5", "Alignment",
        "H", "AUS", "RUS",
    }  # fmt: skip


def test_the_short_table_has_one_line_for_each_question(assessment: dict[str, Any]) -> None:
    assert [name for name, line in lines(assessment).items() if line.brief] == [
        "Relearned from 5 labelled images",
        "Found by other words, best",
        "Searching for it by text, first 10",
        "Linear probe (AUC)",
        "Nearest neighbours recognised",
    ]
