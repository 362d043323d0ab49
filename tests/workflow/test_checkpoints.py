"""Signed tree heads: taken with their event, carried outside whatever happens in between."""

import json
import sys
from base64 import b64decode
from pathlib import Path

import pytest

from governance.audit.verify import verify
from governance.digests import digest_bytes, load_json
from governance.errors import IntegrityError, RefusedError, UnavailableError
from governance.evidence import note as notes
from governance.evidence.keys import PublicKey
from governance.evidence.merkle import Frontier
from governance.ledger import checkpoints as heads
from governance.ledger.checkpoints import key_name, origin, stored
from governance.ledger.database import Ledger
from governance.ledger.events import stream
from governance.ledger.lookup import find_actor
from governance.ledger.tree import leaf
from governance.outside import file_name
from governance.states import Role
from governance.workflow import actors, release, versions
from governance.workflow.checkpoints import SENT, TAG, Anchors, Head, spread, take
from tests.heads import found, grow
from tests.workflow.helpers import actions, dump, gates
from tests.workflow.shop import Shop
from tests.workflow.test_release import LOOSE


@pytest.fixture
def log(ledger: Ledger) -> Ledger:
    """A ledger with a few people and keys of its own."""
    return found(ledger)


@pytest.fixture
def anchors(tmp_path: Path) -> Anchors:
    return Anchors(tmp_path / "checkpoints", tmp_path / "elsewhere")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_checkpoint_is_the_signed_head_of_all_events_before_it(log: Ledger) -> None:
    before = len(actions(log))
    head = take(log, "otto")
    with log.read() as session:
        events = list(stream(session))
        key = PublicKey.from_base64(find_actor(session, "otto").keys[0].public_key)
        name, log_name = key_name(origin(session), "otto"), origin(session)
        (row,) = stored(session)
    signed, signatures = notes.verify(head.note, {name: key})
    tree = Frontier()
    tree.extend(leaf(event.digest) for event in events[:-1])
    assert (signed.origin, signed.size, signed.root) == (log_name, before, tree.root())
    assert [line.name for line in signatures] == [name]
    assert head == Head(before, tree.root().hex(), key.key_id, row.note)
    last = events[-1]
    assert (last.action, last.subject, last.actor) == (
        "checkpoint.taken",
        f"checkpoint:{before}",
        "otto",
    )
    assert events[-2].at <= signed.time <= last.at
    assert load_json(last.payload)["checkpoint"] == {
        "size": before,
        "root": head.root,
        "key_id": key.key_id,
        "note": digest_bytes(head.note.encode()),
        "taken_at": signed.time,
    }
    assert verify(log).ok


def test_who_may_not_take_one_is_refused_on_record(log: Ledger) -> None:
    actors.add(log, "ada", "dmitri", [Role.APPROVER])
    with pytest.raises(RefusedError, match=r"checkpoint\.take needs"):
        take(log, "dmitri")
    assert actions(log)[-1] == "checkpoint.refused"
    with log.read() as session:
        assert list(stored(session)) == []
    assert verify(log).ok


def test_without_its_event_there_is_no_checkpoint(
    log: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dump(log)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(heads, "append", fail)
    with pytest.raises(OSError, match="disk full"):
        take(log, "otto")
    assert dump(log) == before


def test_a_release_signs_the_head_behind_it_in_the_same_transaction(
    shop: Shop, tmp_path: Path
) -> None:
    assert actions(shop.ledger).count("checkpoint.taken") == 1  # with the registration
    versions.apply(shop.tools, "mona", [shop.approved("mug")])
    gates(shop.ledger, LOOSE)
    release.promote(shop.ledger, shop.registry, "mona", None, 2)
    assert actions(shop.ledger)[-3:] == ["version.promoted", "request.released", "checkpoint.taken"]
    places = Anchors(tmp_path / "checkpoints", registry=lambda: shop.registry)  # type: ignore[arg-type, return-value]
    assert spread(shop.ledger, places).failures == {}
    with shop.ledger.read() as session:
        kept = [row.note for row in stored(session)]
    assert shop.registry.version_tags("shop", "2")[TAG] == kept[-1]
    release.roll_back(shop.ledger, shop.registry, "mona", None, None, "a reason")
    assert actions(shop.ledger)[-1] == "checkpoint.taken"
    spread(shop.ledger, places)
    assert shop.registry.version_tags("shop", "2")[TAG] == kept[-1]  # as it was released
    assert shop.registry.version_tags("shop", "1")[TAG] != kept[0]
    versions.apply(shop.tools, "mona", [1])
    gates(shop.ledger, LOOSE)
    release.promote(shop.ledger, shop.registry, "mona", None, 3)
    versions.drop(shop.tools, "mona", 1, "a reason")
    assert actions(shop.ledger)[-1] == "checkpoint.taken"
    spread(shop.ledger, places)
    assert len(names(places.workspace)) == 5
    assert verify(shop.ledger, registry=lambda: shop.registry).ok


def test_notes_lie_in_every_directory_readable_by_all(log: Ledger, anchors: Anchors) -> None:
    head = take(log, "otto")
    assert spread(log, anchors).failures == {}
    assert anchors.directory is not None
    for directory in (anchors.workspace, anchors.directory):
        path = directory / file_name(head.size)
        assert path.read_text() == head.note
        assert path.stat().st_mode & 0o777 == 0o644
    before = path.stat().st_mtime_ns
    assert spread(log, anchors).failures == {}
    assert path.stat().st_mtime_ns == before


def test_what_is_missing_is_made_up_for(log: Ledger, anchors: Anchors) -> None:
    take(log, "otto")  # and then the machine stopped
    grow(log, "olga")
    take(log, "mona")
    spread(log, anchors)
    found_names = names(anchors.workspace)
    assert len(found_names) == 2
    (anchors.workspace / found_names[0]).unlink()
    take(log, "otto")
    spread(log, anchors)
    assert len(names(anchors.workspace)) == 3
    assert names(anchors.workspace) == sorted(names(anchors.workspace))


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_note_is_written_wholly_or_not_at_all(
    log: Ledger,
    anchors: Anchors,
    monkeypatch: pytest.MonkeyPatch,
    problem: BaseException,
    call: str,
) -> None:
    take(log, "otto")

    def fail(*_: object) -> None:
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(call, fail)
        if isinstance(problem, OSError):
            failures = spread(log, anchors).failures
            assert len(failures) == 2
            assert "No space left on device" in str(next(iter(failures.values())))
        else:
            with pytest.raises(KeyboardInterrupt):
                spread(log, anchors)
    assert names(anchors.workspace) == []
    assert spread(log, anchors).failures == {}
    assert len(names(anchors.workspace)) == 1


def test_another_note_is_never_overwritten(log: Ledger, anchors: Anchors) -> None:
    head = take(log, "otto")
    anchors.workspace.mkdir()
    other = anchors.workspace / file_name(head.size)
    other.write_text("what the log was before")
    grow(log, "olga")
    take(log, "otto")
    failures = spread(log, anchors).failures
    assert other.read_text() == "what the log was before"
    assert len(names(anchors.workspace)) == 2
    (error,) = failures.values()
    assert isinstance(error, IntegrityError)
    assert str(other) in str(error)


def test_one_place_that_fails_does_not_keep_the_others(log: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    places = Anchors(tmp_path / "checkpoints", tmp_path / "file" / "x", ("/no/such/program",))
    take(log, "otto")
    failures = spread(log, places).failures
    assert list(failures) == [f"the anchor directory {tmp_path}/file/x", "the anchor command"]
    assert all(isinstance(error, UnavailableError) for error in failures.values())
    assert len(names(places.workspace)) == 1
    assert verify(log).ok


PROGRAM = """\
import json, os, sys
note = sys.stdin.buffer.read().decode()
with open(sys.argv[1], "a") as file:
    secrets = [name for name, value in os.environ.items() if value == "a secret"]
    file.write(json.dumps([note, os.environ["GOVERNANCE_CHECKPOINT_SIZE"], secrets, sys.argv[2:]]) + "\\n")
"""


def test_the_command_gets_each_newest_note_once(
    log: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEY", "KEY_PASSPHRASE", "NEW_KEY_PASSPHRASE", "DATA_KEY"):
        monkeypatch.setenv(f"GOVERNANCE_{name}", "a secret")
    out, word = tmp_path / "out.jsonl", "$HOME; touch x"
    command = (sys.executable, "-c", PROGRAM, str(out), word)
    places = Anchors(tmp_path / "checkpoints", command=command)
    taken = [take(log, "otto"), take(log, "otto")]
    for _ in range(2):
        assert spread(log, places).failures == {}
    taken.append(take(log, "otto"))
    spread(log, places)
    said = [json.loads(line) for line in out.read_text().splitlines()]
    assert said == [[head.note, str(head.size), [], [word]] for head in (taken[1], taken[2])]
    assert (places.workspace / SENT).read_text() == taken[2].note


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; sys.exit('the vault is shut')", "ended with code 1: the vault is shut"),
        ("import time; time.sleep(30)", "took longer than 0.5 s"),
    ],
)
def test_a_command_that_fails_is_tried_again(
    log: Ledger, tmp_path: Path, program: str, message: str
) -> None:
    places = Anchors(
        tmp_path / "checkpoints", command=(sys.executable, "-c", program), timeout_s=0.5
    )
    take(log, "otto")
    for _ in range(2):
        assert message in str(spread(log, places).failures["the anchor command"])


def test_without_a_checkpoint_nothing_is_written(log: Ledger, anchors: Anchors) -> None:
    assert spread(log, anchors).failures == {}
    assert not anchors.workspace.exists()


def test_the_name_of_a_key_holds_no_plus(log: Ledger) -> None:
    actors.add(log, "ada", "a+b@x", [Role.AUDITOR])
    note = take(log, "a+b@x").note
    assert "/a%2Bb@x " in note
    assert len(b64decode(note.split()[-1])) == 68
    assert verify(log, {"kept": note}).ok
