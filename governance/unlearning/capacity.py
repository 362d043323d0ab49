"""How much of the embedding space an edit uses.

What that costs images is said by the certificate (`unlearning/certificate.py`) without any, and measured on the cached
embeddings. That the texts still find themselves, counted here, says little of images, which lie elsewhere.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from governance.unlearning.bank import PromptBank
from governance.unlearning.projector import Projector
from governance.unlearning.targets import Cover, Target


def capacity(bank: PromptBank, targets: Sequence[Target], projector: Projector) -> dict[str, Any]:
    """Capacity report of an edit.

    Returns:
        ``rank`` used of ``dimension``, ``condition`` number of the fit, and of the text rows, as if they were images:
        ``retained_rows`` that zero-shot classification gets right before the edit, ``lost_rows`` of them afterwards
        wrong, ``lost`` their share, ``drift`` the mean ‖r P − r‖ of the retained rows.
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
