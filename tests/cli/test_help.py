"""Every command explains itself, quickly."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from governance.cli.main import governance
from governance.cli.reference import reference

HEAVY = ("torch", "open_clip", "mlflow", "opentelemetry", "sqlalchemy", "numpy", "PIL")
DOCS = Path(__file__).parents[2] / "docs"


def commands(
    command: click.Command = governance, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its path."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, (*path, name))


ALL = list(commands())


def loaded_after(code: str, *env: tuple[str, str]) -> set[str]:
    """Which heavy modules a fresh interpreter holds after running `code`."""
    script = f"import sys\n{code}\nprint('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_the_tree_has_the_documented_groups() -> None:
    paths = {" ".join(path) for path, _ in ALL}
    for expected in (
        "init", "demo", "actor add", "model register", "model check", "dataset add",
        "request file", "request prepare", "request evaluate", "request approve", "request apply",
        "actor rotate-key", "actor new-key", "policy adopt", "audit checkpoint", "audit prove",
        "version promote", "version rollback", "version export", "version evaluate", "audit log",
        "audit verify", "audit export", "audit check-bundle", "report", "doctor",
        "db upgrade", "db current", "db check", "db grants", "notify run", "notify list",
        "notify redeliver", "notify test", "notify endpoints", "notify new-secret", "metrics",
    ):  # fmt: skip
        assert expected in paths


@pytest.mark.parametrize(("path", "command"), ALL, ids=lambda value: str(value))
def test_every_command_and_option_has_help(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help, f"{path} has no help"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.name} has no help"


def test_no_help_page_imports_anything_heavy() -> None:
    lines = [[*path, "--help"] for path, _ in ALL]
    loaded = loaded_after(
        "import contextlib, io\nfrom governance.cli.main import run\n"
        f"with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    assert [run(line) for line in {lines!r}] == [0] * {len(lines)}"
    )
    assert loaded == set()


def test_commands_on_the_ledger_alone_import_no_torch_open_clip_or_mlflow(prepared: Path) -> None:
    with (prepared / "governance.toml").open("a", encoding="utf-8") as file:
        file.write('[notify.endpoints.log]\nfile = "log.jsonl"\n')
    lines = [
        ["actor", "list"], ["actor", "add", "olga", "--role", "auditor"], ["model", "list"],
        ["model", "show"], ["dataset", "list"], ["dataset", "show", "eval"], ["request", "list"],
        ["request", "show", "1"],
        ["request", "file", "--forget", "cat", "--basis", "bias", "--reason", "r"],
        ["request", "approve", "1", "--actor", "dmitri"],
        ["request", "reject", "2", "--actor", "dmitri"],
        ["version", "list"], ["version", "show", "1"], ["audit", "log"],
        ["audit", "checkpoint", "--offline"], ["audit", "verify", "--offline"], ["audit", "prove", "2"],
        ["policy", "show"], ["policy", "template"], ["actor", "rotate-key", "olga", "--reason", "r"],
        ["report", "request", "1", "--format", "json", "-o", "-"],
        ["report", "request", "1", "-o", "-"], ["db", "current"], ["db", "check"],
        ["db", "grants", "app"], ["notify", "list"], ["notify", "endpoints"], ["metrics"],
        ["notify", "run", "--json"], ["notify", "test", "log"],
    ]  # fmt: skip
    loaded = loaded_after(
        f"import os\nos.environ['GOVERNANCE_HOME'] = {str(prepared)!r}\n"
        "import contextlib, io\nfrom governance.cli.main import run\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    codes = [run(line) for line in {lines!r}]\n"
        "assert set(codes) == {0}, codes"
    )
    assert loaded <= {"sqlalchemy", "numpy", "PIL"}


def test_the_command_reference_is_up_to_date() -> None:
    """Regenerate with: python -m governance.cli.reference > docs/cli.md."""
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == reference()
