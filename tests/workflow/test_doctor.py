"""The doctor finds each kind of damage, repairs what can be repaired, and puts it on record."""

import os
import shutil
from pathlib import Path
from time import time

import pytest

from governance.errors import ConflictError, RefusedError
from governance.evidence.artifact import read_signature
from governance.evidence.keys import SigningKey, short_id, write_key
from governance.ledger.events import append
from governance.ledger.intents import VERSION, abandon, open_intents
from governance.registry import ABANDONED_TAG, Artifacts
from governance.settings import Settings
from governance.workflow import actors, versions
from governance.workflow.checkpoints import Anchors, spread, take
from governance.workflow.departures import Departure, begun
from governance.workflow.doctor import ASIDE, Workplace, examine, repair
from governance.workflow.exports import verify_export
from tests.workflow.helpers import actions, dump, holds
from tests.workflow.shop import Shop

pytestmark = pytest.mark.only("sqlite")


@pytest.fixture
def place(shop: Shop, tmp_path: Path) -> Workplace:
    home = tmp_path / "home"
    settings = Settings(home, shop.ledger.url, "")
    spread(shop.ledger, Anchors(settings.checkpoint_dir))
    return Workplace(shop.ledger, shop.registry, settings)  # type: ignore[arg-type]


def aged(path: Path) -> Path:
    os.utime(path, (time() - 7200,) * 2)
    return path


def intend(shop: Shop) -> str:
    with shop.ledger.write() as session:
        payload = {"version_digest": "sha256:0", "active_requests": []}
        return append(session, "mona", VERSION, "version:shop/2", payload).digest


def test_a_healthy_workplace(place: Workplace) -> None:
    before = dump(place.ledger)
    assert examine(place) == []
    assert repair(place, "mona") == ([], [])
    assert dump(place.ledger) == before


def test_an_abandoned_version_is_marked_and_never_taken_up_again(
    place: Workplace, shop: Shop
) -> None:
    intent = intend(shop)
    shop.registry.register("shop", intent, 2, "version 2", Artifacts())
    shop.registry.set_alias("shop", "candidate", "2")
    assert [problem.where for problem in examine(place)] == [
        "version:shop/2", "MLflow: alias candidate of shop", "MLflow: its version 2 of shop"
    ]  # fmt: skip
    repaired, left = repair(place, "mona")
    assert (len(repaired), left) == (3, [])
    assert actions(place.ledger)[-3:] == [
        "doctor.repair_intended", "version.abandoned", "doctor.repaired"
    ]  # fmt: skip
    assert shop.registry.version_tags("shop", "2")[ABANDONED_TAG] == intent
    assert "candidate" not in shop.registry.aliases("shop")
    assert versions.apply(shop.tools, "mona", [shop.approved()]) == ("shop", 2)
    assert shop.registry.aliases("shop")["candidate"] == "3"
    assert examine(place) == []
    assert holds(place.ledger)


def test_work_that_the_doctor_ended_is_a_conflict(place: Workplace, shop: Shop) -> None:
    number, set_alias = shop.approved(), shop.registry.set_alias

    def interfere(*args: str) -> None:
        shop.registry.set_alias = set_alias  # type: ignore[method-assign]
        set_alias(*args)
        repair(place, "ada")

    shop.registry.set_alias = interfere  # type: ignore[method-assign]
    with pytest.raises(ConflictError, match="ended this step of version:shop/2 meanwhile"):
        versions.apply(shop.tools, "mona", [number])
    assert examine(place) == []
    versions.apply(shop.tools, "mona", [number])
    assert examine(place) == []
    assert holds(place.ledger)


def test_a_changed_tag_is_set_back(place: Workplace, shop: Shop) -> None:
    tags = shop.registry.version_tags("shop", "1")
    shop.registry.tag_version("shop", "1", "governance.digest", "forged")
    repaired, left = repair(place, "mona")
    assert (len(repaired), left) == (1, [])
    assert shop.registry.version_tags("shop", "1") == tags


def left_export(shop: Shop, place: Workplace, monkeypatch: pytest.MonkeyPatch, at: str) -> Path:
    """An export by otto that ended as by SIGKILL when it was about to do something."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    dest = place.settings.home / "out"
    with monkeypatch.context() as patch:
        patch.setattr(versions, "give_up", lambda *_: None)
        patch.setattr(Departure if at == "begin" else versions, at, die)
        with pytest.raises(KeyboardInterrupt):
            versions.export(shop.tools, "otto", None, 1, dest, place.settings.departures_dir)
    return dest


def test_an_export_that_lacks_only_its_record_is_recorded(
    place: Workplace, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = left_export(shop, place, monkeypatch, "complete")
    (problem,) = examine(place)
    assert problem.where == "version:shop/1"
    assert f"otto was about to export this version to {dest}, and no outcome" in problem.problem
    assert problem.remedy == "record the export, for the directory is there and complete"
    repaired, left = repair(place, "mona")
    assert (len(repaired), left) == (1, [])
    assert actions(place.ledger)[-3:] == [
        "doctor.repair_intended", "version.exported", "doctor.repaired"
    ]  # fmt: skip
    assert verify_export(shop.ledger, None, 1, dest)[1] == "otto"  # not who repaired it
    assert holds(place.ledger)


@pytest.mark.parametrize("damage", ["a byte", "a stranger's", "gone", "a retired key", "never"])
def test_an_export_that_is_not_what_was_announced_is_over(
    place: Workplace, shop: Shop, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    dest = left_export(shop, place, monkeypatch, "begin" if damage == "never" else "complete")
    match damage:
        case "a byte":
            (dest / "open_clip_config.json").write_text("{}")
        case "a stranger's":
            shutil.rmtree(dest)
            dest.mkdir()
            (dest / "mine.txt").write_text("mine")
        case "gone":
            shutil.rmtree(dest)
        case "a retired key":
            actors.rotate_key(shop.ledger, "otto", "otto", "stolen")
        case _:
            pass
    (problem,) = examine(place)
    assert problem.remedy == "close the intent as abandoned, for there is no such directory"
    repaired, left = repair(place, "mona")
    assert (len(repaired), left) == (1, [])
    assert actions(place.ledger)[-2] == "version.abandoned"
    # What is signed as that export has a name that says what became of it; anything else stays.
    assert dest.exists() == (damage == "a stranger's")
    aside = dest.with_name("out.abandoned")
    assert aside.exists() == (damage in ("a byte", "a retired key"))
    assert examine(place) == []
    assert holds(place.ledger)


def test_what_an_ended_export_left_is_cleared(
    place: Workplace, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = left_export(shop, place, monkeypatch, "complete")
    (departure,) = begun(place.settings.departures_dir)
    departure.temporary.mkdir()
    with shop.ledger.write() as session:  # a doctor of another workspace, who cannot see it
        abandon(session, "mona", "version:shop/1", departure.intent)
    (problem,) = examine(place)
    assert problem.problem.endswith("has ended without a record, and its directory is there")
    assert problem.remedy is not None
    assert problem.remedy.endswith("set the directory aside as out.abandoned")
    assert repair(place, "mona") == ([problem], [])
    assert not dest.exists()
    assert not departure.temporary.exists()
    assert read_signature(departure.aside).name == "shop/1"
    Departure.of(place.settings.departures_dir, "sha256:" + "0" * 64, dest).begin()
    (problem,) = examine(place)
    assert (problem.problem, problem.remedy) == ("the ledger does not know this export", None)


def test_what_cannot_be_repaired_is_said(place: Workplace, shop: Shop) -> None:
    shop.registry.register("shop", "a stranger's", 7, "?", Artifacts())
    repaired, left = repair(place, "mona")
    assert repaired == []
    (problem,) = left
    assert problem.to_dict() == {
        "where": "MLflow: its version 2 of shop",
        "problem": "the ledger does not know it; somebody else registered it",
        "remedy": None,
        "advice": None,
        "failure": None,
    }


def test_files_are_written_again_set_aside_and_removed(place: Workplace) -> None:
    settings, key = place.settings, SigningKey.generate()
    take(place.ledger, "otto")
    spread(place.ledger, Anchors(settings.checkpoint_dir))
    note = min(settings.checkpoint_dir.glob("*.txt"))
    text = note.read_text()
    note.unlink()
    settings.keys_dir.mkdir()
    path = settings.keys_dir / f"eve-{short_id(key)}.pem"
    write_key(path, key)
    settings.cache_dir.mkdir()
    half = settings.cache_dir / "tmpabc.partial"
    half.write_bytes(b"half")
    fresh, _ = repair(place, "mona")
    assert [problem.remedy for problem in fresh] == ["write it again"]  # the others may be in use
    aged(path), aged(half)
    repaired, left = repair(place, "mona")
    assert (len(repaired), left) == (2, [])
    assert note.read_text() == text
    assert not half.exists()
    assert path.with_name(path.name + ASIDE).exists()
    assert not path.exists()
    assert holds(place.ledger)


def test_a_head_that_was_signed_elsewhere_is_not_missing(place: Workplace) -> None:
    take(place.ledger, "otto")
    assert examine(place) == []
    assert place.looked.unchecked == [
        "1 checkpoint signed since the newest in this workspace; `governance audit verify` brings them"
    ]
    spread(place.ledger, Anchors(place.settings.checkpoint_dir))
    assert examine(place) == []
    assert place.looked.unchecked == []


def test_only_some_may_repair(place: Workplace, shop: Shop) -> None:
    intend(shop)
    with pytest.raises(RefusedError, match=r"doctor\.repair needs admin or mlops"):
        repair(place, "dmitri")
    with place.ledger.read() as session:
        assert len(open_intents(session)) == 1
