"""``governance demo``: the whole workflow on the embedded model, with the commands a user would type."""

import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from governance.cli.context import fraction, table
from governance.cli.show import scope
from governance.errors import InvalidInputError

CLASS = "mug"
PAIR = ("cat", "sketch")

_STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("A workspace with its ledger and MLflow store, and five people with different roles.", (
        "governance init --admin ada",
        "governance actor add carla --role compliance",
        "governance actor add dmitri --role approver",
        "governance actor add mona --role mlops",
        "governance actor add otto --role auditor",
    )),
    ("A model to govern and images to measure with, rendered from a seed that training never saw.", (
        "python -m governance.demo.scenes {home}/images --per-pair 12 --seed 4711",
        "governance model register shop --open-clip demo --actor mona",
        "governance dataset add eval {home}/images --actor mona",
    )),
    ("Compliance files two requests: one class everywhere, another class in one domain.", (
        f"governance request file --forget {CLASS} --basis court-order "
        "--reason 'injunction of 3 November' --subject-ref 'case 4711' --actor carla",
        f"governance request file --forget {PAIR[0]} --domain {PAIR[1]} --basis licence "
        "--reason 'licence of the drawings ended' --actor carla",
    )),
    ("The first one: fit and measure, approve by somebody else, make version 2, serve it.", (
        "governance request prepare 1 --actor mona",
        "governance request approve 1 --comment 'figures reviewed' --actor dmitri",
        "governance request apply 1 --actor mona",
        "governance version promote 2 --actor mona",
    )),
    ("The second one: version 3 does both with one matrix.", (
        "governance request prepare 2 --actor mona",
        "governance request approve 2 --actor dmitri",
        "governance request apply 2 --actor mona",
        "governance version promote 3 --actor mona",
    )),
    ("The injunction is lifted: drop the first request out of the middle, keep the second.", (
        "governance version rollback --drop 1 --reason 'injunction lifted' --actor mona",
    )),
    ("What happened is on record, and the record holds.", (
        "governance request list",
        "governance version list",
        "governance audit verify",
        "governance report version 4 -o {report} --actor otto",
    )),
    ("An auditor takes the evidence along and checks it offline, trusting neither operator nor database.", (
        "governance audit export --all -o {home}/evidence.zip --actor otto",
        "governance audit check-bundle {home}/evidence.zip",
    )),
)  # fmt: skip

_PLACES = ("GOVERNANCE_HOME", "GOVERNANCE_DATABASE_URL", "GOVERNANCE_ACTOR", "MLFLOW_TRACKING_URI")


@click.command()
@click.option(
    "--keep", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Make the workspace here and leave it for exploration.",
)  # fmt: skip
@click.option(
    "--report", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the report (default: demo-report.html in DIR, or here without --keep).",
)  # fmt: skip
def demo(keep: Path | None, report: Path | None) -> None:
    """Run the whole workflow on the embedded model, printing each command.

    Two concepts are forgotten under governance, one is brought back, and every figure is measured as it goes. Your
    own workspace, database and MLflow server are not touched.
    """
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise InvalidInputError(f"{keep} is not empty; name a new directory")
    with ExitStack() as stack:
        home = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="governance-")))
        home = home.absolute()
        page = (report or (keep or Path()) / "demo-report.html").absolute()
        stack.enter_context(_isolated(home))
        click.echo(f"$ export GOVERNANCE_HOME={shlex.quote(str(home))}")
        for title, commands in _STEPS:
            _say(f"\n# {title}", bold=True)
            for line in commands:
                _type(line.format(home=shlex.quote(str(home)), report=shlex.quote(str(page))))
        _say("\n# Accuracy before and after, for each version, measured on the images above.", True)
        _summary(home)
    click.echo(f"\nReport: {page}")
    if keep is not None:
        click.echo(f"Explore: export GOVERNANCE_HOME={shlex.quote(str(home))}; governance --help")


def _say(text: str, bold: bool = False) -> None:
    click.secho(text, bold=bold)


def _type(line: str) -> None:
    """Print a command and run it in this process, which spares seconds of imports each time."""
    from governance.cli.main import run
    from governance.demo.scenes import main as render

    _say(f"$ {line}", bold=True)
    program, *args = shlex.split(line)
    if program == "python":
        render.main(args[2:], standalone_mode=False)
        code = 0
    else:
        code = run(args)
    if code:
        raise click.exceptions.Exit(code)


@contextmanager
def _isolated(home: Path) -> Iterator[None]:
    """Point the environment at the demo's workspace and nothing else."""
    saved = {name: os.environ.pop(name, None) for name in _PLACES}
    os.environ["GOVERNANCE_HOME"] = str(home)
    try:
        yield
    finally:
        os.environ.pop("GOVERNANCE_HOME")
        os.environ.update({name: value for name, value in saved.items() if value is not None})


def _summary(home: Path) -> None:
    """One table from the reports in the ledger."""
    from governance.ledger.database import Ledger
    from governance.ledger.lookup import find_model, versions
    from governance.reports.records import report_record, version_record
    from governance.settings import load_settings

    ledger = Ledger(load_settings(home).database_url)
    rows: list[tuple[str, ...]] = []
    with ledger.read() as session:
        for version in versions(session, find_model(session, None)):
            record = version_record(session, version)
            name = f"{record['version']} ({', '.join(record['aliases'])})".replace(" ()", "")
            for report in (report_record(report) for report in version.reports):
                for request in report["requests"]:
                    verb = "forget" if request["active"] else "back again:"
                    before, after = fraction(request["before"]), fraction(request["after"])
                    rows.append((name, f"{verb} {scope(request)}", before, after))
                    name = ""
                kept = (report[side]["retain_accuracy"] for side in ("before", "after"))
                rows.append((name, "retain everything else", *map(fraction, kept)))
    ledger.dispose()
    table(rows, ["version", "", "before", "after"])
