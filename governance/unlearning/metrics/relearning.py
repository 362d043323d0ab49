"""Relearning: how much of what was forgotten comes back with a few labelled images.

Images of a CLIP model lie far from its texts (the modality gap, arXiv 2203.02053), so an image is nearer to any image
than to any text: put in the place of a text as it is, a prototype would win every image, and the attack would say
nothing. Prototypes compete either with prototypes, or with texts after each modality was centred on its own mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from governance.unlearning.bank import unit


@dataclass(frozen=True)
class Attack:
    """One way to use labelled images.

    Attributes:
        shots: labelled images of each class.
        mix: α of the prototypical relearning attack (arXiv 2506.01318), on centred embeddings (`centre`): the
            classifier row of each forgotten class becomes the unit of (1 − α) t + α p, t its text and p the
            prototype, the mean of its labelled images; other classes keep their texts. None: every class is replaced
            by the prototype of its own labelled images (nearest prototype), so that images compete with images and
            nothing is centred.
        scaled: whether the scores of every class are standardised over the retain set before they compete. It finds
            more where the forgotten class's row scores lower or in a narrower range than the others, and less where it
            does not: another point of the trade between what is recovered and false alarms. With `mix` only.
    """

    shots: int
    mix: float | None
    scaled: bool = False


@dataclass(frozen=True)
class Recovery:
    """What an attack achieves, mean over its draws.

    Attributes:
        recovered: share of the scored forget images that are assigned to their class.
        lowest, highest: the same of the least and of the most lucky draw.
        false_alarms: share of the scored retain images that are wrongly assigned to an attacked class.
        n: forget images scored in each draw; labelled ones are never among them.
        attacked: class numbers with enough images.
    """

    recovered: float
    lowest: float
    highest: float
    false_alarms: float
    n: int
    attacked: tuple[int, ...]


TIE = 1e-6
"""Cosines that differ by less are equal as far as float32 tells."""

COLLAPSED = 1e-5
"""A unit row that lies nearer to its centre than this has no direction left but rounding noise."""


def centre(features: Tensor, texts: Tensor, truth: Tensor, forget: Tensor) -> tuple[Tensor, Tensor]:
    """Take the modality gap away: both sides less their own mean, and scaled to length one again.

    The mean of the images is that of the class means of the retain set, so that a frequent class does not draw it to
    itself; the mean of the texts is over the same classes. It takes unlabelled images only as far as classes are
    equally frequent, and those are easy to have. Images to be forgotten have no part in it: they would move the
    centre towards themselves, and in an edited model that moves the retained ones away. With fewer than two retained
    classes their mean would leave nothing of their texts; then all classes that have images count.

    Args:
        features: n × d, unit length.
        texts: C × d, unit length.
        truth: n class numbers.
        forget: n booleans; the others are the retain set.

    Returns:
        Centred features and texts; a row that collapsed onto its centre is zero.
    """
    kept = ~forget
    labels = torch.unique(truth[kept])
    if len(labels) < 2:
        kept = torch.ones_like(forget)
        labels = torch.unique(truth)
    means = [features[kept & (truth == label)].double().mean(dim=0) for label in labels]
    return (
        _away(features, torch.stack(means).mean(dim=0)),
        _away(texts, texts[labels].double().mean(dim=0)),
    )


def _away(rows: Tensor, origin: Tensor) -> Tensor:
    """Unit directions from a point."""
    moved = rows.double() - origin
    moved[torch.linalg.vector_norm(moved, dim=1) < COLLAPSED] = 0
    return unit(moved).to(rows.dtype)


def relearn(
    features: Tensor,
    texts: Tensor,
    truth: Tensor,
    forget: Tensor,
    attack: Attack,
    draws: int,
    seed: int,
) -> Recovery | None:
    """Mount one attack `draws` times with other labelled images.

    The labelled images depend on the seed, the shots and the draw alone, so that all versions of the model and all
    mixes meet the same ones.

    Args:
        features: n × d, unit length.
        texts: C × d, the zero-shot classifier.
        truth: n class numbers.
        forget: n booleans; the others are the retain set.
        attack: how.
        draws: how often.
        seed: of the draws.

    Returns:
        None if no class has more forget images than `attack.shots`.
    """
    pools = {
        label: (forget & (truth == label)).nonzero().flatten()
        for label in torch.unique(truth[forget]).tolist()
    }
    attacked = [label for label, pool in pools.items() if len(pool) > attack.shots]
    if not attacked:
        return None
    others = [label for label in torch.unique(truth[~forget]).tolist() if label not in pools]
    pools |= {label: (~forget & (truth == label)).nonzero().flatten() for label in others}
    if attack.mix is not None:
        features, texts = centre(features, texts, truth, forget)
    logits = _scores(features, texts, ~forget, attack.scaled)
    is_attacked = torch.zeros(len(texts), dtype=torch.bool)
    is_attacked[attacked] = True
    shares, alarms, scored = [], [], 0
    for draw in range(draws):
        generator = np.random.default_rng([seed, attack.shots, draw])
        picked = {
            label: torch.from_numpy(generator.permutation(pools[label].numpy())[: attack.shots])
            for label in (*attacked, *others)
        }
        replaced = attacked if attack.mix is not None else [*attacked, *others]
        heads = _prototypes(features, picked, replaced)
        if attack.mix is None:
            scores = torch.full_like(logits, -torch.inf)
        else:
            scores = logits.clone()
            heads = unit((1 - attack.mix) * texts[replaced] + attack.mix * heads).to(texts.dtype)
        scores[:, replaced] = _scores(features, heads, ~forget, attack.scaled)
        # A tie is no recognition: an embedding that collapsed must not be found by whichever class comes first.
        top = scores.topk(2, dim=1)
        clear, best = top.values[:, 0] - top.values[:, 1] > TIE, top.indices[:, 0]
        free = torch.ones(len(features), dtype=torch.bool)
        free[torch.cat(list(picked.values()))] = False
        mine, rest = forget & free & is_attacked[truth], ~forget & free
        scored = int(mine.sum())
        shares.append(float((clear & (best == truth))[mine].double().mean()))
        wrong = (clear & is_attacked[best] & (best != truth))[rest]
        alarms.append(float(wrong.double().sum()) / max(1, int(rest.sum())))
    return Recovery(
        recovered=sum(shares) / draws,
        lowest=min(shares),
        highest=max(shares),
        false_alarms=sum(alarms) / draws,
        n=scored,
        attacked=tuple(attacked),
    )


def _scores(features: Tensor, rows: Tensor, kept: Tensor, scaled: bool) -> Tensor:
    """Cosines, n × rows; with `scaled` less their mean over the images that are kept, over their deviation."""
    scores = features @ rows.T
    if not scaled or not kept.any():
        return scores
    deviation, mean = torch.std_mean(scores[kept], dim=0, correction=0)
    # Scores that do not vary have no scale.
    return (scores - mean) / torch.where(deviation < TIE, torch.ones_like(deviation), deviation)


def _prototypes(features: Tensor, picked: dict[int, Tensor], labels: Sequence[int]) -> Tensor:
    """Unit means of the labelled images, one row a class."""
    means = torch.stack([features[picked[label]].mean(dim=0) for label in labels])
    return unit(means).to(features.dtype)
