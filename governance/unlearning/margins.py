"""Holding on to the retained rows that an edit endangers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from governance.unlearning.bank import PromptBank
from governance.unlearning.projector import coefficients

ROUNDS = 10
"""How often weights are raised at most; each round multiplies those of endangered rows by `STEP`."""

STEP = 3.0


def guard_margins(
    bank: PromptBank,
    forget: Tensor,
    goals: Tensor,
    weights: Tensor,
    retain: Tensor,
    held: Tensor,
    mu: float,
    kept: Sequence[int],
    share: float,
) -> Tensor:
    """Raise the weights of retained text rows until each keeps `share` of its zero-shot margin, or rounds run out.

    Least squares spreads the damage of an edit over all retained rows; only those near the forgotten ones must be held
    harder, and holding all of them harder would cost the edit its reach.

    Args:
        bank: the prompt bank.
        forget: F, k × d.
        goals: G, k × d.
        weights: of the forgotten rows, k.
        retain: R, r × d.
        held: weights of the retained rows to start from, r.
        mu: μ, as in `solve`.
        kept: number of each retained row; below the size of the bank they are the bank's.
        share: ρ in (0, 1), margin to keep. Rows without a positive margin before the edit are left out.

    Returns:
        Weights of the retained rows, r.
    """
    text = [place for place, row in enumerate(kept) if row < len(bank.pairs)]
    numbers = [kept[place] for place in text]
    places = torch.tensor(text)
    before = margins(bank, bank.rows)[numbers]
    difference = goals - forget
    for _ in range(ROUNDS):
        a, _ = coefficients(forget, weights, retain, held, mu)
        after = margins(bank, bank.rows + (bank.rows @ a) @ difference)[numbers]
        endangered = (before > 0) & (after < share * before)
        if not endangered.any():
            break
        held = held.clone()
        held[places[endangered]] *= STEP
    return held


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
