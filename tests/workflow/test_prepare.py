"""Preparing and evaluating a request."""

import shutil
from pathlib import Path

import pytest

from governance.datasets import DatasetRole
from governance.errors import (
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from governance.ledger.lookup import find_request
from governance.unlearning.recipe import Recipe
from governance.workflow import datasets, prepare, requests, versions
from tests.workflow.helpers import actions, dump, holds, report, state
from tests.workflow.shop import Shop

REDIRECT = Recipe.of("redirect")


def test_the_report_holds_figures_before_and_after(shop: Shop) -> None:
    number = shop.file("mug")
    _, report_id = prepare.prepare(shop.tools, "mona", number, "eval", REDIRECT)
    content = report(shop.ledger, report_id)
    before, after = content["before"], content["after"]
    assert before["forget_accuracy"] > 0.8  # there is something to forget
    assert after["forget_accuracy"] <= 0.05
    assert after["retain_accuracy"] >= before["retain_accuracy"] - 0.02
    assert set(before["per_class"]) == set(after["per_class"])
    assert set(before["per_domain"]) == {"photo", "painting", "cartoon", "sketch"}
    assert content["dataset"] == {
        "name": "eval",
        "digest": content["dataset"]["digest"],
        "images": 240,
        "skipped": [],
    }
    assert content["composed"] is None
    shown = content["assessment"]
    assert shown["after"]["zero_shot"]["forget"]["value"] == pytest.approx(after["forget_accuracy"])
    assert shown["protocol"]["synonyms"] == {"mug": ["cup", "coffee cup"]}
    assert shown["protocol"]["logit_scale"] > 1
    assert shown["before"]["paraphrase"]["max"]["value"] > 0.8  # the words mean something to it
    assert content["verdict"].startswith("Suppressed in zero-shot use")
    assert "not measured" not in content["verdict"].lower()  # there are figures, if on few images
    confusion = content["confusion"]
    assert confusion["n"] == before["counts"]["forget"]["n"]
    for when in ("before", "after"):
        entries, counts = confusion[when], content[when]["counts"]["forget"]
        assert sum(entry["n"] for entry in entries) == confusion["n"]
        assert sum(entry["correct"] for entry in entries) == counts["correct"]
    assert confusion["before"][0]["class"] == "mug" != confusion["after"][0]["class"]
    assert state(shop.ledger, number) == "prepared"
    assert holds(shop.ledger)


def test_the_same_preparation_gives_the_same_digests_and_one_run(shop: Shop) -> None:
    number = shop.prepared()
    prepare.prepare(shop.tools, "mona", number, "eval", REDIRECT)
    with shop.ledger.read() as session:
        first, second = find_request(session, number).projectors
        assert first.digest == second.digest
        assert first.report.digest == second.report.digest
        assert first.run_id == second.run_id


def test_another_recipe_gives_another_digest(shop: Shop) -> None:
    number = shop.prepared()
    others = [Recipe.of("redirect", 0.5), Recipe.of("nullspace"), Recipe.of("ccup")]
    # Neither the scatter nor the overshoot changes this class's matrix; the recipe counts all the same.
    weights = ({"mu": 0.5}, {"scatter": 0.0}, {"overshoot": 1.3})
    others.extend(Recipe.of("redirect", **chosen) for chosen in weights)
    for recipe in others:
        prepare.prepare(shop.tools, "mona", number, "eval", recipe)
    with shop.ledger.read() as session:
        digests = [record.digest for record in find_request(session, number).projectors]
    assert len(set(digests)) == 1 + len(others)


def test_nothing_is_encoded_twice(shop: Shop) -> None:
    number = shop.approved()
    encoded = shop.tools.encoder.images_encoded
    prepare.prepare(shop.tools, "mona", number, "eval", Recipe.of("nullspace", 0.7))
    requests.approve(shop.ledger, "dmitri", number)
    versions.apply(shop.tools, "mona", [number])
    assert shop.tools.encoder.images_encoded == encoded


def test_a_second_request_is_measured_with_the_active_ones_too(shop: Shop) -> None:
    first = shop.approved("mug")
    versions.apply(shop.tools, "mona", [first])
    second = shop.file("cat", "sketch")
    _, report_id = prepare.prepare(shop.tools, "mona", second, "eval", REDIRECT)
    composed = report(shop.ledger, report_id)["composed"]
    assert composed["active_requests"] == [first]
    assert composed["capacity"]["rank"] == 6  # five rows of mug, one of cat in sketch


def test_evaluating_on_another_data_set_keeps_state_and_approval(
    shop: Shop, images: Path, tmp_path: Path
) -> None:
    number = shop.approved()
    shutil.copytree(images, tmp_path / "other", ignore=shutil.ignore_patterns("00[2-9]*"))
    datasets.add(shop.ledger, "mona", "other", tmp_path / "other")
    report_id = prepare.evaluate_request(shop.tools, "otto", number, "other")
    assert report(shop.ledger, report_id)["dataset"]["name"] == "other"
    assert state(shop.ledger, number) == "approved"
    assert actions(shop.ledger)[-1] == "request.evaluated"
    versions.apply(shop.tools, "mona", [number])
    assert holds(shop.ledger)


def _only(source: Path, dest: Path, *places: str) -> Path:
    for place in places:
        shutil.copytree(source / place, dest / place)
    return dest


@pytest.mark.parametrize(
    ("label", "domain", "places", "message"),
    [
        ("mug", None, ("photo/cat", "sketch/car"), "no image of 'mug everywhere'"),
        ("cat", "sketch", ("photo/cat", "sketch/car"), "no image of 'cat in sketch'"),
        (None, "cartoon", ("photo/cat", "sketch/car"), "no image of 'everything in cartoon'"),
        ("cat", None, ("photo/cat", "sketch/cat"), "every image of the data set"),
    ],
)
def test_a_data_set_that_cannot_measure_the_request_is_refused(
    shop: Shop, images: Path, tmp_path: Path, label: str | None, domain: str | None,
    places: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    datasets.add(shop.ledger, "mona", "partial", _only(images, tmp_path / "partial", *places))
    number = shop.file(label, domain)
    encoded, before = shop.tools.encoder.images_encoded, dump(shop.ledger)
    with pytest.raises(InvalidInputError, match=message):
        prepare.prepare(shop.tools, "mona", number, "partial", REDIRECT)
    assert dump(shop.ledger) == before
    assert shop.tools.encoder.images_encoded == encoded


def test_a_class_that_the_label_space_lacks_is_named(
    shop: Shop, images: Path, tmp_path: Path
) -> None:
    _only(images, tmp_path / "more", "photo/cat", "photo/mug")
    shutil.copytree(images / "photo/car", tmp_path / "more/photo/zebra")
    datasets.add(shop.ledger, "mona", "more", tmp_path / "more")
    number = shop.file("mug")
    with pytest.raises(InvalidInputError, match="'zebra', which the model's label space lacks"):
        prepare.prepare(shop.tools, "mona", number, "more", REDIRECT)


def test_prototype_data_must_not_score(shop: Shop, images: Path, tmp_path: Path) -> None:
    place = _only(images, tmp_path / "shots", "photo/mug", "photo/cat")
    datasets.add(shop.ledger, "mona", "shots", place, DatasetRole.PROTOTYPES)
    number = shop.file()
    with pytest.raises(InvalidInputError, match="role prototypes"):
        prepare.prepare(shop.tools, "mona", number, "shots", REDIRECT)


def test_the_data_set_need_not_be_named_when_there_is_one(
    shop: Shop, images: Path, tmp_path: Path
) -> None:
    number = shop.file()
    prepare.prepare(shop.tools, "mona", number, None, REDIRECT)
    place = _only(images, tmp_path / "second", "photo/mug", "photo/cat")
    datasets.add(shop.ledger, "mona", "second", place)
    with pytest.raises(InvalidInputError, match="--dataset: eval, second"):
        prepare.prepare(shop.tools, "mona", number, None, REDIRECT)
    with pytest.raises(NotFoundError, match="no data set 'nope'"):
        prepare.prepare(shop.tools, "mona", number, "nope", REDIRECT)


def test_images_that_changed_or_vanished_are_named(
    shop: Shop, images: Path, tmp_path: Path
) -> None:
    place = _only(images, tmp_path / "fragile", "photo/mug", "photo/cat")
    datasets.add(shop.ledger, "mona", "fragile", place)
    number = shop.file()
    victim = place / "photo/mug/003.png"
    original = victim.read_bytes()
    victim.write_bytes(original + b"x")
    before = dump(shop.ledger)
    with pytest.raises(IntegrityError, match=r"003\.png changed since"):
        prepare.prepare(shop.tools, "mona", number, "fragile", REDIRECT)
    victim.unlink()
    with pytest.raises(NotFoundError, match=r"003\.png cannot be read"):
        prepare.prepare(shop.tools, "mona", number, "fragile", REDIRECT)
    shutil.rmtree(place)
    with pytest.raises(NotFoundError, match="is gone"):
        prepare.prepare(shop.tools, "mona", number, "fragile", REDIRECT)
    assert dump(shop.ledger) == before


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("problem", [UnavailableError("MLflow is down"), KeyboardInterrupt()])
def test_an_interrupted_preparation_leaves_nothing_and_can_be_repeated(
    shop: Shop, when: str, problem: BaseException
) -> None:
    number = shop.file()
    before = dump(shop.ledger)
    shop.registry.fail(when, "log_run", problem)
    with pytest.raises(type(problem)):
        prepare.prepare(shop.tools, "mona", number, None, REDIRECT)
    assert dump(shop.ledger) == before
    prepare.prepare(shop.tools, "mona", number, None, REDIRECT)
    assert state(shop.ledger, number) == "prepared"
    assert len(shop.registry.runs) == 2  # the base model's and this one
    assert holds(shop.ledger)


def test_a_request_that_was_applied_cannot_be_prepared_again(shop: Shop) -> None:
    number = shop.approved()
    versions.apply(shop.tools, "mona", [number])
    with pytest.raises(RefusedError, match="it is applied and cannot be prepared"):
        prepare.prepare(shop.tools, "mona", number, None, REDIRECT)
