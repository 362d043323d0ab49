"""``governance request prepare`` and ``evaluate``: the edit and its figures."""

from typing import Any

import click

from governance.cli.context import NUMBER, Invocation, common, dataset_option, pass_invocation
from governance.cli.show import print_gates, print_report, request_of
from governance.reports.words import (
    describe_assumption,
    describe_capacity,
    describe_certificate,
    describe_prototypes,
    describe_reference,
    describe_reversal,
)
from governance.unlearning.recipe import HYPERPARAMETERS, REDIRECT_ONLY, Method, default_of

_METHODS = [method.value for method in Method]
_KINDS = ["text", "synthesised", "few-shot"]
_MEANINGS = {
    "lambda_forget": "Weight of forgotten rows; for redirect in a space without room",
    "forget_room": "Added to it for each unit of room, the dimensions for each forgotten class",
    "lambda_retain": "Weight of retained rows",
    "mu": "Weight of changing little; for redirect in units of the retained texts' mean eigenvalue",
    "mu_room": "Added to it for each unit of room",
    "anchors": "How many of the nearest retained texts take the place of a forgotten one",
    "lambda_image": "Weight of the image rows that are to change",
    "sibling_weight": "How much more the same class in other domains is held",
    "scatter": "Weight of the scatter of few-shot images",
    "mu_image": "Weight of changing little, on the image side",
    "overshoot": "How many times its lead over the next class is taken from a class in one domain",
    "contraction": "How far the scores of a whole domain go to their mean",
    "shift": "How far, in leads of a class, one retained class is raised for a whole domain",
}


def _defaults(name: str) -> str:
    if name in REDIRECT_ONLY:
        value = default_of(Method.REDIRECT, name)
        return f"redirect {'by what the fit sees' if value is None else f'{value:g}'}"
    return ", ".join(f"{method.value} {default_of(method, name):g}" for method in Method)


def _hyperparameters(command: Any) -> Any:
    for name in reversed(HYPERPARAMETERS):
        text = f"{_MEANINGS[name]} (default: {_defaults(name)})."
        command = click.option(f"--{name.replace('_', '-')}", type=float, help=text)(command)
    return command


@click.command()
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
    "--irreversible/--reversible", default=None,
    help="Null what is forgotten everywhere exactly, so that the edit has no inverse (default: for statutory bases, if "
    "the limits of the policy allow it; only redirect at full strength).",
)  # fmt: skip
@click.option(
    "--with-synonyms", "synonyms", is_flag=True,
    help="Move the label file's synonyms of a forgotten class too; that widens what is forgotten.",
)  # fmt: skip
@click.option(
    "--reference", metavar="NAME",
    help="Data set of unlabelled images with the role reference, if there are several.",
)  # fmt: skip
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
    irreversible: bool | None,
    synonyms: bool,
    reference: str | None,
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
    recipe = Recipe.of(
        method, strength, both_sides, bool(irreversible), synonyms, **hyperparameters
    )
    given: dict[str, Any] = {
        "dataset": prototype_dataset,
        "shots": shots,
        "steps": budget,
        "seed": seed,
        "reference": reference,
    }
    wanted = Wanted(
        tuple(PrototypeKind(kind) for kind in dict.fromkeys(kinds)),
        **{name: value for name, value in given.items() if value is not None},
    )
    _, report_id = preparing.prepare(
        invocation.tools, invocation.acting, number, dataset, recipe, wanted, irreversible is None
    )
    _print_measured(invocation, number, report_id, f"Prepared request {number}")


@click.command()
@click.argument("number", metavar="ID", type=NUMBER)
@dataset_option
@common
@pass_invocation
def evaluate(invocation: Invocation, number: int, dataset: str | None) -> None:
    """Measure the projector of request ID on another data set."""
    from governance.workflow import prepare as preparing

    report_id = preparing.evaluate_request(invocation.tools, invocation.acting, number, dataset)
    _print_measured(invocation, number, report_id, f"Evaluated request {number}")


def _check_used(kinds: tuple[str, ...], of: tuple[str, ...], given: dict[str, Any]) -> None:
    """A flag that would be ignored is a misunderstanding."""
    for flag, value in given.items():
        if value is not None and not set(of) & set(kinds):
            raise click.UsageError(f"{flag} is for --prototypes {' or '.join(of)}")


def _print_measured(invocation: Invocation, number: int, report_id: int, title: str) -> None:
    from governance.ledger.judgement import judge_request
    from governance.ledger.lookup import find_request
    from governance.ledger.tables import Report
    from governance.reports.records import report_record

    record = request_of(invocation, number)
    with invocation.ledger.read() as session:
        report = report_record(session.get_one(Report, report_id))
        gates = judge_request(session, find_request(session, number)).to_dict()["gates"]
    projector = record["projector"]
    settings, used = projector["recipe"]["hyperparameters"], report["capacity"]

    def show() -> None:
        click.echo(
            f"{title}: {record['scope']} with {settings['method']}, strength "
            f"{settings['strength']:g}; edited: {' and '.join(report['sides'])}"
        )
        click.echo(f"projector {projector['digest']}")
        click.echo(f"fitted on {describe_prototypes(projector['recipe']['prototypes'])}")
        if projector["recipe"].get("reference"):
            click.echo(describe_reference(projector["recipe"]["reference"]))
        if (assumed := describe_assumption(projector["recipe"])) is not None:
            click.echo(assumed)
        click.echo(describe_reversal(settings))
        click.echo(describe_capacity(used))
        for line in describe_certificate(report):
            click.echo(line)
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
