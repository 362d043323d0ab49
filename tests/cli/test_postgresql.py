"""The commands with a ledger on PostgreSQL: the owner migrates, the program works as a role of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.postgres import APPLICATION, Server


@pytest.fixture
def database(postgresql: Server) -> Iterator[str]:
    """Name of an empty database."""
    postgresql.create("commands")
    yield "commands"
    postgresql.drop("commands")


def test_the_usual_path_of_one_case(
    cli: Cli,
    postgresql: Server,
    database: str,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner, program = (postgresql.url(database), postgresql.url(database, APPLICATION))
    monkeypatch.setenv("GOVERNANCE_HOME", str(tmp_path / "home"))
    assert "holds no ledger" in cli("db", "check", "--database", owner, expect=7).err
    cli("db", "upgrade", "--database", owner)
    postgresql.execute(cli("db", "grants", APPLICATION).out, database=database)
    cli("init", "--admin", "ada", "--database", program)
    for line in (
        "actor add carla --role compliance",
        "actor add dmitri --role approver",
        "actor add mona --role mlops",
        "model register shop --open-clip demo",
        f"dataset add eval {images}",
        "request file --forget mug --basis bias --reason because --actor carla",
        "request prepare 1 --actor mona",
        "request approve 1 --actor dmitri",
        "request apply 1 --actor mona",
        "version promote 2 --actor mona",
    ):
        cli(*line.split())
    line = "version rollback --drop 1 --reason x --actor mona --json"
    rolled = cli(*line.split()).json
    assert rolled["reinstated_requests"] == [1]
    assert cli("audit", "verify", "--json").json["ok"] is True
    assert cli("audit", "verify", "--json", "--database", owner).json["ok"] is True
    cli("db", "upgrade", "--database", owner)
    assert [found["name"] for found in cli("actor", "list", "--json").json] == [
        "ada", "carla", "dmitri", "mona",
    ]  # fmt: skip
    assert not list((tmp_path / "home").glob("ledger*"))


def test_a_workspace_can_be_made_by_the_owner_alone(
    cli: Cli, postgresql: Server, database: str, tmp_path: Path
) -> None:
    home = ("--home", tmp_path / "home")
    cli("init", "--admin", "ada", "--database", postgresql.url(database), *home)
    assert cli("actor", "list", "--json", *home).json[0]["name"] == "ada"


def test_without_its_grants_the_program_is_told_in_one_line(
    cli: Cli, postgresql: Server, database: str
) -> None:
    cli("db", "upgrade", "--database", postgresql.url(database))
    program = postgresql.url(database, APPLICATION)
    told = cli("request", "list", "--database", program, expect=7).err
    assert "permission denied" in told
    assert told.count("\n") == 1


def test_grants_are_printed_for_psql_and_as_json(cli: Cli) -> None:
    printed = cli("db", "grants", "app").out.splitlines()
    statements = cli("db", "grants", "app", "--json").json["statements"]
    assert printed == ["BEGIN;", *(f"{line};" for line in statements), "COMMIT;"]
    assert "reserves that name" in cli("db", "grants", "public", expect=2).err
