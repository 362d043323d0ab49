"""``governance request prepare`` and ``evaluate``: the edit and its figures."""

from typing import Any

import click

from governance.cli.context import NUMBER, Invocation, common, dataset_option, pass_invocation
from governance.cli.show import print_gates, print_report, request_of
from governance.reports.words import describe_capacity, describe_prototypes
from governance.unlearning.recipe import HYPERPARAMETERS, REDIRECT_ONLY, Method, default_of

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
