"""The image side: a class in one domain, a whole domain.

Whether an image belongs to a domain is seen in the image, so a second least-squares problem decides which images change
and how their scores change: with X the image rows, T the texts and E the wanted change of each text's score for each
affected image row,

    P = I + Ax E Atᵀ,   Ax = (XᵀWX + σS + μx I)⁻¹XᵀW (columns of the affected rows),   At = (TᵀT + μt I)⁻¹Tᵀ:

Ax answers 1 to its own image row and 0 to the others, At to its own text. S is the scatter of few-shot images around
their means: directions in which images of one kind differ anyway must not decide.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from governance.unlearning.anchors import Fate, sink_class
from governance.unlearning.bank import Pair, PromptBank, unit
from governance.unlearning.projector import Projector, cholesky
from governance.unlearning.prototypes import Prototypes, Reference
from governance.unlearning.recipe import Recipe

SIBLING_TEXT, SIBLING_IMAGE = 4.5, 15.0
"""Default weights of a sibling's row: texts of siblings are nearly parallel, images of siblings are not."""

MU_TEXTS, MU_IMAGES = 8.0, 4.0
"""Default ridges, where texts alone stand for images and with images."""

OVERSHOOT_TEXT, OVERSHOOT_BOTH, OVERSHOOT_IMAGE = 2.2, 2.3, 3.4
"""Default overshoots by what stands for a pair: its text, its text and images, images alone."""

NOTHING = 1e-9
"""A smaller change of a score is rounding noise."""

SAME = 1e-6
"""A domain's prompt that is nearer to the plain prompt than this names no domain."""


@dataclass(frozen=True)
class ImageRow:
    """A row that stands for the images of a (class, domain).

    Attributes:
        pair: the (class, domain).
        source: identity of its prototypes, None for its text.
    """

    pair: Pair
    source: str | None


@dataclass(frozen=True)
class ImageSide:
    """The solved image side.

    Attributes:
        affected: the image rows that change.
        recipes: of the request that decides for each.
        rows: the affected rows, m × d.
        wanted: α E, m × texts, the wanted change of each text's score.
        a: Ax, d × m.
        b: α E Atᵀ, m × d.
        texts: T, all texts of the bank, texts × d.
        condition: of the matrix that was solved.
    """

    affected: tuple[ImageRow, ...]
    recipes: tuple[Recipe, ...]
    rows: Tensor
    wanted: Tensor
    a: Tensor
    b: Tensor
    texts: Tensor
    condition: float

    def apply(self, features: Tensor) -> Tensor:
        """Image features through this side, same shape, float64."""
        return features + (features @ self.a) @ self.b

    def residuals(self) -> tuple[Tensor, Tensor]:
        """‖E‖ of every affected row, and how much of the change of the texts it names is left undone. m each."""
        reached = ((self.rows @ self.a) @ self.b) @ self.texts.T
        named = self.wanted.abs() > NOTHING
        left = torch.where(named, reached - self.wanted, torch.zeros_like(reached))
        return torch.linalg.vector_norm(self.wanted, dim=1), torch.linalg.vector_norm(left, dim=1)


def fit_images(
    bank: PromptBank,
    owners: Mapping[int, Recipe],
    found: Mapping[int, Fate],
    prototypes: Sequence[Prototypes],
    reference: Reference | None,
    named: Collection[tuple[str | None, str | None]],
    before: Projector,
) -> ImageSide:
    """Solve for every (class, domain) that the method `redirect` forgets in its domain only.

    Args:
        bank: the prompt bank.
        owners: every forgotten row of the bank with the recipe that decides.
        found: the fate of each.
        prototypes: visual prototypes, in the order of their identities.
        reference: mean and second moment of unlabelled images, if there are any.
        named: class and domain of every target of a request.
        before: what the papers' methods do to images first.

    Raises:
        InvalidInputError: the problem is singular.
    """
    mine = {
        bank.pairs[n]: n
        for n, recipe in owners.items()
        if recipe.anchored and found[n] is not Fate.EVERYWHERE
    }
    if not mine:
        empty = torch.zeros(0, bank.dimension, dtype=torch.float64)
        nothing = torch.zeros(0, len(bank.pairs), dtype=torch.float64)
        return ImageSide((), (), empty, nothing, empty.T, empty, bank.rows, 1.0)
    identities, rows, scatter = image_rows(bank, prototypes, reference)
    rows = before.apply(rows)
    affected = [n for n, row in enumerate(identities) if row.pair in mine]
    recipes = tuple(owners[mine[identities[n].pair]] for n in affected)
    weights = torch.tensor(_weights(bank, owners, found, mine, identities), dtype=torch.float64)
    normal = (rows.T * weights) @ rows
    if scatter is not None:
        normal += max(recipe.scatter for recipe in recipes) * _moved(scatter, before)
    if reference is not None:
        normal += _moved(reference.moment, before)
    default = MU_IMAGES if prototypes else MU_TEXTS
    ridge = max(recipe.mu_image or default for recipe in recipes) * len(rows) / bank.dimension
    normal.diagonal().add_(ridge)
    factor = cholesky(normal, "these weights are too far apart to solve for; raise mu-image")
    a = torch.cholesky_solve((rows.T * weights)[:, affected], factor).contiguous()
    changing = [identities[n] for n in affected]
    seen = _seen(identities)
    overshoots = [r.overshoot or seen[row.pair] for row, r in zip(changing, recipes, strict=True)]
    pairs = [row.pair for row in changing]
    wanted = _wanted(bank, owners, found, pairs, rows[affected], recipes, overshoots, named)
    gram = bank.rows.T @ bank.rows
    gram.diagonal().add_(min(recipe.mu for recipe in recipes) * len(bank.rows) / bank.dimension)
    b = torch.linalg.solve(gram, (wanted @ bank.rows).T).T.contiguous()
    eigenvalues = torch.linalg.eigvalsh(normal)
    return ImageSide(
        tuple(changing), recipes, rows[affected], wanted, a, b, bank.rows,
        float(eigenvalues[-1] / eigenvalues[0]),
    )  # fmt: skip


def _moved(moment: Tensor, before: Projector) -> Tensor:
    """A second moment of images, of the images as `before` leaves them: PᵀMP."""
    return before.apply(before.apply(moment).T)


def _seen(identities: Sequence[ImageRow]) -> dict[Pair, float]:
    """Default overshoot of each pair, by what stands for it."""
    texts = {row.pair for row in identities if row.source is None}
    images = {row.pair for row in identities if row.source is not None}
    return {
        pair: OVERSHOOT_TEXT
        if pair not in images
        else OVERSHOOT_BOTH
        if pair in texts
        else OVERSHOOT_IMAGE
        for pair in texts | images
    }


def image_rows(
    bank: PromptBank, prototypes: Sequence[Prototypes], reference: Reference | None
) -> tuple[list[ImageRow], Tensor, Tensor | None]:
    """What stands for images: texts moved by the modality gap, and visual prototypes; with the scatter of images.

    The gap is the mean of images minus the mean of texts: of the reference images, or else of the prototypes and the
    texts of their pairs; without either, texts stand where they are. A text that names no domain stands for no image of
    one, so it takes part only where nothing else does.
    """
    classes = len(bank.labels.classes)
    named = range(classes, len(bank.pairs)) if bank.labels.domains else range(classes)
    places = {pair: row for row, pair in enumerate(bank.pairs)}
    visual = [(pair, p.identity) for p in prototypes for pair in p.pairs]
    seen = {pair for pair, _ in visual}
    images = torch.cat([bank.rows[:0], *(p.rows for p in prototypes)])
    gap = torch.zeros(bank.dimension, dtype=torch.float64)
    if reference is not None:
        gap = reference.mean - bank.rows[list(named)].mean(dim=0)
    elif visual:
        gap = (images - bank.rows[[places[pair] for pair, _ in visual]]).mean(dim=0)
    plain = torch.linalg.vector_norm(
        bank.rows - bank.rows[:classes].repeat(len(bank.pairs) // classes, 1), dim=1
    )
    telling = [
        row
        for row in named
        if plain[row] > SAME or bank.pairs[row] not in seen or not bank.labels.domains
    ]
    texts = unit(bank.rows[telling] + gap)
    identities = [ImageRow(bank.pairs[row], None) for row in telling]
    identities += [ImageRow(pair, source) for pair, source in visual]
    spread = [p.scatter for p in prototypes if p.scatter is not None]
    scatter = torch.stack(spread).mean(dim=0) if spread else None
    return identities, torch.cat([texts, images]), scatter


def _weights(
    bank: PromptBank,
    owners: Mapping[int, Recipe],
    found: Mapping[int, Fate],
    mine: Mapping[Pair, int],
    identities: Sequence[ImageRow],
) -> list[float]:
    siblings: dict[str | None, list[Recipe]] = {}
    for pair, place in mine.items():
        if found[place] is Fate.IN_ITS_DOMAIN:
            siblings.setdefault(pair[0], []).append(owners[place])
    weights = []
    for row in identities:
        default = SIBLING_TEXT if row.source is None else SIBLING_IMAGE
        if row.pair in mine:
            weights.append(owners[mine[row.pair]].lambda_image)
        elif row.pair[0] in siblings:
            weights.append(max(r.sibling_weight or default for r in siblings[row.pair[0]]))
        else:
            weights.append(1.0)
    return weights


def _wanted(
    bank: PromptBank,
    owners: Mapping[int, Recipe],
    found: Mapping[int, Fate],
    pairs: Sequence[Pair],
    rows: Tensor,
    recipes: Sequence[Recipe],
    overshoots: Sequence[float],
    named: Collection[tuple[str | None, str | None]],
) -> Tensor:
    """α E, rows × texts. Columns of classes that are forgotten everywhere stay zero: the text side has them."""
    classes = len(bank.labels.classes)
    places = {pair: row for row, pair in enumerate(bank.pairs)}
    blocks = range(0, len(bank.pairs), classes)
    free = [n for n in range(classes) if found.get(n) is not Fate.EVERYWHERE]
    number = {label: n for n, label in enumerate(bank.labels.classes)}
    logits = rows @ bank.rows.T
    wanted = torch.zeros_like(logits)
    leads = {
        domain: _lead(logits, pairs, domain, number, free) for domain in {pair[1] for pair in pairs}
    }
    gone = {pair[1] for pair in pairs if found[places[pair]] is Fate.WITH_ITS_DOMAIN}
    # A class that somebody asked to be forgotten in such a domain does not take its images.
    whole = {domain for domain in gone if (None, domain) in named}
    asked = {n for n in free if any((bank.labels.classes[n], domain) in named for domain in whole)}
    takers = [n for n in free if n not in owners and n not in asked]
    sink = sink_class(bank, takers) if gone else None
    for i, (pair, recipe) in enumerate(zip(pairs, recipes, strict=True)):
        own = number[str(pair[0])]
        if pair[1] in gone:
            for start in blocks:
                columns = [start + n for n in free]
                scores = logits[i, columns]
                change = recipe.contraction * (scores.mean() - scores)
                if sink is not None:
                    step = recipe.shift * leads[pair[1]]
                    change = change - step / len(free)
                    change[free.index(sink)] += step
                wanted[i, columns] = recipe.strength * change
            continue
        rivals = [
            n for n in free if n != own and places[bank.labels.classes[n], pair[1]] not in owners
        ] or [n for n in free if n != own]
        for start in blocks:
            others = logits[i, [start + n for n in rivals]]
            score = logits[i, start + own]
            lead = torch.maximum(score - others.max(), (score - others.mean()) / 2).clamp_min(0)
            wanted[i, start + own] = -recipe.strength * overshoots[i] * lead
    return wanted


def _lead(
    logits: Tensor,
    pairs: Sequence[Pair],
    domain: str | None,
    number: Mapping[str, int],
    free: Sequence[int],
) -> float:
    """Mean lead of a class over the mean of the others, among the image rows of a domain, over plain prompts."""
    leads = []
    for i, pair in enumerate(pairs):
        own = number[str(pair[0])]
        others = [n for n in free if n != own]
        if pair[1] == domain and others:
            leads.append(float(logits[i, own] - logits[i, others].mean()))
    return max(0.0, sum(leads) / len(leads)) if leads else 0.0
