"""Recall at k on a gallery that fits on a page."""

import pytest
import torch

from governance.unlearning.metrics import retrieval
from governance.unlearning.metrics.retrieval import image_ranks, recall, text_ranks

TEXTS = torch.eye(3)
FEATURES = torch.tensor(
    [
        [0.9, 0.1, 0.0],  # own prompt first
        [0.2, 0.7, 0.1],  # own prompt 0 second
        [0.1, 0.5, 0.4],  # own prompt 2 second
        [0.5, 0.3, 0.2],  # own prompt 2 last
    ]
)
OWN = torch.tensor([0, 0, 2, 2])


def test_rank_of_an_image_counts_the_prompts_before_its_own() -> None:
    assert image_ranks(FEATURES, TEXTS, OWN).tolist() == [0, 1, 1, 2]


def test_rank_of_a_prompt_counts_the_wrong_images_before_its_first_right_one() -> None:
    # Prompt 0: its image scores .9, the best wrong one .5. Prompt 2: .4 against .1.
    assert text_ranks(FEATURES, TEXTS, OWN, torch.tensor([0, 2])).tolist() == [0, 0]
    # As prompt 1's own, the last image (.3) has .7 and .5 before it.
    own = torch.tensor([0, 0, 2, 1])
    assert text_ranks(FEATURES, TEXTS, own, torch.tensor([1])).tolist() == [2]


def test_ties_count_against_recall_so_that_a_collapsed_embedding_finds_nothing() -> None:
    nothing = torch.zeros(4, 3)
    assert image_ranks(nothing, TEXTS, OWN).tolist() == [2, 2, 2, 2]
    assert text_ranks(nothing, TEXTS, OWN, torch.tensor([0])).tolist() == [2]


def test_recall_counts_ranks_below_k() -> None:
    ranks = torch.tensor([0, 1, 1, 2])
    assert [recall(ranks, k) for k in (1, 2, 3)] == [1, 3, 4]


def test_pieces_give_the_same_ranks_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(100, 8, generator=generator)
    texts = torch.randn(30, 8, generator=generator)
    own = torch.arange(100) % 30
    whole = image_ranks(features, texts, own), text_ranks(features, texts, own, torch.arange(30))
    order = (features @ texts.T).argsort(dim=1, descending=True)
    by_sorting = [row.index(mine) for row, mine in zip(order.tolist(), own.tolist(), strict=True)]
    assert whole[0].tolist() == by_sorting
    monkeypatch.setattr(retrieval, "CHUNK", 16)
    assert torch.equal(image_ranks(features, texts, own), whole[0])
    assert torch.equal(text_ranks(features, texts, own, torch.arange(30)), whole[1])
