"""The whole assessment on a small world: sets, protocol, the three views, and what cannot be measured."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from governance.digests import canonical_json
from governance.errors import InvalidInputError
from governance.unlearning import assessment as module
from governance.unlearning.assessment import assess, overall
from governance.unlearning.bank import PromptBank
from governance.unlearning.cohort import Protocol, gather
from governance.unlearning.composition import Edit, compose
from governance.unlearning.evaluation import Samples, predict
from governance.unlearning.metrics.control import random_control
from governance.unlearning.projector import Projector, identity
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

DOG = [Target("dog", None)]
SCALE = 20.0
VIEWS = ("before", "after", "control")

BankMaker = Callable[..., PromptBank]


@pytest.fixture(scope="module")
def world(make_bank: BankMaker) -> tuple[PromptBank, Samples]:
    """Six classes in three domains, 20 noisy images a pair, and a paraphrase near each class's prompt."""
    bank = make_bank(classes=("dog", "cat", "horse", "house", "guitar", "tree"))
    generator = torch.Generator().manual_seed(1)
    rows = bank.rows[6:].repeat_interleave(20, dim=0)
    noise = torch.randn(rows.shape, generator=generator, dtype=torch.float64)
    pairs = [pair for pair in bank.pairs[6:] for _ in range(20)]
    samples = Samples(
        (3 * rows + 0.35 * noise).float(), [c for c, _ in pairs], [d for _, d in pairs]
    )
    labels = replace(bank.labels, eval_templates=("look, a {class}", "there: {class}"))
    owners = [labels.classes.index(label) for label, _ in labels.paraphrases]
    drawn = torch.randn(len(owners), 40, generator=generator, dtype=torch.float64)
    near = torch.nn.functional.normalize(bank.rows[owners] + 0.05 * drawn, dim=1)
    return PromptBank(labels, bank.rows, bank.scores, near), samples


def edit_of(bank: PromptBank, targets: list[Target]) -> Projector:
    return compose(bank, [Edit(tuple(targets), Recipe())]).projector


@pytest.fixture(scope="module")
def result(world: tuple[PromptBank, Samples]) -> dict[str, Any]:
    bank, samples = world
    return assess(samples, bank, DOG, edit_of(bank, DOG), SCALE)


def test_the_three_views_hold_the_same_figures_and_are_plain_json(result: dict[str, Any]) -> None:
    assert set(result["before"]) == set(result["after"]) == set(result["control"])
    assert json.loads(canonical_json(result)) == result


def test_sets_count_every_image_once(result: dict[str, Any]) -> None:
    sets = result["sets"]
    assert (sets["forget"], sets["retain"], sets["guard"]) == (60, 300, 0)
    assert 0 < sets["neighbours"] <= 9 * 20


def test_zero_shot_figures_are_those_of_the_evaluation(
    world: tuple[PromptBank, Samples], result: dict[str, Any]
) -> None:
    bank, samples = world
    forget = torch.tensor([label == "dog" for label in samples.labels])
    control = random_control(40, result["protocol"]["control"]["rank"], 0)
    assert control.digest == result["protocol"]["control"]["digest"]
    for view, edit in zip(VIEWS, (None, edit_of(bank, DOG), control), strict=True):
        hits = predict(samples, bank, edit).plain
        shown = result[view]["zero_shot"]
        assert shown["forget"]["correct"] == int(hits[forget].sum())
        assert shown["retain"]["correct"] == int(hits[~forget].sum())


def test_the_edit_works_and_the_control_does_not(result: dict[str, Any]) -> None:
    before, after, control = (result[view] for view in VIEWS)
    assert before["zero_shot"]["forget"]["value"] > 0.9
    assert after["zero_shot"]["forget"]["value"] < 0.05
    assert control["zero_shot"]["forget"]["value"] > 0.8
    assert after["harmonic"] > 0.9 > 0.2 > before["harmonic"]
    assert after["alignment"]["forget"] < 0.3 * before["alignment"]["forget"]
    assert after["paraphrase"]["max"]["value"] < 0.5 < before["paraphrase"]["max"]["value"]
    assert after["paraphrase"]["prompts"] == 2
    assert before["retrieval"]["image_to_text"]["forget"]["r1"] > 0.9
    assert after["retrieval"]["image_to_text"]["forget"]["r1"] < 0.1
    assert after["rus"] > control["rus"] > before["rus"] == 0
    assert before["cka"] == {"forget": 1.0, "retain": 1.0}
    assert before["drift"] == 0
    assert before["probe_auc"]["value"] > 0.95


def test_queries_of_retrieval_belong_to_the_set_of_their_images(result: dict[str, Any]) -> None:
    shown = result["after"]["retrieval"]
    assert shown["text_to_image"]["forget"]["n"] == 3  # dog in three domains
    assert shown["text_to_image"]["retain"]["n"] == 15
    assert shown["image_to_text"]["forget"]["n"] == 60
    assert shown["text_to_image"]["guard"] is None


def test_attacks_cover_the_protocol_and_leave_their_examples_unscored(
    result: dict[str, Any],
) -> None:
    attacks = result["after"]["relearning"]
    kinds = ((0.5, False), (1.0, False), (0.5, True), (None, False))
    assert [(a["shots"], a["mix"], a["scaled"]) for a in attacks] == [
        (shots, *kind) for shots in (1, 5, 16) for kind in kinds
    ]
    assert all(a["n"] == 60 - a["shots"] for a in attacks)
    assert all(a["lowest_draw"] <= a["recovered"] <= a["highest_draw"] for a in attacks)


def test_the_same_protocol_gives_the_same_figures_and_another_seed_others(
    world: tuple[PromptBank, Samples], result: dict[str, Any]
) -> None:
    bank, samples = world
    edit = edit_of(bank, DOG)
    assert assess(samples, bank, DOG, edit, SCALE) == result
    other = assess(samples, bank, DOG, edit, SCALE, Protocol(seed=1))
    assert other["after"]["relearning"] != result["after"]["relearning"]
    assert other["protocol"]["control"] != result["protocol"]["control"]


def test_an_edit_that_does_nothing_scores_as_the_unedited_model(
    world: tuple[PromptBank, Samples],
) -> None:
    bank, samples = world
    shown = assess(samples, bank, DOG, identity(40), SCALE)
    assert shown["after"] == shown["before"] == shown["control"]
    assert shown["protocol"]["control"]["rank"] == 0


@pytest.mark.parametrize("targets", [[Target("dog", "sketch")], [Target(None, "sketch")]])
def test_neighbours_of_a_scope_are_retained_pairs_with_images(
    world: tuple[PromptBank, Samples], targets: list[Target]
) -> None:
    bank, samples = world
    shown = assess(samples, bank, targets, edit_of(bank, targets), SCALE)
    assert 3 <= len(shown["neighbours"]) <= 3 * shown["sets"]["forget"] // 20
    for entry in shown["neighbours"]:
        assert not any(t.covers(entry["class"], entry["domain"]) for t in targets)
    cosines = [entry["cosine"] for entry in shown["neighbours"]]
    assert cosines == sorted(cosines, reverse=True)
    assert shown["sets"]["neighbours"] == 20 * len(shown["neighbours"])


def test_a_guard_class_is_counted_apart(world: tuple[PromptBank, Samples]) -> None:
    bank, samples = world
    shown = assess(samples, bank, DOG, edit_of(bank, DOG), SCALE, guard=("tree", "dog"))
    assert shown["sets"] | {"neighbours": 0} == {
        "forget": 60, "retain": 240, "guard": 60, "neighbours": 0,
    }  # fmt: skip
    assert shown["after"]["zero_shot"]["guard"]["n"] == 60
    assert shown["after"]["retrieval"]["text_to_image"]["guard"]["n"] == 3
    assert shown["after"]["retrieval"]["text_to_image"]["retain"]["n"] == 12


def test_few_images_leave_out_what_they_cannot_measure(world: tuple[PromptBank, Samples]) -> None:
    bank, samples = world
    kept = [index for index, label in enumerate(samples.labels) if label != "dog" or index < 4]
    few = Samples(
        samples.features[kept],
        [samples.labels[index] for index in kept],
        [samples.domains[index] for index in kept],
    )
    shown = assess(few, bank, DOG, edit_of(bank, DOG), SCALE)
    assert shown["sets"]["forget"] == 4
    assert {attack["shots"] for attack in shown["after"]["relearning"]} == {1}
    assert shown["after"]["probe_auc"] is None
    assert shown["after"]["membership_auc"] is None


def test_without_domains_classes_are_their_own_gallery(world: tuple[PromptBank, Samples]) -> None:
    bank, samples = world
    loose = Samples(samples.features, samples.labels, [None] * len(samples.labels))
    shown = assess(loose, bank, DOG, edit_of(bank, DOG), SCALE)
    assert shown["protocol"]["gallery"] == "class prompts"
    assert shown["after"]["retrieval"]["text_to_image"]["forget"]["n"] == 1
    assert {entry["domain"] for entry in shown["neighbours"]} == {None}


def test_without_paraphrases_that_part_is_empty(world: tuple[PromptBank, Samples]) -> None:
    bank, samples = world
    bare = PromptBank(bank.labels, bank.rows, bank.scores)
    shown = assess(samples, bare, DOG, edit_of(bank, DOG), SCALE)
    assert [shown[view]["paraphrase"] for view in VIEWS] == [None] * 3


def test_two_classes_of_which_one_is_forgotten_have_no_distribution_left(
    make_bank: BankMaker,
) -> None:
    bank = make_bank(classes=("dog", "cat"), domains=("photo",))
    rows = bank.rows[2:].repeat_interleave(10, dim=0)
    noisy = rows + 0.1 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    samples = Samples(noisy.float(), ["dog"] * 10 + ["cat"] * 10, ["photo"] * 20)
    shown = assess(samples, bank, DOG, edit_of(bank, DOG), SCALE)
    assert shown["after"]["drift"] is None
    assert shown["after"]["membership_auc"] is None
    assert shown["after"]["top5"] is None


def test_the_cap_bounds_the_work_of_attacks_and_probes(
    world: tuple[PromptBank, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, samples = world
    sizes: list[int] = []
    original = module.probe

    def counting(features: torch.Tensor, *rest: Any) -> Any:
        sizes.append(len(features))
        return original(features, *rest)

    monkeypatch.setattr(module, "probe", counting)
    shown = assess(samples, bank, DOG, edit_of(bank, DOG), SCALE, Protocol(cap=30))
    assert sizes == [60] * 6  # two probes for each view, 30 images of each side
    assert shown["after"]["relearning"][0]["n"] == 29
    cohort = gather(samples, bank, DOG, SCALE, Protocol(cap=30))
    chosen = cohort.some(cohort.retain)
    assert len(set(chosen.tolist())) == 30
    assert cohort.retain[chosen].all()
    assert torch.equal(chosen, cohort.some(cohort.retain))


def test_images_of_an_unknown_class_are_refused(world: tuple[PromptBank, Samples]) -> None:
    bank, samples = world
    strange = Samples(samples.features, ["yak", *samples.labels[1:]], samples.domains)
    with pytest.raises(InvalidInputError, match="'yak', which the model's label space lacks"):
        assess(strange, bank, DOG, identity(40), SCALE)


def test_the_overall_figures_of_a_version_are_those_of_its_assessment(
    world: tuple[PromptBank, Samples], result: dict[str, Any]
) -> None:
    bank, samples = world
    edit = edit_of(bank, DOG)
    predictions = predict(samples, bank, None), predict(samples, bank, edit)
    shown = overall(samples, bank, DOG, edit, SCALE, predictions)
    assert shown is not None
    assert set(shown) == {"harmonic", "aus", "cka", "rus", "neighbours", "drift", "turning"}
    assert all(result["after"][key] == value for key, value in shown.items())
    assert overall(samples, bank, [], edit, SCALE, predictions) is None


def test_edited_prompts_are_for_the_view_after_the_edit_only(
    world: tuple[PromptBank, Samples], result: dict[str, Any]
) -> None:
    bank, samples = world
    edit = Edit(tuple(DOG), Recipe(both_sides=True))
    composition = compose(bank, [edit])
    edited = bank.edited(composition.text)
    shown = assess(samples, bank, DOG, composition.projector, SCALE, edited=edited)
    assert {key for key in shown if shown[key] != result[key]} == {"after"}
    forget = torch.tensor([label == "dog" for label in samples.labels])
    hits = predict(samples, edited, composition.projector).plain
    assert shown["after"]["zero_shot"]["retain"]["correct"] == int(hits[~forget].sum())
    changed = {key for key in shown["after"] if shown["after"][key] != result["after"][key]}
    assert {"alignment", "paraphrase", "drift"} <= changed
    assert not changed & {"probe_auc", "cka", "rus"}  # what no prompt has a part in


def test_edited_prompts_alone_make_unedited_images_unrecognised(
    world: tuple[PromptBank, Samples],
) -> None:
    """A stored index: its embeddings stay as they were, and the prompts of dogs find nothing in it."""
    bank, samples = world
    edited = bank.edited(compose(bank, [Edit(tuple(DOG), Recipe(both_sides=True))]).text)
    nothing = identity(bank.dimension)
    shown = assess(samples, bank, DOG, nothing, SCALE, edited=edited)
    assert shown["before"]["zero_shot"]["forget"]["value"] > 0.9
    assert shown["after"]["zero_shot"]["forget"]["value"] <= 0.1
    assert shown["after"]["retrieval"]["text_to_image"]["forget"]["r1"] < 0.5
    assert shown["after"]["cka"] == {"forget": 1.0, "retain": 1.0}
    assert shown["after"]["drift"] > 0 == shown["before"]["drift"]
    predictions = predict(samples, bank, None), predict(samples, edited, None)
    whole = overall(samples, bank, DOG, nothing, SCALE, predictions, edited)
    assert whole is not None
    assert whole["drift"] == shown["after"]["drift"]
    assert whole["harmonic"] == shown["after"]["harmonic"]
    unread = overall(samples, bank, DOG, nothing, SCALE, predictions)
    assert unread is not None
    assert unread["drift"] == 0
