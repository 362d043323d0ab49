"""The doctor finds what MLflow lost or holds otherwise than it was recorded, and puts it back byte for byte."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from governance.clip.encoder import Encoder
from governance.errors import NotFoundError, UnavailableError
from governance.evidence.artifact import SIGNATURE_NAME
from governance.ledger.database import Ledger
from governance.ledger.lookup import find_model, find_version
from governance.ledger.whereabouts import Place, place_of
from governance.registry import ABANDONED_TAG, KEY_TAG, Artifacts
from governance.reports.records import version_record
from governance.settings import Settings
from governance.workflow import release, versions
from governance.workflow.checkpoints import Anchors, spread
from governance.workflow.doctor import Workplace, examine, repair
from governance.workflow.verification import verify_version
from tests.fakes import FakeRegistry, FakeVersion
from tests.workflow.helpers import actions, champion, dump, holds
from tests.workflow.shop import Shop

CARD, FACTORS, CHANGED = "README.md", "factors.safetensors", "changed.safetensors"


@pytest.fixture
def place(shop: Shop, tmp_path: Path) -> Workplace:
    """A workspace with versions 1, served, and 2, the candidate."""
    settings = Settings(tmp_path / "home", shop.ledger.url, "")
    versions.apply(shop.tools, "mona", [shop.approved()])
    spread(shop.ledger, Anchors(settings.checkpoint_dir))
    return Workplace(shop.ledger, shop.registry, settings)  # type: ignore[arg-type]


def where(ledger: Ledger, number: int) -> Place:
    with ledger.read() as session:
        return place_of(session, find_version(session, find_model(session, "shop"), number))


def files(shop: Shop, number: int) -> dict[str, bytes]:
    return shop.registry.runs[where(shop.ledger, number).run_id].files


def lose_version(registry: FakeRegistry, version: str) -> None:
    """What MLflow does when somebody deletes a version: its aliases go, its number is never given again."""
    registry.versions["shop"] = [v for v in registry.versions["shop"] if v.version != version]
    aliases = registry._aliases["shop"]
    for name in [name for name, at in aliases.items() if at == version]:
        del aliases[name]


def lose_model(registry: FakeRegistry) -> None:
    """What MLflow does when somebody deletes the model: numbers begin anew."""
    del registry.versions["shop"], registry._aliases["shop"], registry.numbers["shop"]


def is_well(place: Workplace, shop: Shop) -> None:
    """Nothing is wrong any more, for the doctor, for a verification of each version, and for the audit."""
    spread(shop.ledger, Anchors(place.settings.checkpoint_dir))
    assert examine(place) == []
    for number in (1, 2):
        verify_version(shop.tools, "shop", number)
    assert holds(place.ledger)


def test_everything_that_was_looked_at_is_counted(place: Workplace, shop: Shop) -> None:
    assert examine(place) == []
    looked = place.looked
    assert (looked.versions, looked.exports, looked.unchecked) == (2, 0, [])
    assert looked.files == len(files(shop, 1)) + len(files(shop, 2))
    shop.registry.calls.clear()
    quick = replace(place, quick=True)
    assert examine(quick) == []
    assert "fetch" not in shop.registry.calls
    assert (quick.looked.versions, quick.looked.files) == (0, 0)
    assert quick.looked.unchecked == ["the files of versions in MLflow, which --quick leaves out"]


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("number", [1, 2])
def test_each_file_is_missed_and_made_again(place: Workplace, shop: Shop, number: int) -> None:
    before = dict(files(shop, number))
    assert {CARD, FACTORS, CHANGED, SIGNATURE_NAME, "MLmodel", "labels.json"} <= before.keys()
    for name in before:
        del files(shop, number)[name]
        (problem,) = examine(place)
        assert problem.where == f"MLflow: version {number} of shop"
        assert problem.problem == f"{name} is missing"
        assert repair(place, "mona") == ([problem], [])
        assert files(shop, number) == before
    is_well(place, shop)


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("number", [1, 2])
def test_each_changed_file_is_set_aside(place: Workplace, shop: Shop, number: int) -> None:
    before = dict(files(shop, number))
    for name, data in before.items():
        files(shop, number)[name] = changed = data[:-1] + bytes([data[-1] ^ 1])
        (problem,) = examine(place)
        assert problem.problem == f"{name} was changed after it was signed"
        assert repair(place, "mona") == ([problem], [])
        assert files(shop, number) == before
        assert (place.settings.home / f"aside/shop-{number}" / name).read_bytes() == changed
    is_well(place, shop)


@pytest.mark.only("sqlite")
def test_all_that_is_wrong_with_a_version_is_said_at_once(place: Workplace, shop: Shop) -> None:
    before = dict(files(shop, 2))
    for content in (b"one", b"other"):
        files(shop, 2)[CARD] = files(shop, 2)["strange.py"] = content
        del files(shop, 2)[CHANGED]
        (problem,) = examine(place)
        assert problem.problem == (
            f"{CARD} was changed after it was signed; {CHANGED} is missing; "
            "strange.py was not there when it was signed"
        )
        assert repair(place, "mona") == ([problem], [])
        assert files(shop, 2) == before
    aside = place.settings.home / "aside/shop-2"
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == {
        CARD: b"one", f"{CARD}.2": b"other", "strange.py": b"one", "strange.py.2": b"other"
    }  # fmt: skip
    is_well(place, shop)


@pytest.mark.only("sqlite")
def test_a_run_without_any_file_gets_all_of_them(place: Workplace, shop: Shop) -> None:
    before = dict(files(shop, 2))
    files(shop, 2).clear()
    (problem,) = examine(place)
    assert problem.problem.count("is missing") == len(before)
    assert repair(place, "mona") == ([problem], [])
    assert files(shop, 2) == before
    is_well(place, shop)


@pytest.mark.only("sqlite")
def test_reports_that_came_later_do_not_belong_to_the_files(place: Workplace, shop: Shop) -> None:
    before = dict(files(shop, 2))
    versions.evaluate_version(shop.tools, "mona", "shop", 2, "eval")
    del files(shop, 2)["report-eval.json"], files(shop, 2)[CARD]
    repair(place, "mona")
    assert files(shop, 2) == before
    is_well(place, shop)


@pytest.mark.only("sqlite")
def test_without_the_base_model_only_what_needs_it_stays_missing(
    place: Workplace, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(files(shop, 2))

    def gone(*_: object) -> None:
        raise NotFoundError("/nowhere does not exist")

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "model", gone)
        for name in before.keys() - {CHANGED}:
            del files(shop, 2)[name]
        assert len(repair(place, "mona")[0]) == 1
        assert files(shop, 2) == before
        del files(shop, 2)[CHANGED], files(shop, 2)[CARD]
        files(shop, 2)["strange.py"] = b""
        repaired, (left,) = repair(place, "mona")
        assert repaired == []
        assert left.problem == f"{CHANGED} is missing"
        assert left.failure == "/nowhere does not exist"
        assert actions(place.ledger)[-2:] == ["doctor.repair_intended", "doctor.repaired"]
        assert files(shop, 2) == {n: data for n, data in before.items() if n != CHANGED}
    assert repair(place, "mona")[1] == []
    is_well(place, shop)


@pytest.mark.only("sqlite")
def test_what_comes_out_otherwise_is_never_put_there(
    place: Workplace, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    del files(shop, 2)[FACTORS]
    with monkeypatch.context() as patch:
        patch.setattr("governance.workflow.packages.factor_tensors", lambda *_: {})
        repaired, (left,) = repair(place, "mona")
    assert repaired == []
    assert left.failure is not None
    assert left.failure.startswith(f"{FACTORS} cannot be made again here")
    assert FACTORS not in files(shop, 2)
    repair(place, "mona")
    is_well(place, shop)


def test_a_deleted_version_gets_another_number(place: Workplace, shop: Shop) -> None:
    before, old = dict(files(shop, 2)), where(shop.ledger, 2)
    lose_version(shop.registry, "2")
    assert [(problem.where, problem.problem) for problem in examine(place)] == [
        ("MLflow: version 2 of shop", "it is missing"),
        ("MLflow: alias candidate of shop", "it is at version none, but the ledger says 2"),
    ]
    repaired, left = repair(place, "mona")
    assert (len(repaired), left) == (2, [])
    assert actions(place.ledger)[-3:] == [
        "doctor.repair_intended", "version.restored", "doctor.repaired"
    ]  # fmt: skip
    assert where(shop.ledger, 2) == Place(old.run_id, "3")
    assert shop.registry.aliases("shop") == {"champion": "1", "candidate": "3"}
    assert files(shop, 2) == before
    is_well(place, shop)
    with shop.ledger.read() as session:
        version = find_version(session, find_model(session, "shop"), 2)
        record = version_record(session, version)
    assert (record["registry_version"], record["run_id"]) == ("3", old.run_id)
    # Life goes on: it is promoted, rolled back from, and another one follows.
    release.promote(shop.ledger, shop.tools.registry, "mona", "shop", 2)
    assert shop.registry.aliases("shop")["champion"] == "3"
    assert champion(shop.ledger) == 2
    versions.apply(shop.tools, "mona", [shop.approved("cat")])
    assert where(shop.ledger, 3).registry_version == "4"
    release.roll_back(shop.ledger, shop.tools.registry, "mona", "shop", 1, "a reason")
    release.roll_back(shop.ledger, shop.tools.registry, "mona", "shop", 2, "a reason")
    assert shop.registry.aliases("shop") == {"champion": "3", "candidate": "4"}
    is_well(place, shop)


def test_a_deleted_model_comes_back_with_all_its_versions(place: Workplace, shop: Shop) -> None:
    release.promote(shop.ledger, shop.tools.registry, "mona", "shop", 2)
    spread(shop.ledger, Anchors(place.settings.checkpoint_dir))
    lose_version(shop.registry, "1")  # so that the numbers do not come out as they were
    lose_model(shop.registry)
    assert len(examine(place)) == 4
    repaired, left = repair(place, "mona")
    assert (len(repaired), left) == (4, [])
    assert shop.registry.aliases("shop") == {"champion": "2", "candidate": "2"}
    is_well(place, shop)
    lose_model(shop.registry)
    shop.registry.numbers["shop"] = 6  # somebody's tries since
    assert repair(place, "mona")[1] == []
    assert [where(shop.ledger, n).registry_version for n in (1, 2)] == ["7", "8"]
    assert shop.registry.aliases("shop") == {"champion": "8", "candidate": "8"}
    is_well(place, shop)


def test_a_run_that_was_cleared_up_is_logged_again(place: Workplace, shop: Shop) -> None:
    before = {number: dict(files(shop, number)) for number in (1, 2)}
    old = {number: where(shop.ledger, number) for number in (1, 2)}
    was = {n: shop.registry.runs[at.run_id].artifacts for n, at in old.items()}
    for at in old.values():
        del shop.registry.runs[at.run_id]
    assert [problem.problem for problem in examine(place)] == [
        f"its files are not those of run {at.run_id}, in which they were recorded"
        for at in old.values()
    ]
    assert len(repair(place, "mona")[0]) == 2
    for number in (1, 2):
        assert files(shop, number) == before[number]
        assert where(shop.ledger, number).run_id != old[number].run_id
        now = shop.registry.runs[where(shop.ledger, number).run_id].artifacts
        assert (now.params, now.tags) == (was[number].params, was[number].tags)
        assert now.metrics == pytest.approx(was[number].metrics)
    # The versions that led nowhere are marked, and nobody takes them up.
    for at in old.values():
        tags = shop.registry.version_tags("shop", at.registry_version)
        assert tags[ABANDONED_TAG] == tags[KEY_TAG]
    is_well(place, shop)


@pytest.mark.only("sqlite")
def test_a_deleted_run_is_brought_back(place: Workplace, shop: Shop) -> None:
    at = where(shop.ledger, 2)
    shop.registry.runs[at.run_id] = replace(shop.registry.runs[at.run_id], deleted=True)
    del files(shop, 2)[CARD]
    first, second = examine(place)
    assert (first.problem, first.remedy) == (
        f"its run {at.run_id} was deleted", "bring the run back"
    )  # fmt: skip
    assert second.problem == f"{CARD} is missing"
    assert repair(place, "mona") == ([first, second], [])
    assert where(shop.ledger, 2) == at
    is_well(place, shop)


@pytest.mark.only("sqlite")
def test_a_version_that_leads_elsewhere_is_left_there_and_marked(
    place: Workplace, shop: Shop
) -> None:
    other = shop.registry.log_run("shop", "a stranger's", "?", Artifacts())
    led = [
        replace(v, run_id=other) if v.version == "2" else v for v in shop.registry.versions["shop"]
    ]
    shop.registry.versions["shop"] = led
    (problem,) = examine(place)
    assert "its files are not those of run" in problem.problem
    assert repair(place, "mona") == ([problem], [])
    assert shop.registry.aliases("shop")["candidate"] == "3"
    is_well(place, shop)


STEPS = ["revive", "register", "log_run", "source_of", "fetch", "replace_files", "set_alias"]


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), UnavailableError("it does not answer")])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.only("sqlite")
def test_an_interrupted_repair_converges(
    make_shop: Callable[[], Shop], tmp_path: Path, step: str, when: str, problem: BaseException
) -> None:
    shop = make_shop()
    place = Workplace(shop.ledger, shop.registry, Settings(tmp_path / "home", shop.ledger.url, ""))  # type: ignore[arg-type]
    spread(shop.ledger, Anchors(place.settings.checkpoint_dir))
    before = dict(files(shop, 1))
    files(shop, 1)[CARD] = b"other"
    lose_version(shop.registry, "1")
    problems = examine(place)
    shop.registry.fail(when, step, problem)
    with suppress(KeyboardInterrupt):
        repair(place, "mona")
    assert not shop.registry._failures  # it did happen
    assert repair(place, "mona")[1] == []
    assert len(problems) == 2
    assert files(shop, 1) == before
    assert len({version.version for version in shop.registry.versions["shop"]}) == 1
    assert shop.registry.aliases("shop") == {"champion": where(shop.ledger, 1).registry_version}
    assert examine(place) == []
    verify_version(shop.tools, "shop", 1)
    assert holds(place.ledger)


@pytest.mark.only("sqlite")
def test_examining_changes_nothing(place: Workplace, shop: Shop) -> None:
    lose_version(shop.registry, "2")
    del files(shop, 1)[CARD]
    before = dump(place.ledger)
    first, shop.registry.calls = examine(place), []
    assert examine(place) == first
    assert dump(place.ledger) == before
    assert not {"register", "log_run", "revive", "replace_files", "tag_version", "set_alias"} & {
        *shop.registry.calls
    }


@pytest.mark.only("sqlite")
def test_a_version_that_is_nobodys_is_not_taken_for_a_restored_one(
    place: Workplace, shop: Shop
) -> None:
    key = shop.registry.version_tags("shop", "2")[KEY_TAG]
    lose_version(shop.registry, "2")
    stranger = shop.registry.log_run("shop", "a stranger's", "?", Artifacts())
    shop.registry.versions["shop"].append(FakeVersion("9", stranger, key, {KEY_TAG: key}))
    shop.registry.numbers["shop"] = 9
    assert repair(place, "mona")[1] == []
    assert where(shop.ledger, 2).registry_version == "10"
    assert shop.registry.version_tags("shop", "9")[ABANDONED_TAG] == key
    is_well(place, shop)
