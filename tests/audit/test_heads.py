"""Tree heads kept outside the ledger find what the log alone cannot show; keys count for their time only."""

from collections.abc import Callable
from pathlib import Path

import pytest

from governance.audit.fault import Fault
from governance.audit.verify import Verification, verify
from governance.errors import IntegrityError, InvalidInputError, RefusedError, UnavailableError
from governance.evidence import note as notes
from governance.evidence.keyring import MemoryKeyring
from governance.evidence.keys import SigningKey
from governance.ledger.checkpoints import key_name, origin
from governance.ledger.database import Ledger
from governance.ledger.events import append
from governance.outside import read_notes
from governance.states import Role
from governance.workflow import actors
from governance.workflow.checkpoints import TAG, Anchors, spread, take
from tests.databases import Databases, make_template
from tests.heads import Mirrored, found, grow, populate
from tests.ledger.tampering import raw, tamper


@pytest.fixture
def log(ledger: Ledger) -> Ledger:
    """A ledger with a few people and keys of its own."""
    return found(ledger)


def cut(ledger: Ledger, size: int, *names: str) -> None:
    """Take away every event behind the first `size`, and the records that only they speak of."""
    people = ", ".join(f"'{name}'" for name in names)
    tamper(
        ledger,
        ("DELETE FROM events WHERE seq > ?", [size]),
        ("DELETE FROM checkpoints WHERE size >= ?", [size]),
        f"DELETE FROM actor_keys WHERE actor_id IN (SELECT id FROM actors WHERE name IN ({people}))",
        f"DELETE FROM actors WHERE name IN ({people})",
    )


def problems(result: Verification) -> dict[str, str]:
    """What was found, but for the missing triggers, which is how the test got in."""
    return {f.where: f.problem for f in result.faults if f.where != "the schema"}


@pytest.mark.parametrize("place", ["workspace", "anchor", "MLflow", "file"])
def test_a_cut_tail_is_found_by_any_one_copy_outside(
    cases: Ledger, tmp_path: Path, place: str
) -> None:
    mlflow = Mirrored.of(cases)
    places = Anchors(tmp_path / "own", tmp_path / "anchor", registry=lambda: mlflow)  # type: ignore[arg-type, return-value]
    size = len(raw(cases, "SELECT seq FROM events"))
    grow(cases, "olga", "oskar")
    head = take(cases, "mona")
    assert spread(cases, places).failures == {}
    cut(cases, size, "olga", "oskar")
    assert problems(verify(cases)) == {}  # log and tables agree, so nothing in them tells
    kept: dict[str, str] = {}
    if place in ("workspace", "anchor"):
        kept = read_notes(tmp_path / {"workspace": "own"}.get(place, place))
    elif place == "file":
        kept = {"kept.txt": head.note}
    asked = (lambda: mlflow) if place == "MLflow" else None
    found_problems = problems(verify(cases, kept, registry=asked))
    message = f"it vouches for {head.size} events, but the log ends after {size}: the tail was cut"
    assert message in found_problems.values()
    ((where, _),) = [item for item in found_problems.items() if item[1] == message]
    assert {"workspace": "/own/", "anchor": "/anchor/", "MLflow": f"MLflow: version 2 of shop: tag {TAG}",
            "file": "kept.txt"}[place] in where  # fmt: skip


def test_a_log_written_anew_with_other_keys_is_another_log(
    log: Ledger, make_ledger: Callable[[], Ledger]
) -> None:
    kept = take(log, "otto").note
    other = found(make_ledger())
    take(other, "otto")
    assert problems(verify(other)) == {}
    (problem,) = problems(verify(other, {"kept": kept})).values()
    assert problem.startswith("it is a checkpoint of another log, clip-governance/ledger/")


def test_a_log_written_anew_from_its_second_half_with_stolen_keys_is_found(
    databases: Databases, migrated: str, copy_ledger: Callable[[str], Ledger]
) -> None:
    template = make_template(databases, populate, migrated)
    log, copy = copy_ledger(template), copy_ledger(template)
    grow(log, "olga")
    kept = take(log, "otto")
    grow(copy, "oskar")
    take(copy, "otto")
    assert problems(verify(copy)) == {}
    (problem,) = problems(verify(copy, {"kept": kept.note})).values()
    assert problem == (
        f"the first {kept.size} events are others than those it vouches for: the log was rewritten"
    )
    result = verify(log, {"kept": kept.note})
    assert (result.ok, result.outside, result.anchored) == (True, 1, kept.size)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda note: note[:40], "it is no checkpoint"),
        (lambda note: "", "it is no checkpoint"),
        (lambda note: "\ufffd" + note, "another log"),
        (lambda note: note.replace("\ntime 20", "\ntime 19"), "the signature of"),
        (lambda note: note.replace("/otto ", "/mona "), "no known key signed"),
        (lambda note: note.replace("/otto ", "/eve "), "no known key signed"),
    ],
)
def test_a_damaged_note_is_found(log: Ledger, damage: Callable[[str], str], message: str) -> None:
    note = damage(take(log, "otto").note)
    (problem,) = problems(verify(log, {"kept": note})).values()
    assert message in problem
    assert verify(log, {"kept": note}).anchored == 0


def test_a_note_that_somebody_unknown_signed_vouches_for_nothing(log: Ledger) -> None:
    with log.read() as session:
        name = key_name(origin(session), "otto")
    signed, _ = notes.parse(take(log, "otto").note)
    forged = signed.sign(SigningKey.generate(), name)
    (problem,) = problems(verify(log, {"kept": forged})).values()
    assert "no known key signed" in problem


def test_a_note_changed_in_the_table_is_found(log: Ledger) -> None:
    take(log, "otto")
    tamper(log, "UPDATE checkpoints SET note = replace(note, 'time 20', 'time 19')")
    assert "checkpoint 1" in problems(verify(log))


def test_what_a_key_signed_stays_valid_after_rotation_and_deactivation(log: Ledger) -> None:
    old = take(log, "otto").note
    actors.rotate_key(log, "otto", "otto", "a new laptop")
    new = take(log, "otto").note
    actors.deactivate(log, "ada", "otto", "left")
    result = verify(log, {"old": old, "new": new})
    assert result.faults == ()
    assert result.checked["signatures"] == result.events


def test_the_retired_key_is_gone_and_signs_nothing(log: Ledger) -> None:
    assert isinstance(log.keys, MemoryKeyring)
    (old,) = log.keys.keys_of("otto")
    actors.rotate_key(log, "otto", "otto", "a new laptop")
    (new,) = log.keys.keys_of("otto")
    assert new.key_id != old.key_id
    log.keys.discard("otto", new)
    log.keys.add("otto", old)
    with pytest.raises(RefusedError, match="no signing key here"):
        take(log, "otto")


@pytest.mark.parametrize("end", ["rotation", "deactivation"])
def test_an_event_signed_with_a_key_after_its_time_is_found(log: Ledger, end: str) -> None:
    assert isinstance(log.keys, MemoryKeyring)
    (old,) = log.keys.keys_of("otto")
    if end == "rotation":
        actors.rotate_key(log, "ada", "otto", "stolen")
    else:
        actors.deactivate(log, "ada", "otto", "left")
    with log.write() as session:
        session.info["signers"] = {"otto": old}
        seq = append(session, "otto", "report.exported", "report:1", {}).seq
    found = Fault(f"event {seq}", "is signed with a key that was not otto's at that point")
    for signatures in (True, False):
        faults = verify(log, signatures=signatures).faults
        assert faults[0] == found
        assert {fault.where for fault in faults} == {found.where}


def test_a_key_comes_neither_twice_nor_back(log: Ledger) -> None:
    assert isinstance(log.keys, MemoryKeyring)
    (old,) = log.keys.keys_of("otto")
    for public in (old.public, next(log.keys.keys_of("carla")).public):
        with pytest.raises(InvalidInputError, match="knows this public key already"):
            actors.rotate_key(log, "otto", "otto", "again", public)
        with pytest.raises(InvalidInputError, match="knows this public key already"):
            actors.add(log, "ada", "otto-2", [Role.AUDITOR], public)


def test_a_tag_that_the_ledger_does_not_know_stays(cases: Ledger, tmp_path: Path) -> None:
    mlflow = Mirrored.of(cases)
    places = Anchors(tmp_path / "checkpoints", registry=lambda: mlflow)  # type: ignore[arg-type, return-value]
    take(cases, "mona")
    assert spread(cases, places).failures == {}
    assert [TAG in mlflow.tags["shop"][number] for number in "12"] == [False, True]
    mlflow.tags["shop"]["2"][TAG] = "a note of what was"
    error = spread(cases, places).failures["MLflow"]
    assert isinstance(error, IntegrityError)
    assert mlflow.tags["shop"]["2"][TAG] == "a note of what was"
    mlflow.down = True
    assert isinstance(spread(cases, places).failures["MLflow"], UnavailableError)


MIRROR_CHANGES: list[tuple[Callable[[Mirrored], object], str, str]] = [
    *(
        (
            lambda mlflow, tag=tag: mlflow.tags["shop"]["2"].update({tag: "x"}),
            "MLflow: version 2 of shop",
            f"tag {tag} is x, not ",
        )
        for tag in ("governance.digest", "governance.weights_digest", "governance.active_requests")
    ),
    (
        lambda mlflow: mlflow.tags["shop"]["2"].pop("governance.digest"),
        "MLflow: version 2 of shop",
        "tag governance.digest is none, not sha256:",
    ),
    (lambda mlflow: mlflow.tags["shop"].pop("2"), "MLflow: version 2 of shop", "it is missing"),
    (
        lambda mlflow: mlflow.aliased["shop"].update(champion="1"),
        "MLflow: alias champion of shop",
        "it is at version 1, but the ledger says 2",
    ),
    (
        lambda mlflow: mlflow.aliased["shop"].pop("champion"),
        "MLflow: alias champion of shop",
        "it is at version none, but the ledger says 2",
    ),
    (
        lambda mlflow: mlflow.aliased["shop"].update(candidate="1"),
        "MLflow: alias candidate of shop",
        "it is at version 1, but the ledger says none",
    ),
]


@pytest.mark.parametrize(("change", "where", "problem"), MIRROR_CHANGES)
def test_what_mlflow_says_otherwise_is_a_fault(
    cases: Ledger, change: Callable[[Mirrored], object], where: str, problem: str
) -> None:
    mlflow = Mirrored.of(cases)
    assert verify(cases, registry=lambda: mlflow).ok
    change(mlflow)
    (fault,) = verify(cases, registry=lambda: mlflow).faults
    assert fault.where == where
    assert fault.problem.startswith(problem)


def test_an_mlflow_without_the_model_lacks_every_version(cases: Ledger) -> None:
    result = verify(cases, registry=Mirrored)
    assert [fault.where for fault in result.faults] == [
        "MLflow: version 1 of shop", "MLflow: version 2 of shop", "MLflow: alias champion of shop",
    ]  # fmt: skip


def test_an_mlflow_that_does_not_answer_is_not_checked_and_no_fault(cases: Ledger) -> None:
    result = verify(cases, registry=lambda: Mirrored(down=True))
    assert result.ok
    assert result.to_dict()["not_checked"] == {"MLflow": "MLflow is down"}


def test_mlflow_is_not_opened_for_a_ledger_without_models(log: Ledger) -> None:
    def fail() -> Mirrored:
        raise AssertionError("opened")

    assert verify(log, registry=fail).ok
