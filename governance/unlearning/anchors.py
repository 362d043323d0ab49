"""Where `redirect` sends forgotten rows.

Sending a concept to zero makes its logit zero, and retained logits may be negative, so an argmax can still pick it.
Sending it to retained concepts makes its logit lose to theirs.
"""

from collections.abc import Mapping
from enum import Enum

import torch
from torch import Tensor

from governance.unlearning.bank import PromptBank
from governance.unlearning.recipe import Recipe

DUAL_RIDGE = 1.0
"""Ridge of the class directions: how much of a class's direction the rows of other classes may share, in unit rows."""


class Fate(Enum):
    """What becomes of a forgotten row's surroundings."""

    EVERYWHERE = "its class is forgotten in every domain"
    IN_ITS_DOMAIN = "its class is retained elsewhere, and other classes in its domain"
    WITH_ITS_DOMAIN = "nothing is retained in its domain"


def fates(bank: PromptBank, owners: Mapping[int, Recipe]) -> dict[int, Fate]:
    """Fate of each forgotten row, from what is still retained.

    Args:
        bank: the prompt bank.
        owners: bank row numbers that are forgotten.
    """
    classes, domains = _retained(bank, owners)
    found = {}
    for row in owners:
        label, domain = bank.pairs[row]
        if domain not in domains:
            found[row] = Fate.WITH_ITS_DOMAIN
        else:
            found[row] = Fate.IN_ITS_DOMAIN if label in classes else Fate.EVERYWHERE
    return found


def movements(bank: PromptBank, owners: Mapping[int, Recipe]) -> dict[int, Tensor]:
    """G − f of each forgotten row at full strength.

    A class goes to the mean of the retained rows of its domain; with its overshoot beyond it if the class stays
    retained in other domains. The rows of a domain in which nothing is retained go towards their mean and, all alike,
    towards one retained class: text features are nearly a sum of class and domain, and a linear map cannot take the
    class out of the images of one domain only, but it can move the domain as a whole. A class that is forgotten in
    every domain goes all the way to the mean there, too, and has no part in it.

    Args:
        bank: the prompt bank.
        owners: bank row numbers that are forgotten, with the recipe that decides.

    Returns:
        For each row of `owners` a vector of length d, float64.
    """
    pairs, found = bank.pairs, fates(bank, owners)
    classes, _ = _retained(bank, owners)
    anchors = {
        domain: _mean(bank, owners, domain, classes) for domain in {pairs[row][1] for row in owners}
    }
    shifted = Fate.WITH_ITS_DOMAIN in found.values()
    sink = _sink(bank, owners) if shifted else torch.zeros(bank.dimension, dtype=torch.float64)
    moves = {}
    for row, recipe in owners.items():
        way = anchors[pairs[row][1]] - bank.rows[row]
        match found[row]:
            case Fate.WITH_ITS_DOMAIN:
                lost = bool(classes) and pairs[row][0] not in classes
                moves[row] = (1 if lost else recipe.contraction) * way + recipe.shift * sink
            case Fate.IN_ITS_DOMAIN:
                moves[row] = recipe.overshoot * way
            case Fate.EVERYWHERE:
                moves[row] = way
    return moves


def _retained(
    bank: PromptBank, owners: Mapping[int, Recipe]
) -> tuple[set[str | None], set[str | None]]:
    """Classes and domains of which something is retained."""
    pairs = [pair for row, pair in enumerate(bank.pairs) if row not in owners]
    return {label for label, _ in pairs}, {domain for _, domain in pairs}


def _mean(
    bank: PromptBank, owners: Mapping[int, Recipe], domain: str | None, classes: set[str | None]
) -> Tensor:
    """Mean of the retained rows of a domain; if there are none, of the classes retained elsewhere; else of all."""
    rows = [row for row, pair in enumerate(bank.pairs) if pair[1] == domain]
    kept = [row for row in rows if row not in owners]
    elsewhere = [row for row in rows if bank.pairs[row][0] in classes]
    return bank.rows[kept or elsewhere or rows].mean(dim=0)


def class_directions(bank: PromptBank) -> Tensor:
    """The direction of each class that leaves the logits of the others alone, as far as the ridge allows.

    E = Yᵀ(R Rᵀ + εI)⁻¹R with Y the centred class indicators of the bank's rows: R eᵀ ≈ y, the dual basis of the rows.

    Returns:
        Classes × d, float64.
    """
    classes = len(bank.labels.classes)
    indicators = torch.eye(classes, dtype=torch.float64) - 1 / classes
    labels = indicators.repeat(len(bank.pairs) // classes, 1)
    normal = bank.rows.T @ bank.rows
    normal.diagonal().add_(DUAL_RIDGE)
    directions: Tensor = torch.linalg.solve(normal, bank.rows.T @ labels)
    return directions.T


def _sink(bank: PromptBank, owners: Mapping[int, Recipe]) -> Tensor:
    """Direction of the retained class that the shortest vector reaches: the one least entangled with the others."""
    candidates = [n for n in range(len(bank.labels.classes)) if n not in owners]
    directions = class_directions(bank)
    if not candidates:  # every class is forgotten without a domain, so no class can take the images
        return torch.zeros_like(directions[0])
    lengths = torch.linalg.vector_norm(directions, dim=1)
    return directions[min(candidates, key=lambda n: (float(lengths[n]), n))]
