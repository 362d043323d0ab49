"""The rules of a ledger as people read and change them, and the quorum that follows from them."""

from pathlib import Path

import pytest

from governance.policy import Policy, template
from tests.cli.conftest import Cli


def written(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = template()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return path


def test_the_template_and_the_check_need_no_workspace(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = cli("policy", "template").out
    assert text == template()
    assert cli("policy", "template", "--json").json == {"toml": text}
    path = written(tmp_path)
    assert Policy().digest in cli("policy", "check", path).out
    record = cli("policy", "check", path, "--json").json
    assert record == {"ok": True, "digest": Policy().digest, "content": Policy().to_dict()}
    assert [p.name for p in tmp_path.iterdir()] == ["policy.toml"]


def test_the_policy_in_force_and_its_history(peopled: Path, cli: Cli, tmp_path: Path) -> None:
    shown = cli("policy", "show", "--json").json
    assert (shown["digest"], shown["adopted_by"]) == (Policy().digest, "ada")
    assert shown["content"] == Policy().to_dict()
    lines = [line.split() for line in cli("policy", "show").out.splitlines()]
    assert ["gates.max_forget_accuracy", "0.2"] in lines
    assert ["roles.request.decide", "admin,", "approver"] in lines
    path = written(tmp_path, ("max_retain_drop = 0.03", "max_retain_drop = 0.01"),
                   ("# court-order = 2", "court-order = 3"))  # fmt: skip
    record = cli("policy", "adopt", path, "--reason", "the board decided", "--json").json
    assert record["changes"] == [
        {"key": "gates.max_retain_drop", "from": 0.03, "to": 0.01},
        {"key": "quorum.basis.court-order", "from": None, "to": 3},
    ]
    assert cli("policy", "show", "--json").json["digest"] == record["digest"]
    history = cli("policy", "show", "--history", "--json").json
    assert [row["digest"] for row in history] == [shown["digest"], record["digest"]]
    printed = cli("policy", "show", "--history").out
    assert "gates.max_retain_drop 0.03 → 0.01, quorum.basis.court-order – → 3" in printed
    (tmp_path / "policy.toml").write_text(template())
    assert (
        "gates.max_retain_drop: 0.01 → 0.03"
        in cli("policy", "adopt", path, "--reason", "too strict").out
    )
    assert cli("audit", "verify", "--offline", "--json").json["ok"] is True


def test_who_may_not_adopt_and_what_is_no_news(peopled: Path, cli: Cli, tmp_path: Path) -> None:
    path = written(tmp_path)
    adopt = ("policy", "adopt", path, "--reason", "r")
    assert "in force already" in cli(*adopt, expect=3).err
    assert "policy.adopt needs admin" in cli(*adopt, "--actor", "otto", expect=3).err
    refused = cli("audit", "log", "--action", "policy.refused", "--json").json
    assert [(event["actor"], event["subject"]) for event in refused] == [
        ("ada", "policy:ledger"), ("otto", "policy:ledger"),
    ]  # fmt: skip
    assert cli("audit", "verify", "--offline", "--json").json["ok"] is True
    path.write_text("format = 1\n[quorum]\ndefault = 0\n")
    for line in (adopt, ("policy", "check", path)):
        error = cli(*line, expect=2).err
        assert error.startswith(f"Error: {path}: quorum default must be a whole number")
        assert len(error.splitlines()) == 1


def test_a_quorum_of_two_needs_two_different_people(home: Path, cli: Cli, tmp_path: Path) -> None:
    cli("actor", "add", "erik", "--role", "approver")
    cli("policy", "adopt", written(tmp_path, ("# domain = 2", "domain = 2")), "--reason", "r")
    file = ("request", "file", "--basis", "bias", "--reason", "r", "--actor", "carla")
    cli(*file, "--domain", "sketch")
    cli(*file, "--forget", "mug")
    cli("request", "prepare", "1", "--actor", "mona")
    approve = ("request", "approve", "1", "--actor")
    assert "Approval 1 of 2 for" in cli(*approve, "dmitri").out
    assert cli("request", "show", "1", "--json").json["state"] == "prepared"
    assert "request 1" in cli("request", "apply", "1", "--actor", "mona", expect=3).err
    assert "'dmitri'" in cli(*approve, "dmitri", expect=3).err
    assert "request.decide needs" in cli(*approve, "mona", expect=3).err
    assert "Approved" in cli(*approve, "erik").out
    assert cli("request", "show", "1", "--json").json["state"] == "approved"
    # A class needs one, and preparing again makes the count start anew.
    cli("request", "prepare", "2", "--actor", "mona")
    cli("request", "approve", "2", "--actor", "dmitri")
    assert cli("request", "show", "2", "--json").json["state"] == "approved"
    cli("request", "prepare", "1", "--strength", "0.9", "--actor", "mona")
    assert "Approval 1 of 2 for" in cli(*approve, "erik").out
    assert cli("audit", "verify", "--offline", "--json").json["ok"] is True


def test_a_quorum_by_legal_basis_and_a_broken_glass(home: Path, cli: Cli, tmp_path: Path) -> None:
    path = written(tmp_path, ("# court-order = 2", "court-order = 2"))
    cli("policy", "adopt", path, "--reason", "r")
    cli("request", "file", "--basis", "court-order", "--reason", "r", "--forget", "mug",
        "--actor", "carla")  # fmt: skip
    cli("request", "prepare", "1", "--actor", "mona")
    assert "Approval 1 of 2 for" in cli("request", "approve", "1", "--actor", "dmitri").out
    broken = ("request", "approve", "1", "--break-glass", "--comment", "the court waits")
    assert "request.break-glass needs admin" in cli(*broken, "--actor", "dmitri", expect=3).err
    cli(*broken, "--actor", "ada")
    record = cli("request", "show", "1", "--json").json
    assert record["state"] == "approved"
    assert [decision["break_glass"] for decision in record["decisions"]] == [False, True]
    assert cli("audit", "verify", "--offline", "--json").json["ok"] is True


def test_gates_are_shown_with_their_rules_refuse_and_are_overridden(
    filed: Path, cli: Cli, tmp_path: Path
) -> None:
    path = written(tmp_path, ("[gates.basis.court-order]", "[gates.basis.bias]"),
                   ("# max_paraphrase = 0.2", "max_paraphrase = 0.0\nmax_guard_drop = 0.1"))  # fmt: skip
    cli("policy", "adopt", path, "--reason", "r")
    shown = cli("request", "prepare", "1", "--actor", "mona").out
    assert "Gates: 2 of 5 FAILED" in shown
    assert "gates.basis.bias" in shown
    assert "not measured" in shown
    assert "To measure guard drop it takes a data set of other classes" in shown
    assert cli("request", "show", "1").out.count("FAILED") == shown.count("FAILED")
    approve = ("request", "approve", "1", "--actor")
    error = cli(*approve, "dmitri", expect=3).err
    assert error.startswith("Error: request 1 fails paraphrase 0.")
    assert len(error.splitlines()) == 1
    assert "--override needs --reason" in cli(*approve, "ada", "--override", expect=2).err
    assert "--reason is for --override" in cli(*approve, "dmitri", "--reason", "x", expect=2).err
    why = ("--override", "--reason", "the court accepts it")
    assert "request.override needs admin" in cli(*approve, "dmitri", *why, expect=3).err
    warning = "!!! OVERRIDE: ada let request 1 pass"
    assert warning in cli(*approve, "ada", *why).out
    assert warning in cli("request", "show", "1").out
    cli("request", "apply", "1", "--actor", "mona")
    promote = ("version", "promote", "2")
    assert (
        "version 2 fails paraphrase of request 1" in cli(*promote, "--actor", "mona", expect=3).err
    )
    assert "!!! OVERRIDE: ada let version 2 pass" in cli(*promote, *why).out
    assert "the court accepts it" in cli("version", "show", "2").out
    assert "OVERRIDE" in cli("version", "list").out
    record = cli("version", "show", "2", "--json").json
    assert [entry["subject"] for entry in record["overrides"]] == ["request 1", "version 2"]
    assert [gate["name"] for gate in record["gates"] if not gate["passed"]] == [
        "paraphrase",
        "guard drop",
    ]
    assert cli("audit", "verify", "--json").json["ok"] is True
    cli("audit", "export", "--version", "2", "-o", tmp_path / "b.zip")
    checked = cli("audit", "check-bundle", tmp_path / "b.zip").out
    assert "OVERRIDE: ada let version 2 pass" in checked
    assert "OVERRIDE: ada let request 1 pass" in checked
