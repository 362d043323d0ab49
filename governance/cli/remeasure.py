"""``governance audit remeasure``: whether the figures of a report come out again."""

from typing import TYPE_CHECKING

import click

from governance.cli.context import NUMBER, Invocation, common, model_option, pass_invocation
from governance.digests import short
from governance.errors import IntegrityError, InvalidInputError

if TYPE_CHECKING:
    from governance.workflow.remeasure import Remeasured


_TOLERANCE = 1e-4
"""Other processors add in another order; no share of images changes by so little."""


@click.command()
@click.argument("what", metavar="request|version", type=click.Choice(["request", "version"]))
@click.argument("number", metavar="N", type=NUMBER)
@model_option
@click.option(
    "--tolerance", type=click.FloatRange(0), default=_TOLERANCE, show_default=True, metavar="FLOAT",
    help="By how much a figure may differ: other processors round otherwise.",
)  # fmt: skip
@common
@pass_invocation
def remeasure(
    invocation: Invocation, what: str, number: int, model: str | None, tolerance: float
) -> None:
    """Measure request N or version N again, and compare with its reports; exit code 6 if a figure is another.

    Needs the weights and the images, which must be those of then; they are encoded anew, whatever was kept. Of a
    request its newest preparation is measured. Nothing is recorded.
    """
    from governance.workflow.remeasure import remeasure_request, remeasure_version

    if what == "request":
        if model is not None:
            raise InvalidInputError("--model goes with a version")
        found = remeasure_request(invocation.tools, number, tolerance)
    else:
        found = remeasure_version(invocation.tools, model, number, tolerance)

    record = {what: number, "reports": [report.to_dict() for report in found]}
    invocation.emit(record, lambda: _print(found))
    for report in found:
        if report.differences:
            first = report.differences[0]
            raise IntegrityError(
                f"the report on {report.dataset} does not come out again: {first.where} is recorded as "
                f"{first.recorded}, and is {first.measured}"
            )


def _print(found: "list[Remeasured]") -> None:
    for report in found:
        others = len(report.differences)
        outcome = f"{others} came out otherwise" if others else "all of them came out again"
        click.echo(
            f"{report.dataset}: {report.values} values of report {short(report.digest)} measured again, "
            f"{outcome}; largest difference {report.largest:.1g}"
        )
        if report.left_out:
            click.echo(
                f"not compared, as the report has an older format: {', '.join(report.left_out)}"
            )
        for d in report.differences:
            click.echo(f"BAD {d.where}: recorded {d.recorded}, measured {d.measured}")
