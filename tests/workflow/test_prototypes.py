"""Preparing with visual prototypes: made once, kept in the ledger, never made again."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from governance.audit.verify import verify
from governance.clip.encoder import Encoder
from governance.datasets import DatasetRole
from governance.errors import InvalidInputError, NotFoundError
from governance.ledger import arrays
from governance.ledger.lookup import find_model, find_request, find_version
from governance.unlearning.composition import Edit
from governance.unlearning.prototypes import PrototypeKind
from governance.unlearning.recipe import Recipe
from governance.workflow import datasets, prepare, requests, versions
from governance.workflow.prototypes import Wanted
from tests.ledger.tampering import tamper
from tests.workflow.helpers import dump, holds, report, state
from tests.workflow.shop import Shop

REDIRECT = Recipe.of("redirect")
FEW_SHOT = Wanted((PrototypeKind.FEW_SHOT,), shots=2)
SYNTHESISED = Wanted((PrototypeKind.SYNTHESISED,), steps=3)


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three rendered images of each (class, domain), other ones than those that are scored."""
    from governance.demo.scenes import write_dataset

    root = tmp_path_factory.mktemp("shots")
    write_dataset(root, per_pair=3, seed=7)
    return root


@pytest.fixture
def stocked(shop: Shop, shots: Path) -> Shop:
    """The workspace with a data set of prototypes."""
    datasets.add(shop.ledger, "mona", "shots", shots, DatasetRole.PROTOTYPES)
    return shop


def edit_of(shop: Shop, number: int) -> Edit:
    with shop.ledger.read() as session:
        record = find_request(session, number).projector
        assert record is not None
        return arrays.load_edit(session, record)


def recipe_of(shop: Shop, number: int) -> dict[str, Any]:
    with shop.ledger.read() as session:
        record = find_request(session, number).projector
        assert record is not None
        return record.recipe


def rows_of(shop: Shop, number: int) -> int:
    """How many rows the fit forgot."""
    with shop.ledger.read() as session:
        record = find_request(session, number).projector
        assert record is not None
        return arrays.load_projector(session, record).a.shape[1]


def prepared_digest(shop: Shop, number: int, recipe: Recipe, wanted: Wanted) -> str:
    prepare.prepare(shop.tools, "mona", number, "eval", recipe, wanted)
    with shop.ledger.read() as session:
        record = find_request(session, number).projector
        assert record is not None
        return record.digest


def test_few_shot_prototypes_of_every_pair_are_kept_with_their_origin(stocked: Shop) -> None:
    number = stocked.file("mug")
    _, report_id = prepare.prepare(stocked.tools, "mona", number, "eval", REDIRECT, FEW_SHOT)
    (chosen,) = edit_of(stocked, number).prototypes
    assert chosen.kind is PrototypeKind.FEW_SHOT
    assert len(chosen.pairs) == 40  # retained ones too: they are held
    assert chosen.rows.shape[0] == 40
    torch.testing.assert_close(chosen.rows.norm(dim=1), torch.ones(40, dtype=torch.float64))
    settings = chosen.settings
    assert (settings["dataset"], settings["shots"], settings["seed"]) == ("shots", 2, 0)
    assert settings["dataset_digest"].startswith("sha256:")
    assert settings["images"] not in ("", settings["dataset_digest"])
    assert recipe_of(stocked, number)["prototypes"][0] == {"kind": "text"}
    assert rows_of(stocked, number) == 5  # a class everywhere needs no image: the texts of mug
    assert report(stocked.ledger, report_id)["capacity"]["rank"] == 5
    assert report(stocked.ledger, report_id)["after"]["forget_accuracy"] <= 0.05
    assert holds(stocked.ledger)


def test_synthesised_prototypes_are_of_what_is_forgotten_and_need_no_data_set(shop: Shop) -> None:
    number = shop.file("mug", "sketch")
    encoded = shop.tools.encoder.images_encoded
    _, report_id = prepare.prepare(shop.tools, "mona", number, "eval", REDIRECT, SYNTHESISED)
    (chosen,) = edit_of(shop, number).prototypes
    assert chosen.kind is PrototypeKind.SYNTHESISED
    assert chosen.pairs == (("mug", "sketch"),)
    assert chosen.settings["steps"] == 3
    assert rows_of(shop, number) == 2
    assert report(shop.ledger, report_id)["capacity"]["rank"] == 1
    assert shop.tools.encoder.images_encoded in (encoded, encoded + 240)  # the scored ones at most
    assert holds(shop.ledger)


def test_kinds_can_be_mixed_and_a_class_everywhere_is_synthesised_in_every_domain(
    stocked: Shop,
) -> None:
    number = stocked.file("mug")
    kinds = (PrototypeKind.TEXT, PrototypeKind.SYNTHESISED, PrototypeKind.FEW_SHOT)
    prepare.prepare(
        stocked.tools, "mona", number, "eval", Recipe.of("multimodal"), Wanted(kinds, "shots", 2, 3)
    )
    made = {chosen.kind: chosen.pairs for chosen in edit_of(stocked, number).prototypes}
    assert set(made) == {PrototypeKind.SYNTHESISED, PrototypeKind.FEW_SHOT}
    domains = ("photo", "painting", "cartoon", "sketch")
    assert set(made[PrototypeKind.SYNTHESISED]) == {("mug", domain) for domain in domains}
    with stocked.ledger.read() as session:
        record = find_request(session, number).projector
        assert record is not None
        assert record.rank == 5 + 4 + 4


def test_the_digest_depends_on_everything_that_determines_the_prototypes(stocked: Shop) -> None:
    number = stocked.file("mug", "sketch")
    kinds = (PrototypeKind.FEW_SHOT,)
    synthesised = (PrototypeKind.SYNTHESISED,)
    wanted = {
        "text": Wanted(),
        "two shots": Wanted(kinds, shots=2),
        "one shot": Wanted(kinds, shots=1),
        "another draw": Wanted(kinds, shots=1, seed=1),
        "three steps": Wanted(synthesised, steps=3),
        "two steps": Wanted(synthesised, steps=2),
        "another start": Wanted(synthesised, steps=2, seed=1),
    }
    digests = {
        name: prepared_digest(stocked, number, REDIRECT, chosen) for name, chosen in wanted.items()
    }
    assert len(set(digests.values())) == len(wanted)
    for name, chosen in wanted.items():
        assert prepared_digest(stocked, number, REDIRECT, chosen) == digests[name]


def test_applying_composes_from_the_ledger_alone(
    stocked: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [stocked.file("mug"), stocked.file("cat", "sketch")]
    for number, wanted in zip(numbers, (FEW_SHOT, SYNTHESISED), strict=True):
        prepare.prepare(stocked.tools, "mona", number, "eval", REDIRECT, wanted)
        requests.approve(stocked.ledger, "dmitri", number)
    made: list[object] = []
    encoded = stocked.tools.encoder.images_encoded
    monkeypatch.setattr(Encoder, "synthesise", lambda *args: made.append(args))
    versions.apply(stocked.tools, "mona", numbers)
    assert made == []
    assert stocked.tools.encoder.images_encoded == encoded
    with stocked.ledger.read() as session:
        version = find_version(session, find_model(session, "shop"), 2)
        rows = arrays.load_projector(session, version).a.shape[1]
    assert rows == 5 + 1 + 1 + 1  # mug: texts; cat in sketch: text, shot of the other, synthesised
    assert holds(stocked.ledger)


def test_the_data_set_may_go_once_the_request_is_prepared(
    shop: Shop, shots: Path, tmp_path: Path
) -> None:
    place = tmp_path / "shots"
    shutil.copytree(shots, place)
    datasets.add(shop.ledger, "mona", "shots", place, DatasetRole.PROTOTYPES)
    number = shop.file("mug")
    prepare.prepare(shop.tools, "mona", number, "eval", REDIRECT, FEW_SHOT)
    requests.approve(shop.ledger, "dmitri", number)
    shutil.rmtree(place)
    versions.apply(shop.tools, "mona", [number])
    assert state(shop.ledger, number) == "applied"


def test_a_missing_or_altered_prototype_array_is_found(stocked: Shop) -> None:
    number = stocked.file("mug")
    prepare.prepare(stocked.tools, "mona", number, "eval", REDIRECT, FEW_SHOT)
    digest = edit_of(stocked, number).prototypes[0].digest
    assert verify(stocked.ledger).ok
    tamper(stocked.ledger, ("DELETE FROM arrays WHERE digest = ?", [digest]))
    faults = [(fault.where, fault.problem) for fault in verify(stocked.ledger).faults]
    assert faults == [("projector 1 of request 1", f"its array {digest} is missing")]


def test_another_origin_claimed_for_the_prototypes_is_found(stocked: Shop) -> None:
    number = stocked.file("mug")
    prepare.prepare(stocked.tools, "mona", number, "eval", REDIRECT, FEW_SHOT)
    tamper(
        stocked.ledger, "UPDATE projectors SET recipe = replace(recipe, 'few-shot', 'synthesised')"
    )
    assert "projector 1 of request 1" in [fault.where for fault in verify(stocked.ledger).faults]


def refused(
    shop: Shop, number: int, error: type[Exception], message: str, wanted: Wanted = FEW_SHOT
) -> None:
    """Nothing is encoded and nothing is written."""
    encoded, before = shop.tools.encoder.images_encoded, dump(shop.ledger)
    with pytest.raises(error, match=message):
        prepare.prepare(shop.tools, "mona", number, "eval", REDIRECT, wanted)
    assert dump(shop.ledger) == before
    assert shop.tools.encoder.images_encoded == encoded


def only(source: Path, dest: Path, *places: str) -> Path:
    for place in places:
        shutil.copytree(source / place, dest / place)
    return dest


def test_an_image_must_not_be_prototype_and_scored(
    shop: Shop, images: Path, shots: Path, tmp_path: Path
) -> None:
    place = only(shots, tmp_path / "mixed", "sketch/mug", "sketch/cat")
    shutil.copy(images / "sketch/mug/001.png", place / "sketch/mug/other-name.png")
    datasets.add(shop.ledger, "mona", "mixed", place, DatasetRole.PROTOTYPES)
    message = (
        r"1 image\(s\) of the prototypes in 'mixed' are also scored, the first is sketch/mug/oth"
    )
    refused(shop, shop.file(), InvalidInputError, message)


def test_a_data_set_to_score_on_must_not_give_prototypes(stocked: Shop) -> None:
    wanted = Wanted((PrototypeKind.FEW_SHOT,), "eval", shots=2)
    message = "'eval' has the role eval; name one with the role prototypes"
    refused(stocked, stocked.file(), InvalidInputError, message, wanted)


def test_the_data_set_of_prototypes_is_found_or_named(stocked: Shop, shots: Path) -> None:
    number = stocked.file()
    nowhere = Wanted((PrototypeKind.FEW_SHOT,), "nope")
    refused(stocked, number, NotFoundError, "no data set 'nope'", nowhere)
    datasets.add(stocked.ledger, "mona", "more", shots, DatasetRole.PROTOTYPES)
    message = "name one of the data sets with --prototype-dataset: shots, more"
    refused(stocked, number, InvalidInputError, message)
    named = Wanted((PrototypeKind.FEW_SHOT,), "more", shots=1)
    prepare.prepare(stocked.tools, "mona", number, "eval", REDIRECT, named)


def test_without_a_data_set_of_prototypes(shop: Shop) -> None:
    refused(shop, shop.file(), NotFoundError, "no data set to make prototypes from yet")


@pytest.mark.parametrize(
    ("label", "domain", "message"),
    [
        ("mug", None, "no image of what is to be forgotten: mug everywhere"),
        ("cat", "photo", "no image of what is to be forgotten: cat in photo"),
        (None, "photo", "no image of what is to be forgotten: everything in photo"),
    ],
)
def test_prototypes_without_the_target_are_refused(
    shop: Shop, shots: Path, tmp_path: Path, label: str | None, domain: str | None, message: str
) -> None:
    place = only(shots, tmp_path / "few", "sketch/cat", "sketch/car")
    datasets.add(shop.ledger, "mona", "few", place, DatasetRole.PROTOTYPES)
    refused(shop, shop.file(label, domain), InvalidInputError, message)


@pytest.mark.parametrize(
    ("place", "where"), [("photo/zebra", "zebra in photo"), ("fresco/mug", "mug in fresco")]
)
def test_images_outside_the_label_space_are_refused(
    shop: Shop, shots: Path, tmp_path: Path, place: str, where: str
) -> None:
    root = only(shots, tmp_path / "odd", "photo/mug", "photo/cat")
    shutil.copytree(shots / "photo/car", root / place)
    datasets.add(shop.ledger, "mona", "odd", root, DatasetRole.PROTOTYPES)
    message = f"data set 'odd' has images of {where}, which the model's label space does not name"
    refused(shop, shop.file(), InvalidInputError, message)


def test_too_few_images_for_the_shots_are_refused(stocked: Shop) -> None:
    wanted = Wanted((PrototypeKind.FEW_SHOT,), shots=4)
    message = r"has 3 image\(s\) of .* in .*, too few for 4 shots"
    refused(stocked, stocked.file(), InvalidInputError, message, wanted)


def test_multimodal_without_prototypes_is_refused(shop: Shop) -> None:
    number, before = shop.file(), dump(shop.ledger)
    with pytest.raises(InvalidInputError, match="add --prototypes synthesised or --prototypes few"):
        prepare.prepare(shop.tools, "mona", number, "eval", Recipe.of("multimodal"))
    assert dump(shop.ledger) == before


def test_nothing_is_synthesised_for_a_request_that_cannot_be_measured(
    shop: Shop, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synthesising takes minutes on a real model; a wrong data set is known at once."""
    place = only(images, tmp_path / "partial", "photo/cat", "sketch/car")
    datasets.add(shop.ledger, "mona", "partial", place)
    made: list[object] = []
    monkeypatch.setattr(Encoder, "synthesise", lambda *args: made.append(args))
    number = shop.file("mug")
    with pytest.raises(InvalidInputError, match="no image of 'mug everywhere'"):
        prepare.prepare(shop.tools, "mona", number, "partial", REDIRECT, SYNTHESISED)
    assert made == []


def test_an_interrupted_preparation_keeps_no_prototype(stocked: Shop) -> None:
    number, before = stocked.file(), dump(stocked.ledger)
    stocked.registry.fail("after", "log_run", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(stocked.tools, "mona", number, "eval", REDIRECT, FEW_SHOT)
    assert dump(stocked.ledger)["arrays"] == before["arrays"]
    prepare.prepare(stocked.tools, "mona", number, "eval", REDIRECT, FEW_SHOT)
    assert holds(stocked.ledger)
