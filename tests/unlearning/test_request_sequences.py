"""Properties of whole histories: file, drop and add again, in any order, with and without prototypes."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from governance.unlearning.bank import Pair, PromptBank
from governance.unlearning.composition import Composition, Edit, compose, tolerance
from governance.unlearning.margins import margins
from governance.unlearning.prototypes import PrototypeKind, Prototypes
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target

BankMaker = Callable[..., PromptBank]
PrototypeMaker = Callable[..., Prototypes]

SOME = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TARGETS = [
    *[Target(label, None) for label in ("dog", "cat", "horse")],
    *[Target(label, domain) for label in ("dog", "cat", "house") for domain in ("photo", "sketch")],
    *[Target(None, domain) for domain in ("photo", "sketch")],
]
RECIPES = [
    *[Recipe(strength=strength) for strength in (1.0, 0.6, 0.25)],
    Recipe(lambda_retain=10.0, mu=0.1, overshoot=1.0, sibling_weight=1.0, margin=0.0),
    Recipe(contraction=1.0, shift=0.0, margin=0.5),
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
        and first.forgotten == second.forgotten
        and torch.equal(first.goals, second.goals)
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


@SOME
@given(
    chosen=st.lists(
        st.lists(st.sampled_from(TARGETS), min_size=1, max_size=2), min_size=2, max_size=5
    )
)
def test_no_request_leaves_an_earlier_one_more_undone_than_was_recorded(
    bank: PromptBank, chosen: list[list[Target]]
) -> None:
    """What the workflow demands of a version, for requests as they come by default."""
    edits = [Edit(tuple(targets), Recipe()) for targets in chosen]
    limits = []
    for count, newest in enumerate(edits, start=1):
        limits.append(tolerance(compose(bank, [newest]).residual(newest)))
        together = compose(bank, edits[:count])
        for earlier, limit in zip(edits, limits, strict=False):
            assert together.residual(earlier) <= limit


@SOME
@given(filed=st.lists(FILED, min_size=1, max_size=5), first=st.sampled_from(TARGETS[:9]))
def test_no_request_brings_a_forgotten_concept_back(
    bank: PromptBank, visual: Visual, filed: list[Filed], first: Target
) -> None:
    """Whatever weights, strengths and prototypes the later ones come with."""
    assert first.label is not None
    edits = [Edit((first,), Recipe()), *edits_of(filed, visual)]
    retained = set(bank.pairs) - covered_rows(bank, *edits)
    for count in range(1, len(edits) + 1):
        after = margins(bank, compose(bank, edits[:count]).projector.apply(bank.rows))
        for row, pair in enumerate(bank.pairs):
            competing = any(domain == pair[1] for _, domain in retained)
            if competing and first.covers(*pair):
                assert margins(bank, bank.rows)[row] > 0.2 > -0.05 > after[row]


def covered_rows(bank: PromptBank, *edits: Edit) -> set[Pair]:
    return {pair for pair in bank.pairs if any(t.covers(*pair) for e in edits for t in e.targets)}


@SOME
@given(filed=st.lists(FILED, min_size=1, max_size=4))
def test_rows_and_weights_are_those_of_everything_that_is_active(
    bank: PromptBank, visual: Visual, filed: list[Filed]
) -> None:
    edits = edits_of(filed, visual)
    composition = compose(bank, edits)
    gone = covered_rows(bank, *edits)
    text = [row.pair for row in composition.forgotten if row.source is None]
    assert text == [pair for pair in bank.pairs if pair in gone]
    brought = {n for one in filed for n in one.prototypes}
    expected = [(p, visual[n].identity) for n in brought for p in visual[n].pairs if p in gone]
    images = [(row.pair, row.source) for row in composition.forgotten if row.source is not None]
    assert sorted(images) == sorted(expected)  # each once, whoever brought it
    assert composition.projector.a.shape == (bank.dimension, len(composition.rows))


def dog(*prototypes: Prototypes, recipe: Recipe | None = None) -> Edit:
    return Edit((Target("dog", None),), recipe or Recipe(), prototypes)


def cat(*prototypes: Prototypes) -> Edit:
    return Edit((Target("cat", None),), Recipe(), prototypes)


def test_prototypes_shared_by_two_requests_count_once_and_leave_with_the_last(
    bank: PromptBank, visual: Visual
) -> None:
    shared = visual[1]
    both = compose(bank, [dog(shared), cat(shared)])
    assert same(both, compose(bank, [dog(shared), cat()]))
    assert same(both, compose(bank, [dog(), cat(shared)]))
    assert len(both.forgotten) == 8 + 2
    without = compose(bank, [dog(), cat()])
    assert len(without.forgotten) == 8
    assert without.projector.digest != both.projector.digest
    # Dropping the cat leaves its prototypes with the dog; dropping the dog as well, with nobody.
    alone = compose(bank, [dog(shared)])
    assert [row.pair for row in alone.forgotten if row.source] == [("dog", "photo")]
    assert alone.projector.digest != compose(bank, [dog()]).projector.digest


def test_a_request_answers_for_its_own_prototypes_only(bank: PromptBank, visual: Visual) -> None:
    """Those that another one brings are no part of what was approved for it."""
    brings, blind = cat(visual[2]), dog()
    assert ("dog", "photo") in visual[2].pairs
    composition = compose(bank, [brings, blind])
    text_only = compose(bank, [cat(), blind]).projector
    undone = replace(composition, projector=text_only)  # the prototypes were not seen
    assert undone.residual(blind) < 0.1
    assert undone.residual(dog(visual[2])) > 0.2


def test_equal_prototypes_made_twice_are_the_same_prototypes(
    bank: PromptBank, make_prototypes: PrototypeMaker
) -> None:
    pairs = [("dog", "photo"), ("cat", "photo")]
    first, again = make_prototypes(bank, pairs, 1), make_prototypes(bank, pairs, 1)
    assert first.rows is not again.rows
    assert same(compose(bank, [dog(first), cat(again)]), compose(bank, [dog(first), cat(first)]))
    other = make_prototypes(bank, pairs, 2)
    assert len(compose(bank, [dog(first), cat(other)]).forgotten) == 8 + 4


def test_the_same_images_under_other_labels_are_other_prototypes(
    bank: PromptBank, make_prototypes: PrototypeMaker
) -> None:
    """A relabelled data set has the same rows; which of the two counts must not depend on the order."""
    first = make_prototypes(bank, [("dog", "photo"), ("cat", "photo")])
    relabelled = Prototypes(
        PrototypeKind.FEW_SHOT, (("dog", "photo"), ("horse", "photo")), first.rows, {}
    )
    assert first.digest == relabelled.digest
    there, back = [dog(first), cat(relabelled)], [cat(relabelled), dog(first)]
    assert same(compose(bank, there), compose(bank, back))
    pairs = {row.pair for row in compose(bank, there).forgotten if row.source}
    assert pairs == {("dog", "photo"), ("cat", "photo")}


def test_dropping_a_request_moves_anchors_and_retained_rows_back(bank: PromptBank) -> None:
    """With the cat gone the dog is sent to the others; when it returns, towards the cat too."""
    rows = bank.rows
    together, apart = compose(bank, [dog(), cat()]), compose(bank, [dog()])
    torch.testing.assert_close(together.goals[0], rows[2:5].mean(dim=0))
    torch.testing.assert_close(apart.goals[0], rows[1:5].mean(dim=0))
    after = apart.projector.apply(rows)
    assert (after[1] - rows[1]).norm() < 0.1  # held again
    assert (together.projector.apply(rows)[1] - rows[1]).norm() > 0.5


def test_of_conflicting_strengths_the_strongest_rules_where_they_overlap(
    bank: PromptBank, visual: Visual
) -> None:
    weak = Edit((Target(None, "sketch"),), Recipe(strength=0.25), (visual[0],))
    strong = Edit((Target("dog", "sketch"),), Recipe(strength=1.0), (visual[0],))
    both, alone = compose(bank, [weak, strong]), compose(bank, [weak])
    moves = {row: goal - start for row, goal, start in _placed(both)}
    before = {row: goal - start for row, goal, start in _placed(alone)}
    assert set(moves) == set(before)
    for row, way in moves.items():
        times = 4.0 if row.pair[0] == "dog" else 1.0
        torch.testing.assert_close(way, times * before[row])
    assert same(both, compose(bank, [strong, weak]))


def _placed(composition: Composition):  # type: ignore[no-untyped-def]
    return zip(composition.forgotten, composition.goals, composition.rows, strict=True)


def test_a_domain_request_that_contains_a_class_request(bank: PromptBank) -> None:
    """The class goes the way of the domain, and overshoots again when the domain is dropped."""
    inside = Edit((Target("dog", "sketch"),), Recipe())
    domain = Edit((Target(None, "sketch"),), Recipe())
    both = compose(bank, [inside, domain])
    assert same(both, compose(bank, [domain]))
    assert both.residual(inside) <= tolerance(0.0)
    alone = compose(bank, [inside])
    assert len(alone.forgotten) == 1
    assert not torch.allclose(alone.goals[0], both.goals[0], atol=0.1)


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
