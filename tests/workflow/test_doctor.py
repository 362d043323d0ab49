"""The doctor finds each kind of damage, repairs what can be repaired, and puts it on record."""

import os
from pathlib import Path
from time import time

import pytest

from governance.errors import ConflictError, RefusedError
from governance.evidence.keys import SigningKey, short_id, write_key
from governance.ledger.events import append
from governance.ledger.intents import VERSION, open_intents
from governance.registry import ABANDONED_TAG, Artifacts
from governance.settings import Settings
from governance.workflow import versions
from governance.workflow.checkpoints import Anchors, spread
from governance.workflow.doctor import ASIDE, Workplace, examine, repair
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


def test_what_cannot_be_repaired_is_said(place: Workplace, shop: Shop) -> None:
    shop.registry.register("shop", "a stranger's", 7, "?", Artifacts())
    repaired, left = repair(place, "mona")
    assert repaired == []
    (problem,) = left
    assert problem.to_dict() == {
        "where": "MLflow: its version 2 of shop",
        "problem": "the ledger does not know it; somebody else registered it",
        "remedy": None,
    }


def test_files_are_written_again_set_aside_and_removed(place: Workplace) -> None:
    settings, key = place.settings, SigningKey.generate()
    note = next(settings.checkpoint_dir.glob("*.txt"))
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


def test_only_some_may_repair(place: Workplace, shop: Shop) -> None:
    intend(shop)
    with pytest.raises(RefusedError, match=r"doctor\.repair needs admin or mlops"):
        repair(place, "dmitri")
    with place.ledger.read() as session:
        assert len(open_intents(session)) == 1
