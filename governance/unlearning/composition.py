"""One matrix for a whole active set.

Multiplying per-request projectors is wrong: each one moves the rows that the others were fitted to. So the rows
of every request are stacked, anchors and retained rows are recomputed from what is still retained, and the problem
is solved once. The result does not depend on the order of the requests, and dropping one is solving without it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from governance.unlearning.bank import PromptBank
from governance.unlearning.projector import Method, Projector, Recipe, solve
from governance.unlearning.targets import Target, check_targets, covered

RESIDUAL_FLOOR = 0.1
"""Smallest tolerance that is recorded: a tenth of the way back towards being recognised."""


MAX_RESIDUAL = 0.9
"""An edit that leaves more than this undone does nothing worth approving, and could not be guarded."""


@dataclass(frozen=True)
class Edit:
    """The part of a request that the fit needs."""

    targets: tuple[Target, ...]
    recipe: Recipe

    def to_dict(self) -> dict[str, Any]:
        """The edit as plain JSON values."""
        return {
            "targets": [target.to_dict() for target in self.targets],
            "hyperparameters": self.recipe.to_dict(),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Edit":
        """Inverse of `to_dict`; other keys are left alone."""
        return cls(
            tuple(Target.from_dict(target) for target in value["targets"]),
            Recipe.from_dict(value["hyperparameters"]),
        )


@dataclass(frozen=True)
class Composition:
    """The joint problem of an active set and its solution.

    Attributes:
        projector: the one matrix.
        forgotten: bank row numbers that are forgotten, ascending.
        goals: where each forgotten row was sent, len(forgotten) × d.
    """

    projector: Projector
    forgotten: tuple[int, ...]
    goals: Tensor

    def residual(self, bank: PromptBank, edit: Edit) -> float:
        """How much of `edit` is left undone: max over its rows of ‖f P − g‖ / ‖f − g‖.

        0 is complete, 1 means that nothing happened. Rows that were to stay where they are count as done.
        """
        pairs = bank.pairs
        worst = 0.0
        for position, row in enumerate(self.forgotten):
            if not covered(edit.targets, *pairs[row]):
                continue
            goal = self.goals[position]
            way = float(torch.linalg.vector_norm(bank.rows[row] - goal))
            left = float(torch.linalg.vector_norm(self.projector.apply(bank.rows[row]) - goal))
            if not math.isfinite(left):
                return math.inf
            if way > 1e-9:
                worst = max(worst, left / way)
        return worst


def tolerance(residual: float) -> float:
    """Residual that later compositions may leave a request that has `residual` on its own."""
    return min(max(RESIDUAL_FLOOR, 2 * residual), MAX_RESIDUAL)


def compose(bank: PromptBank, edits: Sequence[Edit]) -> Composition:
    """Solve for all `edits` at once; a single request's projector is the composition of itself alone.

    A row that several edits cover is forgotten with the greatest strength among them. Retained rows are used as
    soon as one edit uses them, with the largest λr among the edits; μ is the smallest positive one among them.

    Raises:
        InvalidInputError: a target is not in the bank, or nothing would be retained.
    """
    check_targets([target for edit in edits for target in edit.targets], bank.labels)
    # Rows are visited in the bank's order and everything else is a maximum or minimum over the
    # requests, so the result is the same to the last bit in whatever order they come.
    owners = _owners(bank, edits)
    forgotten = tuple(sorted(owners))
    retained = [row for row in range(len(bank.pairs)) if row not in owners]
    goals = [
        (1 - recipe.strength) * bank.rows[row] + recipe.strength * _anchor(bank, owners, row)
        for row, recipe in sorted(owners.items())
    ]
    holding = [edit.recipe for edit in edits if edit.recipe.lambda_retain > 0]
    smallest_mu = min((edit.recipe.mu for edit in edits if edit.recipe.mu > 0), default=0.0)
    stacked = torch.stack(goals) if goals else bank.rows[:0]
    projector = solve(
        forget=bank.rows[list(forgotten)],
        targets=stacked,
        weights=torch.tensor([owners[row].lambda_forget for row in forgotten], dtype=torch.float64),
        retain=bank.rows[retained] if holding else bank.rows[:0],
        lambda_retain=max((recipe.lambda_retain for recipe in holding), default=0.0),
        mu=smallest_mu,
    )
    return Composition(projector, forgotten, stacked)


def _owners(bank: PromptBank, edits: Sequence[Edit]) -> dict[int, Recipe]:
    """For each forgotten row the recipe that decides its fate."""
    owners: dict[int, Recipe] = {}
    for row, (label, domain) in enumerate(bank.pairs):
        recipes = [edit.recipe for edit in edits if covered(edit.targets, label, domain)]
        if recipes:
            owners[row] = max(recipes, key=_priority)
    return owners


def _priority(recipe: Recipe) -> tuple[float, bool, float]:
    return recipe.strength, recipe.method is Method.REDIRECT, recipe.lambda_forget


def _anchor(bank: PromptBank, owners: Mapping[int, Recipe], row: int) -> Tensor:
    """Where a forgotten row goes: zero, or the mean of the retained rows of its domain.

    With nothing retained in the domain the anchor is the mean of the domain's rows: its classes become alike.
    """
    if owners[row].method is Method.NULLSPACE:
        return torch.zeros_like(bank.rows[row])
    domain = bank.pairs[row][1]
    neighbours = [index for index, pair in enumerate(bank.pairs) if pair[1] == domain]
    retained = [index for index in neighbours if index not in owners]
    return bank.rows[retained or neighbours].mean(dim=0)
