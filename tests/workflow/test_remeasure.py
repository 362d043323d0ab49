"""Reports that come out again, and those that do not."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from governance.clip.cache import EmbeddingCache
from governance.datasets import DatasetRole
from governance.errors import IntegrityError, NotFoundError
from governance.policy import Gates
from governance.workflow import build, datasets, prepare, release, versions
from governance.workflow.remeasure import (
    LEFT_OUT,
    Difference,
    compare,
    remeasure_request,
    remeasure_version,
)
from tests.workflow.helpers import dump, gates
from tests.workflow.shop import Shop


def test_a_request_comes_out_again_with_those_beside_it(shop: Shop, images: Path) -> None:
    datasets.add(shop.ledger, "mona", "again", images)
    first = shop.approved("mug")
    versions.apply(shop.tools, "mona", [first])
    second = shop.prepared("cat", "sketch")
    prepare.evaluate_request(shop.tools, "otto", second, "again")
    before = dump(shop.ledger)
    found = remeasure_request(shop.tools, second, tolerance=0)
    assert [(r.dataset, r.differences, r.largest) for r in found] == [
        ("eval", [], 0), ("again", [], 0),
    ]  # fmt: skip
    assert min(r.values for r in found) > 500
    assert dump(shop.ledger) == before


def test_a_version_comes_out_again_with_those_that_left_it(shop: Shop) -> None:
    gates(shop.ledger, Gates(max_relearning=1.0))
    numbers = [shop.approved("mug"), shop.approved("car")]
    versions.apply(shop.tools, "mona", numbers)
    release.promote(shop.ledger, shop.registry, "mona", "shop", 2)
    versions.drop(shop.tools, "mona", numbers[0], "settled")
    gates(shop.ledger, Gates())
    for version in (2, 3):
        (found,) = remeasure_version(shop.tools, "shop", version, tolerance=0)
        assert (found.differences, found.largest) == ([], 0)


def test_guards_are_those_of_then(shop: Shop, images: Path, tmp_path: Path) -> None:
    for name in ("sofa", "spoon"):
        shutil.copytree(next(images.glob("*/cat")), tmp_path / "then" / "photo" / name)
    shutil.copytree(tmp_path / "then", tmp_path / "later")
    datasets.add(shop.ledger, "mona", "then", tmp_path / "then", DatasetRole.GUARD)
    number = shop.prepared("mug")
    datasets.add(shop.ledger, "mona", "later", tmp_path / "later", DatasetRole.GUARD)
    (found,) = remeasure_request(shop.tools, number, tolerance=0)
    assert found.differences == []


def test_a_figure_that_was_never_measured_is_found(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = versions.measure

    def flattered(*given: Any) -> dict[str, Any]:
        content = measure(*given)
        content["after"]["retain_accuracy"] += 0.01
        return content

    versions.apply(shop.tools, "mona", [shop.approved("mug")])
    monkeypatch.setattr(versions, "measure", flattered)
    versions.evaluate_version(shop.tools, "mona", "shop", 2, "eval")
    honest, false = remeasure_version(shop.tools, "shop", 2, 1e-4)
    assert honest.differences == []
    assert [d.where for d in false.differences] == ["after.retain_accuracy"]
    assert false.largest == pytest.approx(0.01)


def test_embeddings_that_were_kept_are_no_evidence(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.prepared("cat")  # now the embeddings are kept
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingCache, "get", _turned(EmbeddingCache.get))
        number = shop.prepared("mug")
    (found,) = remeasure_request(shop.tools, number, 1e-4)
    assert "before.retain_accuracy" in [d.where for d in found.differences]


@pytest.mark.parametrize("kind", ["request", "version"])
@pytest.mark.parametrize("honest", [True, False])
def test_a_report_of_the_first_format_is_compared_as_far_as_it_goes(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, kind: str, honest: bool
) -> None:
    gates(shop.ledger, Gates(max_relearning=1.0))

    def older(content: dict[str, Any]) -> dict[str, Any]:
        """As it was written then: without what came later, and with an attack that found everything everywhere."""
        del content["format"]
        content.pop("confusion", None)
        views = [entry["attacks"] for entry in content.get("requests", ())]
        for entry in content.get("requests", ()):
            del entry["confusion"]
        if kind == "request":
            content["verdict"] = "Whether 5 labelled images bring it back was not measured."
            assessment = content["assessment"]
            del assessment["protocol"]["scaled"], assessment["protocol"]["gallery_size"]
            views = [assessment[view] for view in ("before", "after", "control")]
        for view in views:
            view["relearning"] = [
                {key: 1.0 if key == "false_alarms" and attack["mix"] else figure
                 for key, figure in attack.items() if key != "scaled"}
                for attack in view["relearning"] if not attack["scaled"]
            ]  # fmt: skip
        if not honest:
            content["after"]["retain_accuracy"] += 0.01
        return content

    if kind == "request":
        recent = prepare.measure_request
        number = shop.prepared("mug")
        with monkeypatch.context() as patch:
            patch.setattr(prepare, "measure_request", lambda *given: older(recent(*given)))
            prepare.evaluate_request(shop.tools, "otto", number, "eval")
        today, found = remeasure_request(shop.tools, number, 0)
        assert (today.differences, today.left_out) == ([], ())
    else:
        now = build.measure
        number = shop.approved("mug")
        with monkeypatch.context() as patch:
            patch.setattr(build, "measure", lambda *given: older(now(*given)))
            versions.apply(shop.tools, "mona", [number])
        (found,) = remeasure_version(shop.tools, "shop", 2, 0)
    assert [d.where for d in found.differences] == ([] if honest else ["after.retain_accuracy"])
    assert found.left_out == LEFT_OUT
    assert found.to_dict()["left_out"] == list(LEFT_OUT)


def _turned(get: Any) -> Any:
    """Embeddings as somebody would leave them who wants other figures."""

    def turned(*given: Any) -> Any:
        features = get(*given)
        return None if features is None else features.flip(0)

    return turned


def test_images_must_be_those_of_then(shop: Shop, images: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(images, tmp_path / "images"))
    datasets.add(shop.ledger, "mona", "copy", copy)
    number = shop.file("mug")
    prepare.prepare(shop.tools, "mona", number, "copy", prepare.Recipe.of("redirect"))
    one, other = sorted(copy.rglob("*.png"))[:2]
    shutil.copy(other, one)
    with pytest.raises(IntegrityError, match=one.name):
        remeasure_request(shop.tools, number, 1e-4)


def test_what_was_not_measured_cannot_be_measured_again(shop: Shop) -> None:
    with pytest.raises(NotFoundError, match="request 1 was never measured"):
        remeasure_request(shop.tools, shop.file(), 0)
    with pytest.raises(NotFoundError, match="version 1 of 'shop' was never measured"):
        remeasure_version(shop.tools, "shop", 1, 0)


@pytest.mark.parametrize(
    ("recorded", "measured", "expected"),
    [
        ({"a": 1}, {"a": 1.0}, (1, 0.0, [])),
        ({"a": [0.5, "x"]}, {"a": [0.50001, "x"]}, (3, pytest.approx(1e-5), [])),
        ({"a": 0.5}, {"a": 0.51}, (1, pytest.approx(0.01), [Difference("a", 0.5, 0.51)])),
        ({"a": "x"}, {"a": "y"}, (1, 0.0, [Difference("a", "x", "y")])),
        ({"a": None}, {}, (1, 0.0, [Difference("a", None, None)])),
        ({}, {"a": 1}, (0, 0.0, [Difference("a", None, 1)])),
        ({"a": True}, {"a": 1}, (1, 0.0, [Difference("a", True, 1)])),
        (
            {"a": [1]},
            {"a": []},
            (2, 1.0, [Difference("a.length", 1, 0), Difference("a.0", 1, None)]),
        ),
        ({"a": 1}, {"a": None}, (1, 0.0, [Difference("a", 1, None)])),
    ],
)
def test_every_value_is_compared(recorded: Any, measured: Any, expected: Any) -> None:
    assert compare(recorded, measured, 1e-4) == expected
