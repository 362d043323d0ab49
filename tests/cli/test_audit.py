"""Checkpoints, proofs and verification as an auditor types them."""

import json
import shutil
import sqlite3
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from governance.errors import UnavailableError
from governance.evidence.merkle import leaf_hash, verify_inclusion
from governance.ledger.database import Ledger
from governance.settings import CONFIG_NAME
from tests.cli.conftest import Cli
from tests.ledger.tampering import raw, tamper


def configure(home: Path, text: str) -> None:
    with (home / CONFIG_NAME).open("a") as file:
        file.write(text)


def ledger_of(home: Path) -> Ledger:
    return Ledger(f"sqlite:///{home / 'ledger.db'}")


def cut_tail(home: Path) -> None:
    """Take away the newest event, which was a checkpoint, and its row."""
    tamper(
        ledger_of(home),
        "DELETE FROM events WHERE seq = (SELECT MAX(seq) FROM events)",
        "DELETE FROM checkpoints WHERE id = (SELECT MAX(id) FROM checkpoints)",
    )


def test_a_checkpoint_is_printed_kept_and_found_again(peopled: Path, cli: Cli) -> None:
    printed = cli("audit", "checkpoint").out
    (path,) = (peopled / "checkpoints").iterdir()
    assert path.read_text() == printed
    record = cli("audit", "checkpoint", "--actor", "otto", "--json").json
    assert record["failures"] == {}
    assert sorted(p.name for p in (peopled / "checkpoints").iterdir()) == [
        path.name, f"{record['size']:012d}.txt",
    ]  # fmt: skip
    result = cli("audit", "verify")
    assert f"2 checkpoints outside the ledger: the first {record['size']} events" in result.out
    assert cli("audit", "verify", "--json").json["anchored_events"] == record["size"]


def test_a_verification_brings_heads_that_were_signed_elsewhere(
    peopled: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = cli("audit", "checkpoint").out
    (path,) = (peopled / "checkpoints").iterdir()
    path.unlink()  # as in a workspace that others do not know
    assert "Not checked: 1 checkpoint signed since the newest" in cli("doctor").out
    cli("audit", "verify")
    assert path.read_text() == note
    assert "Not checked" not in cli("doctor").out
    path.unlink()

    def full(*given: object) -> bool:
        raise UnavailableError("no space left")

    monkeypatch.setattr("governance.workflow.checkpoints.write_note", full)
    assert "Warning: checkpoints were not copied to the workspace" in cli("audit", "verify").err


def test_without_a_checkpoint_the_person_is_told(peopled: Path, cli: Cli) -> None:
    assert "No checkpoint was found outside the ledger" in cli("audit", "verify").out


def test_who_may_not_take_one(peopled: Path, cli: Cli) -> None:
    cli("actor", "add", "dmitri", "--role", "approver")
    assert "checkpoint.take needs" in cli("audit", "checkpoint", "--actor", "dmitri", expect=3).err
    assert not (peopled / "checkpoints").exists()


def test_a_cut_tail_is_an_integrity_failure(peopled: Path, cli: Cli, tmp_path: Path) -> None:
    cli("audit", "checkpoint")
    note = cli("audit", "checkpoint").out
    (tmp_path / "mine.txt").write_text(note)
    cut_tail(peopled)
    shutil.rmtree(peopled / "checkpoints")
    # The size of the note is one below its own event, so cut that one too.
    tamper(ledger_of(peopled), "DELETE FROM events WHERE seq = (SELECT MAX(seq) FROM events)",
           "DELETE FROM checkpoints")  # fmt: skip
    result = cli("audit", "verify", "--checkpoint", tmp_path / "mine.txt", expect=6)
    assert f"BAD {tmp_path}/mine.txt: it vouches for" in result.out
    assert "the tail was cut" in result.out
    record = cli("audit", "verify", "--checkpoint", tmp_path / "mine.txt", "--json", expect=6).json
    assert record["ok"] is False
    assert str(tmp_path / "mine.txt") in [fault["where"] for fault in record["faults"]]


def test_configured_anchors_get_the_note_and_are_read(
    peopled: Path, cli: Cli, tmp_path: Path
) -> None:
    anchor, out = tmp_path / "anchor", tmp_path / "out"
    program = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
    command = json.dumps([sys.executable, "-c", program, str(out)])
    configure(peopled, f'[anchor]\ndirectory = "{anchor}"\ncommand = {command}\n')
    assert "the anchor directory" in cli("audit", "verify").err  # not there yet
    note = cli("audit", "checkpoint").out
    assert out.read_text() == note
    assert [path.read_text() for path in anchor.iterdir()] == [note]
    shutil.rmtree(peopled / "checkpoints")
    assert cli("audit", "verify", "--json").json["outside_checkpoints"] == 1
    shutil.rmtree(anchor)
    record = cli("audit", "verify", "--json").json
    assert record["ok"] is True
    assert record["not_checked"] == {"the anchor directory": f"{anchor} is not there"}


def test_an_anchor_that_fails_is_exit_code_7_and_the_next_try_makes_up_for_it(
    peopled: Path, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    configure(peopled, f'[anchor]\ndirectory = "{tmp_path}/file"\n')
    result = cli("audit", "checkpoint", "--json", expect=7)
    assert list(result.json["failures"]) == [f"the anchor directory {tmp_path}/file"]
    assert len(result.err.splitlines()) == 1
    assert "did not reach the anchor directory" in result.err
    (tmp_path / "file").unlink()
    cli("audit", "checkpoint")
    assert len(list((tmp_path / "file").iterdir())) == 2


def test_a_place_that_holds_another_note_is_exit_code_6(peopled: Path, cli: Cli) -> None:
    cli("audit", "checkpoint")
    (path,) = (peopled / "checkpoints").iterdir()
    path.write_text("something else")
    assert "contradicts the ledger" in cli("audit", "checkpoint", expect=6).err
    assert path.read_text() == "something else"
    assert f"BAD {path}: it is no checkpoint" in cli("audit", "verify", expect=6).out


def test_a_release_whose_anchor_fails_stands(prepared: Path, cli: Cli) -> None:
    configure(prepared, '[anchor]\ncommand = ["/no/such/program"]\n')
    cli("request", "approve", "1", "--actor", "dmitri")
    cli("request", "apply", "1", "--actor", "mona")
    result = cli("version", "promote", "2", "--actor", "mona", "--json")
    assert result.json["aliases"] == ["candidate", "champion"]
    (line,) = result.err.splitlines()
    assert line.startswith(
        "Warning: the release stands, but its checkpoint did not reach the anchor"
    )
    assert "governance audit checkpoint" in line
    assert len(list((prepared / "checkpoints").iterdir())) == 2
    shutil.rmtree(prepared / "checkpoints")
    record = cli("audit", "verify", "--json").json
    assert (record["ok"], record["outside_checkpoints"]) == (True, 2)  # those in MLflow
    _check_that_mlflow_alone_tells(prepared, cli)


def _check_that_mlflow_alone_tells(home: Path, cli: Cli) -> None:
    """Cut the release out of the log: the tag of the version in MLflow still vouches for it."""
    copy = home.parent / "copy"
    shutil.copytree(home, copy)
    shutil.rmtree(copy / "checkpoints")
    ledger = ledger_of(copy)
    (release,) = raw(ledger, "SELECT MAX(seq) FROM events WHERE action = 'version.promoted'")[0]
    tamper(
        ledger,
        f"DELETE FROM events WHERE seq >= {release}",
        "DELETE FROM checkpoints WHERE id = (SELECT MAX(id) FROM checkpoints)",
        "UPDATE aliases SET version_id = (SELECT id FROM model_versions WHERE number = 1) "
        "WHERE name = 'champion'",
        "UPDATE requests SET state = 'applied'",
    )
    result = cli("audit", "verify", "--home", copy, expect=6).out
    assert "BAD MLflow: version 2 of shop: tag governance.checkpoint: it vouches for" in result
    assert "BAD MLflow: alias champion of shop: it is at version 2, but the ledger says 1" in result
    offline = cli("audit", "verify", "--home", copy, "--offline").out
    assert "No checkpoint was found outside the ledger" in offline
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute(
            "UPDATE model_version_tags SET value = '[]' WHERE key = 'governance.active_requests'"
        )
    found = cli("audit", "verify", expect=6).out
    assert "BAD MLflow: version 2 of shop: tag governance.active_requests is [], not [1]" in found


def test_an_mlflow_that_cannot_be_reached_is_not_checked(home: Path, cli: Cli) -> None:
    result = cli("audit", "verify", "--json", "--tracking-uri", "http://127.0.0.1:9")
    assert result.json["ok"] is True
    assert "cannot be reached" in result.json["not_checked"]["MLflow"]
    assert "Not checked: MLflow (MLflow at http://127.0.0.1:9 cannot be reached)" in result.err


def test_what_is_left_out_is_said(peopled: Path, cli: Cli) -> None:
    result = cli("audit", "verify", "--offline", "--no-signatures", "--json")
    assert result.json["not_checked"] == {"MLflow": "left out", "signatures": "left out"}
    assert "signatures" not in result.json["checked"]
    assert cli("audit", "verify", "--json").json["checked"]["signatures"] > 0


def test_the_log_alone_can_be_verified(peopled: Path, cli: Cli) -> None:
    cli("audit", "checkpoint")
    found = cli("audit", "verify", "--log-only", "--json")
    assert found.json["ok"] is True
    assert list(found.json["checked"]) == ["checkpoints"]
    assert found.json["checked"]["checkpoints"] > found.json["outside_checkpoints"] > 0
    left_out = ["signatures of events", "what the events say", "tables", "MLflow"]
    assert found.json["not_checked"] == dict.fromkeys(left_out, "left out")
    assert "Not checked: tables (left out)" in found.err
    kept = (peopled / "checks.jsonl").read_text().splitlines()[-1]
    assert json.loads(kept)["what"] == "audit verify --log-only"


def test_an_event_that_was_altered_is_found_in_the_log_alone(peopled: Path, cli: Cli) -> None:
    tamper(ledger_of(peopled), "UPDATE events SET subject = 'actor:eve' WHERE seq = 2")
    found = cli("audit", "verify", "--log-only", "--processes", "2", expect=6)
    assert "BAD event 2: was altered: its content has another digest" in found.out


def test_no_process_can_verify_nothing(peopled: Path, cli: Cli) -> None:
    found = cli("audit", "verify", "--processes", "0", expect=2)
    assert "0 is not in the range x>=1" in found.err


def test_a_database_alone_can_be_verified(
    peopled: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = cli("audit", "checkpoint").out
    (tmp_path / "note").write_text(note)
    monkeypatch.setenv("GOVERNANCE_HOME", str(tmp_path / "nowhere"))
    url = f"sqlite:///{peopled / 'ledger.db'}"
    record = cli(
        "audit", "verify", "--database", url, "--checkpoint", tmp_path / "note", "--json"
    ).json
    assert record["outside_checkpoints"] == 1
    assert "MLflow" in record["not_checked"]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("audit", "verify", "--checkpoint", "/no/such/file"), 4, "no checkpoint file /no/such/file"),
        (("audit", "prove"), 2, "name an event SEQ, or two heads"),
        (("audit", "prove", "1", "--consistency", "1", "2"), 2, "name an event SEQ"),
        (("audit", "prove", "--consistency", "1", "2", "--checkpoint", "1"), 2, "is for the proof"),
        (("audit", "prove", "1"), 4, "no checkpoint yet; take one with"),
        (("audit", "prove", "99"), 4, "the log has no event 99"),
        (("audit", "prove", "1", "--checkpoint", "nope"), 4, "neither a size nor a checkpoint file"),
        (("audit", "prove", "--consistency", "1", "99"), 2, "the log has 4 events, not 99"),
        (("audit", "prove", "--consistency", "3", "2"), 2, "3"),
        (("audit", "log", "--limit", "0"), 2, "not in the range"),
    ],
)  # fmt: skip
def test_bad_input(
    peopled: Path, cli: Cli, args: tuple[object, ...], code: int, message: str
) -> None:
    result = cli(*args, expect=code)
    assert message in result.err
    assert result.out == ""


def test_a_proof_is_json_that_stands_alone(peopled: Path, cli: Cli, tmp_path: Path) -> None:
    note = cli("audit", "checkpoint").out
    (tmp_path / "note").write_text(note)
    cli("audit", "checkpoint")
    cli("audit", "prove", "3", "--checkpoint", tmp_path / "note", "-o", tmp_path / "proof.json")
    proof = json.loads((tmp_path / "proof.json").read_text())
    assert proof["checkpoint"] == note
    leaf = leaf_hash(sha256(proof["entry"].encode()).digest())
    hashes = [bytes.fromhex(value) for value in proof["hashes"]]
    root = bytes.fromhex(proof["root"])
    verify_inclusion(proof["index"], proof["size"], leaf, hashes, root)
    assert json.loads(proof["entry"])["subject"] == "actor:carla"
    assert cli("audit", "prove", "3", "--checkpoint", proof["size"]).json == proof
    grown = cli("audit", "prove", "--consistency", tmp_path / "note", "5").json
    assert (grown["old"]["checkpoint"], grown["new"]["size"]) == (note, 5)


def test_the_log_is_filtered(peopled: Path, cli: Cli) -> None:
    def seqs(*args: object) -> list[int]:
        return [event["seq"] for event in cli("audit", "log", "--json", *args).json]

    cli("audit", "checkpoint", "--actor", "otto")
    assert seqs() == [1, 2, 3, 4, 5]
    assert seqs("--action", "actor.added") == [1, 3, 4]
    assert seqs("--by", "otto") == [5]
    assert seqs("--since", 3, "--limit", 2) == [3, 4]
    assert seqs("--subject", "actor:carla") == [3]
    assert seqs("--by", "nobody") == []
