"""What still leaks, line by line: each figure of an assessment before, after and with the random control."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from governance.datasets import pair_words
from governance.unlearning.verdict import SHOTS, quoted_shots, strongest
from governance.unlearning.words import percent

VIEWS = ("before", "after", "control")

_MANY = 6
"""Neighbours that are named one by one."""


@dataclass(frozen=True)
class Cell:
    """A figure of one version; `note` says how precise it is or at what price it comes."""

    text: str
    note: str = ""


@dataclass(frozen=True)
class Line:
    """One figure of every version.

    Attributes:
        name: what it is.
        meaning: one sentence.
        cells: before, after, control.
        brief: whether a short table shows it too.
    """

    name: str
    meaning: str
    cells: Sequence[Cell]
    brief: bool = False


@dataclass(frozen=True)
class Group:
    """Lines that answer one question."""

    title: str
    lines: Sequence[Line]


def leakage(assessment: Mapping[str, Any]) -> list[Group]:
    """The figures of an assessment, grouped by the question that they answer; what was not measured is left out."""
    views = [assessment[view] for view in VIEWS]
    groups = [
        Group("Does it come back with a little effort?", _effort(assessment, views)),
        Group("Is it still in the embedding?", _traces(views)),
        Group("What did the edit cost nearby?", _collateral(assessment, views)),
        Group("In one number", _totals(views)),
    ]
    return [group for group in groups if group.lines]


def _effort(assessment: Mapping[str, Any], views: Sequence[Mapping[str, Any]]) -> list[Line]:
    lines: list[Line] = []
    for shots in assessment["protocol"]["shots"]:
        attacks = [strongest(view["relearning"], shots) for view in views]
        found = [attack for attack in attacks if attack is not None]
        if len(found) < len(views):
            continue
        images = "1 labelled image" if shots == 1 else f"{shots} labelled images"
        draws = assessment["protocol"]["draws"]
        lines.append(
            Line(
                f"Relearned from {images}",
                f"Share of its other images found again when its prompt is replaced by, or mixed with, the mean of "
                f"labelled images; the strongest of {_attacks(assessment)} attacks, mean of {draws} draws. False "
                "alarms: other images taken for it."
                if not lines
                else "The same.",
                [_recovered(attack) for attack in found],
                brief=shots == SHOTS,
            )
        )
    lines += _nearest(views)
    words = [view["paraphrase"] for view in views]
    if all(words):
        lines += [
            Line(
                "Found by other words, best",
                f"Share of its images that the best of {words[0]['prompts']} other prompts finds (synonyms, and "
                "templates that were not used in the fit).",
                [_share(entry["max"]) for entry in words],
                brief=True,
            ),
            Line(
                "Found by other words, mean",
                "The same for a prompt taken at random.",
                [Cell(percent(entry["mean"])) for entry in words],
            ),
        ]
    tops = [view["top5"] for view in views]
    if all(tops):
        lines.append(
            Line(
                "Among the five best names",
                "Share of its images for which the forgotten class is among the five names that fit best.",
                [_share(entry["forget"]) for entry in tops],
            )
        )
    lines += _searches(views, "forget", "it", brief=True)
    return lines


def _nearest(views: Sequence[Mapping[str, Any]]) -> list[Line]:
    """The attack in which no text has a part, which shows best that nothing is deleted."""
    alone = [[a for a in view["relearning"] if a["mix"] is None] for view in views]
    shots = quoted_shots(alone[0])
    found = [attack for attacks in alone if (attack := strongest(attacks, shots)) is not None]
    if len(found) < len(views):
        return []
    images = "1 labelled image" if shots == 1 else f"{shots} labelled images"
    return [
        Line(
            f"Nearest prototype, {images}",
            "The same where every class is replaced by the mean of its labelled images: images are compared with "
            "images alone.",
            [_recovered(attack) for attack in found],
        )
    ]


def _recovered(attack: Mapping[str, Any]) -> Cell:
    return Cell(
        percent(attack["recovered"]),
        f"of {attack['n']}; false alarms {percent(attack['false_alarms'])}",
    )


def _searches(
    views: Sequence[Mapping[str, Any]], side: str, what: str, brief: bool = False
) -> list[Line]:
    by_text = [view["retrieval"]["text_to_image"][side] for view in views]
    by_image = [view["retrieval"]["image_to_text"][side] for view in views]
    lines = []
    if all(by_text):
        lines.append(
            Line(
                f"Searching for {what} by text, first 10",
                "Share of prompts that have a right image among the first ten results.",
                [_recall(entry, 10, 1, 5) for entry in by_text],
                brief,
            )
        )
    if all(by_image):
        lines.append(
            Line(
                f"Describing images of {what}, first 5",
                "Share of images that have their own prompt among the first five.",
                [_recall(entry, 5, 1, 10) for entry in by_image],
            )
        )
    return lines


def _traces(views: Sequence[Mapping[str, Any]]) -> list[Line]:
    lines = []
    for key, name, meaning in (
        (
            "probe_auc",
            "Linear probe (AUC)",
            "How often a linear classifier, trained on labelled embeddings, ranks an image of it above another image; "
            "0.5 is guessing.",
        ),
        (
            "membership_auc",
            "Class membership (AUC)",
            "How often what the model says of the nearest retained classes gives away an image of the forgotten "
            "one; 0.5 is guessing.",
        ),
    ):
        found = [view[key] for view in views]
        if all(found):
            cells = [Cell(f"{e['value']:.3f}", f"{e['low']:.3f} to {e['high']:.3f}") for e in found]
            lines.append(Line(name, meaning, cells, brief=key == "probe_auc"))
    lines += _inversions(views)
    cosines = [view["alignment"]["forget"] for view in views]
    lines.append(
        Line(
            "Alignment",
            "Mean cosine of its images to the text of their own class.",
            [Cell(f"{cosine:.3f}".replace("-", "−")) for cosine in cosines],
        )
    )
    return lines


def _inversions(views: Sequence[Mapping[str, Any]]) -> list[Line]:
    """What inverting the edit restores; the unedited model has nothing to invert."""
    if any("inversion" not in view for view in views) or views[1]["inversion"] is None:
        return []
    before = views[0]["zero_shot"]["forget"]
    return [
        Line(
            name,
            meaning,
            [_share((view["inversion"] or {}).get(key, before)) for view in views],
            brief=key == "plain",
        )
        for key, name, meaning in (
            (
                "plain",
                "Restored by inversion",
                "Share of its images recognised again once somebody with the factors has inverted the edit on stored "
                "vectors, as far as it has an inverse.",
            ),
            (
                "informed",
                "Restored by inversion, with other images",
                "The same by somebody who also knows how images are distributed, and fills in what the edit took.",
            ),
        )
    ]


def _collateral(assessment: Mapping[str, Any], views: Sequence[Mapping[str, Any]]) -> list[Line]:
    lines = []
    near = [view["neighbours"] for view in views]
    if all(near):
        lines.append(
            Line(
                "Nearest neighbours recognised",
                f"Share recognised of images of what lies nearest to it and is kept: {_named(assessment)}.",
                [_share(entry) for entry in near],
                brief=True,
            )
        )
    turned = [view.get("turning") for view in views]
    if None not in turned:
        lines.append(
            Line(
                "Turning",
                "How far all images turn: 1 less the mean cosine of an image before and after.",
                [Cell(f"{value:.4f}") for value in turned],
                brief=True,
            )
        )
    drifts = [view["drift"] for view in views]
    if None not in drifts:
        lines.append(
            Line(
                "Drift of the neighbours",
                "How far the probabilities of the kept classes moved on these images (Jensen–Shannon, 0 to 1 bit).",
                [Cell(f"{drift:.4f}") for drift in drifts],
            )
        )
    return lines + _searches(views, "retain", "what is kept")


def _totals(views: Sequence[Mapping[str, Any]]) -> list[Line]:
    return [
        Line(name, meaning, [Cell(f"{view[key]:.3f}") for view in views])
        for key, name, meaning in (
            ("harmonic", "H", "Harmonic mean of forgetting and keeping; 1 is best."),
            ("aus", "AUS", "Keeping, relative to the unedited model, over what is left of the forgotten; 1 is best."),
            ("rus", "RUS", "Whether images of it are represented differently and others alike; 1 is best."),
        )
    ]  # fmt: skip


def _share(entry: Mapping[str, Any]) -> Cell:
    return Cell(percent(entry["value"]), f"{percent(entry['low'])} to {percent(entry['high'])}")


def _recall(entry: Mapping[str, Any], k: int, *others: int) -> Cell:
    """Recall at k, and in the note at others."""
    beside = (f"first{'' if n == 1 else f' {n}'} {percent(entry[f'r{n}'])}" for n in others)
    return Cell(percent(entry[f"r{k}"]), f"of {entry['n']}; {', '.join(beside)}")


def _attacks(assessment: Mapping[str, Any]) -> int:
    protocol = assessment["protocol"]
    return len(protocol["mixes"]) + len(protocol.get("scaled", ())) + 1


def _named(assessment: Mapping[str, Any]) -> str:
    """The neighbours in words."""
    names = [pair_words(entry["class"], entry["domain"]) for entry in assessment["neighbours"]]
    rest = f" and {len(names) - _MANY} more" if len(names) > _MANY else ""
    return ", ".join(names[:_MANY]) + rest
