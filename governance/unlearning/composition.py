"""One matrix for a whole active set.

Multiplying per-request projectors is wrong: each one moves the rows that the others were fitted to. So the rows
of every request are stacked, anchors and retained rows are recomputed from what is still retained, and the problem
is solved once. The result does not depend on the order of the requests, and dropping one is solving without it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from governance.errors import InvalidInputError
from governance.unlearning.anchors import Fate, fates, movements
from governance.unlearning.bank import Pair, PromptBank
from governance.unlearning.margins import guard_margins
from governance.unlearning.projector import Projector, solve
from governance.unlearning.prototypes import Prototypes
from governance.unlearning.recipe import Method, Recipe
from governance.unlearning.targets import Target, check_targets, covered, covering

RESIDUAL_FLOOR = 0.1
"""Smallest tolerance that is recorded: a tenth of the way back towards being recognised."""

MAX_RESIDUAL = 0.9
"""An edit that leaves more than this undone does nothing worth approving, and could not be guarded."""


@dataclass(frozen=True)
class Edit:
    """The part of a request that the fit needs.

    Attributes:
        targets: what is forgotten.
        recipe: method and hyperparameters.
        prototypes: visual prototypes besides the text rows, which always take part.
    """

    targets: tuple[Target, ...]
    recipe: Recipe
    prototypes: tuple[Prototypes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a method without what it is made of.

        Raises:
            InvalidInputError: `multimodal` without a prototype of what is forgotten.
        """
        if self.recipe.method is Method.MULTIMODAL and not any(
            covered(self.targets, *pair) for chosen in self.prototypes for pair in chosen.pairs
        ):
            raise InvalidInputError(
                "the method multimodal joins text with visual prototypes of what is forgotten: add "
                "--prototypes synthesised or --prototypes few-shot"
            )

    def to_dict(self) -> dict[str, Any]:
        """The edit as plain JSON values, prototypes by the digest of their rows."""
        return {
            "targets": [target.to_dict() for target in self.targets],
            "hyperparameters": self.recipe.to_dict(),
            "prototypes": [{"kind": "text"}, *(chosen.to_dict() for chosen in self.prototypes)],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], rows: Mapping[str, Tensor]) -> "Edit":
        """Inverse of `to_dict`; other keys are left alone.

        Args:
            value: what `to_dict` gave.
            rows: rows of the prototypes by their digest.
        """
        visual = [chosen for chosen in value["prototypes"] if "rows" in chosen]
        return cls(
            tuple(Target.from_dict(target) for target in value["targets"]),
            Recipe.from_dict(value["hyperparameters"]),
            tuple(Prototypes.from_dict(chosen, rows[chosen["rows"]]) for chosen in visual),
        )


@dataclass(frozen=True)
class Row:
    """Identity of a forgotten row.

    Attributes:
        pair: its (class, domain).
        source: identity of the prototypes it comes from, None for a text row of the bank.
    """

    pair: Pair
    source: str | None


@dataclass(frozen=True)
class Composition:
    """The joint problem of an active set and its solution.

    Attributes:
        projector: the one matrix of the image features.
        forgotten: what each forgotten row is.
        rows: the forgotten rows, k × d.
        goals: where each of them was sent, k × d.
        held: weights of the retained rows, in the order of the bank and then of the prototypes; none if none are used.
        text_side: the same for the text features and the requests that edit both sides; None without any.
    """

    projector: Projector
    forgotten: tuple[Row, ...]
    rows: Tensor
    goals: Tensor
    held: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    text_side: "Composition | None" = None

    @property
    def text(self) -> Projector | None:
        """The one matrix of the text features, None if only images are edited."""
        return None if self.text_side is None else self.text_side.projector

    def residual(self, edit: Edit) -> float:
        """How much of `edit` is left undone: max over its rows of ‖f P − g‖ / max(‖f − g‖, their mean ‖f − g‖).

        0 is complete, 1 means that nothing happened. Rows that were to stay where they are count as done. Of an edit of
        both sides it is that of the worse side.
        """
        if self.text_side is not None and edit.recipe.both_sides:
            return max(self._left(edit), self.text_side._left(edit))
        return self._left(edit)

    def _left(self, edit: Edit) -> float:
        sources = {None, *(chosen.identity for chosen in edit.prototypes)}
        covered_by = {
            place
            for target in edit.targets
            for place in self._places.get((target.label, target.domain), ())
        }
        mine = sorted(place for place in covered_by if self.forgotten[place].source in sources)
        way, left = (lengths[mine] for lengths in self._lengths)
        if not torch.isfinite(left).all():
            return math.inf
        if not (way > 1e-9).any():
            return 0.0
        # A row with a short way of its own is held to the request's mean way, not to next to nothing.
        return float((left / way.clamp_min(float(way.mean()))).max())

    @cached_property
    def _places(self) -> dict[tuple[str | None, str | None], list[int]]:
        """The forgotten rows that a target of this class and domain covers, by their numbers."""
        found: dict[tuple[str | None, str | None], list[int]] = {}
        for place, row in enumerate(self.forgotten):
            for named in covering(*row.pair):
                found.setdefault(named, []).append(place)
        return found

    @cached_property
    def _lengths(self) -> tuple[Tensor, Tensor]:
        """‖f − g‖ and ‖f P − g‖ of every forgotten row, k each."""
        way = torch.linalg.vector_norm(self.rows - self.goals, dim=1)
        left = torch.linalg.vector_norm(self.projector.apply(self.rows) - self.goals, dim=1)
        return way, left


def tolerance(residual: float) -> float:
    """Residual that later compositions may leave a request that has `residual` on its own."""
    return min(max(RESIDUAL_FLOOR, 2 * residual), MAX_RESIDUAL)


def compose(bank: PromptBank, edits: Sequence[Edit]) -> Composition:
    """Solve for all `edits` at once; a single request's projector is the composition of itself alone.

    Requests that edit both sides have a second matrix, fitted to their text rows only (`Recipe.for_text`): images are
    read by the edited prompts, and a stored index of unedited embeddings no longer answers the forgotten ones.

    A row that several edits cover is forgotten as the strongest of them says. Retained rows are used as soon as one
    edit uses them, with the largest λr, sibling weight and margin among the edits; μ is the smallest positive one.
    Every prototype that any edit brings takes part, forgotten or retained like the text row of its (class, domain).

    Raises:
        InvalidInputError: a target is not in the bank, or nothing would be retained.
    """
    check_targets([target for edit in edits for target in edit.targets], bank.labels)
    both = [Edit(e.targets, e.recipe.for_text()) for e in edits if e.recipe.both_sides]
    return replace(_solve(bank, edits), text_side=_solve(bank, both) if both else None)


def _solve(bank: PromptBank, edits: Sequence[Edit]) -> Composition:
    # Rows are visited in the bank's order, prototypes in the order of their identities, and everything else is a
    # maximum or minimum over the requests: the result is the same to the last bit in whatever order they come.
    owners = _owners(bank, edits)
    moves = movements(bank, owners)
    text = [Row(pair, None) for pair in bank.pairs]
    stacked = {chosen.identity: chosen for edit in edits for chosen in edit.prototypes}
    visual = [stacked[source] for source in sorted(stacked)]
    images = [Row(pair, source) for source in sorted(stacked) for pair in stacked[source].pairs]
    identities = text + images
    rows = torch.cat([bank.rows, *(chosen.rows for chosen in visual)])
    places = {pair: number for number, pair in enumerate(bank.pairs)}

    lost = [n for n, row in enumerate(identities) if places[row.pair] in owners]
    kept = [n for n, row in enumerate(identities) if places[row.pair] not in owners]
    decided = [owners[places[identities[n].pair]] for n in lost]
    goals = [
        rows[n]
        + recipe.strength * (moves[places[identities[n].pair]] if recipe.anchored else -rows[n])
        for n, recipe in zip(lost, decided, strict=True)
    ]
    forget = rows[lost]
    targets = torch.stack(goals) if goals else forget
    weights = torch.tensor([recipe.lambda_forget for recipe in decided], dtype=torch.float64)
    mu = min((edit.recipe.mu for edit in edits if edit.recipe.mu > 0), default=0.0)
    holding = [edit.recipe for edit in edits if edit.recipe.holds_retained]
    retain, held = rows[:0], weights[:0]
    if holding and lost:
        retain = rows[kept]
        held = _held(bank, owners, [identities[n].pair for n in kept], holding)
        margin = max(recipe.margin for recipe in holding)
        if margin > 0:
            held = guard_margins(bank, forget, targets, weights, retain, held, mu, kept, margin)
    projector = solve(forget, targets, weights, retain, held, mu)
    return Composition(projector, tuple(identities[n] for n in lost), forget, targets, held)


def _held(
    bank: PromptBank, owners: Mapping[int, Recipe], kept: Sequence[Pair], holding: Sequence[Recipe]
) -> Tensor:
    """Weight of each retained row."""
    pairs = bank.pairs
    siblings = {
        pairs[row][0] for row, fate in fates(bank, owners).items() if fate is Fate.IN_ITS_DOMAIN
    }
    weight = max(recipe.lambda_retain for recipe in holding)
    factor = max(recipe.sibling_weight for recipe in holding)
    return torch.tensor(
        [weight * (factor if label in siblings else 1.0) for label, _ in kept], dtype=torch.float64
    )


def _owners(bank: PromptBank, edits: Sequence[Edit]) -> dict[int, Recipe]:
    """For each forgotten row of the bank the recipe that decides its fate."""
    named: dict[tuple[str | None, str | None], Recipe] = {}
    for edit in edits:
        for target in edit.targets:
            name = (target.label, target.domain)
            named[name] = max(named.get(name, edit.recipe), edit.recipe, key=_priority)
    owners: dict[int, Recipe] = {}
    for row, pair in enumerate(bank.pairs):
        recipes = [named[name] for name in covering(*pair) if name in named]
        if recipes:
            owners[row] = max(recipes, key=_priority)
    return owners


_RANK = (Method.NULLSPACE, Method.MULTIMODAL, Method.CCUP, Method.REDIRECT)


def _priority(recipe: Recipe) -> tuple[float, ...]:
    """Order of recipes by how much they do to a row; equal only if they do the same to it."""
    return (
        recipe.strength,
        _RANK.index(recipe.method),
        recipe.lambda_forget,
        recipe.overshoot,
        recipe.contraction,
        recipe.shift,
    )
