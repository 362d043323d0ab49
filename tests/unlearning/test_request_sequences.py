"""Properties of whole histories: file, drop and add again, in any order, with and without prototypes."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from governance.unlearning.anchors import sink_class
from governance.unlearning.bank import Pair, PromptBank, unit
from governance.unlearning.composition import Composition, Edit, compose, tolerance
from governance.unlearning.prototypes import PrototypeKind, Prototypes, measure_reference
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

PrototypeMaker = Callable[..., Prototypes]

SOME = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TARGETS = [
    *[Target(label, None) for label in ("dog", "cat", "horse")],
    *[Target(label, domain) for label in ("dog", "cat", "house") for domain in ("photo", "sketch")],
    *[Target(None, domain) for domain in ("photo", "sketch")],
]
RECIPES = [
    *[Recipe(strength=strength) for strength in (1.0, 0.6, 0.25)],
    Recipe(irreversible=True),
    Recipe(lambda_forget=30.0, lambda_retain=10.0, mu=0.1, overshoot=1.0, sibling_weight=1.0),
    Recipe(contraction=1.0, shift=0.0, anchors=2, scatter=10.0),
    Recipe.of("ccup"),
    Recipe.of("ccup", 0.5, lambda_retain=1.0),
    Recipe.of("nullspace"),
    Recipe.of("nullspace", 0.25),
]
PLACES = 3
"""How many prototype sets there are to choose from."""


@dataclass(frozen=True)
class Filed:
    """A request as drawn: prototypes by number, since only the bank can make them."""

    targets: tuple[Target, ...]
    recipe: Recipe
    prototypes: frozenset[int]


FILED = st.builds(
    lambda targets, recipe, prototypes: Filed(tuple(targets), recipe, frozenset(prototypes)),
    st.lists(st.sampled_from(TARGETS), min_size=1, max_size=2, unique=True),
    st.sampled_from(RECIPES),
    st.sets(st.integers(0, PLACES - 1), max_size=2),
)


class Visual(list[Prototypes]):
    """Sets of prototypes; Hypothesis need not print their rows."""

    def __repr__(self) -> str:
        return "the visual prototypes"


@pytest.fixture(scope="module")
def visual(bank: PromptBank, make_prototypes: PrototypeMaker) -> Visual:
    """Sets that overlap in pairs: all of sketch, some of photo, dog everywhere."""
    chosen: list[list[Pair]] = [
        [(label, "sketch") for label in bank.labels.classes],
        [("dog", "photo"), ("cat", "photo")],
        [("dog", domain) for domain in bank.labels.domains],
    ]
    assert len(chosen) == PLACES
    return Visual(make_prototypes(bank, pairs, seed) for seed, pairs in enumerate(chosen))


def edits_of(filed: list[Filed], visual: Visual) -> list[Edit]:
    return [
        Edit(one.targets, one.recipe, tuple(visual[n] for n in sorted(one.prototypes)))
        for one in filed
    ]


def same(first: Composition, second: Composition) -> bool:
    """To the last bit."""
    return (
        first.projector.digest == second.projector.digest
        and first.blocks == second.blocks
        and torch.equal(first.left, second.left)
    )


@SOME
@given(filed=st.lists(FILED, min_size=2, max_size=5), shuffler=st.randoms(use_true_random=False))
def test_the_order_of_requests_does_not_matter(
    bank: PromptBank, visual: Visual, filed: list[Filed], shuffler: random.Random
) -> None:
    edits = edits_of(filed, visual)
    shuffled = shuffler.sample(edits, len(edits))
    assert same(compose(bank, edits), compose(bank, shuffled))
    backwards = compose(bank, edits[::-1])
    torch.testing.assert_close(
        backwards.projector.dense(), compose(bank, edits).projector.dense(), atol=1e-9, rtol=0
    )


STEPS = st.lists(st.tuples(st.sampled_from(["file", "drop"]), st.integers(0, 7)), max_size=12)


@SOME
@given(filed=st.lists(FILED, min_size=2, max_size=5), steps=STEPS)
def test_any_history_ends_where_its_active_set_alone_would(
    bank: PromptBank, visual: Visual, filed: list[Filed], steps: list[tuple[str, int]]
) -> None:
    """Dropping is composing without; dropping and filing again leaves no trace; nothing else is remembered."""
    edits = edits_of(filed, visual)
    active = list(range(len(edits)))
    versions: dict[frozenset[int], Composition] = {}
    for action, number in [("file", 0), *steps]:
        one = number % len(edits)
        if action == "drop" and one in active:
            active.remove(one)
        elif action == "file" and one not in active:
            active.append(one)
        version = compose(bank, [edits[n] for n in active])
        assert same(versions.setdefault(frozenset(active), version), version)
    for held, version in versions.items():
        fresh = compose(bank, [edits[n] for n in sorted(held)])
        assert same(fresh, version)


@pytest.mark.parametrize("few_shot", [False, True], ids=["text", "few-shot"])
def test_no_request_leaves_an_earlier_one_more_undone_than_was_recorded(
    bank: PromptBank, visual: Visual, few_shot: bool
) -> None:
    """What the workflow demands of a version, for requests of every scope as they come by default."""
    targets = [TARGETS[0], TARGETS[3], TARGETS[9], TARGETS[6], TARGETS[1]]
    prototypes = tuple(visual) if few_shot else ()
    edits = [Edit((target,), Recipe(), prototypes) for target in targets]
    limits = []
    for count, newest in enumerate(edits, start=1):
        limits.append(tolerance(compose(bank, [newest]).residual(newest)))
        together = compose(bank, edits[:count])
        for earlier, limit in zip(edits, limits, strict=False):
            assert together.residual(earlier) <= limit


def lasting(bank: PromptBank, composition: Composition, label: str, plain: bool = False) -> float:
    """The largest lead of a text of the class over its anchor that any unit image could have: ‖(f − g)Pᵀ‖."""
    P, gaps = composition.projector.dense(), []
    for block in composition.blocks:
        if (
            block.side == "texts"
            and block.pair[0] == label
            and (block.pair[1] is None or not plain)
        ):
            anchor = bank.rows[list(block.anchor)].mean(dim=0)
            gaps.append(float(((bank.rows[bank.pairs.index(block.pair)] - anchor) @ P.T).norm()))
    assert len(gaps) == (1 if plain else 4)
    return max(gaps)


def recognised(bank: PromptBank, composition: Composition, rows: Tensor, label: str) -> float:
    """Share of noisy images around some rows that are taken for the class, over plain prompts."""
    generator = torch.Generator().manual_seed(0)
    images = rows.repeat(40, 1)
    images = unit(images + 0.4 * unit(torch.randn(images.shape, generator=generator).double()))
    winners = (
        composition.projector.apply(images) @ bank.rows[: len(bank.labels.classes)].T
    ).argmax(dim=1)
    return float((winners == bank.labels.classes.index(label)).double().mean())


def images_of(bank: PromptBank, *pairs: Pair) -> Tensor:
    return bank.rows[[bank.pairs.index(pair) for pair in pairs]]


EVERYWHERE = [Recipe(), Recipe(irreversible=True)]


@SOME
@given(
    filed=st.lists(FILED, min_size=1, max_size=5),
    label=st.sampled_from(["dog", "cat", "horse"]),
    recipe=st.sampled_from(EVERYWHERE),
)
def test_nothing_brings_back_what_is_forgotten_everywhere(
    bank: PromptBank, visual: Visual, filed: list[Filed], label: str, recipe: Recipe
) -> None:
    """Whatever scopes, methods, strengths and prototypes come later: no image scores it above its anchor."""
    mine = [pair for pair in bank.pairs if pair[0] == label]
    nobody = compose(bank, [])
    assert recognised(bank, nobody, images_of(bank, *mine), label) > 0.95
    edits = [Edit((Target(label, None),), recipe), *edits_of(filed, visual)]
    for count in range(1, len(edits) + 1):
        composition = compose(bank, edits[:count])
        assert lasting(bank, composition, label) < 0.1
        if recipe.irreversible:  # the text that names no domain is nulled exactly
            assert lasting(bank, composition, label, plain=True) < 1e-6
        kept = {pair[0] for pair in bank.pairs} - {
            t.label for e in edits[:count] for t in e.targets if t.domain is None
        }
        if kept:
            assert recognised(bank, composition, images_of(bank, *mine), label) < 0.05


OVERLAPS = {
    "another class": Target("cat", None),
    "the class in one domain": Target("dog", "sketch"),
    "another class in one domain": Target("cat", "sketch"),
    "a whole domain": Target(None, "sketch"),
    "the class": Target("dog", None),
}
OTHERS = {
    "redirect": Recipe(),
    "weaker": Recipe(strength=0.3),
    "other weights": Recipe(lambda_forget=100.0, mu=0.1, anchors=3, lambda_retain=10.0),
    "irreversible": Recipe(irreversible=True),
    "nullspace": Recipe.of("nullspace"),
    "weak nullspace": Recipe.of("nullspace", 0.3),
    "ccup": Recipe.of("ccup"),
}


@pytest.mark.parametrize("recipe", EVERYWHERE, ids=["default", "irreversible"])
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_every_overlap_leaves_a_class_forgotten_everywhere(
    bank: PromptBank, visual: Visual, overlap: str, other: str, recipe: Recipe
) -> None:
    dogs = images_of(bank, *(pair for pair in bank.pairs if pair[0] == "dog"))
    mine = Edit((Target("dog", None),), recipe)
    alone = lasting(bank, compose(bank, [mine]), "dog")
    for prototypes in ((), (visual[0], visual[2])):
        composition = compose(bank, [mine, Edit((OVERLAPS[overlap],), OTHERS[other], prototypes)])
        assert lasting(bank, composition, "dog") <= max(0.02, 2 * alone)
        if recipe.irreversible:
            assert lasting(bank, composition, "dog", plain=True) < 1e-6
        assert recognised(bank, composition, dogs, "dog") < 0.02
        assert composition.residual(mine) <= tolerance(0.0)


RESURRECTED = {
    "a weak request for the class everywhere": Edit((Target("dog", None),), Recipe(strength=0.25)),
    "a nullspace of another class": Edit((Target("cat", None),), Recipe.of("nullspace")),
}


@pytest.mark.parametrize(
    "later",
    [
        "a weak request for the class everywhere",
        "a nullspace of another class",
    ],
)
def test_a_class_in_one_domain_stays_forgotten_there(bank: PromptBank, later: str) -> None:
    mine = Edit((Target("dog", "sketch"),), Recipe())
    rows = images_of(bank, ("dog", "sketch"))
    assert recognised(bank, compose(bank, []), rows, "dog") > 0.95
    alone = compose(bank, [mine])
    assert recognised(bank, alone, rows, "dog") < 0.05
    together = compose(bank, [mine, RESURRECTED[later]])
    undone = together.residual(mine) > tolerance(alone.residual(mine))
    assert (
        undone or recognised(bank, together, rows, "dog") < 0.2
    )  # refused, or no more than guessing


@pytest.mark.parametrize(
    "label",
    [
        "house",
        "dog",
        "horse",
    ],
)
def test_a_class_in_a_domain_stays_forgotten_when_the_domain_follows(
    bank: PromptBank, label: str
) -> None:
    mine = Edit((Target(label, "sketch"),), Recipe())
    rows = images_of(bank, (label, "sketch"))
    assert recognised(bank, compose(bank, [mine]), rows, label) < 0.05
    together = compose(bank, [mine, Edit((Target(None, "sketch"),), Recipe())])
    assert recognised(bank, together, rows, label) < 0.2  # no more than guessing


def test_the_sink_of_this_bank_is_the_house(bank: PromptBank) -> None:
    assert bank.labels.classes[sink_class(bank, range(5)) or 0] == "house"


def covered_rows(bank: PromptBank, *edits: Edit) -> set[Pair]:
    return {pair for pair in bank.pairs if any(t.covers(*pair) for e in edits for t in e.targets)}


@SOME
@given(filed=st.lists(FILED, min_size=1, max_size=4))
def test_blocks_are_those_of_everything_that_is_active(
    bank: PromptBank, visual: Visual, filed: list[Filed]
) -> None:
    """Every forgotten text once, on the side that has it; prototypes once, whoever brought them."""
    edits = edits_of(filed, visual)
    composition = compose(bank, edits)
    gone = covered_rows(bank, *edits)
    text = sorted((b.pair for b in composition.blocks if b.source is None), key=str)
    assert text == sorted(gone, key=str)
    brought = {n for one in filed for n in one.prototypes}
    possible = {(p, visual[n].identity) for n in brought for p in visual[n].pairs if p in gone}
    images = [(b.pair, b.source) for b in composition.blocks if b.source is not None]
    assert len(set(images)) == len(images)
    assert set(images) <= possible
    everywhere = {b.pair for b in composition.blocks if b.side == "texts"}
    assert {
        pair for pair, _ in possible - set(images)
    } <= everywhere  # the text side needs no image
    assert composition.projector.a.shape == (bank.dimension, len(composition.blocks))


def pair(*prototypes: Prototypes) -> Edit:
    return Edit((Target("dog", "photo"),), Recipe(), prototypes)


def cat(*prototypes: Prototypes) -> Edit:
    return Edit((Target("cat", "photo"),), Recipe(), prototypes)


def sources(composition: Composition) -> list[tuple[Pair, bool]]:
    return [(block.pair, block.source is not None) for block in composition.blocks]


def test_prototypes_shared_by_two_requests_count_once_and_leave_with_the_last(
    bank: PromptBank, visual: Visual
) -> None:
    shared = visual[1]
    both = compose(bank, [pair(shared), cat(shared)])
    assert same(both, compose(bank, [pair(shared), cat()]))
    assert same(both, compose(bank, [pair(), cat(shared)]))
    assert sources(both) == [
        (("dog", "photo"), False), (("cat", "photo"), False),
        (("dog", "photo"), True), (("cat", "photo"), True),
    ]  # fmt: skip
    without = compose(bank, [pair(), cat()])
    assert len(without.blocks) == 2
    assert without.projector.digest != both.projector.digest
    # Dropping the cat leaves its prototypes with the dog; dropping the dog as well, with nobody.
    alone = compose(bank, [pair(shared)])
    assert sources(alone) == [(("dog", "photo"), False), (("dog", "photo"), True)]
    assert alone.projector.digest != compose(bank, [pair()]).projector.digest


def test_a_request_answers_for_its_own_prototypes_only(bank: PromptBank, visual: Visual) -> None:
    """Those that another one brings are no part of what was approved for it."""
    brings, blind = cat(visual[1]), pair()
    assert ("dog", "photo") in visual[1].pairs
    composition = compose(bank, [brings, blind])
    worse = replace(
        composition,
        left=torch.where(
            torch.tensor([block.source is not None for block in composition.blocks]),
            composition.way,
            composition.left,
        ),
    )
    assert worse.residual(blind) == composition.residual(blind) < 0.5
    assert worse.residual(pair(visual[1])) > 0.9


def test_equal_prototypes_made_twice_are_the_same_prototypes(
    bank: PromptBank, make_prototypes: PrototypeMaker
) -> None:
    pairs = [("dog", "photo"), ("cat", "photo")]
    first, again = make_prototypes(bank, pairs, 1), make_prototypes(bank, pairs, 1)
    assert first.rows is not again.rows
    assert same(compose(bank, [pair(first), cat(again)]), compose(bank, [pair(first), cat(first)]))
    other = make_prototypes(bank, pairs, 2)
    assert len(compose(bank, [pair(first), cat(other)]).blocks) == 2 + 4


def test_the_same_images_under_other_labels_are_other_prototypes(
    bank: PromptBank, make_prototypes: PrototypeMaker
) -> None:
    """A relabelled data set has the same rows; which of the two counts must not depend on the order."""
    first = make_prototypes(bank, [("dog", "photo"), ("cat", "photo")])
    relabelled = Prototypes(
        PrototypeKind.FEW_SHOT, (("dog", "photo"), ("horse", "photo")), first.rows, {}
    )
    assert first.digest == relabelled.digest
    there, back = [pair(first), cat(relabelled)], [cat(relabelled), pair(first)]
    assert same(compose(bank, there), compose(bank, back))
    pairs = {block.pair for block in compose(bank, there).blocks if block.source}
    assert pairs == {("dog", "photo"), ("cat", "photo")}


def test_of_several_references_one_counts_whatever_the_order(bank: PromptBank) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (
        replace(
            one,
            reference=measure_reference(torch.randn(20, bank.dimension, generator=generator), {}),
        )
        for one in (pair(), cat())
    )
    both = compose(bank, [first, second])
    assert same(both, compose(bank, [second, first]))
    assert not same(both, compose(bank, [pair(), cat()]))


def test_prototypes_change_nothing_of_what_is_forgotten_everywhere(
    bank: PromptBank, visual: Visual
) -> None:
    everywhere = Edit((Target("dog", None),), Recipe())
    seen = replace(everywhere, prototypes=(visual[1], visual[2]))
    assert same(compose(bank, [everywhere]), compose(bank, [seen]))


def test_of_conflicting_strengths_the_strongest_rules_where_they_overlap(
    bank: PromptBank, visual: Visual
) -> None:
    weak = Edit((Target(None, "sketch"),), Recipe(strength=0.25), (visual[0],))
    strong = Edit((Target("dog", "sketch"),), Recipe(strength=1.0), (visual[0],))
    both, alone = compose(bank, [weak, strong]), compose(bank, [weak])
    assert sources(both) == sources(alone)
    for block, way, before in zip(both.blocks, both.way, alone.way, strict=True):
        times = 4.0 if block.pair[0] == "dog" else 1.0
        torch.testing.assert_close(way, times * before)
    assert same(both, compose(bank, [strong, weak]))


def test_a_domain_request_that_contains_a_class_request(bank: PromptBank) -> None:
    """The class goes the way of the domain, and its own way again when the domain is dropped."""
    inside = Edit((Target("dog", "sketch"),), Recipe())
    domain = Edit((Target(None, "sketch"),), Recipe())
    both = compose(bank, [inside, domain])
    assert same(both, compose(bank, [domain]))
    assert both.residual(inside) <= tolerance(0.0)
    alone = compose(bank, [inside])
    assert sources(alone) == [(("dog", "sketch"), False)]
    assert not torch.allclose(alone.way[0], both.way[0], atol=0.1)


def test_a_whole_domain_filed_class_by_class_is_the_domain(bank: PromptBank) -> None:
    pieces = [Edit((Target(c, "sketch"),), Recipe()) for c in bank.labels.classes]
    assert same(compose(bank, pieces), compose(bank, [Edit((Target(None, "sketch"),), Recipe())]))


def test_the_product_of_projectors_depends_on_order_and_brings_concepts_back(
    bank: PromptBank,
) -> None:
    """Why versions are composed: multiplying what each request was fitted to gets both wrong."""
    requests = [Edit((Target(c, None),), Recipe.of("nullspace")) for c in ("dog", "cat", "horse")]
    joint = compose(bank, requests)
    one, two, three = (compose(bank, [e]).projector.dense() for e in requests)
    there, back = one @ two @ three, three @ two @ one
    assert (there - back).abs().max() > 0.01
    left = [float((bank.rows[[0, 5, 10, 15]] @ P).norm(dim=1).max()) for P in (there, back)]
    assert max(left) > 0.03
    assert float(joint.projector.apply(bank.rows[[0, 5, 10, 15]]).norm(dim=1).max()) < 1e-9
