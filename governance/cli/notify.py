"""``governance notify``: who is told what, and how that went."""

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from governance.cli.context import Invocation, common, pass_invocation, table
from governance.errors import InvalidInputError, UnavailableError
from governance.notifications import KINDS, Endpoint

if TYPE_CHECKING:
    from governance.workflow.notify import Post

_ID = click.IntRange(1, 2**31 - 1)
_STATES = ("pending", "delivered", "failed")


@click.group()
@common
def notify() -> None:
    """Tell webhooks and files what comes to pass.

    Endpoints are named in governance.toml. Messages hold numbers, states and times, and no names, reasons or classes.
    docs/operations.md says what receivers can rely on.
    """


@notify.command("run")
@click.option("--once", is_flag=True, help="One round, then end; the default.")
@click.option("--follow", is_flag=True, help="Round after round until SIGINT or SIGTERM.")
@common
@pass_invocation
def run_(invocation: Invocation, once: bool, follow: bool) -> None:
    """Deliver what is due: new events, deadlines, failed checks, and what could not be delivered before.

    Several runners at once do no harm. One round ends with exit code 7 if an endpoint did not take a message; it is
    tried again by a later round, with growing pauses, for about four days.
    """
    from governance.workflow import notify as post

    if once and follow:
        raise click.UsageError("--once and --follow exclude each other")
    place = _post(invocation)
    if not place.notifications.endpoints:
        raise InvalidInputError(
            "governance.toml names no endpoint to notify; see docs/operations.md"
        )
    if follow:
        stopping = threading.Event()
        before = {
            number: signal.signal(number, lambda *_: stopping.set())
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            post.follow(place, stopping)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return
    tally = post.run_once(place)
    delivered = {e.name: tally.delivered.get(e.name, 0) for e in place.notifications.endpoints}
    record = {"delivered": delivered, "problems": tally.problems}

    def show() -> None:
        for name, number in delivered.items():
            click.echo(f"{name}: {number} delivered")

    invocation.emit(record, show)
    if tally.problems:
        said = "; ".join(f"{name}: {problem}" for name, problem in tally.problems.items())
        raise UnavailableError(f"not everything could be delivered: {said}")


@notify.command("list")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(_STATES),
    help="Only deliveries that stand so; repeat for several.",
)  # fmt: skip
@click.option(
    "--endpoint", "names", multiple=True, metavar="NAME",
    help="Only those for this endpoint; repeat for several.",
)  # fmt: skip
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(KINDS), metavar="KIND",
    help=f"Only messages of this kind: {', '.join(KINDS)}.",
)  # fmt: skip
@click.option(
    "--limit", type=_ID, metavar="N", default=50, show_default=True, help="Only the newest N."
)
@common
@pass_invocation
def list_(
    invocation: Invocation,
    states: tuple[str, ...],
    names: tuple[str, ...],
    kinds: tuple[str, ...],
    limit: int,
) -> None:
    """List the newest deliveries, oldest first; with --json every attempt at them."""
    from governance.ledger.outbox import deliveries
    from governance.reports.records import delivery_record

    with invocation.ledger.read() as session:
        records = [delivery_record(row) for row in deliveries(session, states, names, kinds, limit)]
    rows = [
        (r["id"], r["endpoint"], r["kind"], r["subject"], r["state"], r["tries"],
         _last(r), r["due_at"][:19].replace("T", " ") if r["state"] == "pending" else "")
        for r in records
    ]  # fmt: skip
    headers = ["id", "endpoint", "kind", "subject", "state", "tries", "last attempt", "next (UTC)"]
    invocation.emit(records, lambda: table(rows, headers))


@notify.command()
@common
@pass_invocation
def endpoints(invocation: Invocation) -> None:
    """List the endpoints of governance.toml, and others that the ledger knows."""
    from governance.ledger.outbox import counts, outboxes

    configured = {e.name: e for e in invocation.settings.notifications.endpoints}
    with invocation.ledger.read() as session:
        known, numbers = outboxes(session), counts(session)
    records = []
    for name in [*configured, *sorted(known.keys() - configured.keys())]:
        outbox, endpoint = known.get(name), configured.get(name)
        gone_at = outbox.gone_at.isoformat() if outbox and outbox.gone_at else None
        records.append({
            "name": name,
            "to": _to(endpoint),
            "kinds": list(endpoint.kinds) if endpoint else [],
            "since": outbox.added_at.isoformat() if outbox else None,
            "gone_at": gone_at,
            **{state: numbers.get((name, state), 0) for state in _STATES},
        })  # fmt: skip
    rows = [
        (r["name"], r["to"], "gone" if r["gone_at"] else "", *(r[state] for state in _STATES))
        for r in records
    ]
    invocation.emit(records, lambda: table(rows, ["name", "to", "", *_STATES]))


@notify.command()
@click.argument("number", metavar="ID", type=_ID)
@common
@pass_invocation
def redeliver(invocation: Invocation, number: int) -> None:
    """Let delivery ID be made again by the next round, under the same message id; its history stays."""
    from governance.reports.records import delivery_record
    from governance.workflow import notify as post

    record = delivery_record(post.redeliver(invocation.ledger, number))
    invocation.emit(
        record, lambda: click.echo(f"Delivery {number} to {record['endpoint']} is due again.")
    )


@notify.command()
@click.argument("name", metavar="ENDPOINT")
@common
@pass_invocation
def test(invocation: Invocation, name: str) -> None:
    """Send ENDPOINT a message of kind notify.test, and say what came of it; exit code 7 if it did not take it.

    An endpoint that answered 410 Gone before is served again if it takes this one.
    """
    from governance.webhooks import Outcome
    from governance.workflow import notify as post

    endpoint = invocation.settings.notifications.find(name)
    message, answer = post.try_out(invocation.ledger, endpoint)
    record = {
        "endpoint": name,
        "message_id": message,
        "outcome": answer.outcome.value,
        "status": answer.status,
        "excerpt": answer.excerpt,
        "seconds": round(answer.seconds, 3),
    }
    taken = answer.outcome is Outcome.DELIVERED
    invocation.emit(
        record, lambda: click.echo(f"{name} took {message}." if taken else f"{name} did not.")
    )
    if not taken:
        raise UnavailableError(f"{name}: {post.describe(answer)}")


@notify.command("new-secret")
@click.option(
    "-o", "--output", "path", metavar="FILE", required=True, type=click.Path(path_type=Path),
    help="File to make for the secret, mode 0600.",
)  # fmt: skip
@common
@pass_invocation
def new_secret(invocation: Invocation, path: Path) -> None:
    """Make a random secret for a webhook; the receiver needs the same one.

    To exchange a secret, put the new one into the first line of the file and leave the old one in the second until the
    receiver knows the new one: messages are signed with both.
    """
    from governance.evidence.webhook import write_secret

    write_secret(path)
    record = {"file": str(path.absolute())}
    invocation.emit(record, lambda: click.echo(str(path.absolute())))


def _post(invocation: Invocation) -> "Post":
    from governance.workflow.notify import Post

    settings = invocation.settings
    return Post(invocation.ledger, settings.notifications, settings.checks_file)


def _to(endpoint: Endpoint | None) -> str:
    """Where messages go, without what may be secret."""
    if endpoint is None:
        return "not in governance.toml"
    if endpoint.file is not None:
        return os.fspath(endpoint.file)
    return endpoint.host


def _last(record: dict[str, Any]) -> str:
    if not record["attempts"]:
        return ""
    last = record["attempts"][-1]
    return f"{last['outcome']} {last['status'] or ''}".rstrip()
