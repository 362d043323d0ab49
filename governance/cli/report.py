"""``governance report``: reports for people and programs."""

import json
from pathlib import Path

import click

from governance.cli.context import NUMBER, Invocation, model_option, pass_invocation, places
from governance.errors import InvalidInputError


@click.command()
@click.argument("what", metavar="request|version", type=click.Choice(["request", "version"]))
@click.argument("number", metavar="N", type=NUMBER)
@click.option(
    "--format", "format_", type=click.Choice(["html", "json"]),
    help="Default: by the name of the file, else html.",
)  # fmt: skip
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it; - for standard output.",
)  # fmt: skip
@model_option
@places
@pass_invocation
def report(
    invocation: Invocation,
    what: str,
    number: int,
    format_: str | None,
    output: Path | None,
    model: str | None,
) -> None:
    """Write the report on request N or version N.

    HTML is one self-contained page; JSON holds the same content. The log records who took it, with its digest.
    """
    from governance.ledger.lookup import find_model, find_request, find_version
    from governance.reports.document import request_document, version_document
    from governance.reports.html import render
    from governance.workflow import readouts

    chosen = format_ or (output.suffix.lstrip(".").lower() if output and output.suffix else "html")
    if chosen not in ("html", "json"):
        raise InvalidInputError(f"{output} names neither html nor json; say --format html or json")
    with invocation.ledger.read() as session:
        if what == "request":
            document = request_document(session, find_request(session, number))
            subject = f"request:{number}"
        else:
            row = find_version(session, find_model(session, model), number)
            document = version_document(session, row)
            subject = f"version:{row.model.name}/{number}"
    if chosen == "html":
        text = render(document)
    else:
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    # The record comes first: what was printed cannot be called back.
    readouts.record(invocation.ledger, invocation.acting, subject, chosen, text.encode())
    if output is not None and str(output) == "-":
        click.echo(text, nl=False)
        return
    path = output or Path(f"{what}-{number}.{chosen}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}") from error
    click.echo(str(path.absolute()))
