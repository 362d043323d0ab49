"""``audit export`` and ``audit check-bundle`` on a real workspace, with the embedded model."""

import json
import zipfile
from pathlib import Path

from tests.cli.conftest import Cli


def test_a_case_leaves_the_house_and_is_checked(prepared: Path, cli: Cli, tmp_path: Path) -> None:
    cli("request", "approve", "1", "--actor", "dmitri", "--comment", "fine")
    cli("request", "apply", "1", "--actor", "mona")
    cli("version", "promote", "2", "--actor", "mona")
    for options in (["--request", 1], ["--version", 2], ["--version", 2, "--model", "shop"], []):
        path = tmp_path / "case.zip"
        record = cli("audit", "export", *options, "-o", path, "--actor", "ada", "--json").json
        assert record["path"] == str(path)
        checked = cli("audit", "check-bundle", path, "--json").json
        assert checked["ok"] is True
        assert checked["bundle"]["about"] == record["about"]
        assert "version 2 of shop: request 1" in checked["steps"][9]["said"]
        assert not any("version 2 of shop" in line for line in checked["not_checked"])
    out = cli("audit", "check-bundle", path).out
    assert out.rstrip().endswith("The bundle holds.")
    actions = [event["action"] for event in cli("audit", "log", "--json").json]
    assert actions[-8:] == ["checkpoint.taken", "bundle.exported"] * 4
    assert cli("audit", "verify", "--json").json["ok"] is True
    # The heads that were signed lie in the workspace.
    assert cli("doctor").out.startswith("Nothing is wrong.")
    with zipfile.ZipFile(path) as archive:
        statements = [n for n in archive.namelist() if n.startswith("attestations/")]
    assert statements == [
        "attestations/shop-2-approval.dsse.json",
        "attestations/shop-2-recipe.dsse.json",
        "attestations/shop-2-test-1.dsse.json",
    ]


def test_both_sides_are_checked(filed: Path, cli: Cli, tmp_path: Path) -> None:
    cli("request", "prepare", "1", "--both-sides", "--actor", "mona")
    # With both sides changed, a quarter of the mugs of the embedded model is still recognised.
    cli("request", "approve", "1", "--override", "--reason", "a test", "--actor", "ada")
    cli("request", "apply", "1", "--actor", "mona")
    cli("audit", "export", "--all", "-o", tmp_path / "case.zip", "--actor", "ada")
    checked = cli("audit", "check-bundle", tmp_path / "case.zip", "--json").json
    assert checked["ok"] is True
    assert not any("version 2" in line for line in checked["not_checked"])


def test_exit_codes(filed: Path, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "case.zip"
    cli("audit", "export", "-o", path, "--actor", "ada")
    assert (
        "name one of"
        in cli(
            "audit", "export", "--all", "--request", 1, "-o", path, "--actor", "ada", expect=2
        ).err
    )
    cli("audit", "export", "--model", "shop", "-o", path, "--actor", "ada", expect=2)
    cli("audit", "export", "-o", path, "--actor", "mona", expect=3)
    cli("audit", "export", "--request", 9, "-o", path, "--actor", "ada", expect=4)
    cli("audit", "check-bundle", tmp_path / "none.zip", expect=4)
    cli("audit", "check-bundle", path, "--checkpoint", tmp_path / "none.txt", expect=4)
    cli("audit", "check-bundle", __file__, expect=2)
    content = path.read_bytes()
    place = content.index(b'"basis":"bias"')
    path.write_bytes(content[:place] + b'"basis":"bibs"' + content[place + 14 :])
    failed = cli("audit", "check-bundle", path, "--json", expect=6)
    assert json.loads(failed.out)["ok"] is False
    assert "does not hold" in failed.err
