"""Targets: the three scopes, and what a request may not ask."""

import itertools

import pytest

from governance.errors import InvalidInputError
from governance.unlearning.labels import LabelSpace
from governance.unlearning.targets import Cover, Target, check_targets, covered, make_targets

LABELS = LabelSpace(
    ("dog", "cat"),
    ("photo", "sketch"),
    domain_templates={"photo": ("{class}",), "sketch": ("{class}",)},
)
PLAIN = LabelSpace(("dog", "cat"))


def test_flags_multiply() -> None:
    assert make_targets(["dog", "cat"], ["photo", "sketch"]) == (
        Target("dog", "photo"),
        Target("dog", "sketch"),
        Target("cat", "photo"),
        Target("cat", "sketch"),
    )


def test_classes_alone_are_forgotten_everywhere() -> None:
    assert make_targets(["dog", "cat"], []) == (Target("dog", None), Target("cat", None))


def test_domains_alone_are_forgotten_whole() -> None:
    assert make_targets([], ["photo", "sketch"]) == (Target(None, "photo"), Target(None, "sketch"))


def test_a_flag_given_twice_counts_once() -> None:
    assert make_targets(["dog", "dog"], ["sketch", "sketch"]) == (Target("dog", "sketch"),)


def test_no_flag_at_all_is_refused_and_says_which_to_give() -> None:
    with pytest.raises(InvalidInputError, match=r"--forget.*--domain"):
        make_targets([], [])


def test_a_target_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="names a class, a domain, or both"):
        Target(None, None)


COVERS = {
    Target("dog", None): {("dog", None), ("dog", "photo"), ("dog", "sketch")},
    Target("dog", "sketch"): {("dog", "sketch")},
    Target(None, "sketch"): {("dog", "sketch"), ("cat", "sketch")},
}
PAIRS = [(label, domain) for label in ("dog", "cat") for domain in (None, "photo", "sketch")]


@pytest.mark.parametrize("target", COVERS, ids=Target.describe)
def test_a_target_covers_its_scope_and_nothing_else(target: Target) -> None:
    assert {pair for pair in PAIRS if target.covers(*pair)} == COVERS[target]


def test_several_targets_cover_their_union() -> None:
    targets = [Target("dog", "photo"), Target(None, "sketch")]
    assert {pair for pair in PAIRS if covered(targets, *pair)} == {
        ("dog", "photo"),
        ("dog", "sketch"),
        ("cat", "sketch"),
    }
    assert not covered([], "dog", None)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Target("dog", None), "dog everywhere"),
        (Target("dog", "sketch"), "dog in sketch"),
        (Target(None, "sketch"), "everything in sketch"),
    ],
)
def test_describe_and_round_trip(target: Target, words: str) -> None:
    assert target.describe() == words
    assert Target.from_dict(target.to_dict()) == target
    assert set(target.to_dict()) == {"class", "domain"}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target("cow", None), "class 'cow' is not in the model's label space: dog, cat"),
        (Target("cow", "photo"), "class 'cow' is not"),
        (Target(None, "oil"), "domain 'oil' is not in the model's label space: photo, sketch"),
        (Target("dog", "oil"), "domain 'oil' is not"),
    ],
)
def test_targets_outside_the_label_space_are_refused_and_the_known_ones_listed(
    target: Target, message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_targets([Target("dog", "photo"), target], LABELS)
    assert message in str(caught.value)


def test_a_domain_of_a_label_space_without_domains_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="it names no domain"):
        check_targets([Target(None, "photo")], PLAIN)


def test_a_long_label_space_is_listed_in_part() -> None:
    many = LabelSpace(tuple(f"class-{number}" for number in range(30)))
    with pytest.raises(InvalidInputError) as caught:
        check_targets([Target("cow", None)], many)
    assert "class-11, … (30 in all)" in str(caught.value)
    assert "class-12" not in str(caught.value)


@pytest.mark.parametrize(
    ("targets", "labels"),
    [
        ([Target("dog", None), Target("cat", None)], LABELS),
        ([Target(None, "photo"), Target(None, "sketch")], LABELS),
        ([Target("dog", None), Target("cat", "photo"), Target("cat", "sketch")], LABELS),
        ([Target(None, "photo"), Target("dog", "sketch"), Target("cat", None)], LABELS),
        ([Target("dog", None), Target("cat", None)], PLAIN),
    ],
)
def test_forgetting_everything_is_refused(targets: list[Target], labels: LabelSpace) -> None:
    with pytest.raises(InvalidInputError, match="leave nothing to retain"):
        check_targets(targets, labels)
    for left_out in range(len(targets)):  # each of them is needed to make it everything
        check_targets(targets[:left_out] + targets[left_out + 1 :], labels)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_cover_says_what_each_target_says(count: int) -> None:
    names, places = ("a", "b", "c"), (None, "x", "y")
    every = [Target(n, p) for n in (None, *names) for p in places if (n, p) != (None, None)]
    for chosen in itertools.islice(itertools.combinations(every, count), 200):
        cover = Cover(chosen)
        for pair in itertools.product(names, places):
            assert cover.covers(*pair) == covered(chosen, *pair), (chosen, pair)
