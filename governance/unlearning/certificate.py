"""What holds for every image there could be, computed from the factors and the prompts alone.

With P̃ = Pᵀ the edit as it acts on texts, (z P)·t = z·(t P̃), so for every unit image embedding z, on the unnormalised
score, by the Cauchy–Schwarz inequality:

(a) a forgotten text f scores at most ‖(f − g) P̃‖ more than its anchor g does after the edit (its *excess*), and at most
    ‖f P̃ − g‖ more than the anchor did before. g is a mean of retained texts, so the best of those scores at least as
    much as g: with an excess of 0 no image is ever given the forgotten class.
(b) a retained text t changes its score by at most ‖t P̃ − t‖ (its *change*).

Normalising z P divides all scores of an image by the same number, so it changes none of the comparisons. Nothing is
said of other words, of other uses of the embedding, or of what is forgotten in one domain only, which depends on the
image.

NumPy only, so that `audit verify` recomputes it without torch; the verifier in a bundle does in plain Python.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from governance.unlearning.labels import LabelSpace

Rows = npt.NDArray[np.float64]

DIGITS = 6
"""Figures are rounded to so many digits, which hides the last bits in which machines differ."""


@dataclass(frozen=True)
class Prompts:
    """The prompts that classify, and other words.

    Attributes:
        classes: names; a row of `scores` is one (class, domain), block by block, first without a domain.
        domains: names.
        scores: (1 + domains) · classes × d unit rows.
        paraphrases: unit row of each (class, prompt) of `LabelSpace.paraphrases`, m × d.
        wordings: those (class, prompt).
    """

    classes: Sequence[str]
    domains: Sequence[str]
    scores: Rows
    paraphrases: Rows
    wordings: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, labels: LabelSpace, scores: Rows, paraphrases: Rows) -> "Prompts":
        """The prompts of a label space; a bank that nobody evaluates with has no paraphrase."""
        wordings = labels.paraphrases if len(paraphrases) else ()
        return cls(labels.classes, labels.domains, scores, paraphrases, wordings)


@dataclass(frozen=True)
class Forgotten:
    """The forgotten texts that the certificate speaks of, k of them.

    Attributes:
        labels: class of each.
        texts: k × d.
        anchors: k × d, the mean of the classifying prompts that take its place.
        rivals: k × d, the retained prompt of the same domain that is nearest to it.
    """

    labels: Sequence[str]
    texts: Rows
    anchors: Rows
    rivals: Rows


def certificate(
    prompts: Prompts,
    blocks: Sequence[Mapping[str, Any]],
    a: Rows,
    b: Rows,
    moment: Rows | None = None,
) -> dict[str, Any]:
    """The certificate of an edit.

    Args:
        prompts: of the model.
        blocks: what the columns of the factors are, as recipes say it.
        a: d × k.
        b: k × d.
        moment: M, second moment of unlabelled images, d × d, if there is one.

    Returns:
        ``forgotten`` (None if nothing is forgotten everywhere): ``texts``, ``excess``, ``from_anchor`` and ``margin``
        (each with ``median`` and ``worst``) and ``certified``, how many texts have an excess below their margin, the
        lead of the best retained text over the anchor for an image that looks like the forgotten text itself.
        ``retained`` (None if every class is touched): ``texts`` and ``change``. ``classes``: worst excess and margin of
        each forgotten class. ``depends_on_image``: whether a part of the edit is outside this certificate.
        ``estimate``: with M, the root mean square √(δᵀMδ) of (a) and (b) over those images; an estimate, no bound.
    """
    forgotten = forgotten_texts(prompts, blocks)
    untouched = retained_rows(prompts, blocks)
    kept = prompts.scores[untouched]

    def through(rows: Rows) -> Rows:
        moved: Rows = rows + (rows @ b.T) @ a.T
        return moved

    change = through(kept) - kept
    result: dict[str, Any] = {
        "forgotten": None,
        "retained": None,
        "classes": {},
        "depends_on_image": any(block["side"] != "texts" for block in blocks),
        "estimate": None,
    }
    if len(kept):
        result["retained"] = {"texts": len(kept), "change": _summary(_lengths(change))}
    difference = np.zeros((0, prompts.scores.shape[1]))
    if forgotten.labels:
        difference = through(forgotten.texts - forgotten.anchors)
        excess = _lengths(difference)
        away = _lengths(through(forgotten.texts) - forgotten.anchors)
        margin = ((forgotten.rivals - forgotten.anchors) * forgotten.texts).sum(axis=1)
        result["forgotten"] = {
            "texts": len(excess),
            "excess": _summary(excess),
            "from_anchor": _summary(away),
            "margin": {"median": _round(np.median(margin)), "worst": _round(margin.min())},
            "certified": int((excess <= margin).sum()),
        }
        for label in dict.fromkeys(forgotten.labels):
            mine = [n for n, other in enumerate(forgotten.labels) if other == label]
            result["classes"][label] = {
                "excess": _round(excess[mine].max()),
                "margin": _round(margin[mine].min()),
            }
    if moment is not None:
        result["estimate"] = {
            name: _summary(np.sqrt(np.einsum("ij,jk,ik->i", rows, moment, rows).clip(0)))
            for name, rows in (("excess", difference), ("change", change))
            if len(rows)
        }
    return result


def forgotten_texts(prompts: Prompts, blocks: Sequence[Mapping[str, Any]]) -> Forgotten:
    """The texts of the text side with their anchors, as the classifier says them."""
    size, width = len(prompts.classes), prompts.scores.shape[1]
    number = {label: n for n, label in enumerate(prompts.classes)}
    offset = {domain: n * size for n, domain in enumerate((None, *prompts.domains))}
    wording = {tuple(pair): n for n, pair in enumerate(prompts.wordings)}
    lost = [block for block in blocks if block["side"] == "texts"]
    gone = {block["class"] for block in lost}
    kept = [n for n in range(size) if prompts.classes[n] not in gone]
    texts, anchors, rivals = ([np.zeros((0, width))] for _ in range(3))
    for block in lost:
        start = offset[block["domain"]]
        text = (
            prompts.scores[start + number[block["class"]]]
            if block["synonym"] is None
            else prompts.paraphrases[wording[block["class"], block["synonym"]]]
        )
        near = prompts.scores[[start + n for n in kept]] if kept else text[None]
        texts.append(text[None])
        anchors.append(prompts.scores[block["anchor"]].mean(axis=0, keepdims=True))
        rivals.append(near[[int((near @ text).argmax())]])
    return Forgotten(
        [block["class"] for block in lost],
        np.concatenate(texts),
        np.concatenate(anchors),
        np.concatenate(rivals),
    )


def retained_rows(prompts: Prompts, blocks: Sequence[Mapping[str, Any]]) -> list[int]:
    """Numbers of the prompts of classes that no block touches."""
    touched = {block["class"] for block in blocks}
    count = len(prompts.classes)
    return [n for n in range(len(prompts.scores)) if prompts.classes[n % count] not in touched]


def _lengths(rows: Rows) -> Rows:
    lengths: Rows = np.sqrt((rows * rows).sum(axis=1))
    return lengths


def _summary(values: Rows) -> dict[str, float]:
    return {"median": _round(np.median(values)), "worst": _round(values.max())}


def _round(value: Any) -> float:
    return round(float(value), DIGITS)
