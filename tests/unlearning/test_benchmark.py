"""The shared benchmark: real embeddings, with text rows only and with few-shot prototypes."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from bench.variants import image_side
from governance.unlearning.assessment import assess
from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.composition import Edit, compose, tolerance
from governance.unlearning.evaluation import Predictions, Samples, forget_share, predict, summarise
from governance.unlearning.labels import LabelSpace, default_domain_templates
from governance.unlearning.metrics.inference import area_under_curve, probe, stratified_folds
from governance.unlearning.metrics.relearning import Attack, relearn
from governance.unlearning.projector import Projector, identity, solve
from governance.unlearning.prototypes import PrototypeKind, Prototypes, prototypes_of
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.unlearning.verdict import strongest, verdict

pytestmark = pytest.mark.benchmark

NO_DOMAIN = -1
SCORE_WORDS = {
    "photo": "a photo",
    "art_painting": "an art painting",
    "cartoon": "a cartoon",
    "sketch": "a sketch",
}
# (forget, retain) before and after, each 7-way and 28-way; README of the benchmark.
REFERENCE = {
    "class everywhere": ((0.887, 0.877), (0.000, 0.891), (0.876, 0.866), (0.000, 0.877)),
    "class in one domain": ((0.885, 0.877), (0.154, 0.868), (0.868, 0.866), (0.140, 0.860)),
    "whole domain": ((0.884, 0.878), (0.161, 0.776), (0.870, 0.866), (0.162, 0.786)),
}


@dataclass(frozen=True)
class Goal:
    """What the default recipe must reach, 7-way, mean over every choice.

    Attributes:
        forget: at most.
        retain: at least.
        gained: retained accuracy over that of the unedited model, at least.
        siblings: accuracy of the forgotten class in the other domains, at least.
    """

    forget: float
    retain: float = 0.0
    gained: float = -1.0
    siblings: float = 0.0


GOALS = {
    ("class everywhere", "text only"): Goal(0.005, gained=0.01),
    ("class everywhere", "16 shots"): Goal(0.005, gained=0.01),
    ("class in one domain", "text only"): Goal(0.03, 0.866, siblings=0.855),
    ("class in one domain", "16 shots"): Goal(0.04, 0.874, siblings=0.855),
    ("whole domain", "text only"): Goal(0.17, 0.853),
    ("whole domain", "16 shots"): Goal(0.142, 0.869),
}


@pytest.fixture(scope="module")
def arrays(benchmark_dir: Path) -> dict[str, Any]:
    with np.load(benchmark_dir / "embeddings.npz") as stored:
        return {name: stored[name] for name in stored.files}


@pytest.fixture(scope="module")
def samples(arrays: dict[str, Any]) -> Samples:
    return Samples(
        torch.from_numpy(arrays["image"]),
        [str(arrays["classes"][index]) for index in arrays["label"]],
        [str(arrays["domains"][index]) for index in arrays["domain"]],
    )


@pytest.fixture(scope="module")
def real_bank(arrays: dict[str, Any]) -> PromptBank:
    classes = tuple(map(str, arrays["classes"]))
    domains = tuple(map(str, arrays["domains"]))
    text = unit(torch.from_numpy(arrays["text"]))
    train = arrays["text_kind"] == "train"
    place = {str(prompt): row for row, prompt in enumerate(arrays["text_prompt"])}

    def fitted(label: int, domain: int) -> Tensor:
        mask = train & (arrays["text_class"] == label) & (arrays["text_domain"] == domain)
        assert mask.sum() >= 7
        return text[torch.from_numpy(mask)].mean(dim=0)

    numbers = [NO_DOMAIN, *range(len(domains))]
    rows = unit(torch.stack([fitted(c, d) for d in numbers for c in range(len(classes))]))
    words = ["a photo", *(SCORE_WORDS[domain] for domain in domains)]
    prompts = [f"{word} of a {label}" for word in words for label in classes]
    scores = text[[place[prompt] for prompt in prompts]]
    templates = {domain: default_domain_templates(domain) for domain in domains}
    return PromptBank(LabelSpace(classes, domains, domain_templates=templates), rows, scores)


@pytest.fixture(scope="module")
def shots(arrays: dict[str, Any]) -> Prototypes:
    """Means and scatter of 16 training images of each (class, domain); none of them is scored."""
    numbers = zip(arrays["few_shot_label"], arrays["few_shot_domain"], strict=True)
    pairs = [(str(arrays["classes"][c]), str(arrays["domains"][d])) for c, d in numbers]
    assert set(Counter(pairs).values()) == {16}
    images = torch.from_numpy(arrays["few_shot_image"])
    made = prototypes_of(PrototypeKind.FEW_SHOT, images, pairs, {"shots": 16})
    assert len(made.pairs) == 28
    return made


def targets_of(scope: str, labels: LabelSpace) -> Iterator[Target]:
    if scope == "class everywhere":
        yield from (Target(label, None) for label in labels.classes)
    elif scope == "whole domain":
        yield from (Target(None, domain) for domain in labels.domains)
    else:
        yield from (Target(c, d) for c in labels.classes for d in labels.domains)


@pytest.mark.parametrize("scope", REFERENCE)
def test_the_row_fit_of_the_reference_reproduces_its_figures(
    real_bank: PromptBank, samples: Samples, scope: str
) -> None:
    """So the images, texts and accuracies are read as whoever made the benchmark reads them."""
    targets = list(targets_of(scope, real_bank.labels))
    assert (
        len(targets) == {"class everywhere": 7, "class in one domain": 28, "whole domain": 4}[scope]
    )
    untouched = predict(samples, real_bank, None)
    before, after = [], []
    for target in targets:
        edited = predict(samples, real_bank, image_side(real_bank, [target]))
        before.append(_figures(samples, untouched, target))
        after.append(_figures(samples, edited, target))
    plain_before, plain_after, pair_before, pair_after = REFERENCE[scope]
    expected_before, expected_after = (*plain_before, *pair_before), (*plain_after, *pair_after)
    assert _means(before) == pytest.approx(expected_before, abs=0.002)
    assert _means(after) == pytest.approx(expected_after, abs=0.002)


@pytest.mark.parametrize(("scope", "seen"), GOALS)
def test_the_default_recipe_reaches_the_targets(
    real_bank: PromptBank, samples: Samples, shots: Prototypes, scope: str, seen: str
) -> None:
    """Means over every choice of what is forgotten; siblings are the same class in the other domains."""
    goal = GOALS[scope, seen]
    untouched = predict(samples, real_bank, None)
    forget, retain, gained, siblings = [], [], [], []
    for target in targets_of(scope, real_bank.labels):
        edited = predict(
            samples, real_bank, compose(real_bank, _edits([target], seen, shots)).projector
        )
        before, after = (summarise(samples, p, [target]) for p in (untouched, edited))
        assert before["forget_accuracy"] > 0.5
        forget.append(after["forget_accuracy"])
        retain.append(after["retain_accuracy"])
        gained.append(after["retain_accuracy"] - before["retain_accuracy"])
        if target.label and target.domain:
            places = zip(samples.labels, samples.domains, strict=True)
            same = torch.tensor([c == target.label and d != target.domain for c, d in places])
            siblings.append(float(edited.plain[same].double().mean()))
    print(f"{mean(forget):.4f} / {mean(retain):.4f} ({mean(gained):+.4f}) {len(siblings)}")
    assert mean(forget) <= goal.forget
    assert mean(retain) >= goal.retain
    assert mean(gained) >= goal.gained
    assert len(siblings) == (28 if scope == "class in one domain" else 0)
    assert not siblings or mean(siblings) >= goal.siblings


def _edits(targets: Sequence[Target], seen: str, shots: Prototypes) -> list[Edit]:
    """One request a target."""
    prototypes = (shots,) if seen == "16 shots" else ()
    return [Edit((target,), Recipe(), prototypes) for target in targets]


@pytest.mark.parametrize(("seen", "most"), [("text only", 0.25), ("16 shots", 0.18)])
def test_two_whole_domains_go_together(
    real_bank: PromptBank, samples: Samples, shots: Prototypes, seen: str, most: float
) -> None:
    targets = [Target(None, "cartoon"), Target(None, "sketch")]
    composition = compose(real_bank, _edits(targets, seen, shots))
    found = predict(samples, real_bank, composition.projector)
    for target in targets:
        assert forget_share(samples, found, [target]).value <= most
    assert summarise(samples, found, targets)["retain_accuracy"] >= 0.85


@pytest.mark.parametrize("seen", ["text only", "16 shots"])
def test_three_classes_go_together(
    real_bank: PromptBank, samples: Samples, shots: Prototypes, seen: str
) -> None:
    targets = [Target(label, None) for label in ("dog", "elephant", "horse")]
    composition = compose(real_bank, _edits(targets, seen, shots))
    found = summarise(samples, predict(samples, real_bank, composition.projector), targets)
    assert found["forget_accuracy"] <= 0.002
    assert found["retain_accuracy"] >= 0.976


@pytest.mark.parametrize("method", ["ccup", "nullspace"])
def test_what_the_papers_methods_reach(
    real_bank: PromptBank, samples: Samples, method: str
) -> None:
    """Why the default is another: a class sent to zero wins where the others lie below it."""
    forget = []
    for target in targets_of("class everywhere", real_bank.labels):
        edit = Edit((target,), Recipe.of(method))
        found = predict(samples, real_bank, compose(real_bank, [edit]).projector)
        forget.append(summarise(samples, found, [target])["forget_accuracy"])
    assert 0.005 < mean(forget) < 0.6


def _figures(samples: Samples, predictions: Predictions, target: Target) -> tuple[float, ...]:
    result = summarise(samples, predictions, [target])
    both = (result, result["domain_prompts"])
    return tuple(part[f"{side}_accuracy"] for part in both for side in ("forget", "retain"))


def _means(figures: list[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(mean(column) for column in zip(*figures, strict=True))


# What 5 labelled images of every class find of dog again: by nearest prototype, as the benchmark's README has it (there
# the labelled images were training images, here they are other test images); and by the strongest attack less its false
# alarms, as it was before the modalities were centred.
RELEARNED = {"none": 0.63, "redirect": 0.21, "to zero": 0.71, "nullspace": 0.55}
UNCENTRED = {"none": 0.705, "redirect": 0.280, "to zero": 0.705, "nullspace": 0.668}


@pytest.mark.parametrize("seen", ["text only", "16 shots"])
def test_a_class_stays_forgotten_when_a_whole_domain_follows(
    real_bank: PromptBank, samples: Samples, shots: Prototypes, seen: str
) -> None:
    """Every class with every domain; the domain alone leaves .160 of itself."""
    of_class, of_domain, retained = [], [], []
    for label, domain in product(real_bank.labels.classes, real_bank.labels.domains):
        targets = [Target(label, None), Target(None, domain)]
        composition = compose(real_bank, _edits(targets, seen, shots))
        found = predict(samples, real_bank, composition.projector)
        first, second = (forget_share(samples, found, [target]).value for target in targets)
        of_class.append(first)
        of_domain.append(second)
        retained.append(summarise(samples, found, targets)["retain_accuracy"])
    print(f"class {mean(of_class):.3f}, domain {mean(of_domain):.3f}, rest {mean(retained):.3f}")
    assert max(of_class) <= 0.02
    assert mean(of_domain) <= 0.17
    assert mean(retained) >= 0.85


LATER = {
    "the domain": lambda label, domain: Edit((Target(None, domain),), Recipe()),
    "the class, weakly": lambda label, domain: Edit((Target(label, None),), Recipe(strength=0.25)),
    "another class": lambda label, domain: Edit((Target(_next(label), None),), Recipe()),
    "another class by nullspace": lambda label, domain: Edit(
        (Target(_next(label), None),), Recipe.of("nullspace")
    ),
}


def _next(label: str) -> str:
    classes = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
    return classes[(classes.index(label) + 1) % len(classes)]


@pytest.mark.parametrize(
    ("later", "mean_left", "most_left"),
    [
        ("the domain", 0.08, 0.25),
        ("the class, weakly", 0.03, 0.12),
        ("another class", 0.03, 0.12),
        (
            "another class by nullspace",
            0.1,
            0.45,
        ),  # it moves the images that the fit has to tell apart
    ],
)
def test_a_class_in_one_domain_stays_forgotten_whatever_follows(
    real_bank: PromptBank, samples: Samples, later: str, mean_left: float, most_left: float
) -> None:
    """Every class in every domain; alone .025 of it stay."""
    left = []
    for target in targets_of("class in one domain", real_bank.labels):
        mine = Edit((target,), Recipe())
        edits = [mine, LATER[later](target.label, target.domain)]
        composition = compose(real_bank, edits)
        alone = compose(real_bank, [mine]).residual(mine)
        if composition.residual(mine) > tolerance(alone):
            continue  # the workflow refuses it
        found = predict(samples, real_bank, composition.projector)
        left.append(forget_share(samples, found, [target]).value)
    print(f"{later}: {mean(left):.3f}, worst {max(left):.3f}, {28 - len(left)} refused")
    assert len(left) >= 26
    assert mean(left) <= mean_left
    assert max(left) <= most_left


@pytest.mark.xfail(
    reason="fates: at equal partial strength the pair has its class's fate, EVERYWHERE"
)
def test_half_a_class_everywhere_leaves_the_half_of_it_in_one_domain_as_it_was(
    real_bank: PromptBank, samples: Samples
) -> None:
    """In its domain a pair loses κ times its lead, everywhere a class only the way to its anchor."""
    alone, together = [], []
    for target in targets_of("class in one domain", real_bank.labels):
        edits = [
            Edit((each,), Recipe(strength=0.5)) for each in (target, Target(target.label, None))
        ]
        for found, chosen in ((alone, edits[:1]), (together, edits)):
            predictions = predict(samples, real_bank, compose(real_bank, chosen).projector)
            found.append(forget_share(samples, predictions, [target]).value)
    print(f"{mean(alone):.3f} → {mean(together):.3f}")
    assert mean(together) <= mean(alone) + 0.05


@pytest.mark.parametrize("edit", RELEARNED)
def test_what_five_labelled_images_bring_back(
    real_bank: PromptBank, samples: Samples, edit: str
) -> None:
    targets = [Target("dog", None)]
    projector = _edit(real_bank, targets, edit)
    shown = assess(samples, real_bank, targets, projector, 25.0)["after"]
    found = {(a["shots"], a["mix"], a["scaled"]): a for a in shown["relearning"]}
    assert found[5, None, False]["recovered"] == pytest.approx(RELEARNED[edit], abs=0.08)
    assert found[5, None, False]["n"] == 341
    cells = [f"{a['recovered']:.2f} ({a['false_alarms']:.2f})" for a in found.values()]
    print(
        f"{edit}: {dict(zip(found, cells, strict=True))}, probe {shown['probe_auc']['value']:.2f}"
    )
    best = strongest(shown["relearning"])
    assert best is not None
    assert best["recovered"] - best["false_alarms"] >= UNCENTRED[edit] - 0.04
    assert best["false_alarms"] < 0.1  # .2 before
    # No edit of this rank hides the class from a linear probe.
    assert shown["probe_auc"]["value"] > 0.9


def test_the_probe_is_no_weaker_than_logistic_regression(
    real_bank: PromptBank, samples: Samples
) -> None:
    targets = [Target("dog", None)]
    edited = _edit(real_bank, targets, "redirect").apply(samples.features)
    features = torch.nn.functional.normalize(edited, dim=1)
    positive = torch.tensor([label == "dog" for label in samples.labels])
    fold = stratified_folds(positive, 5, seed=0)
    areas = []
    for held_out in range(5):
        train, test = fold != held_out, fold == held_out
        x = (real_bank.dimension**0.5 * features).numpy()
        model = LogisticRegression(solver="newton-cholesky").fit(x[train], positive[train].numpy())
        scores = torch.from_numpy(model.decision_function(x[test]))
        areas.append(area_under_curve(scores, positive[test]))
    ours = probe(features, positive, 5, seed=0)
    assert ours is not None
    assert ours.value >= mean(areas) > 0.9


def _edit(bank: PromptBank, targets: list[Target], name: str) -> Projector:
    if name == "redirect":
        return compose(bank, [Edit(tuple(targets), Recipe())]).projector
    dogs = [row for row, (label, _) in enumerate(bank.pairs) if label == "dog"]
    if name == "nullspace":
        rows = bank.scores[dogs[:1]]
        return solve(rows, 0 * rows, torch.ones(1), bank.rows[:0], 0.0, 0.0)
    if name == "to zero":
        rows, others = bank.rows[dogs], [i for i in range(len(bank.pairs)) if i not in dogs]
        weights = torch.full((len(dogs),), 1e3, dtype=torch.float64)
        return solve(rows, 0 * rows, weights, bank.rows[others], 10.0, 0.1)
    return identity(bank.dimension)


def test_the_verdict_on_real_images_admits_what_comes_back(
    real_bank: PromptBank, samples: Samples
) -> None:
    targets = [Target("dog", None)]
    shown = assess(samples, real_bank, targets, _edit(real_bank, targets, "redirect"), 25.0)
    text = verdict(shown, targets, 1.0)
    assert text.startswith("Suppressed in zero-shot use: of 346 images (dog everywhere) 0.0%")
    # A mean of the others ranks in the middle of a small label space, so the prompt stays among the first.
    assert "The strongest leak found: the right prompt is among the first 5 of 28" in text
    assert "a linear probe on the embedding tells it apart (AUC 0.94" in text
    assert "5 labelled images bring back" in text
    assert "the edit suppresses, it does not delete" not in text  # little is left on these images
    assert verdict(
        assess(samples, real_bank, targets, identity(real_bank.dimension), 25.0), targets, 1.0
    ).startswith("Not suppressed")


@pytest.mark.parametrize("seed", range(4))
def test_adding_requests_on_real_rows_leaves_none_more_undone_than_recorded(
    real_bank: PromptBank, seed: int
) -> None:
    chooser = random.Random(seed)
    scopes = [list(targets_of(scope, real_bank.labels)) for scope in REFERENCE]
    recipes = [Recipe(), Recipe(strength=0.5)]  # beside a nullspace the workflow may have to refuse
    edits: list[Edit] = []
    limits: list[float] = []
    for scope in (scopes[0], scopes[1], scopes[2], scopes[0], scopes[1]):
        edits.append(Edit((chooser.choice(scope),), chooser.choice(recipes)))
        limits.append(tolerance(compose(real_bank, edits[-1:]).residual(edits[-1])))
        together = compose(real_bank, edits)
        for edit, limit in zip(edits, limits, strict=True):
            assert together.residual(edit) <= limit


@pytest.fixture(scope="module")
def lvis(benchmark_dir: Path) -> PromptBank:
    """1,203 concepts in 512 dimensions, as OpenAI's ViT-B/32 embeds their names."""
    text = np.load(benchmark_dir / "lvis_vitb32_text.npy").astype(np.float64)
    names = (benchmark_dir / "lvis_names.txt").read_text(encoding="utf-8").splitlines()
    rows = unit(torch.from_numpy(text))
    assert len(names) == len(rows) == 1203
    return PromptBank(LabelSpace(tuple(names)), rows, rows)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [100, 200])
def test_retained_texts_find_themselves_among_many_forgotten_ones(
    lvis: PromptBank, count: int, seed: int
) -> None:
    """Texts against texts say nothing of images (`test_real` does); they do say what is left of the prompts."""
    names = lvis.labels.classes
    chosen = np.random.default_rng(seed).permutation(len(names))[:count].tolist()
    edit = Edit(tuple(Target(names[index], None) for index in chosen), Recipe())
    composition = compose(lvis, [edit])
    assert composition.projector.rank == count
    prompts = lvis.rows @ composition.projector.dense().T
    lost = torch.zeros(len(names), dtype=torch.bool)
    lost[chosen] = True
    found = (unit(prompts) @ lvis.rows.T).argmax(dim=1) == torch.arange(len(names))
    assert float(found[~lost].double().mean()) >= 0.999
    assert float((composition.left / composition.way).mean()) < 0.55
    assert float((prompts - lvis.rows).norm(dim=1)[~lost].mean()) < 0.15


@pytest.mark.parametrize("shots", [1, 5, 16])
@pytest.mark.parametrize("mix", [0.5, 1.0])
def test_on_real_clip_a_prototype_does_not_win_every_image(
    benchmark_dir: Path, mix: float, shots: int
) -> None:
    """Unedited: images are nearer to any image than to any text, and before centring false alarms were 1.000."""
    with np.load(benchmark_dir / "real" / "caltech43.npz") as stored:
        images, labels, texts = (stored[name] for name in ("image", "label", "text"))
    features, rows = (unit(torch.from_numpy(part)).float() for part in (images, texts))
    truth = torch.from_numpy(labels).long()
    found = [
        relearn(features, rows, truth, truth == label, Attack(shots, mix), draws=3, seed=0)
        for label in range(0, len(rows), 4)
    ]
    attacks = [attack for attack in found if attack is not None]
    recovered = mean(attack.recovered for attack in attacks)
    alarms = mean(attack.false_alarms for attack in attacks)
    print(f"{shots} images, mix {mix}: {recovered:.3f} ({alarms:.3f})")
    assert recovered > 0.9
    assert alarms < 0.05
