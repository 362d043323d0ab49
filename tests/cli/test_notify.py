"""``governance notify`` and ``metrics``, log lines, and what verifications leave behind."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.receiver import receiving, status

FILE = ["request", "file", "--model", "shop", "--forget", "mug", "--basis", "bias", "--reason", "because",
        "--actor", "carla"]  # fmt: skip


def configure(home: Path, text: str) -> None:
    with (home / "governance.toml").open("a", encoding="utf-8") as file:
        file.write(text)


def hook(home: Path, cli: Cli, url: str) -> None:
    cli("notify", "new-secret", "-o", home / "keys" / "hook.webhook")
    configure(home, f'[notify.endpoints.hook]\nurl = "{url}"\nsecret_file = "keys/hook.webhook"\n')


def test_without_an_endpoint_there_is_nobody_to_tell(peopled: Path, cli: Cli) -> None:
    assert "names no endpoint" in cli("notify", "run", expect=2).err
    assert "exclude each other" in cli("notify", "run", "--once", "--follow", expect=2).err
    assert "no endpoint 'x'" in cli("notify", "test", "x", expect=4).err
    assert "no delivery 1" in cli("notify", "redeliver", "1", expect=4).err
    assert cli("notify", "list", "--json").json == []


def test_the_usual_way(filed: Path, cli: Cli) -> None:
    with receiving() as receiver:
        hook(filed, cli, receiver.url("/hook?token=hidden"))
        configure(filed, '[notify.endpoints.log]\nfile = "log.jsonl"\n')
        assert cli("notify", "run").out == "hook: 0 delivered\nlog: 0 delivered\n"
        cli(*FILE)
        receiver.script.append(status(503, b"maintenance"))
        failed = cli("notify", "run", "--json", expect=7)
        assert failed.json == {
            "delivered": {"hook": 0, "log": 1},
            "problems": {"hook": "refused with 503: maintenance"},
        }
        assert "not everything could be delivered: hook: refused with 503" in failed.err
        assert cli("notify", "run").out == "hook: 0 delivered\nlog: 0 delivered\n"
        (pending,) = cli("notify", "list", "--state", "pending", "--json").json
        assert (pending["endpoint"], pending["kind"]) == ("hook", "request.filed")
        assert pending["attempts"][0]["status"] == 503
        assert "refused 503" in cli("notify", "list").out
        again = cli("notify", "redeliver", pending["id"])
        assert again.out == f"Delivery {pending['id']} to hook is due again.\n"
        assert cli("notify", "run").out == "hook: 1 delivered\nlog: 0 delivered\n"
        assert receiver.ids == [pending["message_id"]] * 2
        assert cli("notify", "list", "--state", "pending", "--json").json == []
        assert len(cli("notify", "list", "--endpoint", "hook", "--json").json) == 1
        assert cli("notify", "list", "--kind", "request.overdue", "--json").json == []
        assert len(cli("notify", "list", "--limit", "1", "--json").json) == 1
        receiver.script.append(status(410))
        assert "hook: gone with 410" in cli("notify", "test", "hook", expect=7).err
        assert cli("notify", "test", "hook", "--json").json["status"] == 200
    shown = cli("notify", "endpoints")
    assert "hidden" not in shown.out
    records = {record["name"]: record for record in cli("notify", "endpoints", "--json").json}
    assert records["hook"]["delivered"] == records["log"]["delivered"] == 1
    (line,) = (filed / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == pending["message_id"]


def test_a_secret_that_is_not_there_is_explained_and_others_are_told(filed: Path, cli: Cli) -> None:
    configure(
        filed,
        '[notify.endpoints.hook]\nurl = "http://127.0.0.1:1/"\n'
        'secret_variable = "GOVERNANCE_WEBHOOK_X"\n[notify.endpoints.log]\nfile = "log.jsonl"\n',
    )
    cli("notify", "run", expect=7)
    cli(*FILE)
    assert "GOVERNANCE_WEBHOOK_X" in cli("notify", "run", expect=7).err
    assert len((filed / "log.jsonl").read_text().splitlines()) == 1
    (pending,) = cli("notify", "list", "--state", "pending", "--json").json
    assert pending["tries"] == 0


def test_following_ends_when_it_is_told_to(filed: Path, cli: Cli) -> None:
    with receiving() as receiver:
        hook(filed, cli, receiver.url())
        cli("notify", "run")
        line = [sys.executable, "-m", "governance", "notify", "run", "--follow"]
        process = subprocess.Popen(line, env=dict(os.environ))
        try:
            cli(*FILE)
            assert receiver.arrived.wait(60)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        (delivery,) = cli("notify", "list", "--json").json
        assert delivery["state"] == "delivered"


def test_a_verification_that_fails_is_told_and_counted(filed: Path, cli: Cli) -> None:
    configure(filed, '[notify.endpoints.log]\nfile = "log.jsonl"\n')
    cli("notify", "run")
    assert "governance_last_verification_success" in cli("metrics").out
    before = (filed / "ledger.db").read_bytes()
    cli("audit", "verify", "--offline")
    assert (filed / "ledger.db").read_bytes() == before
    assert 'governance_last_verification_success{by="audit verify"} 1\n' in cli("metrics").out
    (filed / "checkpoints").mkdir(exist_ok=True)
    (filed / "checkpoints" / "000000000009.txt").write_text("forged\n")
    for _ in range(2):
        cli("audit", "verify", "--offline", expect=6)
    found = cli("metrics").out
    assert 'governance_last_verification_success{by="audit verify"} 0\n' in found
    assert 'governance_last_verification_faults{by="audit verify"} 1\n' in found
    cli("notify", "run")
    cli("notify", "run")
    (line,) = (filed / "log.jsonl").read_text().splitlines()
    message = json.loads(line)
    assert message["type"] == "integrity.failed"
    assert (message["data"]["found_by"], message["data"]["faults"]) == ("audit verify", 1)


def test_a_doctor_that_finds_something_is_told(filed: Path, cli: Cli) -> None:
    configure(filed, '[notify.endpoints.log]\nfile = "log.jsonl"\nkinds = ["integrity.failed"]\n')
    cli("notify", "run")
    cli("audit", "checkpoint", "--offline")
    cli("audit", "checkpoint", "--offline")
    cli("doctor")
    assert 'governance_last_verification_success{by="doctor"} 1\n' in cli("metrics").out
    min((filed / "checkpoints").glob("*.txt")).unlink()
    cli("doctor", expect=6)
    cli("notify", "run")
    (line,) = (filed / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["data"]["found_by"] == "doctor"
    assert 'governance_last_verification_success{by="doctor"} 0\n' in cli("metrics").out


def test_an_outcome_that_cannot_be_kept_is_a_warning(filed: Path, cli: Cli) -> None:
    (filed / "checks.jsonl").mkdir()
    done = cli("audit", "verify", "--offline")
    assert "Warning: the outcome is not kept" in done.err


def test_metrics_go_into_a_file_at_once(
    filed: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "governance.prom"
    assert cli("metrics", "-o", target).out == ""
    assert 'governance_requests{model="shop",state="filed"} 1\n' in target.read_text()
    assert list(tmp_path.glob(".*")) == []
    found = {family["name"]: family for family in cli("metrics", "--json").json}
    assert found["governance_events_total"]["samples"][0]["value"] > 3
    assert "cannot be written" in cli("metrics", "-o", tmp_path / "no" / "x", expect=7).err
    url = f"sqlite:///{filed}/ledger.db"
    monkeypatch.setenv("GOVERNANCE_HOME", str(tmp_path / "nowhere"))
    assert "governance_events_total" in cli("metrics", "--database", url).out


@pytest.mark.parametrize("place", ["before", "after", "environment"])
def test_log_lines(filed: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    options = ["--log-format", "json", "--log-level", "info"]
    before, after = (options if place == where else [] for where in ("before", "after"))
    if place == "environment":
        monkeypatch.setenv("GOVERNANCE_LOG_FORMAT", "json")
        monkeypatch.setenv("GOVERNANCE_LOG_LEVEL", "info")
    done = cli(*before, *FILE, *after)
    assert done.out.startswith("Filed request 2")
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert [line["event"] for line in lines] == ["event", "model.file"]
    failed = cli(*before, "request", "show", "99", *after, expect=4)
    (line,) = [json.loads(line) for line in failed.err.splitlines()]
    assert (line["level"], line["exit_code"], line["error"]) == ("error", 4, "NotFoundError")
    assert line["problem"].startswith("there is no request 99")


def test_without_being_asked_there_is_no_log_line(filed: Path, cli: Cli) -> None:
    assert cli(*FILE).err == ""
    assert cli("request", "show", "99", expect=4).err.startswith("Error: there is no request 99")


def test_a_format_that_there_is_not_is_explained(
    filed: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOVERNANCE_LOG_LEVEL", "loud")
    assert "GOVERNANCE_LOG_LEVEL must be" in cli("request", "list", expect=2).err
