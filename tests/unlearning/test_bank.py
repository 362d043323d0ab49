"""The prompt bank: what each row is, and in which order."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from governance.errors import IntegrityError
from governance.unlearning.bank import PromptBank, build_bank, unit
from governance.unlearning.labels import LabelSpace
from governance.unlearning.projector import Projector

WIDTH = 12
LABELS = LabelSpace(
    classes=("dog", "cat", "cow"),
    domains=("sketch", "photo"),  # not in alphabetical order
    templates=("a {class}", "the {class}"),
    domain_templates={
        "photo": ("a photo of a {class}", "{class}, photo", "photo: {class}"),
        "sketch": ("a sketch of a {class}",),
    },
    score_template="look, a {class}",
    synonyms={"dog": ("hound",)},
)
PAIRS = [
    *[("dog", None), ("cat", None), ("cow", None)],
    *[("dog", "sketch"), ("cat", "sketch"), ("cow", "sketch")],
    *[("dog", "photo"), ("cat", "photo"), ("cow", "photo")],
]


def embed(prompt: str) -> Tensor:
    """Some vector that depends on the prompt alone, of a length between 1 and 256."""
    seed = hashlib.sha256(prompt.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(seed[:4], "big"))
    return unit(torch.randn(WIDTH, generator=generator)) * (1 + seed[5])


def encode(prompts: Sequence[str]) -> Tensor:
    return torch.stack([embed(prompt) for prompt in prompts]).to(torch.float32)


def test_rows_follow_pairs_class_by_class_within_domain_by_domain() -> None:
    assert build_bank(LABELS, encode).pairs == PAIRS


def test_each_row_is_the_unit_mean_of_the_unit_embeddings_of_its_own_prompts() -> None:
    bank = build_bank(LABELS, encode)
    for row, (label, domain) in zip(bank.rows, PAIRS, strict=True):
        templates = LABELS.templates if domain is None else LABELS.domain_templates[domain]
        each = [embed(template.replace("{class}", label)) for template in templates]
        mean = torch.stack([vector / vector.norm() for vector in each]).mean(dim=0)
        torch.testing.assert_close(row, (mean / mean.norm()).double(), atol=1e-6, rtol=0)
        if len(each) > 1:  # lengths differ, so a mean of raw embeddings would be another row
            raw = torch.stack(each).mean(dim=0)
            assert (row - raw / raw.norm()).norm() > 1e-2


def test_scores_are_the_score_template_and_the_first_template_of_each_domain() -> None:
    bank = build_bank(LABELS, encode)
    first = {None: "look, a {}", "sketch": "a sketch of a {}", "photo": "a photo of a {}"}
    expected = torch.stack([unit(embed(first[domain].format(label))) for label, domain in PAIRS])
    torch.testing.assert_close(bank.scores, expected.double(), atol=1e-6, rtol=0)
    assert torch.equal(bank.plain_scores, bank.scores[:3])
    assert torch.equal(bank.domain_scores, bank.scores[3:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rows_and_scores_are_float64_and_of_unit_length(dtype: torch.dtype) -> None:
    bank = build_bank(LABELS, lambda prompts: encode(prompts).to(dtype))
    for tensor in (bank.rows, bank.scores):
        assert tensor.dtype == torch.float64
        assert tensor.shape == (9, WIDTH)
        torch.testing.assert_close(tensor.norm(dim=1), torch.ones(9, dtype=torch.float64))
    assert bank.dimension == WIDTH


def test_paraphrases_are_embedded_one_by_one_in_the_order_of_the_labels() -> None:
    bank = build_bank(LABELS, encode)
    expected = [unit(embed(prompt)) for _, prompt in LABELS.paraphrases]
    assert len(expected) == 1 + 3 * len(LABELS.held_out_templates)
    torch.testing.assert_close(bank.paraphrases, torch.stack(expected).double(), atol=1e-6, rtol=0)


def test_neither_synonyms_nor_evaluation_templates_change_what_is_fitted_or_scored() -> None:
    plain = replace(LABELS, synonyms={}, eval_templates=())
    with_words, without = build_bank(LABELS, encode), build_bank(plain, encode)
    assert torch.equal(with_words.rows, without.rows)
    assert torch.equal(with_words.scores, without.scores)
    assert without.paraphrases.shape == (0, WIDTH)


def test_a_bank_whose_paraphrases_do_not_fit_its_labels_is_refused() -> None:
    rows = torch.zeros(9, WIDTH)
    count = len(LABELS.paraphrases)
    for shape in ((count - 1, WIDTH), (count, WIDTH + 1)):
        with pytest.raises(IntegrityError, match="paraphrases instead of"):
            PromptBank(LABELS, rows, rows, torch.zeros(shape))


def test_a_bank_without_domains_has_one_row_a_class() -> None:
    bank = build_bank(LabelSpace(("dog", "cat")), encode)
    assert bank.pairs == [("dog", None), ("cat", None)]
    assert bank.rows.shape == (2, WIDTH)
    assert bank.domain_scores.shape == (0, WIDTH)


@pytest.mark.parametrize(("rows", "scores"), [(8, 9), (9, 8), (10, 10), (0, 0)])
def test_a_bank_that_does_not_fit_its_pairs_is_refused(rows: int, scores: int) -> None:
    with pytest.raises(IntegrityError, match="for 9 pairs"):
        PromptBank(LABELS, torch.zeros(rows, WIDTH), torch.zeros(scores, WIDTH))


def test_a_bank_of_two_widths_is_refused() -> None:
    with pytest.raises(IntegrityError):
        PromptBank(LABELS, torch.zeros(9, WIDTH), torch.zeros(9, WIDTH + 1))


def test_unit_keeps_directions_and_leaves_a_zero_row_zero() -> None:
    rows = unit(torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, -2.0]]))
    expected = torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(rows, expected)


def test_an_edited_text_tower_says_other_prompts_and_fits_the_same_rows() -> None:
    labels = LabelSpace(("dog", "cat"), templates=("{class}",), synonyms={"dog": ("hound",)})
    labels = replace(labels, eval_templates=())
    rows = torch.eye(2, dtype=torch.float64)
    bank = PromptBank(labels, rows, rows.clone(), unit(torch.tensor([[3.0, 4.0]])))
    assert len(labels.paraphrases) == 1
    # z Q = z + (z · e1)(3 e2): dog (1, 0) → (1, 3), cat stays, hound (.6, .8) → (.6, 2.6).
    quarter = Projector(rows[:, :1], 3 * rows[1:], 1.0)
    edited = bank.edited(quarter)
    expected = torch.tensor([[1, 3], [0, 1]], dtype=torch.float64) / torch.tensor([[10**0.5], [1]])
    torch.testing.assert_close(edited.scores, expected)
    hound = torch.tensor([[0.6, 2.6]], dtype=torch.float64)
    torch.testing.assert_close(edited.paraphrases, hound / hound.norm())
    assert edited.rows is bank.rows
    assert edited.labels is bank.labels
    assert torch.equal(bank.scores, rows)
    assert bank.edited(None) is bank
    bare = PromptBank(replace(labels, synonyms={}), rows, rows.clone())
    torch.testing.assert_close(bare.edited(quarter).scores, expected)
    assert len(bare.edited(quarter).paraphrases) == 0


def spoken() -> PromptBank:
    labels = LabelSpace(("dog", "cat"), synonyms={"dog": ("hound", "puppy"), "cat": ("kitten",)})
    rows = torch.eye(2, 4, dtype=torch.float64)
    count = len(labels.paraphrases)
    numbered = torch.arange(count, dtype=torch.float64).unsqueeze(1).repeat(1, 4)
    return PromptBank(labels, rows, rows, numbered)


def test_synonyms_that_a_fit_moved_are_left_out_with_their_rows() -> None:
    bank = spoken()
    left = bank.without_synonyms(["dog"])
    assert left.labels.synonyms == {"cat": ("kitten",)}
    kept = [prompt for _, prompt in left.labels.paraphrases]
    assert kept == [
        prompt
        for _, prompt in bank.labels.paraphrases
        if "hound" not in prompt and "puppy" not in prompt
    ]
    before = {
        said: float(row[0])
        for said, row in zip(bank.labels.paraphrases, bank.paraphrases, strict=True)
    }
    for said, row in zip(left.labels.paraphrases, left.paraphrases, strict=True):
        assert float(row[0]) == before[said]
    assert torch.equal(left.rows, bank.rows)


def test_without_synonyms_of_its_own_a_class_leaves_the_bank_as_it_is() -> None:
    bank = spoken()
    assert bank.without_synonyms([]) is bank
    assert bank.without_synonyms(["cow"]) is bank
    bare = PromptBank(bank.labels, bank.rows, bank.scores)
    assert bare.without_synonyms(["dog"]) is bare
