"""The commands on a real workspace: MLflow on SQLite, the embedded model, real images."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_the_usual_path_of_one_case(prepared: Path, cli: Cli, tmp_path: Path) -> None:
    cli("request", "approve", "1", "--actor", "dmitri", "--comment", "fine")
    applied = cli("request", "apply", "1", "--actor", "mona", "--json").json
    assert applied["version"] == 2
    assert applied["active_requests"] == [1]
    assert applied["aliases"] == ["candidate"]
    assert applied["digest"].startswith("sha256:")
    promoted = cli("version", "promote", "2", "--actor", "mona", "--json").json
    assert promoted["aliases"] == ["candidate", "champion"]
    listed = cli("version", "list", "--json").json
    assert [(v["version"], v["active_requests"], v["aliases"]) for v in listed] == [
        (1, [], []),
        (2, [1], ["candidate", "champion"]),
    ]
    back = ["version", "rollback", "--drop", "1", "--reason", "x", "--actor", "mona"]
    preview = cli(*back, "--dry-run")
    assert "Recognisable again: " in preview.out
    assert cli("version", "list", "--json").json == listed
    said = cli(*back, "--expect", "1", expect=5).err
    assert "version 2 of 'shop' is served, not version 1" in said
    rolled = cli(*back, "--json")
    assert "Recognisable again: " in rolled.err
    assert "%|" not in rolled.err  # no progress bar where there is no terminal
    assert rolled.json["reinstated_requests"] == [1]
    assert rolled.json["digest"] == listed[0]["digest"]
    verified = cli("audit", "verify", "--json").json
    assert verified["ok"] is True
    assert verified["first_bad"] is None


def test_mlflow_mirrors_the_ledger(prepared: Path, cli: Cli) -> None:
    from mlflow.tracking import MlflowClient

    cli("request", "approve", "1", "--actor", "dmitri")
    version = cli("request", "apply", "1", "--actor", "mona", "--json").json
    store = f"sqlite:///{prepared / 'mlflow.db'}"
    client = MlflowClient(store, store)
    found = client.get_model_version_by_alias("shop", "candidate")
    assert found.tags["governance.digest"] == version["digest"]
    assert found.tags["governance.active_requests"] == "[1]"
    assert str(client.get_model_version_by_alias("shop", "champion").version) == "1"
    experiment = client.get_experiment_by_name("governance/shop")
    assert experiment is not None
    names = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(names) == {"base model", "prepare request 1", "version 2"}
    preparation = names["prepare request 1"]
    assert preparation.data.params["method"] == "redirect"
    assert preparation.data.metrics["forget_accuracy_before"] > 0.8
    assert preparation.data.metrics["forget_accuracy_after"] <= 0.05
    assert preparation.data.metrics["taker_share_before"] < 0.2
    assert 0 < preparation.data.metrics["taker_share_after"] <= 1
    files = {f.path for f in client.list_artifacts(names["version 2"].info.run_id)}
    assert {"factors.safetensors", "changed.safetensors", "recipe.json"} <= files
    files = {f.path for f in client.list_artifacts(preparation.info.run_id)}
    assert files == {"confusion.json", "factors.safetensors", "recipe.json", "report.json"}


def test_prepare_prints_the_promised_json(filed: Path, cli: Cli) -> None:
    record = cli("request", "prepare", "1", "--strength", "0.9", "--actor", "mona", "--json").json
    for side in (record["report"]["before"], record["report"]["after"]):
        for key in ("forget_accuracy", "retain_accuracy"):
            assert 0 <= side[key] <= 1
        assert set(side["per_domain"]) == {"photo", "painting", "cartoon", "sketch"}
        assert len(side["per_class"]) == 10
    assert record["projector"]["digest"].startswith("sha256:")
    assert record["projector"]["rank"] == 5
    again = cli("request", "evaluate", "1", "--json").json
    assert again["report"]["after"] == record["report"]["after"]


def test_prepare_and_show_print_the_verdict_and_a_short_table(filed: Path, cli: Cli) -> None:
    printed = cli("request", "prepare", "1", "--actor", "mona").out
    report = cli("request", "show", "1", "--json").json["report"]
    for text in (printed, cli("request", "show", "1").out):
        assert report["verdict"] in " ".join(text.split())
        assert "; 0 of 45 retained prompts no longer find themselves" in text
        assert "certified: for every image a forgotten prompt scores at most 0.0" in text
        assert "images turn by 0.1" in text
        rows = [line for line in text.splitlines() if line.startswith("Linear probe (AUC)")]
        sides = (report["assessment"][view] for view in ("before", "after", "control"))
        assert [row.split()[3:] for row in rows] == [
            [f"{side['probe_auc']['value']:.3f}" for side in sides]
        ]


def test_version_evaluate_prints_the_promised_json(home: Path, cli: Cli) -> None:
    record = cli("version", "evaluate", "1", "--json").json
    assert record["report"]["before"]["retain_accuracy"] > 0.8
    assert record["report"]["after"]["per_class"]


def test_file_prints_the_id(home: Path, cli: Cli) -> None:
    args = ("request", "file", "--domain", "sketch", "--basis", "licence", "--reason", "r")
    record = cli(*args, "--subject-ref", "case 9", "--due", "2099-12-31", "--json").json
    assert record["id"] == 1
    assert record["targets"] == [{"class": None, "domain": "sketch"}]
    assert record["due_at"].startswith("2099-12-31")


def test_an_option_after_the_command_wins_over_one_before_it(home: Path, cli: Cli) -> None:
    cli("--actor", "nobody", "actor", "add", "zoe", "--role", "auditor", "--actor", "ada")
    assert (
        "there is no actor 'nobody'"
        in cli("--actor", "nobody", "actor", "add", "yan", "--role", "auditor", expect=4).err
    )


def test_every_listing_has_a_json_form(prepared: Path, cli: Cli) -> None:
    for args in (
        ("actor", "list"), ("model", "list"), ("model", "show"), ("dataset", "list"),
        ("dataset", "show", "eval"), ("request", "list"), ("request", "show", "1"),
        ("version", "list"), ("version", "show", "1"), ("audit", "log"), ("audit", "verify"),
        ("db", "current"), ("db", "check"),
    ):  # fmt: skip
        assert json.loads(cli(*args, "--json").out), args
        assert cli(*args).out.strip(), args


def test_lists_can_be_filtered(prepared: Path, cli: Cli) -> None:
    assert [r["id"] for r in cli("request", "list", "--state", "prepared", "--json").json] == [1]
    assert cli("request", "list", "--state", "filed", "--json").json == []
    events = cli("audit", "log", "--subject", "request:1", "--json").json
    assert [event["action"] for event in events] == ["request.filed", "request.prepared"]


def test_a_tampered_ledger_is_found(prepared: Path, cli: Cli) -> None:
    import sqlite3

    with sqlite3.connect(prepared / "ledger.db") as connection:
        connection.execute("DROP TRIGGER evaluation_reports_no_update")
        connection.execute("UPDATE evaluation_reports SET content = replace(content, '0.9', '0.1')")
    connection.close()
    result = cli("audit", "verify", "--json", expect=6)
    assert result.json["ok"] is False
    assert result.json["first_bad"] == {
        "where": "report 1",
        "problem": "its content has another digest",
    }
    assert "report 1" in result.err


def test_model_check_probes_the_fold(home: Path, cli: Cli) -> None:
    record = cli("model", "check", "--json").json
    assert record["ok"] is True
    assert 0 < record["probe_error"] < 1e-5
    assert [c["precision"] for c in record["certificates"]] == ["fp32", "fp16", "bf16"]
    assert all(0 < c["error"] <= c["tolerance"] for c in record["certificates"])
    printed = cli("model", "check").out
    assert "a fold is exact to" in printed
    assert all(name in printed for name in ("fp32", "fp16", "bf16", "arithmetic"))


@pytest.mark.parametrize("format_", ["html", "json"])
def test_reports_are_written_where_asked(
    prepared: Path, cli: Cli, tmp_path: Path, format_: str
) -> None:
    target = tmp_path / "out" / f"case.{format_}"
    result = cli("report", "request", "1", "-o", target)
    assert result.out.strip() == str(target)
    text = target.read_text(encoding="utf-8")
    if format_ == "json":
        document = json.loads(text)
        assert document["requests"][0]["id"] == 1
        assert document["limits"]
    else:
        assert text.startswith("<!")
    assert cli("report", "request", "1", "--format", format_, "-o", "-").out.strip()


def test_a_report_needs_something_to_report(filed: Path, cli: Cli) -> None:
    assert "not prepared" in cli("report", "request", "1", "-o", "-", expect=2).err
    assert "neither html nor json" in cli("report", "version", "1", "-o", "x.doc", expect=2).err


def test_init_can_be_repeated_after_an_interruption(cli: Cli, tmp_path: Path) -> None:
    home = tmp_path / "fresh"
    cli("init", "--home", home, "--admin", "ada")
    (home / "governance.toml").unlink()  # what an interruption before the last step leaves
    assert "The ledger knows ada" in cli("init", "--home", home, "--admin", "ada").out
    (home / "governance.toml").unlink()
    assert "and eve is none of them" in cli("init", "--home", home, "--actor", "eve").out
    assert [a["name"] for a in cli("actor", "list", "--home", home, "--json").json] == ["ada"]


def test_an_approver_sees_the_figures_and_what_is_not_gated(filed: Path, cli: Cli) -> None:
    assert "Accuracy on" not in cli("request", "show", "1").out
    cli("request", "prepare", "1", "--strength", "0.5", "--actor", "mona")
    shown = cli("request", "show", "1").out
    assert "Accuracy on eval" in shown
    assert "What is left of it is not gated at strength 0.5" in shown
    record = cli("request", "show", "1", "--json").json
    assert record["report"]["projector_digest"] == record["projector"]["digest"]


def test_the_embedded_model_is_recorded_by_name(home: Path, cli: Cli) -> None:
    assert cli("model", "show", "--json").json["source"]["name"] == "demo"


def test_a_new_home_is_private(cli: Cli, tmp_path: Path) -> None:
    cli("init", "--home", tmp_path / "private", "--admin", "ada")
    assert (tmp_path / "private").stat().st_mode & 0o077 == 0
