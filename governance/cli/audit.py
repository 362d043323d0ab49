"""``governance audit``: the event log, its verification, and bundles of evidence."""

from pathlib import Path

import click

from governance.cli.context import (
    NUMBER,
    Invocation,
    common,
    model_option,
    pass_invocation,
    table,
)
from governance.digests import short
from governance.errors import InvalidInputError


@click.group()
@common
def audit() -> None:
    """The event log, its verification, and bundles of evidence."""


@audit.command()
@click.option("--subject", metavar="KIND:NAME", help="Only events of one subject, e.g. request:1.")
@common
@pass_invocation
def log(invocation: Invocation, subject: str | None) -> None:
    """Show the events, oldest first."""
    from governance.ledger.events import stream
    from governance.reports.records import event_record

    with invocation.ledger.read() as session:
        records = [event_record(event) for event in stream(session, subject)]
    rows = [
        (r["seq"], r["at"][:19].replace("T", " "), r["actor"], r["action"], r["subject"],
         short(r["digest"]))
        for r in records
    ]  # fmt: skip
    headers = ["seq", "time (UTC)", "actor", "action", "subject", "digest"]
    invocation.emit(records, lambda: table(rows, headers))


@audit.command()
@common
@pass_invocation
def verify(invocation: Invocation) -> None:
    """Recompute every digest, link and state of the ledger; exit code 6 if anything does not hold."""
    from governance.audit.verify import verify as verify_ledger
    from governance.errors import IntegrityError

    result = verify_ledger(invocation.ledger)

    def show() -> None:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(result.checked.items()))
        click.echo(f"{result.events} events hold. Checked: {kinds or 'nothing else'}.")
        if result.head:
            click.echo(f"head {result.head}")
        for fault in result.faults:
            click.echo(f"BAD {fault.where}: {fault.problem}")

    invocation.emit(result.to_dict(), show)
    if not result.ok:
        first = result.faults[0]
        raise IntegrityError(f"the ledger does not hold: {first.where}: {first.problem}")


@audit.command()
@click.option("--request", type=NUMBER, metavar="N", help="What concerns one request.")
@click.option("--version", type=NUMBER, metavar="N", help="What concerns one version.")
@model_option
@click.option("--all", "everything", is_flag=True, help="The whole ledger; the default.")
@click.option(
    "-o", "--output", metavar="FILE", required=True,
    type=click.Path(path_type=Path, dir_okay=False), help="The ZIP file to write.",
)  # fmt: skip
@click.option(
    "--with-texts", is_flag=True,
    help="Include private texts (reasons, subject references, comments, attachments) that were not erased.",
)  # fmt: skip
@common
@pass_invocation
def export(
    invocation: Invocation,
    request: int | None,
    version: int | None,
    model: str | None,
    everything: bool,
    output: Path,
    with_texts: bool,
) -> None:
    """Write a bundle with evidence that anybody can verify offline.

    It holds events with proofs, keys, decisions, recipes, factors, reports and a verifier; that it was exported is an
    event itself. docs/audit.md says how to verify it.
    """
    from governance.audit.contents import Scope
    from governance.workflow.bundles import export as export_bundle

    if (request is not None) + (version is not None) + everything > 1:
        raise InvalidInputError("name one of --request, --version and --all")
    if model is not None and version is None:
        raise InvalidInputError("--model goes with --version")
    scope = Scope(request=request, model=model, version=version)
    done = export_bundle(invocation.ledger, invocation.acting, scope, output, with_texts)
    record = {
        "path": str(done.path.absolute()),
        "about": done.scope.to_dict(),
        "manifest": done.manifest,
        "events": done.size,
        "texts": with_texts,
    }

    def show() -> None:
        click.echo(str(done.path.absolute()))
        click.echo(f"manifest {done.manifest}")

    invocation.emit(record, show)


@audit.command("check-bundle")
@click.argument("bundle", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="A signed checkpoint that you got from elsewhere.",
)  # fmt: skip
@click.option(
    "--trust-key", metavar="KEY", multiple=True,
    help="A key that you know: its id (sha256:…) or the PEM file of the public key. Repeatable.",
)  # fmt: skip
@common
@pass_invocation
def check_bundle(
    invocation: Invocation, bundle: Path, checkpoint: Path | None, trust_key: tuple[str, ...]
) -> None:
    """Verify a bundle; exit code 6 if anything does not hold.

    Does the same as verify_bundle.py inside the bundle, but with the verifier of this installation. Needs no workspace.
    """
    from governance.audit import verify_bundle
    from governance.errors import IntegrityError, NotFoundError

    try:
        outcome = verify_bundle.verify(bundle, checkpoint, trust_key)
    except verify_bundle.Missing as error:
        raise NotFoundError(str(error)) from error
    except verify_bundle.Unreadable as error:
        raise InvalidInputError(str(error)) from error
    invocation.emit(outcome.to_dict(), lambda: click.echo(outcome.to_text()))
    if not outcome.ok:
        raise IntegrityError(f"the bundle does not hold: {outcome.first_bad}")
