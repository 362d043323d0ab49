"""Zero-shot accuracy before and after an edit, against answers worked out by hand."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.errors import InvalidInputError
from governance.unlearning import evaluation
from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.evaluation import (
    Predictions,
    Proportion,
    Samples,
    check_targets_measured,
    edited_logits,
    forget_share,
    predict,
    summarise,
)
from governance.unlearning.intervals import Z95
from governance.unlearning.labels import LabelSpace
from governance.unlearning.projector import Projector, identity
from governance.unlearning.targets import Target

FEW = settings(max_examples=25, deadline=None)


def evaluate(
    samples: Samples, bank: PromptBank, targets: list[Target], projector: Projector | None
) -> dict[str, Any]:
    return summarise(samples, predict(samples, bank, projector), targets)


CAT, DOG = ("cat", "dog")

# Axes: how much of a cat, a dog, a photo, a sketch an image is.
ROWS = torch.tensor(
    [
        *[[1, 0, 0, 0], [0, 1, 0, 0]],
        *[[1, 0, 1, 0], [0, 1, 1, 0]],
        *[[1, 0, 0, 1], [0, 1, 0, 1]],
    ]
)
LABELS = LabelSpace(
    (CAT, DOG),
    ("photo", "sketch"),
    domain_templates={"photo": ("{class}",), "sketch": ("{class}",)},
)
BANK = PromptBank(LABELS, unit(ROWS), unit(ROWS))

# (image, class, domain, is the class right, is the pair right)
IMAGES: list[tuple[list[float], str, str, bool, bool]] = [
    ([5, 1, 2, 0], CAT, "photo", True, True),
    ([5, 1, 0, 2], CAT, "photo", True, False),  # a cat, but it looks like a sketch
    ([1, 5, 2, 0], CAT, "photo", False, False),
    ([3, 1, 0, 2], CAT, "sketch", True, True),
    ([1, 3, 2, 0], DOG, "photo", True, True),
    ([1, 3, 1, 2], DOG, "sketch", True, True),
    ([3, 1, 0, 2], DOG, "sketch", False, False),
    ([1, 3, 2, 1], DOG, "sketch", True, False),
]
SAMPLES = Samples(
    torch.tensor([image for image, *_ in IMAGES], dtype=torch.float32),
    [label for _, label, *_ in IMAGES],
    [domain for _, _, domain, *_ in IMAGES],
)
PLAIN = [plain for *_, plain, _ in IMAGES]
PAIR = [pair for *_, pair in IMAGES]


def cats_become_dogs() -> Projector:
    """Turns the cat axis into the dog axis."""
    a = torch.tensor([[1.0], [0], [0], [0]], dtype=torch.float64)
    b = torch.tensor([[-1.0, 1, 0, 0]], dtype=torch.float64)
    return Projector(a, b, 1.0)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (1, 2, 0.0945, 0.9055),
        (81, 263, 0.2553, 0.3662),  # this and the rest: Newcombe (1998), Table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_has_the_values_worked_out_elsewhere(
    correct: int, n: int, low: float, high: float
) -> None:
    share = Proportion(correct, n)
    assert share.value == correct / n
    assert share.interval == pytest.approx((low, high), abs=5.1e-5)


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_wilson_interval_at_the_edges_stays_inside_and_is_not_a_point(n: int) -> None:
    reach = Z95**2 / (n + Z95**2)
    assert Proportion(0, n).interval == pytest.approx((0.0, reach))
    assert Proportion(n, n).interval == pytest.approx((1 - reach, 1.0))
    assert Proportion(0, n).interval[0] == 0.0
    assert Proportion(n, n).interval[1] == 1.0


def test_without_samples_nothing_is_known() -> None:
    nothing = Proportion(0, 0)
    assert math.isnan(nothing.value)
    assert nothing.interval == (0.0, 1.0)
    assert nothing.to_dict() == {"n": 0, "correct": 0, "low": 0.0, "high": 1.0}


@FEW
@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_solve_the_score_equation(counts: tuple[int, int]) -> None:
    """Both bounds p have (p̂ − p)² = z² p (1 − p) / n."""
    correct, n = counts
    low, high = Proportion(correct, n).interval
    assert 0 <= low <= correct / n <= high <= 1
    for p in (low, high):
        left, right = (correct / n - p) ** 2, Z95**2 * p * (1 - p) / n
        assert left == pytest.approx(right, rel=1e-6, abs=1e-12)


@FEW
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(8, 48))
def test_edited_logits_equal_the_dense_product(seed: int, rank: int, dimension: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    projector = Projector(normal(dimension, rank) / 4, normal(rank, dimension) / 4, 1.0)
    features, texts = normal(5, dimension), unit(normal(7, dimension))
    logits = edited_logits(features.float(), texts, projector)
    assert logits.dtype == torch.float32
    expected = features @ projector.dense() @ texts.T
    torch.testing.assert_close(logits.double(), expected, atol=1e-4, rtol=1e-4)
    plain = edited_logits(features.float(), texts, identity(dimension))
    torch.testing.assert_close(plain.double(), features @ texts.T, atol=1e-5, rtol=1e-5)
    assert (plain - logits).abs().max() > 1e-2


def test_predictions_of_the_hand_made_set() -> None:
    predictions = predict(SAMPLES, BANK, None)
    assert predictions.plain.tolist() == PLAIN
    assert predictions.by_domain is not None
    assert predictions.by_domain.tolist() == PAIR
    same = predict(SAMPLES, BANK, identity(4))
    assert torch.equal(same.plain, predictions.plain)


def test_an_edit_that_turns_cats_into_dogs_loses_the_cats_and_nothing_else() -> None:
    plain = predict(SAMPLES, BANK, cats_become_dogs()).plain.tolist()
    assert plain == [False] * 4 + [True] * 4


def test_top_five_counts_images_whose_class_is_among_the_five_best() -> None:
    classes = tuple("abcdefg")
    rows = torch.eye(7, dtype=torch.float64)
    bank = PromptBank(LabelSpace(classes), rows, rows)
    # The own class scores .35: it is the first, the third, the fifth, the sixth.
    images = [[0.1 * (place + 1) for place in range(7)] for _ in range(4)]
    for image, before in zip(images, (0, 2, 4, 5), strict=True):
        image[0] = 0.75 - 0.1 * before
    samples = Samples(torch.tensor(images), ["a"] * 4, [None] * 4)
    predictions = predict(samples, bank, None)
    assert predictions.plain.tolist() == [True, False, False, False]
    assert predictions.top5 is not None
    assert predictions.top5.tolist() == [True, True, True, False]
    result = summarise(samples, predictions, [Target("a", None)])
    assert result["top5"]["forget_accuracy"] == 0.75
    assert result["top5"]["counts"]["forget"] == Proportion(3, 4).to_dict()


def test_five_classes_or_fewer_have_no_top_five() -> None:
    assert predict(SAMPLES, BANK, None).top5 is None
    assert evaluate(SAMPLES, BANK, [Target(CAT, None)], None)["top5"] is None


def test_pieces_give_the_same_predictions_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "CHUNK", 3)
    predictions = predict(SAMPLES, BANK, cats_become_dogs())
    assert predictions.plain.tolist() == [False] * 4 + [True] * 4
    by_domain = predict(SAMPLES, BANK, None).by_domain
    assert by_domain is not None
    assert by_domain.tolist() == PAIR


def test_length_of_the_features_does_not_matter() -> None:
    scaled = Samples(1e3 * SAMPLES.features, SAMPLES.labels, SAMPLES.domains)
    assert torch.equal(predict(scaled, BANK, None).plain, predict(SAMPLES, BANK, None).plain)


@pytest.mark.parametrize("domains", [[None] * 8, ["oil"] * 8, [*SAMPLES.domains[:7], None]])
def test_domain_prompts_are_left_out_where_an_image_has_no_domain_of_the_label_space(
    domains: list[str | None],
) -> None:
    samples = Samples(SAMPLES.features, SAMPLES.labels, domains)
    assert predict(samples, BANK, None).by_domain is None
    result = evaluate(samples, BANK, [Target(CAT, None)], None)
    assert result["domain_prompts"] is None
    assert (result["forget_accuracy"], result["retain_accuracy"]) == (3 / 4, 3 / 4)


def test_a_label_space_without_domains_has_no_domain_prompts() -> None:
    plain = PromptBank(LabelSpace((CAT, DOG)), unit(ROWS[:2]), unit(ROWS[:2]))
    assert predict(SAMPLES, plain, None).plain.tolist() == PLAIN
    result = evaluate(SAMPLES, plain, [Target(CAT, None)], None)
    assert result["domain_prompts"] is None
    assert result["per_domain"] == {"photo": 3 / 4, "sketch": 3 / 4}


# Correct and all of the forget set, then of the retain set: with plain prompts, with domain prompts.
SCOPES: dict[Target, tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    Target(CAT, None): ((3, 4), (3, 4), (2, 4), (2, 4)),
    Target(CAT, "photo"): ((2, 3), (4, 5), (1, 3), (3, 5)),
    Target(None, "sketch"): ((3, 4), (3, 4), (2, 4), (2, 4)),
    Target(DOG, "sketch"): ((2, 3), (4, 5), (1, 3), (3, 5)),
}


@pytest.mark.parametrize("target", SCOPES, ids=Target.describe)
def test_forget_and_retain_sets_split_by_scope(target: Target) -> None:
    result = evaluate(SAMPLES, BANK, [target], None)
    forget, retain, forget_pair, retain_pair = SCOPES[target]
    _has_shares(result, forget, retain)
    _has_shares(result["domain_prompts"], forget_pair, retain_pair)
    share = forget_share(SAMPLES, predict(SAMPLES, BANK, None), [target])
    assert (share.correct, share.n) == forget


def _has_shares(result: dict[str, Any], forget: tuple[int, int], retain: tuple[int, int]) -> None:
    for side, (correct, n) in (("forget", forget), ("retain", retain)):
        assert result[f"{side}_accuracy"] == correct / n
        assert result["counts"][side] == Proportion(correct, n).to_dict()


def test_several_targets_are_one_forget_set() -> None:
    targets = [Target(CAT, "photo"), Target(None, "photo"), Target(DOG, "sketch")]
    _has_shares(evaluate(SAMPLES, BANK, targets, None), (5, 7), (1, 1))


def test_summary_of_the_hand_made_set_place_by_place() -> None:
    result = evaluate(SAMPLES, BANK, [Target(CAT, None)], None)
    assert result["per_class"] == {CAT: 3 / 4, DOG: 3 / 4}
    assert result["per_domain"] == {"photo": 3 / 4, "sketch": 3 / 4}
    assert result["per_pair"] == {
        CAT: {"photo": 2 / 3, "sketch": 1.0},
        DOG: {"photo": 1.0, "sketch": 2 / 3},
    }
    assert result["counts"]["per_class"][CAT] == Proportion(3, 4).to_dict()
    assert result["counts"]["per_domain"]["sketch"] == Proportion(3, 4).to_dict()
    by_pair = result["domain_prompts"]
    assert by_pair["per_class"] == {CAT: 2 / 4, DOG: 2 / 4}
    assert by_pair["per_pair"][DOG] == {"photo": 1.0, "sketch": 1 / 3}


def test_after_the_edit_the_forget_set_is_lost_and_the_retain_set_kept() -> None:
    after = evaluate(SAMPLES, BANK, [Target(CAT, None)], cats_become_dogs())
    assert (after["forget_accuracy"], after["retain_accuracy"]) == (0.0, 1.0)
    assert after["per_class"] == {CAT: 0.0, DOG: 1.0}


def test_the_first_of_equally_good_classes_is_the_answer() -> None:
    names = tuple("abcdefgh")
    rows = torch.ones(8, 3)
    rows[0] = torch.tensor([1.0, 0, 0])
    bank = PromptBank(LabelSpace(names), unit(rows), unit(rows))
    samples = Samples(torch.ones(3, 3), ["b", "c", "a"], [None] * 3)
    found = predict(samples, bank, None)
    assert found.answers.tolist() == [1, 1, 1]
    assert found.plain.tolist() == [True, False, False]
    assert found.top5 is not None
    assert bool(found.top5[0])  # whoever is first is among the first five
    assert not bool(found.top5[2])


@pytest.mark.parametrize(
    ("targets", "empty", "full"),
    [
        ([], "forget", "retain"),
        ([Target(CAT, None), Target(DOG, None)], "retain", "forget"),
    ],
)
def test_an_empty_set_has_no_accuracy(targets: list[Target], empty: str, full: str) -> None:
    result = summarise(SAMPLES, Predictions(torch.tensor(PLAIN), None), targets)
    assert result[f"{empty}_accuracy"] is None
    assert result["counts"][empty] is None
    assert result[f"{full}_accuracy"] == 6 / 8


def test_images_of_an_unknown_class_are_refused_and_named() -> None:
    samples = Samples(SAMPLES.features[:3], ["cat", "yak", "emu"], [None] * 3)
    with pytest.raises(InvalidInputError, match="images of 'emu', 'yak', which the model's label"):
        predict(samples, BANK, None)


def test_features_of_another_width_are_refused() -> None:
    samples = Samples(torch.zeros(8, 5), SAMPLES.labels, SAMPLES.domains)
    with pytest.raises(InvalidInputError, match="width 5 do not fit a model of 4"):
        predict(samples, BANK, None)


PRESENT: list[tuple[str, str | None]] = [(CAT, "photo"), (CAT, "photo"), (DOG, "sketch")]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([Target(CAT, "sketch")], "no image of 'cat in sketch'"),
        ([Target(CAT, None), Target("yak", None)], "no image of 'yak everywhere'"),
        ([Target(None, "oil")], "no image of 'everything in oil'"),
        ([Target(CAT, None), Target(None, "sketch")], "every image of the data set"),
    ],
)
def test_a_data_set_that_cannot_measure_the_targets_is_refused(
    targets: list[Target], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check_targets_measured(PRESENT, targets)


@pytest.mark.parametrize(
    "target", [Target(CAT, None), Target(CAT, "photo"), Target(None, "sketch")]
)
def test_a_data_set_with_images_of_both_kinds_is_accepted(target: Target) -> None:
    check_targets_measured(iter(PRESENT), [target])
