"""``governance request``: file, prepare, decide, apply."""

from datetime import UTC, datetime, time
from pathlib import Path

import click

from governance.cli.case import attach, attachment, hold, lift, read_files, redact
from governance.cli.context import (
    ERASABLE,
    NUMBER,
    Invocation,
    common,
    model_option,
    override_options,
    override_reason,
    paged,
    pass_invocation,
    table,
    tell_more,
)
from governance.cli.prepare import evaluate, prepare
from governance.cli.show import (
    break_glass_line,
    override_line,
    print_gates,
    print_report,
    print_request,
    request_of,
)
from governance.paging import Page
from governance.reports.words import describe_capacity, describe_certificate
from governance.states import Basis, State

_BASES = [basis.value for basis in Basis]
_DAY = click.DateTime(["%Y-%m-%d"])
_KEPT = f"Why; {ERASABLE}"
_COMMENT = f"What to say about it; {ERASABLE}"


@click.group()
@common
def request() -> None:
    """Forget requests."""


for command in (prepare, evaluate, attach, attachment, hold, lift, redact):
    request.add_command(command)


@request.command()
@model_option
@click.option("--forget", "classes", multiple=True, metavar="CLASS", help="A class to forget.")
@click.option(
    "--domain", "domains", multiple=True, metavar="DOMAIN",
    help="Only in this domain; without --forget, everything in it.",
)  # fmt: skip
@click.option(
    "--basis", required=True, type=click.Choice(_BASES), metavar="BASIS",
    help=f"Ground: {', '.join(_BASES)}.",
)  # fmt: skip
@click.option("--reason", required=True, help=f"Why, in words; {ERASABLE}")
@click.option("--subject-ref", metavar="TEXT", help=f"Case or person concerned; {ERASABLE}")
@click.option("--due", type=_DAY, metavar="YYYY-MM-DD", help="Deadline; 30 days if not given.")
@click.option(
    "--attach", "files", multiple=True, metavar="FILE", type=click.Path(path_type=Path),
    help=f"A file that belongs to the case; repeat for several; {ERASABLE}",
)  # fmt: skip
@click.option(
    "--retention", metavar="CLASS",
    help="Class of the policy that says for how long after its end the case is kept.",
)  # fmt: skip
@click.option(
    "--again", is_flag=True, help="File it even if you have an open request with the same content."
)
@common
@pass_invocation
def file(
    invocation: Invocation,
    model: str | None,
    classes: tuple[str, ...],
    domains: tuple[str, ...],
    basis: str,
    reason: str,
    subject_ref: str | None,
    due: datetime | None,
    files: tuple[Path, ...],
    retention: str | None,
    again: bool,
) -> None:
    """File a request to forget a class everywhere, a class in a domain, or a whole domain.

    Repeat --forget and --domain for several targets; with both, every class in every domain that is named. If you have
    an open request with exactly the same content, its number is printed and nothing is filed, so the command can be
    repeated after an interruption.
    """
    from governance.unlearning.targets import make_targets
    from governance.workflow import requests

    number, new = requests.file(
        invocation.ledger,
        invocation.acting,
        model,
        make_targets(classes, domains),
        Basis(basis),
        reason,
        subject_ref,
        _end_of_day(due) if due else None,
        retention,
        read_files(files),
        again,
    )
    record = request_of(invocation, number) | {"new": new}
    text = f"Filed request {number}: forget {record['scope']}, due {record['due_at'][:10]}."
    if not new:
        text = (
            f"Nothing filed: you filed this as request {number} on {record['filed_at'][:10]} "
            f"({record['state']}); --again files another."
        )
    invocation.emit(record, lambda: click.echo(text))


@request.command("list")
@click.option("--model", metavar="NAME", help="Only on this model.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice([s.value for s in State]),
    help="Only requests in this state; repeat for several.",
)  # fmt: skip
@click.option(
    "--basis", type=click.Choice(_BASES), metavar="BASIS", help="Only on this ground; see `file`."
)
@click.option("--forget", "label", metavar="CLASS", help="Only those that name this class.")
@click.option(
    "--domain", metavar="DOMAIN",
    help="Only those that name this domain; with --forget, the class in the domain.",
)  # fmt: skip
@click.option("--filed-by", metavar="NAME", help="Only those that this person filed.")
@click.option("--overdue", is_flag=True, help="Only those whose deadline has passed.")
@click.option(
    "--due-before", type=_DAY, metavar="YYYY-MM-DD",
    help="Only those whose deadline still runs and ends before this day.",
)  # fmt: skip
@click.option("--held", is_flag=True, help="Only those on legal hold.")
@click.option("--redactable", is_flag=True, help="Only those that could be redacted now.")
@paged
@common
@pass_invocation
def list_(
    invocation: Invocation,
    model: str | None,
    states: tuple[str, ...],
    basis: str | None,
    label: str | None,
    domain: str | None,
    filed_by: str | None,
    overdue: bool,
    due_before: datetime | None,
    held: bool,
    redactable: bool,
    page: Page,
) -> None:
    """List the requests, by number; all that is asked for must hold."""
    from governance.ledger.listing import Wanted, requests_page
    from governance.ledger.lookup import find_model
    from governance.ledger.types import now
    from governance.reports.records import listed_records

    ends = [now()] if overdue else []
    ends += [due_before.replace(tzinfo=UTC)] if due_before else []
    with invocation.ledger.read() as session:
        wanted = Wanted(
            None if model is None else find_model(session, model),
            frozenset(State(state) for state in states),
            basis,
            filed_by,
            label,
            domain,
            min(ends, default=None),
            held,
            redactable,
        )
        rows, more = requests_page(session, wanted, page)
        records = listed_records(session, rows)
    cells = [
        (r["id"], r["state"], r["model"], r["scope"], r["basis"],
         r["due_at"][:10] + (" OVERDUE" if r["overdue"] else ""), r["filed_by"])
        for r in records
    ]  # fmt: skip
    headers = ["id", "state", "model", "forget", "basis", "due", "filed by"]
    invocation.emit(records, lambda: table(cells, headers))
    tell_more(page, more, records[-1]["id"] if records else 0)


@request.command()
@click.argument("number", metavar="ID", type=NUMBER)
@common
@pass_invocation
def show(invocation: Invocation, number: int) -> None:
    """Show request ID, and the figures of its newest preparation."""
    from governance.ledger.judgement import judge_request
    from governance.ledger.lookup import find_request
    from governance.reports.records import report_record, request_record

    with invocation.ledger.read() as session:
        row = find_request(session, number)
        record = request_record(row)
        report = report_record(row.projector.report) if row.projector else None
        gates = judge_request(session, row).to_dict()["gates"]

    def print_() -> None:
        print_request(record)
        if report is not None:
            click.echo(describe_capacity(report["capacity"]))
            for line in describe_certificate(report):
                click.echo(line)
            print_report(report)
            print_gates(gates, report["strength"])

    invocation.emit(record | {"report": report, "gates": gates}, print_)


@request.command()
@click.argument("number", metavar="ID", type=NUMBER)
@click.option("--comment", help=_COMMENT)
@click.option(
    "--projector", metavar="DIGEST",
    help="Only if this is still the projector; the first digits are enough.",
)  # fmt: skip
@click.option(
    "--break-glass", is_flag=True,
    help="As an admin, in an emergency: without four eyes and quorum. Needs --comment; every report says so.",
)  # fmt: skip
@override_options
@common
@pass_invocation
def approve(
    invocation: Invocation,
    number: int,
    comment: str | None,
    projector: str | None,
    break_glass: bool,
    override: bool,
    reason: str | None,
) -> None:
    """Approve the projector and report of request ID, as somebody who neither filed nor prepared it.

    It is approved once as many people have approved it as the policy demands. A gate of the policy that fails on any
    report on the preparation refuses it, unless somebody who may overrides it.
    """
    from governance.workflow import requests

    why = override_reason(override, reason)
    done = requests.approve(
        invocation.ledger, invocation.acting, number, comment, projector, break_glass, why
    )
    verb = "Approved" if done.complete or break_glass else str(done)
    _print_changed(invocation, number, verb)


@request.command()
@click.argument("number", metavar="ID", type=NUMBER)
@click.option("--comment", help=_COMMENT)
@common
@pass_invocation
def reject(invocation: Invocation, number: int, comment: str | None) -> None:
    """Reject request ID."""
    from governance.workflow import requests

    requests.reject(invocation.ledger, invocation.acting, number, comment)
    _print_changed(invocation, number, "Rejected")


@request.command()
@click.argument("number", metavar="ID", type=NUMBER)
@click.option("--reason", required=True, help=_KEPT)
@common
@pass_invocation
def withdraw(invocation: Invocation, number: int, reason: str) -> None:
    """Withdraw request ID, which is not applied."""
    from governance.workflow import requests

    requests.withdraw(invocation.ledger, invocation.acting, number, reason)
    _print_changed(invocation, number, "Withdrew")


@request.command()
@click.argument("number", metavar="ID", type=NUMBER)
@click.option("--until", required=True, type=_DAY, metavar="YYYY-MM-DD", help="New deadline.")
@click.option("--reason", required=True, help=_KEPT)
@common
@pass_invocation
def extend(invocation: Invocation, number: int, until: datetime, reason: str) -> None:
    """Move the deadline of request ID."""
    from governance.workflow import requests

    requests.extend(invocation.ledger, invocation.acting, number, _end_of_day(until), reason)
    _print_changed(invocation, number, "Extended")


@request.command()
@click.argument("number", metavar="ID", type=NUMBER)
@click.option("--reason", required=True, help=_KEPT)
@common
@pass_invocation
def close(invocation: Invocation, number: int, reason: str) -> None:
    """Close request ID, which is released; its edit stays in every later version."""
    from governance.workflow import requests

    requests.close(invocation.ledger, invocation.acting, number, reason)
    _print_changed(invocation, number, "Closed")


@request.command()
@click.argument("numbers", metavar="ID...", type=NUMBER, nargs=-1, required=True)
@common
@pass_invocation
def apply(invocation: Invocation, numbers: tuple[int, ...]) -> None:
    """Make the next model version from everything active and the approved request ID.

    Several requests become one version. It gets the alias candidate; `governance version promote` serves it.
    """
    from governance.cli.version import print_version
    from governance.workflow import versions

    model, version = versions.apply(invocation.tools, invocation.acting, numbers)
    print_version(invocation, model, version, "Applied: ")


def _end_of_day(day: datetime) -> datetime:
    return datetime.combine(day.date(), time(23, 59, 59), UTC)


def _print_changed(invocation: Invocation, number: int, verb: str) -> None:
    record = request_of(invocation, number)

    def show() -> None:
        if record["break_glass"]:
            click.echo(break_glass_line([number]))
        for entry in record["overrides"]:
            click.echo(override_line(entry))
        click.echo(
            f"{verb} request {number}; it is {record['state']}, due {record['due_at'][:10]}."
        )

    invocation.emit(record, show)
