"""One matrix for a whole active set.

Multiplying per-request projectors is wrong: each one moves the rows that the others were fitted to. So the rows of
every request are stacked, anchors and retained rows are recomputed from what is still retained, and each side is solved
once for all requests: P = P_rows P_images P_texts. The text side comes last because it holds for every image, so also
for what the others make of one: nothing that is composed with it can bring back what it took. The result does not
depend on the order of the requests, and dropping one is solving without it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from governance.errors import InvalidInputError
from governance.unlearning.anchors import domain_mean, fates
from governance.unlearning.bank import Pair, PromptBank
from governance.unlearning.images import fit_images
from governance.unlearning.projector import Projector, solve
from governance.unlearning.prototypes import Prototypes, Reference
from governance.unlearning.recipe import HYPERPARAMETERS, Method, Recipe
from governance.unlearning.targets import Target, check_targets, covered, covering
from governance.unlearning.texts import TextSide, fit_texts

RECIPE_FORMAT = 2
"""Form of the recipes of projectors and versions; format 1 was fitted on the image side only."""

RESIDUAL_FLOOR = 0.75
"""Smallest tolerance that is recorded: among hundreds of requests each has less room and goes less far."""

MAX_RESIDUAL = 0.9
"""An edit that leaves more than this undone does nothing worth approving, and could not be guarded."""


@dataclass(frozen=True)
class Edit:
    """The part of a request that the fit needs.

    Attributes:
        targets: what is forgotten.
        recipe: method and hyperparameters.
        prototypes: visual prototypes besides the text rows, which always take part.
        reference: mean and second moment of unlabelled images, if there are any.
    """

    targets: tuple[Target, ...]
    recipe: Recipe
    prototypes: tuple[Prototypes, ...] = ()
    reference: Reference | None = None

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
            "reference": None if self.reference is None else self.reference.to_dict(),
        }

    @property
    def fitted_synonyms(self) -> list[str]:
        """Classes whose synonyms the fit moves."""
        if not self.recipe.synonyms:
            return []
        return [str(target.label) for target in self.targets if target.domain is None]

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """Every tensor that the fit needs besides the prompt bank."""
        parts = (*self.prototypes, *(() if self.reference is None else (self.reference,)))
        return tuple(tensor for part in parts for tensor in part.arrays)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], rows: Mapping[str, Tensor]) -> "Edit":
        """Inverse of `to_dict`; other keys are left alone.

        Args:
            value: what `to_dict` gave.
            rows: tensors of prototypes and reference by their digest.
        """
        visual = [chosen for chosen in value["prototypes"] if "rows" in chosen]
        return cls(
            tuple(Target.from_dict(target) for target in value["targets"]),
            Recipe.from_dict(value["hyperparameters"]),
            tuple(Prototypes.from_dict(chosen, rows) for chosen in visual),
            Reference.from_dict(value["reference"], rows) if value.get("reference") else None,
        )


@dataclass(frozen=True)
class Block:
    """Identity of one column of A and row of B.

    Attributes:
        side: ``rows`` (the papers' methods), ``images`` or ``texts``.
        pair: its (class, domain).
        source: identity of the prototypes that the row comes from, None for a text.
        synonym: the prompt, if it is a synonym of the class.
        anchor: bank row numbers whose mean a text is scored like.
    """

    side: str
    pair: Pair
    source: str | None = None
    synonym: str | None = None
    anchor: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The block as plain JSON values."""
        label, domain = self.pair
        return {
            "side": self.side,
            "class": label,
            "domain": domain,
            "prototypes": self.source,
            "synonym": self.synonym,
            "anchor": list(self.anchor),
        }


@dataclass(frozen=True)
class Composition:
    """The joint problem of an active set and its solution.

    Attributes:
        projector: the one matrix of the image features.
        blocks: what each column of A is.
        way: how far each block's row was to go, k.
        left: and how much of that is left undone, k.
        texts: the solved text side.
        tower: the edit of the text tower, None if only images are edited.
    """

    projector: Projector
    blocks: tuple[Block, ...]
    way: Tensor
    left: Tensor
    texts: TextSide
    tower: "RowFit | None" = None

    @property
    def text(self) -> Projector | None:
        """The one matrix of the text features, None if only images are edited."""
        return None if self.tower is None else self.tower.projector

    def residual(self, edit: Edit) -> float:
        """How much of `edit` is left undone: the largest share over its rows, of the row's way or of their mean way.

        0 is complete, 1 means that nothing happened. Rows that were to stay where they are count as done. Of an edit of
        both sides it is that of the worse side.
        """
        mine = _left(self.blocks, self._places, self.way, self.left, edit)
        if self.tower is not None and edit.recipe.both_sides:
            tower = self.tower
            places = _places_of(tower.blocks)
            mine = max(mine, _left(tower.blocks, places, tower.way, tower.left, edit))
        return mine

    @cached_property
    def _places(self) -> "Places":
        return _places_of(self.blocks)


@dataclass(frozen=True)
class RowFit:
    """A solved row fit: its matrix, what each column is, the way of each row and what is left of it."""

    projector: Projector
    blocks: tuple[Block, ...]
    way: Tensor
    left: Tensor


Places = dict[tuple[str | None, str | None], list[int]]
"""Numbers of the blocks that a target of this class and domain covers."""


def _places_of(blocks: Sequence[Block]) -> Places:
    found: Places = {}
    for place, block in enumerate(blocks):
        for named in covering(*block.pair):
            found.setdefault(named, []).append(place)
    return found


def _left(
    blocks: Sequence[Block], places: Places, ways: Tensor, lefts: Tensor, edit: Edit
) -> float:
    sources = {None, *(chosen.identity for chosen in edit.prototypes)}
    covered_by = {n for t in edit.targets for n in places.get((t.label, t.domain), ())}
    # A pair may be known from the images of another request alone.
    mine = sorted(n for n in covered_by if blocks[n].source in sources) or sorted(covered_by)
    way, left = ways[mine], lefts[mine]
    if not torch.isfinite(left).all():
        return math.inf
    if not (way > 1e-9).any():
        return 0.0
    # A row with a short way of its own is held to the request's mean way, not to next to nothing.
    return float((left / way.clamp_min(float(way.mean()))).max())


def tolerance(residual: float) -> float:
    """Residual that later compositions may leave a request that has `residual` on its own."""
    return min(max(RESIDUAL_FLOOR, 2 * residual), MAX_RESIDUAL)


def compose(bank: PromptBank, edits: Sequence[Edit]) -> Composition:
    """Solve for all `edits` at once; a single request's projector is the composition of itself alone.

    Requests that edit both sides have a second matrix, fitted to their text rows only (`_tower`): images are read by
    the edited prompts, and a stored index of unedited embeddings no longer answers the forgotten ones.

    A row that several edits cover is forgotten as the strongest of them says. Every prototype that any edit brings
    takes part, forgotten or retained like the text row of its (class, domain).

    Raises:
        InvalidInputError: a target is not in the bank, or nothing would be retained.
    """
    check_targets([target for edit in edits for target in edit.targets], bank.labels)
    # Rows are visited in the bank's order, prototypes in the order of their identities, and everything else is a
    # maximum or minimum over the requests: the result is the same to the last bit in whatever order they come.
    owners = _owners(bank, edits)
    found = fates(bank, owners)
    stacked = {chosen.identity: chosen for edit in edits for chosen in edit.prototypes}
    visual = [stacked[source] for source in sorted(stacked)]
    reference = reference_of(edits)
    rows = _fit_rows(bank, owners, visual, edits)
    named = {(target.label, target.domain) for edit in edits for target in edit.targets}
    images = fit_images(bank, owners, found, visual, reference, named, rows.projector)
    texts = fit_texts(bank, owners, found)
    prompts = bank.labels.paraphrases
    blocks = [
        *rows.blocks,
        *(Block("images", row.pair, row.source) for row in images.affected),
        *(
            Block("texts", t.pair, None, None if t.synonym is None else prompts[t.synonym][1], t.anchor)
            for t in texts.lost
        ),
    ]  # fmt: skip
    a = torch.cat([rows.projector.a, images.a, texts.a], dim=1).contiguous()
    b = torch.cat([texts.apply(images.apply(rows.projector.b)), texts.apply(images.b), texts.b])
    conditions = (rows.projector.condition, images.condition, texts.condition)
    (image_way, image_left), (text_way, text_left) = images.residuals(), texts.residuals()
    return Composition(
        Projector(a, b.contiguous(), max(conditions)),
        tuple(blocks),
        torch.cat([rows.way, image_way, text_way]),
        torch.cat([rows.left, image_left, text_left]),
        texts,
        _tower(bank, [edit for edit in edits if edit.recipe.both_sides]),
    )


def reference_of(edits: Sequence[Edit]) -> Reference | None:
    """The unlabelled images that a composition uses: of several the first by identity, whatever the order."""
    found = {e.reference.identity: e.reference for e in edits if e.reference is not None}
    return found[min(found)] if found else None


def _fit_rows(
    bank: PromptBank,
    owners: Mapping[int, Recipe],
    visual: Sequence[Prototypes],
    edits: Sequence[Edit],
) -> RowFit:
    """The papers' methods: forgotten rows to zero, retained ones held where a request holds them."""
    places = {pair: number for number, pair in enumerate(bank.pairs)}
    rows = torch.cat([bank.rows, *(chosen.rows for chosen in visual)])
    blocks = [Block("rows", pair) for pair in bank.pairs]
    blocks += [Block("rows", pair, p.identity) for p in visual for pair in p.pairs]
    lost = [n for n, b in enumerate(blocks) if (r := owners.get(places[b.pair])) and not r.anchored]
    forget = rows[lost]
    decided = [owners[places[blocks[n].pair]] for n in lost]
    strengths = torch.tensor([recipe.strength for recipe in decided], dtype=torch.float64)
    weights = torch.tensor([recipe.lambda_forget for recipe in decided], dtype=torch.float64)
    recipes = [edit.recipe for edit in edits if not edit.recipe.anchored]
    mu = min((recipe.mu for recipe in recipes if recipe.mu > 0), default=0.0)
    held = max((recipe.lambda_retain for recipe in recipes), default=0.0)
    kept = [n for n, b in enumerate(blocks) if places[b.pair] not in owners] if held else []
    goals = forget * (1 - strengths).unsqueeze(1)
    projector = solve(
        forget, goals, weights, rows[kept], torch.full((len(kept),), held, dtype=torch.float64), mu
    )
    return _side(projector, [blocks[n] for n in lost], forget, goals)


def _side(projector: Projector, blocks: Sequence[Block], forget: Tensor, goals: Tensor) -> RowFit:
    """A solved row fit, with the way of each row and what is left of it; one that needed nothing has no blocks."""
    if projector.a.shape[1] == 0:
        nothing = torch.zeros(0, dtype=torch.float64)
        return RowFit(projector, (), nothing, nothing)
    way = torch.linalg.vector_norm(forget - goals, dim=1)
    left = torch.linalg.vector_norm(projector.apply(forget) - goals, dim=1)
    return RowFit(projector, tuple(blocks), way, left)


TOWER = Recipe.of(Method.CCUP)
"""Weights of the text tower's fit, whatever the method of the images.

Prompts are what is fitted there, so each goes to the mean of the retained ones of its domain: one sent to zero would
have no direction left, and after normalisation its logits would be rounding noise (0/0). Retained prompts are always
held.
"""


def _tower(bank: PromptBank, edits: Sequence[Edit]) -> RowFit | None:
    """The matrix of the text features for the requests that edit both sides."""
    if not edits:
        return None
    owners = _owners(bank, edits)
    lost = sorted(owners)
    kept = [row for row in range(len(bank.pairs)) if row not in owners]
    forget = bank.rows[lost]
    means = {d: domain_mean(bank, owners.keys(), d) for d in {bank.pairs[row][1] for row in lost}}
    anchors = torch.stack([means[bank.pairs[row][1]] for row in lost])
    strengths = torch.tensor([owners[row].strength for row in lost], dtype=torch.float64)
    goals = forget + strengths.unsqueeze(1) * (anchors - forget)
    weights = torch.full((len(lost),), TOWER.lambda_forget, dtype=torch.float64)
    held = torch.full((len(kept),), TOWER.lambda_retain, dtype=torch.float64)
    projector = solve(forget, goals, weights, bank.rows[kept], held, TOWER.mu)
    return _side(projector, [Block("rows", bank.pairs[row]) for row in lost], forget, goals)


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


def _priority(recipe: Recipe) -> tuple[Any, ...]:
    """Order of recipes by how much they do to a row; equal only if they do the same to it."""
    numbers = [getattr(recipe, name) or 0.0 for name in HYPERPARAMETERS]
    return (
        recipe.strength,
        _RANK.index(recipe.method),
        recipe.irreversible,
        recipe.synonyms,
        recipe.lambda_forget,
        recipe.overshoot or 0.0,
        *numbers,
    )
