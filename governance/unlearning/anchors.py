"""What becomes of each forgotten row, and the retained texts that take its place.

An anchor is a mean of retained texts, so an image never scores it higher than the best of them: whatever is made to
score like its anchor can tie with a retained class at most, and never win.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum

import torch
from torch import Tensor

from governance.unlearning.bank import PromptBank
from governance.unlearning.recipe import Recipe

DUAL_RIDGE = 1.0
"""Ridge of the class directions: how much of a class's direction the rows of other classes may share, in unit rows."""


class Fate(Enum):
    """What becomes of a forgotten row's surroundings."""

    EVERYWHERE = "its class is forgotten everywhere"
    IN_ITS_DOMAIN = "its class is retained elsewhere, and other classes in its domain"
    WITH_ITS_DOMAIN = "nothing is retained in its domain"


def fates(bank: PromptBank, owners: Mapping[int, Recipe]) -> dict[int, Fate]:
    """Fate of each forgotten row, from what is still retained.

    A pair that a request for its domain forgets more strongly than another one the class everywhere has a fate of its
    own.

    Args:
        bank: the prompt bank.
        owners: bank row numbers that are forgotten, with the recipe that decides.
    """
    classes = len(bank.labels.classes)
    kept = {row // classes for row in range(len(bank.pairs)) if row not in owners}
    found = {}
    for row, recipe in owners.items():
        plain = owners.get(row % classes)  # of the row of its class that names no domain
        if plain is not None and recipe.strength <= plain.strength:
            found[row] = Fate.EVERYWHERE
        else:
            found[row] = Fate.IN_ITS_DOMAIN if row // classes in kept else Fate.WITH_ITS_DOMAIN
    return found


def nearest_retained(
    bank: PromptBank, lost: Collection[int], forgotten: Collection[int], count: int
) -> dict[int, list[int]]:
    """The retained rows nearest to each lost one, among those that name the same domain.

    Args:
        bank: the prompt bank.
        lost: rows of classes that are forgotten everywhere.
        forgotten: every forgotten row, the lost ones included. Rows of another request are chosen only where a domain
            retains nothing.
        count: how many, as far as there are so many.

    Returns:
        For each row of `lost` bank row numbers, nearest first; their mean is its anchor. If every class is forgotten
        everywhere in the bank, which no valid request asks, a row is its own anchor.
    """
    classes = len(bank.labels.classes)
    lost = set(lost)
    forgotten = set(forgotten)
    found: dict[int, list[int]] = {}
    for block in sorted({row // classes for row in lost}):
        rows = range(block * classes, (block + 1) * classes)
        mine = [row for row in rows if row in lost]
        near = [row for row in rows if row not in forgotten] or [r for r in rows if r not in lost]
        if not near:
            found |= {row: [row] for row in mine}
            continue
        cosines = bank.rows[mine] @ bank.rows[near].T
        order = torch.argsort(cosines, dim=1, descending=True, stable=True)[:, :count].tolist()
        found |= {
            row: [near[place] for place in places] for row, places in zip(mine, order, strict=True)
        }
    return found


def domain_mean(bank: PromptBank, owners: Collection[int], domain: str | None) -> Tensor:
    """Mean of the retained rows of a domain, d; if there are none, of the classes retained elsewhere; else of all."""
    owners = set(owners)
    classes = {pair[0] for row, pair in enumerate(bank.pairs) if row not in owners}
    rows = [row for row, pair in enumerate(bank.pairs) if pair[1] == domain]
    kept = [row for row in rows if row not in owners]
    elsewhere = [row for row in rows if bank.pairs[row][0] in classes]
    mean: Tensor = bank.rows[kept or elsewhere or rows].mean(dim=0)
    return mean


def class_directions(bank: PromptBank) -> Tensor:
    """The direction of each class that leaves the logits of the others alone, as far as the ridge allows.

    E = Yᵀ(R Rᵀ + εI)⁻¹R with Y the centred class indicators of the bank's rows: R eᵀ ≈ y, the dual basis of the rows.

    Returns:
        Classes × d, float64.
    """
    classes = len(bank.labels.classes)
    sums = bank.rows.reshape(-1, classes, bank.dimension).sum(dim=0)
    normal = bank.rows.T @ bank.rows
    normal.diagonal().add_(DUAL_RIDGE)
    directions: Tensor = torch.linalg.solve(normal, (sums - sums.mean(dim=0)).T)
    return directions.T


def sink_class(bank: PromptBank, candidates: Sequence[int]) -> int | None:
    """Of the candidates the class that the shortest vector reaches: the one least entangled with the others.

    Args:
        bank: the prompt bank.
        candidates: class numbers, those that stay recognised outside the forgotten domains.

    Returns:
        Its number; None without a candidate, when no class can take the images of a forgotten domain.
    """
    if not candidates:
        return None
    lengths = torch.linalg.vector_norm(class_directions(bank), dim=1)
    return min(candidates, key=lambda number: (float(lengths[number]), number))
