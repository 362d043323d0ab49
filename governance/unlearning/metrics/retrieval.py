"""Recall at k between images and prompts, both ways."""

import torch
from torch import Tensor

CHUNK = 1024
"""Rows of a score matrix at a time."""


def image_ranks(features: Tensor, texts: Tensor, own: Tensor) -> Tensor:
    """For each image how many other prompts score at least as high as its own, n int64.

    Recall at k is the share of images with a rank below k (image → text).

    Args:
        features: n × d, unit length.
        texts: m × d, the gallery.
        own: number of each image's own prompt.
    """
    ranks = []
    for part, mine in zip(torch.split(features, CHUNK), torch.split(own, CHUNK), strict=True):
        scores = part @ texts.T
        ranks.append((scores >= scores.gather(1, mine.unsqueeze(1))).sum(dim=1) - 1)
    return torch.cat(ranks)


def text_ranks(features: Tensor, texts: Tensor, own: Tensor, queries: Tensor) -> Tensor:
    """For each query how many images of other prompts score at least as high as its best image, q int64.

    Recall at k is the share of queries with a rank below k: at least one right image among the first k (text →
    image).

    Args:
        features: n × d, unit length; the gallery.
        texts: m × d.
        own: number of each image's own prompt.
        queries: numbers of the prompts to ask, each with at least one image.
    """
    ranks = []
    for part in torch.split(queries, CHUNK // 8):
        scores = texts[part] @ features.T
        right = part.unsqueeze(1) == own
        best = scores.masked_fill(~right, -torch.inf).max(dim=1, keepdim=True).values
        ranks.append(((scores >= best) & ~right).sum(dim=1))
    return torch.cat(ranks)


def recall(ranks: Tensor, k: int) -> int:
    """How many ranks lie below k."""
    return int((ranks < k).sum())
