"""Lists on the command line: filters, pages, and the word that there is more."""

from pathlib import Path

from tests.cli.conftest import Cli


def ids(cli: Cli, *options: str) -> list[int]:
    return [r["id"] for r in cli("request", "list", "--json", *options).json]


def test_requests_are_filtered_and_come_page_by_page(filed: Path, cli: Cli) -> None:
    for label, basis in (("cat", "licence"), ("mug", "bias"), ("cat", "bias")):
        cli("request", "file", "--forget", label, "--domain", "sketch", "--basis", basis,
            "--reason", "a reason", "--due", "2031-05-06", "--actor", "carla")  # fmt: skip
    assert ids(cli) == [1, 2, 3, 4]
    assert ids(cli, "--newest") == [4, 3, 2, 1]
    assert ids(cli, "--basis", "licence") == [2]
    assert ids(cli, "--forget", "mug") == [1, 3]
    assert ids(cli, "--forget", "mug", "--domain", "sketch") == [3]
    assert ids(cli, "--domain", "sketch") == [2, 3, 4]
    assert ids(cli, "--filed-by", "carla", "--state", "filed") == [1, 2, 3, 4]
    assert ids(cli, "--filed-by", "nobody") == []
    assert ids(cli, "--overdue") == []
    assert ids(cli, "--due-before", "2031-05-06") == [1]
    assert ids(cli, "--due-before", "2031-05-07") == [1, 2, 3, 4]
    assert ids(cli, "--due-before", "2031-05-07", "--overdue") == []

    first = cli("request", "list", "--limit", "3", "--json")
    assert [r["id"] for r in first.json] == [1, 2, 3]
    assert first.err.strip() == "There are more; go on with --after 3, or use --all."
    rest = cli("request", "list", "--limit", "3", "--after", "3")
    assert "cat in sketch" in rest.out
    assert rest.err == ""
    newest = cli("request", "list", "--limit", "1", "--newest")
    assert "go on with --newest --after 4" in newest.err
    assert ids(cli, "--newest", "--after", "4", "--limit", "2") == [3, 2]
    assert cli("request", "list", "--all").err == ""


def test_pages_of_versions(filed: Path, cli: Cli) -> None:
    assert [v["version"] for v in cli("version", "list", "--newest", "--json").json] == [1]
    assert cli("version", "list", "--after", "1", "--json").json == []


def test_what_a_page_cannot_be(filed: Path, cli: Cli) -> None:
    for listing in ("request", "version"):
        told = cli(listing, "list", "--all", "--limit", "3", expect=2).err
        assert "--all and --limit exclude each other" in told
    assert "--limit" in cli("request", "list", "--limit", "0", expect=2).err
    assert "--basis" in cli("request", "list", "--basis", "whim", expect=2).err
    assert "there is no model 'x'" in cli("request", "list", "--model", "x", expect=4).err
