"""``governance audit``: the event log and its verification."""

import click

from governance.cli.context import Invocation, common, pass_invocation, table
from governance.digests import short


@click.group()
@common
def audit() -> None:
    """The event log and its verification."""


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
    from governance.audit.verify import NOT_DECRYPTED
    from governance.audit.verify import verify as verify_ledger
    from governance.errors import IntegrityError

    result = verify_ledger(invocation.ledger)

    def show() -> None:
        checked = dict(result.checked)
        unread = checked.pop(NOT_DECRYPTED, 0)
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(checked.items()))
        click.echo(f"{result.events} events hold. Checked: {kinds or 'nothing else'}.")
        if unread:
            click.echo(
                f"{unread} private texts were not checked: they are encrypted, and the data key is not here."
            )
        if result.head:
            click.echo(f"head {result.head}")
        for fault in result.faults:
            click.echo(f"BAD {fault.where}: {fault.problem}")

    invocation.emit(result.to_dict(), show)
    if not result.ok:
        first = result.faults[0]
        raise IntegrityError(f"the ledger does not hold: {first.where}: {first.problem}")
