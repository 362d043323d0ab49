"""Exported directories against the ledger: who signed, what they are, and whether they still are it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from sqlalchemy import select

from governance.audit.verify import verify
from governance.clip.load import load_model
from governance.clip.source import WEIGHTS_NAME, parse_source
from governance.demo import LABELS_FILE
from governance.errors import (
    ConflictError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
)
from governance.evidence.artifact import (
    SIGNATURE_NAME,
    read_signature,
    sign_directory,
    verify_directory,
)
from governance.evidence.keys import SigningKey
from governance.ledger.checkpoints import origin
from governance.ledger.database import Ledger
from governance.ledger.events import append, stream
from governance.ledger.intents import abandon, open_intents
from governance.ledger.lookup import find_model, find_version
from governance.ledger.signers import signer_of
from governance.ledger.tables import Event
from governance.unlearning.labels import parse_labels
from governance.workflow import actors, exports, models, versions
from governance.workflow.departures import begun
from governance.workflow.exports import verify_export
from governance.workflow.tools import Tools
from governance.workflow.verification import verify_version
from tests.fakes import FakeRun
from tests.workflow.helpers import actions, holds
from tests.workflow.shop import Shop


def export(shop: Shop, place: Path, actor: str = "otto", number: int = 1) -> Path:
    versions.export(shop.tools, actor, None, number, place, place.parent / "departures")
    return place


def last(ledger: Ledger) -> tuple[int, str, str | None, Any]:
    """Number, predecessor, key and payload of the newest event."""
    with ledger.read() as session:
        event = session.scalars(select(Event).order_by(Event.seq.desc())).first()
        assert event is not None
        return event.seq, event.prev_digest, event.key_id, json.loads(event.payload)


def signer(shop: Shop, actor: str) -> SigningKey:
    with shop.ledger.read() as session:
        key = signer_of(session, actor)
        assert key is not None
        return key


def forged(place: Path, key: SigningKey, **changes: Any) -> None:
    """The directory, signed again with other facts."""
    signed = read_signature(place)
    facts = {name: value for name, value in signed.facts.items() if name != "signer"}
    sign_directory(place, signed.name, facts | changes, key)


def test_an_export_states_what_the_ledger_has(shop: Shop, tmp_path: Path) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    name, dest, exported = versions.export(
        shop.tools, "otto", None, 2, tmp_path / "out", tmp_path / "departures", "fp16"
    )
    seq, prev_digest, key_id, payload = last(shop.ledger)
    signed = verify_directory(dest, key_id)
    assert payload["statement_digest"] == signed.statement_digest == exported["statement_digest"]
    assert exported["key_id"] == key_id == signer(shop, "otto").key_id
    assert signed.name == "shop/2"
    with shop.ledger.read() as session:
        model = find_model(session, name)
        version = find_version(session, model, 2)
        assert {k: v for k, v in signed.facts.items() if k != "signer"} == {
            "model": "shop",
            "version": 2,
            "version_digest": version.digest,
            "weights_digest": version.weights_digest,
            "base_weights_digest": model.weights_digest,
            "active_requests": [mug],
            "precision": "fp16",
            "exported_weights_digest": payload["exported_weights_digest"],
            "ledger": {"origin": origin(session), "size": seq - 1, "head": prev_digest},
        }
    assert "otto" not in (dest / SIGNATURE_NAME).read_text() + json.dumps(dict(signed.facts))
    assert verify_export(shop.ledger, None, 2, dest) == (signed, "otto")
    assert holds(shop.ledger)


def test_stock_open_clip_loads_a_signed_directory(shop: Shop, tmp_path: Path) -> None:
    dest = export(shop, tmp_path / "out")
    stock, _ = open_clip.create_model_from_pretrained(f"local-dir:{dest}")
    ours = load_model(parse_source(str(dest), None))
    assert all(torch.equal(t, ours.module.state_dict()[k]) for k, t in stock.state_dict().items())


@pytest.mark.parametrize(
    "name", ["open_clip_config.json", WEIGHTS_NAME, SIGNATURE_NAME, "README.md"]
)
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_one_byte_of_any_file_is_found_by_ledger_and_loader(
    shop: Shop, tmp_path: Path, name: str, where: float
) -> None:
    dest = export(shop, tmp_path / "out")
    assert {path.name for path in dest.iterdir()} == {
        "open_clip_config.json",
        WEIGHTS_NAME,
        SIGNATURE_NAME,
        "README.md",
    }
    content = bytearray((dest / name).read_bytes())
    content[int(where * (len(content) - 1))] ^= 1
    (dest / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=name):
        verify_export(shop.ledger, None, 1, dest)
    with pytest.raises(IntegrityError, match=name):
        load_model(parse_source(str(dest), None))


def test_a_directory_without_signature_loads_as_before(shop: Shop, tmp_path: Path) -> None:
    dest = export(shop, tmp_path / "out")
    (dest / SIGNATURE_NAME).unlink()
    (dest / "README.md").write_text("mine")
    source = parse_source(str(dest), None)
    assert load_model(source).signed is None
    with pytest.raises(IntegrityError, match="is not signed"):
        load_model(source, trusted=signer(shop, "otto").key_id)
    with pytest.raises(NotFoundError, match="is not signed"):
        verify_export(shop.ledger, None, 1, dest)


def test_an_export_can_be_registered_and_the_event_says_who_signed(
    shop: Shop, tmp_path: Path
) -> None:
    dest = export(shop, tmp_path / "out")
    key_id = signer(shop, "otto").key_id
    source, labels = (
        parse_source(str(dest), None),
        parse_labels(LABELS_FILE.read_text(), toml=True),
    )
    stranger = SigningKey.generate().key_id
    with pytest.raises(IntegrityError, match="signed with key"):
        models.register(shop.tools, "mona", "second", source, labels, stranger)
    models.register(shop.tools, "mona", "second", source, labels, key_id)
    with shop.ledger.read() as session:
        (event,) = stream(session, "model:second")
    assert json.loads(event.payload)["signed"] == {
        "key_id": key_id,
        "statement_digest": read_signature(dest).statement_digest,
    }
    assert holds(shop.ledger)

    (dest / "more.bin").write_bytes(b"")
    fresh = Tools(shop.ledger, shop.registry, type(shop.tools.encoder)(tmp_path / "cache"))
    with shop.ledger.read() as session:
        base = models.base_model(find_model(session, "second"))
    with pytest.raises(IntegrityError, match=r"'more\.bin' was not there"):
        fresh.encoder.model(base)


def test_old_exports_verify_after_rotation_and_deactivation(shop: Shop, tmp_path: Path) -> None:
    old = export(shop, tmp_path / "old")
    actors.rotate_key(shop.ledger, "otto", "otto", "a new laptop")
    new = export(shop, tmp_path / "new")
    assert read_signature(old).key != read_signature(new).key
    for place in (old, new):
        verify_export(shop.ledger, None, 1, place)
    actors.deactivate(shop.ledger, "ada", "otto", "left")
    for place in (old, new):
        verify_export(shop.ledger, None, 1, place)
    with pytest.raises(RefusedError):
        export(shop, tmp_path / "late")
    assert not (tmp_path / "late").exists()


def test_a_retired_key_signs_no_new_export(shop: Shop, tmp_path: Path) -> None:
    old = signer(shop, "otto")
    dest = export(shop, tmp_path / "out")
    actors.rotate_key(shop.ledger, "otto", "otto", "stolen")
    versions.export(shop.tools, "otto", None, 1, tmp_path / "new", tmp_path / "departures")
    signed = read_signature(tmp_path / "new")
    facts = {name: value for name, value in signed.facts.items() if name != "signer"}
    sign_directory(dest, signed.name, facts, old)
    with pytest.raises(IntegrityError, match="has no export of version 1"):
        verify_export(shop.ledger, None, 1, dest)


def test_an_unknown_key(shop: Shop, tmp_path: Path) -> None:
    dest = export(shop, tmp_path / "out")
    (dest / WEIGHTS_NAME).write_bytes(b"other weights")
    forged(dest, SigningKey.generate())
    with pytest.raises(IntegrityError, match="has no export of version 1"):
        verify_export(shop.ledger, None, 1, dest)


@pytest.mark.parametrize(
    "changes",
    [
        {"version_digest": "sha256:" + "0" * 64},
        {"active_requests": [1]},
        {"ledger": {}},
        {"more": "words"},
    ],
)
def test_a_statement_that_the_ledger_does_not_know(
    shop: Shop, tmp_path: Path, changes: dict[str, Any]
) -> None:
    dest = export(shop, tmp_path / "out")
    forged(dest, signer(shop, "otto"), **changes)
    verify_directory(dest, signer(shop, "otto").key_id)
    with pytest.raises(IntegrityError, match="has no export of version 1"):
        verify_export(shop.ledger, None, 1, dest)


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"version_digest": "sha256:" + "0" * 64}, "another version_digest"),
        ({"active_requests": [1]}, "another active_requests"),
        ({"ledger": {"origin": "elsewhere", "size": 1, "head": ""}}, "another log"),
        ({"ledger": {"size": 10**9}}, "another log"),
        ({"ledger": {"size": -(2**53) + 1}}, "another log"),
        ({"ledger": {"size": True}}, "another log"),
        ({"ledger": None}, "another log"),
    ],
)
def test_an_exporter_who_signs_and_records_something_else(
    shop: Shop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    facts: dict[str, Any],
    problem: str,
) -> None:
    def sign(directory: Path, **kwargs: Any) -> str:
        return sign_directory(directory, **(kwargs | {"facts": kwargs["facts"] | facts}))

    monkeypatch.setattr(versions, "sign_directory", sign)
    dest = export(shop, tmp_path / "out")
    with pytest.raises(IntegrityError, match=problem):
        verify_export(shop.ledger, None, 1, dest)


def test_the_wrong_version(shop: Shop, tmp_path: Path) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    dest = export(shop, tmp_path / "out", number=2)
    with pytest.raises(IntegrityError, match="has no export of version 1"):
        verify_export(shop.ledger, None, 1, dest)
    with pytest.raises(NotFoundError, match="no version 9"):
        verify_export(shop.ledger, None, 9, dest)


def test_the_export_of_another_ledger(make_shop: Any, tmp_path: Path) -> None:
    one, two = make_shop(), make_shop()
    dest = export(one, tmp_path / "out")
    with pytest.raises(IntegrityError, match="has no export of version 1"):
        verify_export(two.ledger, None, 1, dest)


def test_a_key_that_changes_meanwhile(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sign(directory: Path, **kwargs: Any) -> str:
        actors.rotate_key(shop.ledger, "otto", "otto", "just now")
        return sign_directory(directory, **kwargs)

    monkeypatch.setattr(versions, "sign_directory", sign)
    with pytest.raises(ConflictError, match="another key meanwhile"):
        export(shop, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert actions(shop.ledger)[-3:] == [
        "version.export_intended", "actor.key_rotated", "version.abandoned"
    ]  # fmt: skip
    assert begun(tmp_path / "departures") == []
    assert holds(shop.ledger)


def test_a_version_that_is_as_recorded(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    name, digests = verify_version(shop.tools, None, 2)
    assert name == "shop"
    assert digests.keys() == {
        "version",
        "weights",
        "artifacts",
        "factors.safetensors",
        "changed.safetensors",
    }
    assert verify_version(shop.tools, "shop", 1)[1].keys() == {"version", "weights", "artifacts"}


def replace_tensors(shop: Shop, file: str, change: Any) -> None:
    """Let MLflow hold something else in a file of version 2."""
    with shop.ledger.read() as session:
        run_id = find_version(session, find_model(session, "shop"), 2).run_id
    run = shop.registry.runs[run_id]
    tensors = dict(run.artifacts.tensors)
    change(tensors, file)
    artifacts = replace(run.artifacts, tensors=tensors)
    shop.registry.runs[run_id] = replace(run, artifacts=artifacts)


def nudge(tensors: dict[str, Any], file: str) -> None:
    name, tensor = next(iter(tensors[file].items()))
    changed = tensor.clone()
    changed.view(-1)[0] += 1e-3
    tensors[file] = {**tensors[file], name: changed}


def drop(tensors: dict[str, Any], file: str) -> None:
    del tensors[file]


@pytest.mark.parametrize("change", [nudge, drop])
@pytest.mark.parametrize("file", ["factors.safetensors", "changed.safetensors"])
def test_other_tensors_in_mlflow(shop: Shop, file: str, change: Any) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    replace_tensors(shop, file, change)
    with pytest.raises(IntegrityError, match=file):
        verify_version(shop.tools, None, 2)


def run_of(shop: Shop, number: int) -> FakeRun:
    with shop.ledger.read() as session:
        run_id = find_version(session, find_model(session, "shop"), number).run_id
    return shop.registry.runs[run_id]


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("name", ["served.py", "MLmodel", "README.md", "labels.json"])
def test_another_byte_of_an_artifact_in_mlflow(shop: Shop, number: int, name: str) -> None:
    versions.apply(shop.tools, "mona", [shop.approved("mug")])
    files = run_of(shop, number).files
    files[name] += b" "
    with pytest.raises(IntegrityError, match=f"artifacts of shop/{number} do not hold.*{name}"):
        verify_version(shop.tools, None, number)
    del files[name]
    with pytest.raises(IntegrityError, match=f"{name}' is missing"):
        verify_version(shop.tools, None, number)


def test_artifacts_that_somebody_else_signed(shop: Shop, tmp_path: Path) -> None:
    """With a valid key of the workspace even: they are not those that the log has."""
    versions.apply(shop.tools, "mona", [shop.approved("mug")])
    run = run_of(shop, 2)
    for name, data in run.files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "README.md").write_text("Nothing was unlearned.")
    forged(tmp_path, signer(shop, "otto"))
    run.files.update({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    with pytest.raises(IntegrityError, match="are not those that the ledger knows"):
        verify_version(shop.tools, None, 2)


def test_artifacts_of_another_version_in_its_place(shop: Shop) -> None:
    versions.apply(shop.tools, "mona", [shop.approved("mug")])
    held = run_of(shop, 2).files
    held.clear()
    held.update(run_of(shop, 1).files)
    with pytest.raises(IntegrityError, match="artifacts of shop/2 are signed for another version"):
        verify_version(shop.tools, None, 2)


@pytest.mark.parametrize(
    "tag", ["governance.digest", "governance.weights_digest", "governance.active_requests"]
)
def test_another_tag_in_mlflow(shop: Shop, tag: str) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    shop.registry.versions["shop"][-1].tags[tag] = "[]"
    with pytest.raises(IntegrityError, match=tag):
        verify_version(shop.tools, None, 2)


def test_other_weights_than_recorded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from governance.workflow import verification

    monkeypatch.setattr(verification, "weights_digest_with", lambda *_: "sha256:00")
    with pytest.raises(IntegrityError, match="gives other weights"):
        verify_version(shop.tools, None, 1)


def _copy(event: Event, **changes: Any) -> Event:
    names = [column.name for column in Event.__table__.columns]
    return Event(**{name: getattr(event, name) for name in names} | changes)


def test_who_signed_is_read_from_the_log(shop: Shop, tmp_path: Path) -> None:
    export(shop, tmp_path / "out")
    old = signer(shop, "otto").public
    actors.rotate_key(shop.ledger, "otto", "otto", "a new laptop")
    new = signer(shop, "otto").public
    with shop.ledger.read() as session, session.no_autoflush:
        events = list(session.scalars(select(Event).order_by(Event.seq)))
        event = next(event for event in events if event.action == "version.export_intended")
        end = event.seq + 1
        exports._check_signer(session, event, end, old)
        with pytest.raises(IntegrityError, match="was not otto's at event"):
            exports._check_signer(session, event, end, new)
        with pytest.raises(IntegrityError, match="was not otto's at event"):
            exports._check_signer(session, event, len(events) + 1, old)
        with pytest.raises(IntegrityError, match="another key than the directory"):
            exports._check_signer(session, _copy(event, key_id=new.key_id), end, old)
        for changes in (
            {"payload": "{}"},
            {"at": "2000-01-01T00:00:00.000000+00:00"},
            {"signature": events[0].signature},
            {"signature": "?"},
        ):
            with pytest.raises(IntegrityError, match="a signature that does not hold"):
                exports._check_signer(session, _copy(event, **changes), end, old)


class Killed(BaseException):
    """As by SIGKILL: nothing is tidied up."""


@pytest.fixture
def killed_before_record(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An export ends when its directory has its name and the ledger does not know it."""

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(versions, "complete", die)
    monkeypatch.setattr(versions, "give_up", lambda *_: None)
    return monkeypatch


def test_repeating_a_killed_export_records_the_directory_that_is_there(
    shop: Shop, tmp_path: Path, killed_before_record: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        export(shop, tmp_path / "out")
    killed_before_record.undo()
    with pytest.raises(IntegrityError, match="has no export of version 1"):
        verify_export(shop.ledger, None, 1, tmp_path / "out")
    with pytest.raises(InvalidInputError, match="not empty"):
        export(shop, tmp_path / "out", actor="mona")  # somebody else's
    with pytest.raises(InvalidInputError, match="not empty"):  # another precision
        versions.export(
            shop.tools, "otto", None, 1, tmp_path / "out", tmp_path / "departures", "fp16"
        )
    dest = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in dest.iterdir()}
    _, _, said = versions.export(shop.tools, "otto", None, 1, dest, tmp_path / "departures")
    assert {path.name: path.read_bytes() for path in dest.iterdir()} == before
    _, _, fresh = versions.export(
        shop.tools, "otto", None, 1, tmp_path / "new", tmp_path / "departures"
    )
    assert said.keys() == fresh.keys()
    assert said["load"] == fresh["load"].replace("new", "out")
    assert verify_export(shop.ledger, None, 1, dest)[1] == "otto"
    assert begun(tmp_path / "departures") == []
    with shop.ledger.read() as session:
        assert open_intents(session) == []
    assert holds(shop.ledger)


def test_an_export_that_somebody_else_recorded_is_left_alone(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest, departures, record = tmp_path / "out", tmp_path / "departures", versions.complete

    def late(*args: Any) -> Any:
        monkeypatch.setattr(versions, "complete", record)
        export(shop, dest)  # the same command, while the first one is about to record
        return record(*args)

    monkeypatch.setattr(versions, "complete", late)
    with pytest.raises(ConflictError, match="ended this step of version:shop/1 meanwhile"):
        export(shop, dest)
    assert verify_export(shop.ledger, None, 1, dest)[1] == "otto"
    assert begun(departures) == []
    assert actions(shop.ledger).count("version.exported") == 1
    assert holds(shop.ledger)


def test_an_export_that_the_doctor_ended_is_taken_back(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = versions.complete

    def late(ledger: Ledger, actor: str, intent: str, statement: str) -> Any:
        with ledger.write() as session:
            abandon(session, "mona", "version:shop/1", intent)
        return record(ledger, actor, intent, statement)

    monkeypatch.setattr(versions, "complete", late)
    with pytest.raises(ConflictError, match="ended this step of version:shop/1 meanwhile"):
        export(shop, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert begun(tmp_path / "departures") == []
    assert holds(shop.ledger)


def test_a_failed_export_leaves_its_intent_ended_and_nothing_else(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(directory: Path, **_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(versions, "sign_directory", full)
    with pytest.raises(OSError, match="No space"):
        export(shop, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["departures"]
    assert begun(tmp_path / "departures") == []
    assert actions(shop.ledger)[-2:] == ["version.export_intended", "version.abandoned"]
    assert holds(shop.ledger)


def test_an_outcome_needs_an_intent(shop: Shop, tmp_path: Path) -> None:
    export(shop, tmp_path / "out")
    _, _, _, payload = last(shop.ledger)
    for intent in ({}, {"intent": payload["intent"]}):  # none, and one that has ended
        with shop.ledger.write() as session:
            rest = {name: value for name, value in payload.items() if name != "intent"}
            event = append(session, "otto", "version.exported", "version:shop/1", rest | intent)
        assert f"event {event.seq}" in {fault.where for fault in verify(shop.ledger).faults}


def test_only_who_announced_it_and_the_doctor_abandon(shop: Shop) -> None:
    with shop.ledger.read() as session:
        digest = find_version(session, find_model(session, None), 1).digest
    for actor, fine in (("otto", True), ("mona", True), ("dmitri", False)):
        with shop.ledger.write() as session:
            payload = {"version_digest": digest}
            intent = append(session, "otto", "version.export_intended", "version:shop/1", payload)
            abandon(session, actor, "version:shop/1", intent.digest)
        assert holds(shop.ledger) == fine
