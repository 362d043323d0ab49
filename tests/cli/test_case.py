"""The file of a case on the command line: attach, read, hold, redact; and what every report given out leaves behind."""

import hashlib
import json
import os
import re
from pathlib import Path

import click
import pytest

from governance.cli.main import governance
from tests.cli.conftest import Cli
from tests.cli.test_help import commands

SECRET = "Zacharias-Zimt"
BREAK_GLASS = "BREAK GLASS: request 1 was approved by an admin in an emergency"


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    path = tmp_path / f"{SECRET} passport.txt"
    path.write_text(f"scan of {SECRET}")
    return path


def holders(home: Path) -> list[str]:
    """Files of a workspace in which the secret stands."""
    return sorted(
        path.name
        for path in home.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    )


def file(cli: Cli, *more: object) -> None:
    cli(
        "request", "file", "--forget", "mug", "--basis", "gdpr-17-1-d", "--actor", "carla",
        "--reason", f"{SECRET} objects", "--subject-ref", SECRET, *more,
    )  # fmt: skip


def last_event(cli: Cli) -> dict[str, object]:
    found = cli("audit", "log", "--json").json[-1]
    assert isinstance(found, dict)
    return found


def test_a_case_from_filing_to_erasure(home: Path, cli: Cli, letter: Path, tmp_path: Path) -> None:
    file(cli, "--attach", letter, "--retention", "short")
    assert "2 attachments" in cli("request", "attach", 1, letter).out
    shown = cli("request", "show", 1).out
    assert f"attachment 2  {letter.name}, 22 bytes" in shown
    assert "class short" in shown
    taken = tmp_path / "taken.txt"
    cli("request", "attachment", 1, 2, "-o", taken)
    assert taken.read_bytes() == letter.read_bytes()
    assert cli("request", "attachment", 1, 2, "-o", taken, expect=2).err.count("exists") == 1
    assert cli("request", "attachment", 1, 1, "-o", "-").out == letter.read_text()
    assert cli("request", "attachment", 1, 3, "-o", "-", expect=4).out == ""

    cli("request", "hold", 1, "--reason", "suit 12/26")
    assert "ON LEGAL HOLD" in cli("request", "show", 1).out
    assert [r["id"] for r in cli("request", "list", "--held", "--json").json] == [1]
    cli("request", "withdraw", 1, "--reason", f"{SECRET} settled", "--actor", "carla")
    assert "on legal hold" in cli("request", "redact", 1, "--reason", "over", expect=3).err
    assert cli("request", "list", "--redactable", "--json").json == []
    cli("request", "lift", 1, "--reason", "suit settled")
    assert [r["id"] for r in cli("request", "list", "--redactable", "--json").json] == [1]
    assert re.search(r"class short, until \d{4}-\d\d-\d\d", cli("request", "show", 1).out)
    assert holders(home)
    done = cli("request", "redact", 1, "--reason", "the person asked for it")
    assert (done.out, done.err) == (
        "Redacted request 1; redacted; 2 attachments, retention class short.\n",
        "",
    )
    assert holders(home) == []
    shown = cli("request", "show", 1).out
    assert "REDACTED" in shown
    assert shown.count("(erased)") == 4
    assert cli("audit", "verify", "--json").json["ok"]
    assert "redacted already" in cli("request", "redact", 1, "--reason", "x", expect=3).err
    assert last_event(cli)["action"] == "request.refused"
    cli("db", "scrub")


def test_what_is_due_is_listed_and_redacted(home: Path, cli: Cli) -> None:
    assert "No request is due" in cli("request", "redact", "--due").out
    file(cli, "--retention", "short")
    cli("request", "reject", 1, "--actor", "dmitri")
    assert cli("request", "redact", "--due", "--dry-run", "--json").json == []
    for wrong in (
        ["redact"], ["redact", 1, "--due"], ["redact", 1, "--dry-run", "--reason", "x"],
        ["redact", "--due", "--reason", "x"], ["redact", 1],
    ):  # fmt: skip
        cli("request", *wrong, expect=2)
    assert "no retention class 'long'" in cli(
        "request", "file", "--forget", "cat", "--basis", "bias", "--reason", "r", "--retention",
        "long", expect=2,
    ).err  # fmt: skip


@pytest.mark.parametrize(("name", "code"), [("missing.txt", 4), (".", 2), ("empty", 2)])
def test_files_that_cannot_be_attached_leave_nothing(
    home: Path, cli: Cli, tmp_path: Path, name: str, code: int
) -> None:
    (tmp_path / "empty").touch()
    file_line = ["request", "file", "--forget", "mug", "--basis", "bias", "--reason", "r"]
    assert cli(*file_line, "--attach", tmp_path / name, expect=code).err.startswith("Error: ")
    assert cli("request", "list", "--json").json == []


def test_texts_are_encrypted_with_a_key_that_lies_beside_the_database(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "own"
    monkeypatch.setenv("GOVERNANCE_HOME", str(home))
    made = cli("init", "--admin", "ada", "--encrypt-texts")
    key = home / "keys" / "private-data.key"
    assert str(key) in made.err
    assert key.stat().st_mode & 0o777 == 0o600
    if os.name == "posix":
        key.chmod(0o640)
        assert "chmod 600" in cli("actor", "list", expect=3).err


# Reports that leave the house.


@pytest.mark.parametrize("form", ["html", "json"])
def test_a_report_that_is_given_out_is_an_event_with_its_digest(
    prepared: Path, cli: Cli, tmp_path: Path, form: str
) -> None:
    path = tmp_path / f"report.{form}"
    cli("report", "request", 1, "-o", path, "--actor", "dmitri")
    content = path.read_bytes()
    event = last_event(cli)
    assert (event["actor"], event["action"], event["subject"]) == (
        "dmitri", "report.exported", "request:1"
    )  # fmt: skip
    assert event["signature"]
    assert event["payload"] == {
        "format": form,
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "bytes": len(content),
    }
    printed = cli("report", "version", 1, "--format", form, "-o", "-").out.encode()
    event = last_event(cli)
    assert event["subject"] == "version:shop/1"
    assert event["payload"]["digest"] == f"sha256:{hashlib.sha256(printed).hexdigest()}"  # type: ignore[index]
    assert cli("audit", "verify", "--json").json["ok"]


def test_a_report_cannot_be_guessed_from_its_digest(prepared: Path, cli: Cli) -> None:
    """Whoever has the log can make all of a report again but what was erased and what is random."""
    nonces = {
        cli("report", "request", 1, "--format", "json", "-o", "-").json["nonce"] for _ in range(2)
    }
    assert len(nonces) == 2
    assert not any(nonce in cli("audit", "log", "--json").out for nonce in nonces)
    page = cli("report", "request", 1, "-o", "-").out
    found = re.search(r"Serial number <code>([0-9a-f]{32})</code>", page)
    assert found is not None


def test_nobody_without_a_key_takes_a_report(prepared: Path, cli: Cli, tmp_path: Path) -> None:
    for key in (prepared / "keys").glob("carla-*.pem"):
        key.unlink()
    path = tmp_path / "report.html"
    cli("report", "request", 1, "-o", path, "--actor", "carla", expect=3)
    assert not path.exists()


# Break-glass.


def test_break_glass_is_loud_wherever_it_is_shown(prepared: Path, cli: Cli, tmp_path: Path) -> None:
    line = ["request", "approve", 1, "--break-glass"]
    assert "reason is needed" in cli(*line, expect=2).err
    assert BREAK_GLASS in cli(*line, "--comment", "the court's deadline is tonight").out
    shown = cli("request", "show", 1).out
    assert BREAK_GLASS in shown
    assert re.search(r"approval +BREAK GLASS, .* by ada", shown)
    assert re.search(r"approvals +1 of 1 approval needed", shown)
    assert cli("request", "show", 1, "--json").json["break_glass"] is True
    assert BREAK_GLASS in cli("request", "apply", 1).out
    assert BREAK_GLASS in cli("version", "promote", 2).out
    assert BREAK_GLASS in cli("version", "show", 2).out
    assert "BREAK GLASS" in cli("version", "list").out
    assert cli("version", "show", 2, "--json").json["break_glass"] == [1]
    for what, number in (("request", 1), ("version", 2)):
        document = cli("report", what, number, "--format", "json", "-o", "-").json
        assert document["requests"][0]["break_glass"] is True
        assert document["requests"][0]["decisions"][0]["break_glass"] is True
        page = cli("report", what, number, "-o", "-").out
        assert page.index('class="alarm"') < page.index('class="summary"')
        assert "Break glass: this approval was given in an emergency" in page
    exported = tmp_path / "model"
    cli("version", "export", 2, "-o", exported)
    head = (exported / "open_clip_model.safetensors").read_bytes()[8:4096]
    assert b'\\"break_glass\\":[1]' in head
    assert cli("audit", "verify", "--json").json["ok"]


def test_an_ordinary_approval_is_quiet(prepared: Path, cli: Cli) -> None:
    cli("request", "approve", 1, "--actor", "dmitri")
    shown = cli("request", "show", 1)
    assert "BREAK GLASS" not in shown.out
    page = cli("report", "request", 1, "-o", "-").out
    assert 'class="alarm"' not in page
    assert "1 of 1 approval needed" in page


# What people write.


def test_every_text_option_says_whether_it_can_be_erased() -> None:
    words = {"reason", "comment", "subject_ref", "files"}
    found = {
        (" ".join(path), parameter.name): parameter.help or ""
        for path, command in commands(governance)
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name in words
    }
    assert len(found) >= 13
    erasable = {key for key, text in found.items() if "until the request is redacted" in text}
    for_ever = {key for key, text in found.items() if "for ever, so no personal data" in text}
    assert erasable.isdisjoint(for_ever)
    assert erasable | for_ever == set(found)
    for name in ("request hold", "request lift", "request redact", "version rollback"):
        assert (name, "reason") in for_ever
    assert json.dumps(sorted(erasable)).count("request ") == len(erasable)
