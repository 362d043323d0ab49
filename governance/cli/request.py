"""``governance request``: file, prepare, decide, apply."""

from datetime import UTC, datetime, time
from typing import Any

import click

from governance.cli.context import (
    NUMBER,
    Invocation,
    common,
    dataset_option,
    model_option,
    pass_invocation,
    table,
)
from governance.cli.show import (
    print_gates,
    print_report,
    print_request,
)
from governance.reports.words import describe_capacity, describe_prototypes
from governance.states import Basis, State
from governance.unlearning.recipe import HYPERPARAMETERS, REDIRECT_ONLY, Method, default_of

_BASES = [basis.value for basis in Basis]
_DAY = click.DateTime(["%Y-%m-%d"])
_KEPT = "Why; kept until the request is redacted, the log holds a salted commitment."
_COMMENT = "What to say about it; kept until the request is redacted."


_METHODS = [method.value for method in Method]
_KINDS = ["text", "synthesised", "few-shot"]
_MEANINGS = {
    "lambda_forget": "Weight of forgotten rows",
    "lambda_retain": "Weight of retained rows",
    "mu": "Weight of changing little",
    "overshoot": "How many times the way to its anchor a class in one domain goes",
    "sibling_weight": "How much more the same class in other domains is held",
    "margin": "Share of its zero-shot margin that every retained prompt keeps",
    "contraction": "How far the classes of a whole domain go to their mean",
    "shift": "How far they go together towards one retained class",
}


def _defaults(name: str) -> str:
    if name in REDIRECT_ONLY:
        return f"redirect {default_of(Method.REDIRECT, name):g}"
    return ", ".join(f"{method.value} {default_of(method, name):g}" for method in Method)


def _hyperparameters(command: Any) -> Any:
    for name in reversed(HYPERPARAMETERS):
        text = f"{_MEANINGS[name]} (default: {_defaults(name)})."
        command = click.option(f"--{name.replace('_', '-')}", type=float, help=text)(command)
    return command


@click.group()
@common
def request() -> None:
    """Forget requests."""


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
@click.option("--reason", required=True, help="Why, in words; stays erasable.")
@click.option("--subject-ref", metavar="TEXT", help="Case or person concerned; stays erasable.")
@click.option("--due", type=_DAY, metavar="YYYY-MM-DD", help="Deadline; 30 days if not given.")
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
) -> None:
    """File a request to forget a class everywhere, a class in a domain, or a whole domain.

    Repeat --forget and --domain for several targets; with both, every class in every domain that is named.
    """
    from governance.unlearning.targets import make_targets
    from governance.workflow import requests

    number = requests.file(
        invocation.ledger,
        invocation.acting,
        model,
        make_targets(classes, domains),
        Basis(basis),
        reason,
        subject_ref,
        _end_of_day(due) if due else None,
    )
    record = _record(invocation, number)
    invocation.emit(
        record,
        lambda: click.echo(
            f"Filed request {number}: forget {record['scope']}, due {record['due_at'][:10]}."
        ),
    )


@request.command("list")
@model_option
@click.option(
    "--state", "states", multiple=True, type=click.Choice([s.value for s in State]),
    help="Only requests in this state; repeat for several.",
)  # fmt: skip
@common
@pass_invocation
def list_(invocation: Invocation, model: str | None, states: tuple[str, ...]) -> None:
    """List the requests."""
    from governance.ledger.lookup import find_model, requests
    from governance.reports.records import request_record

    with invocation.ledger.read() as session:
        of_model = None if model is None else find_model(session, model)
        records = [request_record(row) for row in requests(session, of_model, states)]
    rows = [
        (r["id"], r["state"], r["model"], r["scope"], r["basis"],
         r["due_at"][:10] + (" OVERDUE" if r["overdue"] else ""), r["filed_by"])
        for r in records
    ]  # fmt: skip
    headers = ["id", "state", "model", "forget", "basis", "due", "filed by"]
    invocation.emit(records, lambda: table(rows, headers))


@request.command()
@click.argument("number", metavar="ID", type=NUMBER)
@common
@pass_invocation
def show(invocation: Invocation, number: int) -> None:
    """Show request ID, and the figures of its newest preparation."""
    from governance.ledger.lookup import find_request
    from governance.reports.records import report_record, request_record
    from governance.workflow.gates import gates_of
    from governance.workflow.policies import current

    with invocation.ledger.read() as session:
        rules, _ = current(session)
        row = find_request(session, number)
        record = request_record(row)
        report = report_record(row.projector.report) if row.projector else None

    def print_() -> None:
        print_request(record)
        if report is not None:
            click.echo(describe_capacity(report["capacity"]))
            print_report(report)
            gates = gates_of(report, rules.gates)
            print_gates([gate.to_dict() for gate in gates], report["strength"])

    invocation.emit(record | {"report": report}, print_)


@request.command()
@click.argument("number", metavar="ID", type=NUMBER)
@click.option(
    "--method", type=click.Choice(_METHODS), default="redirect", show_default=True,
    help="redirect sends the concept to what is retained and holds the rest; ccup to zero and holds the rest; "
    "nullspace to zero; multimodal to zero, text and prototypes together.",
)  # fmt: skip
@click.option(
    "--strength", type=float, default=1.0, show_default=True, help="How far, above 0 and at most 1."
)
@click.option(
    "--both-sides", is_flag=True,
    help="Edit the text tower too, for image embeddings stored before; meant for a class everywhere.",
)  # fmt: skip
@click.option(
    "--prototypes", "kinds", multiple=True, type=click.Choice(_KINDS), default=["text"],
    show_default=True,
    help="What the fit sees besides text prompts; repeat for several. synthesised makes images by "
    "gradient, few-shot takes some from a data set with the role prototypes.",
)  # fmt: skip
@click.option(
    "--prototype-dataset", metavar="NAME", help="Of few-shot prototypes, if there are several."
)
@click.option(
    "--shots", type=click.IntRange(1), metavar="K",
    help="Few-shot images of each (class, domain) (default 16).",
)  # fmt: skip
@click.option(
    "--budget", type=click.IntRange(1), metavar="STEPS",
    help="Gradient steps for each synthesised image (default 12).",
)  # fmt: skip
@click.option(
    "--seed", type=int, metavar="N", help="Of drawing or synthesising prototypes (default 0)."
)
@_hyperparameters
@dataset_option
@common
@pass_invocation
def prepare(
    invocation: Invocation,
    /,
    number: int,
    method: str,
    strength: float,
    both_sides: bool,
    kinds: tuple[str, ...],
    prototype_dataset: str | None,
    shots: int | None,
    budget: int | None,
    seed: int | None,
    dataset: str | None,
    **hyperparameters: float | None,
) -> None:
    """Fit the projector of request ID and measure before and after; a former approval is void."""
    from governance.unlearning.prototypes import PrototypeKind
    from governance.unlearning.recipe import Recipe
    from governance.workflow import prepare as preparing
    from governance.workflow.prototypes import Wanted

    _check_used(kinds, ("few-shot",), {"--prototype-dataset": prototype_dataset, "--shots": shots})
    _check_used(kinds, ("synthesised",), {"--budget": budget})
    _check_used(kinds, ("few-shot", "synthesised"), {"--seed": seed})
    recipe = Recipe.of(method, strength, both_sides, **hyperparameters)
    given: dict[str, Any] = {
        "dataset": prototype_dataset,
        "shots": shots,
        "steps": budget,
        "seed": seed,
    }
    wanted = Wanted(
        tuple(PrototypeKind(kind) for kind in dict.fromkeys(kinds)),
        **{name: value for name, value in given.items() if value is not None},
    )
    _, report_id = preparing.prepare(
        invocation.tools, invocation.acting, number, dataset, recipe, wanted
    )
    _print_measured(invocation, number, report_id, f"Prepared request {number}")


@request.command()
@click.argument("number", metavar="ID", type=NUMBER)
@dataset_option
@common
@pass_invocation
def evaluate(invocation: Invocation, number: int, dataset: str | None) -> None:
    """Measure the projector of request ID on another data set."""
    from governance.workflow import prepare as preparing

    report_id = preparing.evaluate_request(invocation.tools, invocation.acting, number, dataset)
    _print_measured(invocation, number, report_id, f"Evaluated request {number}")


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
@common
@pass_invocation
def approve(
    invocation: Invocation,
    number: int,
    comment: str | None,
    projector: str | None,
    break_glass: bool,
) -> None:
    """Approve the projector and report of request ID, as somebody who neither filed nor prepared it.

    It is approved once as many people have approved it as the policy demands.
    """
    from governance.workflow import requests

    done = requests.approve(
        invocation.ledger, invocation.acting, number, comment, projector, break_glass
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


def _check_used(kinds: tuple[str, ...], of: tuple[str, ...], given: dict[str, Any]) -> None:
    """A flag that would be ignored is a misunderstanding."""
    for flag, value in given.items():
        if value is not None and not set(of) & set(kinds):
            raise click.UsageError(f"{flag} is for --prototypes {' or '.join(of)}")


def _end_of_day(day: datetime) -> datetime:
    return datetime.combine(day.date(), time(23, 59, 59), UTC)


def _record(invocation: Invocation, number: int) -> dict[str, Any]:
    from governance.ledger.lookup import find_request
    from governance.reports.records import request_record

    with invocation.ledger.read() as session:
        return request_record(find_request(session, number))


def _print_changed(invocation: Invocation, number: int, verb: str) -> None:
    record = _record(invocation, number)

    def show() -> None:
        click.echo(
            f"{verb} request {number}; it is {record['state']}, due {record['due_at'][:10]}."
        )

    invocation.emit(record, show)


def _print_measured(invocation: Invocation, number: int, report_id: int, title: str) -> None:
    from governance.ledger.tables import Report
    from governance.reports.records import report_record
    from governance.workflow.gates import gates_of
    from governance.workflow.policies import current

    record = _record(invocation, number)
    with invocation.ledger.read() as session:
        report = report_record(session.get_one(Report, report_id))
        rules, _ = current(session)
    gates = [gate.to_dict() for gate in gates_of(report, rules.gates)]
    projector = record["projector"]
    settings, used = projector["recipe"]["hyperparameters"], report["capacity"]

    def show() -> None:
        click.echo(
            f"{title}: {record['scope']} with {settings['method']}, strength "
            f"{settings['strength']:g}; edited: {' and '.join(report['sides'])}"
        )
        click.echo(f"projector {projector['digest']}")
        click.echo(f"fitted on {describe_prototypes(projector['recipe']['prototypes'])}")
        click.echo(describe_capacity(used))
        print_report(report)
        print_gates(gates, report["strength"])

    invocation.emit(
        {
            "request": number,
            "state": record["state"],
            "projector": projector,
            "report": report,
            "gates": gates,
        },
        show,
    )
