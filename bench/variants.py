"""Variants of the fit that the package does not offer: what was tried for `redirect`, each in a few lines.

`problem` states the least-squares problem of one choice as `compose` does; a variant changes one thing of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from governance.unlearning.margins import guard_margins
from torch import Tensor

from bench.data import Benchmark
from governance.unlearning.anchors import Fate, class_directions, fates, movements
from governance.unlearning.bank import Pair, PromptBank, unit
from governance.unlearning.projector import Projector, solve
from governance.unlearning.prototypes import Prototypes
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target


@dataclass(frozen=True)
class Problem:
    """The least-squares problem of one choice.

    Attributes:
        bank: the prompt bank.
        target: what is forgotten.
        recipe: hyperparameters.
        pairs: the (class, domain) of each forgotten row.
        forget: k × d, the text rows first.
        goals: k × d.
        kept: number of each retained row; below the size of the bank they are the bank's.
        retain: r × d, at least the rows that `kept` numbers; further ones are held but not guarded.
        held: weight of each retained row, r.
    """

    bank: PromptBank
    target: Target
    recipe: Recipe
    pairs: tuple[Pair, ...]
    forget: Tensor
    goals: Tensor
    kept: tuple[int, ...]
    retain: Tensor
    held: Tensor

    def solve(self) -> Projector:
        """Guard the margins and solve."""
        weights = torch.full((len(self.forget),), self.recipe.lambda_forget, dtype=torch.float64)
        held = self.held
        if self.recipe.margin > 0:
            held = guard_margins(
                self.bank, self.forget, self.goals, weights, self.retain, held, self.recipe.mu,
                self.kept, self.recipe.margin,
            )  # fmt: skip
        return solve(self.forget, self.goals, weights, self.retain, held, self.recipe.mu)


def problem(
    bank: PromptBank, target: Target, recipe: Recipe, prototypes: tuple[Prototypes, ...]
) -> Problem:
    """What `compose` would solve for `redirect`."""
    owners = {row: recipe for row, pair in enumerate(bank.pairs) if target.covers(*pair)}
    moves = movements(bank, owners)
    place = {pair: row for row, pair in enumerate(bank.pairs)}
    pairs = [*bank.pairs, *(pair for chosen in prototypes for pair in chosen.pairs)]
    rows = torch.cat([bank.rows, *(chosen.rows for chosen in prototypes)])
    lost = [n for n, pair in enumerate(pairs) if place[pair] in owners]
    kept = [n for n, pair in enumerate(pairs) if place[pair] not in owners]
    way = torch.stack([moves[place[pairs[n]]] for n in lost])
    local = Fate.IN_ITS_DOMAIN in fates(bank, owners).values()
    held = [
        recipe.lambda_retain
        * (recipe.sibling_weight if local and pairs[n][0] == target.label else 1.0)
        for n in kept
    ]
    return Problem(
        bank,
        target,
        recipe,
        tuple(pairs[n] for n in lost),
        rows[lost],
        rows[lost] + recipe.strength * way,
        tuple(kept),
        rows[kept],
        torch.tensor(held, dtype=torch.float64),
    )


Change = Callable[[Problem], Problem]


def hold_covariance(benchmark: Benchmark, weight: float) -> Change:
    """Hold the scatter of the retained training images too: λ · within-class second moment in the normal matrix."""

    def change(given: Problem) -> Problem:
        features, pairs = unit(benchmark.shots.features), benchmark.shots.pairs
        kept = [pair for pair in dict.fromkeys(pairs) if not given.target.covers(*pair)]
        scatter = []
        for pair in kept:
            mine = features[[n for n, other in enumerate(pairs) if other == pair]]
            scatter.append(mine - mine.mean(dim=0))
        rows = torch.cat(scatter)
        share = torch.full((len(rows),), weight / len(rows), dtype=torch.float64)
        return replace(
            given, retain=torch.cat([given.retain, rows]), held=torch.cat([given.held, share])
        )

    return change


def weight_by_cosine(power: float) -> Change:
    """Hold a retained row less, the nearer it is to a forgotten one: (1 − cos²)^p."""

    def change(given: Problem) -> Problem:
        nearest = (unit(given.retain) @ unit(given.forget).T).max(dim=1).values.clamp(0, 1)
        return replace(given, held=given.held * (1 - nearest**2).clamp_min(1e-3) ** power)

    return change


def move_in_class_direction(given: Problem) -> Problem:
    """Only the part of each movement that lies in the forgotten class's dual direction."""
    classes = given.bank.labels.classes
    axes = unit(class_directions(given.bank))[[classes.index(label) for label, _ in given.pairs]]
    moves = given.goals - given.forget
    # As long a step as before in the class's own score, so that only the direction differs.
    texts = given.bank.plain_scores[[classes.index(label) for label, _ in given.pairs]]
    length = (moves * texts).sum(dim=1) / (axes * texts).sum(dim=1)
    return replace(given, goals=given.forget + length.unsqueeze(1) * axes)


def move_to_zero(given: Problem) -> Problem:
    """The zero anchor of `ccup`, with everything else as it is."""
    return replace(given, goals=(1 - given.recipe.strength) * given.forget)


def sink_class(number: int) -> Change:
    """Move a forgotten domain towards another class than the cheapest."""

    def change(given: Problem) -> Problem:
        labels, rows = given.bank.labels, given.bank.rows
        anchors = {
            domain: rows[[n for n, pair in enumerate(given.bank.pairs) if pair[1] == domain]].mean(
                dim=0
            )
            for domain in labels.domains
        }
        place = {pair: row for row, pair in enumerate(given.bank.pairs)}
        sink = class_directions(given.bank)[number]
        moves = torch.stack(
            [
                given.recipe.contraction * (anchors[str(domain)] - rows[place[label, domain]])
                + given.recipe.shift * sink
                for label, domain in given.pairs
            ]
        )
        return replace(given, goals=given.forget + given.recipe.strength * moves)

    return change
