"""The guard set: classes that no fit ever mentions, and what an edit does to them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.evaluation import CHUNK, Proportion, edited_logits
from governance.unlearning.projector import Projector, identity


def guard_figures(
    features: Tensor,
    labels: Sequence[str],
    classes: Sequence[str],
    prompts: Tensor,
    bank: PromptBank,
    projector: Projector,
    text: Projector | None,
) -> dict[str, Any]:
    """Zero-shot accuracy on images of other classes, among those and the classes of the label space.

    Args:
        features: n × d image embeddings before the edit.
        labels: class of each image, one of `classes`.
        classes: the guard classes, none of them in the label space.
        prompts: their text embeddings before the edit, guard classes × d.
        bank: prompts of the label space.
        projector: the edit.
        text: the edit of the text tower, if there is one.

    Returns:
        ``classes``, and ``before`` and ``after`` with value, n, correct and the 95% interval.
    """
    count = len(bank.labels.classes)
    truth = torch.tensor([count + classes.index(label) for label in labels])
    texts = torch.cat([bank.plain_scores, unit(prompts)])
    after = texts if text is None else unit(text.apply(texts))
    return {
        "classes": list(classes),
        "before": _right(features, truth, texts, identity(bank.dimension)),
        "after": _right(features, truth, after, projector),
    }


def _right(features: Tensor, truth: Tensor, texts: Tensor, edit: Projector) -> dict[str, Any]:
    best = torch.cat(
        [edited_logits(part, texts, edit).argmax(dim=1) for part in torch.split(features, CHUNK)]
    )
    share = Proportion(int((best == truth).sum()), len(truth))
    return {"value": share.value, **share.to_dict()}
