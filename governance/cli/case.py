"""The file of a case: ``governance request attach``, ``attachment``, ``hold``, ``lift``, ``redact``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from governance.cli.context import FOR_EVER, NUMBER, Invocation, common, pass_invocation, table
from governance.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from governance.workflow.attachments import Attachment

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("number", metavar="ID", type=NUMBER)
@click.argument("files", metavar="FILE...", type=_FILE, nargs=-1, required=True)
@common
@pass_invocation
def attach(invocation: Invocation, number: int, files: tuple[Path, ...]) -> None:
    """Put files into the case of request ID: letters, orders, evidence; up to 20 MiB each.

    Names and contents are kept until the request is redacted; the log holds a salted commitment.
    """
    from governance.workflow import cases

    cases.attach_all(invocation.ledger, invocation.acting, number, read_files(files))
    print_case(invocation, number, f"Attached {len(files)} to")


@click.command()
@click.argument("number", metavar="ID", type=NUMBER)
@click.argument("attachment", metavar="NUMBER", type=NUMBER)
@click.option(
    "-o", "--output", metavar="FILE", type=_FILE, required=True,
    help="Where to write it, a new file; - for standard output.",
)  # fmt: skip
@common
@pass_invocation
def attachment(invocation: Invocation, number: int, attachment: int, output: Path) -> None:
    """Write attachment NUMBER of request ID to a file; the log records who took it."""
    from governance.workflow import cases

    to_stdout = str(output) == "-"
    if not to_stdout and output.exists():
        raise InvalidInputError(f"{output} exists; name another file")
    name, content = cases.read_attachment(invocation.ledger, invocation.acting, number, attachment)
    if to_stdout:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise InvalidInputError(f"{output} cannot be written: {error.strerror}") from error
    record = {"request": number, "attachment": attachment, "name": name, "bytes": len(content)}
    invocation.emit(record, lambda: click.echo(f"Wrote {name} to {output}."))


@click.command()
@click.argument("number", metavar="ID", type=NUMBER)
@click.option("--reason", required=True, help=FOR_EVER)
@common
@pass_invocation
def hold(invocation: Invocation, number: int, reason: str) -> None:
    """Put request ID on legal hold: it cannot be redacted until the hold is lifted."""
    from governance.workflow import cases

    cases.hold(invocation.ledger, invocation.acting, number, reason)
    print_case(invocation, number, "Put a hold on")


@click.command()
@click.argument("number", metavar="ID", type=NUMBER)
@click.option("--reason", required=True, help=FOR_EVER)
@common
@pass_invocation
def lift(invocation: Invocation, number: int, reason: str) -> None:
    """Lift the legal hold of request ID."""
    from governance.workflow import cases

    cases.lift(invocation.ledger, invocation.acting, number, reason)
    print_case(invocation, number, "Lifted the hold of")


@click.command()
@click.argument("number", metavar="[ID]", type=NUMBER, required=False)
@click.option("--reason", help=FOR_EVER)
@click.option("--due", is_flag=True, help="Every request whose retention period is over.")
@click.option("--dry-run", is_flag=True, help="With --due: only list them.")
@common
@pass_invocation
def redact(
    invocation: Invocation, number: int | None, reason: str | None, due: bool, dry_run: bool
) -> None:
    """Erase reasons, subject reference, comments and attachments of request ID, which has ended.

    Only what is rejected, withdrawn or closed can be redacted, and nothing that is on hold. The log keeps salted
    commitments, so it verifies as before. Backups and what was exported are not reached.
    """
    from governance.workflow import cases

    if due == (number is not None):
        raise click.UsageError("name a request, or all that are due with --due")
    if number is not None:
        if dry_run:
            raise click.UsageError("--dry-run is for --due")
        left = cases.redact(invocation.ledger, invocation.acting, number, reason or "")
        print_case(invocation, number, "Redacted")
    else:
        if reason is not None:
            raise click.UsageError("--due gives its reason itself: the retention period is over")
        left = _redact_due(invocation, dry_run)
    if left:
        click.echo(f"Warning: {left}", err=True)


def read_files(paths: Sequence[Path]) -> list["Attachment"]:
    """Files to attach.

    Raises:
        NotFoundError: one is missing.
        InvalidInputError: one cannot be read, is empty or too large.
    """
    from governance.workflow.attachments import MAX_BYTES, Attachment

    found = []
    for path in paths:
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no file {path}") from error
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error
        try:
            found.append(Attachment.of(path.name, content))
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {error}") from None
    return found


def print_case(invocation: Invocation, number: int, verb: str) -> None:
    """Print what was done with a case, and how its file stands."""
    from governance.ledger.lookup import find_request
    from governance.reports.records import request_record

    with invocation.ledger.read() as session:
        record = request_record(find_request(session, number))
    count = len(record["attachments"])
    marks = [mark for mark in ("held", "redacted") if record[mark]]
    words = f"{count} attachment{'' if count == 1 else 's'}, retention class {record['retention']}"
    text = f"{verb} request {number}; {'; '.join([*marks, words])}."
    invocation.emit(record, lambda: click.echo(text))


def _redact_due(invocation: Invocation, dry_run: bool) -> str | None:
    from governance.ledger.listing import requests_of
    from governance.ledger.rules import current
    from governance.reports.records import listed_records
    from governance.workflow import cases

    left = None
    if dry_run:
        from governance.ledger.retention import due
        from governance.ledger.types import now

        with invocation.ledger.read() as session:
            rules, _ = current(session)
            numbers = [row.id for row, _ in due(session, rules.retention, now())]
            records = listed_records(session, requests_of(session, numbers))
    else:
        numbers, left = cases.redact_due(invocation.ledger, invocation.acting)
        with invocation.ledger.read() as session:
            records = listed_records(session, requests_of(session, numbers))

    def show() -> None:
        if not records:
            click.echo("No request is due for redaction.")
            return
        rows: list[tuple[Any, ...]] = [
            (r["id"], r["state"], r["retention"], (r["keep_until"] or "")[:10]) for r in records
        ]
        click.echo("Would be redacted:" if dry_run else "Redacted:")
        table(rows, ["id", "state", "class", "kept until"])

    invocation.emit(records, show)
    return left
