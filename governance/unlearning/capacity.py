"""How much of the embedding space an edit uses, and what it costs the retained prompts: known before any image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from governance.errors import RefusedError
from governance.unlearning.bank import PromptBank
from governance.unlearning.projector import Projector
from governance.unlearning.targets import Cover, Target

MAX_LOST = 0.1
"""Largest share of retained prompts that may stop being recognised as themselves."""


def capacity(bank: PromptBank, targets: Sequence[Target], projector: Projector) -> dict[str, Any]:
    """Capacity report of an edit.

    Returns:
        ``rank`` used of ``dimension``, ``condition`` number of the fit, and the damage predicted from the text rows
        alone: ``retained_rows`` that zero-shot classification gets right before the edit, ``lost_rows`` of them
        afterwards wrong, ``lost`` their share, ``drift`` the mean ‖r P − r‖ of the retained rows.
    """
    cover = Cover(targets)
    kept = torch.tensor([not cover.covers(*pair) for pair in bank.pairs])
    edited = projector.apply(bank.rows)
    right = (margins(bank, bank.rows) > 0) & kept
    wrong = right & (margins(bank, edited) <= 0)
    rows, lost = int(right.sum()), int(wrong.sum())
    drift = torch.linalg.vector_norm(edited - bank.rows, dim=1)[kept].mean()
    return {
        "rank": projector.rank,
        "dimension": projector.dimension,
        "condition": projector.condition,
        "retained_rows": rows,
        "lost_rows": lost,
        "lost": lost / rows if rows else 0.0,
        "drift": float(drift),
    }


def check_capacity(report: dict[str, Any]) -> None:
    """Refuse an edit for which the space is too small.

    Raises:
        RefusedError: more than `MAX_LOST` of the retained prompts would be lost.
    """
    if report["lost"] > MAX_LOST:
        raise RefusedError(
            f"capacity exceeded: with rank {report['rank']} of {report['dimension']} forgotten, "
            f"{report['lost_rows']} of {report['retained_rows']} retained prompts would no longer be "
            f"recognised (at most {MAX_LOST:.0%}); forget less, or drop another request first"
        )


def margins(bank: PromptBank, rows: Tensor) -> Tensor:
    """Own logit less the best other one of each row, against the scoring prompts of its own domain.

    Args:
        bank: the prompt bank.
        rows: the bank's rows or what an edit makes of them, in the bank's order.

    Returns:
        One margin a row, without the logit scale; positive where zero-shot classification is right.
    """
    classes = len(bank.labels.classes)
    found = []
    for start in range(0, len(rows), classes):
        block = slice(start, start + classes)
        logits = rows[block] @ bank.scores[block].T
        own = logits.diagonal().clone()
        logits.fill_diagonal_(-torch.inf)
        found.append(own - logits.max(dim=1).values)
    return torch.cat(found)
