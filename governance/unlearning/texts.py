"""The text side: what is forgotten everywhere, for every image.

An edit P of the images acts on texts as P̃ = Pᵀ, since (z P)·t = z·(t P̃). So for a class that is forgotten everywhere
nothing need be known about images: with U the differences between the forgotten texts and their anchors, P̃ is fitted to
take U to zero and leave the retained texts R where they are,

    min over P̃ of  Σᵢ λᵢ ‖uᵢ P̃‖² + λr Σⱼ ‖rⱼ (P̃ − I)‖² + μ ‖P̃ − I‖²,      N = λr RᵀR + μ I,
    P = I − Uᵀ B,   B = (Λ⁻¹ + U N⁻¹ Uᵀ)⁻¹ U N⁻¹.

That is the nullspace projection of arXiv 2512.14137, I − Fᵀ(F Fᵀ)⁻¹F, with two changes: differences in the place of the
texts themselves, and the metric N of the retained texts in the place of the Euclidean one. For Λ → ∞ every image scores
a forgotten text exactly like its anchor, which is a mean of retained texts and cannot beat the best of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from governance.errors import InvalidInputError
from governance.unlearning.anchors import Fate, nearest_retained
from governance.unlearning.bank import Pair, PromptBank
from governance.unlearning.projector import cholesky
from governance.unlearning.recipe import Recipe

EXACT = 1e9
"""λf of the texts that an irreversible edit nulls: nothing that float64 or half precision could bring back is left.

They are those that name no domain: one dimension a class is lost for good. The others, nearly parallel, keep their
weight.
"""

IRREVERSIBLE_RIDGE = 3.0
"""μ of an irreversible edit is so many times as large: the nearer the nulled directions are to the texts' differences
themselves, the less of them can be read off what is left."""


@dataclass(frozen=True)
class LostText:
    """A text that is moved.

    Attributes:
        pair: its (class, domain).
        synonym: number of the paraphrase in the bank that it is; None for the row of the bank.
        anchor: bank row numbers, nearest first, whose mean it is scored like.
        recipe: of the request that decides.
    """

    pair: Pair
    synonym: int | None
    anchor: tuple[int, ...]
    recipe: Recipe


@dataclass(frozen=True)
class TextSide:
    """The solved text side.

    Attributes:
        lost: the texts that are moved.
        u: U, k × d, each text less its anchor.
        a: −Uᵀ with each column scaled by its strength α, d × k.
        b: B, k × d.
        condition: of the matrix that was solved.
    """

    lost: tuple[LostText, ...]
    u: Tensor
    a: Tensor
    b: Tensor
    condition: float

    def apply(self, features: Tensor) -> Tensor:
        """Image features through this side, same shape, float64."""
        return features + (features @ self.a) @ self.b

    def residuals(self) -> tuple[Tensor, Tensor]:
        """‖α u‖ and ‖u P̃ − (1 − α) u‖ of every text: the way it should go, and how much of it is left. k each."""
        strengths = torch.tensor([text.recipe.strength for text in self.lost], dtype=torch.float64)
        moved = self.u + (self.u @ self.b.T) @ self.a.T
        left = moved - (1 - strengths).unsqueeze(1) * self.u
        way = strengths * torch.linalg.vector_norm(self.u, dim=1)
        return way, torch.linalg.vector_norm(left, dim=1)


def fit_texts(
    bank: PromptBank, owners: Mapping[int, Recipe], found: Mapping[int, Fate]
) -> TextSide:
    """Solve for every class that is forgotten everywhere by the method `redirect`.

    Args:
        bank: the prompt bank.
        owners: every forgotten row of the bank with the recipe that decides.
        found: the fate of each.

    Raises:
        InvalidInputError: synonyms are asked for that the label space lacks, or the problem is singular.
    """
    lost = [n for n in sorted(owners) if owners[n].anchored and found[n] is Fate.EVERYWHERE]
    if not lost:
        empty = torch.zeros(0, bank.dimension, dtype=torch.float64)
        return TextSide((), empty, empty.T, empty, 1.0)
    wanted = max(owners[row].anchors for row in lost)
    near = nearest_retained(bank, lost, owners.keys(), wanted)
    texts = [
        LostText(bank.pairs[row], None, tuple(near[row][: owners[row].anchors]), owners[row])
        for row in lost
    ]
    rows = bank.rows[lost]
    if synonyms := _synonyms(bank, texts):
        texts += synonyms
        rows = torch.cat([rows, bank.paraphrases[[t.synonym for t in synonyms]]])
    u = rows - _means(bank.rows, [text.anchor for text in texts])
    classes = len({text.pair[0] for text in texts})
    weights, normal = _problem(bank, texts, owners, classes)
    b, condition = _solve(u, weights, normal)
    strengths = torch.tensor([text.recipe.strength for text in texts], dtype=torch.float64)
    return TextSide(tuple(texts), u, (-u.T * strengths).contiguous(), b, condition)


def _means(rows: Tensor, members: Sequence[Sequence[int]]) -> Tensor:
    """The mean of the rows with each of these lists of numbers, one row a list."""
    places = [[n for n, chosen in enumerate(members) for _ in chosen], [*chain(*members)]]
    shares = [1 / len(chosen) for chosen in members for _ in chosen]
    averaging = torch.sparse_coo_tensor(
        torch.tensor(places),
        torch.tensor(shares, dtype=rows.dtype),
        (len(members), len(rows)),
        check_invariants=True,
    )
    means: Tensor = torch.sparse.mm(averaging, rows)
    return means


def _synonyms(bank: PromptBank, texts: Sequence[LostText]) -> list[LostText]:
    asking = [t for t in texts if t.recipe.synonyms and t.pair[1] is None]
    if not asking:
        return []
    places: dict[str, list[int]] = {}
    for number, (label, _) in enumerate(bank.labels.paraphrases):
        places.setdefault(label, []).append(number)
    made = []
    for text in asking:
        label = str(text.pair[0])
        count = len(bank.labels.synonyms.get(label, ()))  # they come before the held-out templates
        if not count or not len(bank.paraphrases):
            raise InvalidInputError(f"the label file names no synonym of {label!r}")
        made += [
            LostText(text.pair, number, text.anchor, text.recipe)
            for number in places[label][:count]
        ]
    return made


def _problem(
    bank: PromptBank, texts: Sequence[LostText], owners: Mapping[int, Recipe], classes: int
) -> tuple[Tensor, Tensor]:
    """The weights Λ of the lost texts, k, and the metric N of the retained ones, d × d."""
    room = bank.dimension / classes
    weights = torch.tensor(
        [
            EXACT
            if text.recipe.irreversible and text.pair[1] is None
            else text.recipe.lambda_forget + text.recipe.forget_room * room
            for text in texts
        ],
        dtype=torch.float64,
    )
    moved = {text.pair[0] for text in texts}
    gone = {n for n, recipe in owners.items() if not recipe.anchored}
    kept = bank.rows[
        [n for n, pair in enumerate(bank.pairs) if pair[0] not in moved and n not in gone]
    ]
    recipes = [text.recipe for text in texts]
    normal = max(r.lambda_retain for r in recipes) * (kept.T @ kept)
    ridge = min(r.mu + r.mu_room * room for r in recipes)
    if any(r.irreversible for r in recipes):
        ridge *= IRREVERSIBLE_RIDGE
    normal.diagonal().add_(ridge * max(1, len(kept)) / bank.dimension)
    return weights, normal


def _solve(u: Tensor, weights: Tensor, normal: Tensor) -> tuple[Tensor, float]:
    """B, k × d, and a condition number: by k × k, or by d × d where that is smaller and exact enough."""
    if len(u) <= u.shape[1] or bool((weights >= EXACT).any()):
        dual = torch.cholesky_solve(u.T, cholesky(normal)).T
        inner = u @ dual.T
        inner.diagonal().add_(1 / weights)
        b = torch.cholesky_solve(dual, cholesky((inner + inner.T) / 2))
        solved = normal
    else:
        solved = normal + (u.T * weights) @ u
        b = torch.cholesky_solve(u.T * weights, cholesky(solved)).T
    eigenvalues = torch.linalg.eigvalsh(solved)
    return b.contiguous(), float(eigenvalues[-1] / eigenvalues[0])
