"""Exported directories that are still where they were made are looked at again; what is unknown is not called well."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from governance.evidence.artifact import SIGNATURE_NAME
from governance.settings import Settings
from governance.workflow import versions
from governance.workflow.checkpoints import Anchors, spread
from governance.workflow.departures import Departure, begun, sent
from governance.workflow.doctor import Problem, Workplace, examine, repair
from tests.workflow.helpers import actions, dump
from tests.workflow.shop import Shop

CONFIG = "open_clip_config.json"
ADVICE = "move it away and make it again: governance version export 1 -o DIR"

pytestmark = pytest.mark.only("sqlite")


@pytest.fixture
def place(shop: Shop, tmp_path: Path) -> Workplace:
    settings = Settings(tmp_path / "home", shop.ledger.url, "")
    spread(shop.ledger, Anchors(settings.checkpoint_dir))
    return Workplace(shop.ledger, shop.registry, settings)  # type: ignore[arg-type]


def export(shop: Shop, place: Workplace, name: str = "out") -> Path:
    dest = place.settings.home.parent / name
    versions.export(shop.tools, "otto", None, 1, dest, place.settings.departures_dir)
    return dest


def test_an_export_as_it_was_made(shop: Shop, place: Workplace) -> None:
    dest = export(shop, place)
    assert begun(place.settings.departures_dir) == []
    assert [departure.directory for departure in sent(place.settings.departures_dir)] == [dest]
    assert examine(place) == []
    assert (place.looked.exports, place.looked.unchecked) == (1, [])
    quick = replace(place, quick=True)
    (dest / CONFIG).write_text("{}")
    assert examine(quick) == []
    assert quick.looked.exports == 0
    assert quick.looked.unchecked[1:] == [
        "the files of exported directories, which --quick leaves out"
    ]


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "signature", "garbled", "link"])
def test_an_export_that_no_longer_matches(shop: Shop, place: Workplace, damage: str) -> None:
    dest = export(shop, place)
    match damage:
        case "changed":
            (dest / CONFIG).write_text("{}")
            said = f"{dest}: {CONFIG} was changed after it was signed"
        case "missing":
            (dest / CONFIG).unlink()
            said = f"{dest}: {CONFIG} is missing"
        case "added":
            (dest / "more.py").write_text("")
            said = f"{dest}: more.py was not there when it was signed"
        case "signature":
            (dest / SIGNATURE_NAME).unlink()
            said = f"{dest} is not signed: it has no {SIGNATURE_NAME}"
        case "garbled":
            (dest / SIGNATURE_NAME).write_text("{}")
            said = f"{dest / SIGNATURE_NAME} does not hold"
        case _:
            (dest / CONFIG).rename(dest.parent / CONFIG)
            (dest / CONFIG).symlink_to(dest.parent / CONFIG)
            said = f"{dest}: '{CONFIG}' is a symbolic link"
    before = {path: path.read_bytes() for path in dest.iterdir()}, dump(place.ledger)
    (problem,) = examine(place)
    assert problem.problem.startswith(said)
    assert problem == Problem("version:shop/1", problem.problem, None, advice=ADVICE)
    # It stays as it is, for somebody may have meant it, and it stays on the list.
    assert repair(place, "mona") == ([], [problem])
    assert ({path: path.read_bytes() for path in dest.iterdir()}, dump(place.ledger)) == before
    assert examine(place) == [problem]
    # What the advice says helps.
    dest.rename(dest.with_name("away"))
    export(shop, place)
    assert examine(place) == []
    assert place.looked.unchecked == [
        "exports whose place this workspace does not know: 1; see `governance version verify N DIR`"
    ]


def test_another_export_in_its_place_is_not_what_went_there(shop: Shop, place: Workplace) -> None:
    one, other = export(shop, place, "one"), export(shop, place, "other")
    assert examine(place) == []
    shutil.rmtree(one)
    shutil.copytree(other, one)
    (problem,) = examine(place)
    assert problem.problem == f"{one} is signed as something else than was exported there"


def test_a_directory_that_went_away_is_no_fault_and_not_called_well(
    shop: Shop, place: Workplace
) -> None:
    dest = export(shop, place)
    dest.rename(dest.with_name("elsewhere"))
    assert repair(place, "mona") == ([], [])
    assert place.looked.exports == 0
    assert place.looked.unchecked == [
        f"the export of version:shop/1 to {dest}, which is not there any more"
    ]
    dest.with_name("elsewhere").rename(dest)
    assert examine(place) == []
    assert (place.looked.exports, place.looked.unchecked) == (1, [])


def test_exports_of_another_workspace_are_said_to_be_unknown(
    shop: Shop, place: Workplace, tmp_path: Path
) -> None:
    versions.export(shop.tools, "otto", None, 1, tmp_path / "out", tmp_path / "theirs")
    assert examine(place) == []
    assert place.looked.unchecked == [
        "exports whose place this workspace does not know: 1; see `governance version verify N DIR`"
    ]


def test_a_note_without_an_export_is_said(shop: Shop, place: Workplace, tmp_path: Path) -> None:
    folder = place.settings.departures_dir / "sent"
    folder.mkdir(parents=True)
    Departure.of(folder, "sha256:" + "0" * 64, tmp_path / "out").begin()
    (problem,) = examine(place)
    assert problem.problem == "the ledger does not know this export"
    assert repair(place, "mona") == ([], [problem])


def test_a_crash_after_the_record_is_remembered_by_the_doctor(
    shop: Shop, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(versions, "settle", die)
        with pytest.raises(KeyboardInterrupt):
            export(shop, place)
    (problem,) = examine(place)
    assert problem.remedy == "keep this file with those of the exports on record"
    assert repair(place, "mona") == ([problem], [])
    assert begun(place.settings.departures_dir) == []
    assert examine(place) == []
    assert (place.looked.exports, place.looked.unchecked) == (1, [])


def test_no_place_of_an_export_gets_into_the_log(
    shop: Shop, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("complete", "settle"):
        with monkeypatch.context() as patch:
            patch.setattr(versions, "give_up", lambda *_: None)
            patch.setattr(versions, step, die)
            with pytest.raises(KeyboardInterrupt):
                export(shop, place, f"jane-roe-{step}")
    repaired, left = repair(place, "mona")
    assert (len(repaired), left) == (2, [])
    assert actions(place.ledger)[-1] == "doctor.repaired"
    assert all("jane-roe" in problem.problem for problem in repaired)
    assert "jane-roe" not in str(dump(place.ledger)["events"])
