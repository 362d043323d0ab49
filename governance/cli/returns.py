"""Saying what a rollback brings back, before it happens."""

import sys
from typing import Any

import click

from governance.cli.context import Invocation
from governance.errors import RefusedError


def announce(
    invocation: Invocation,
    model: str | None,
    to: int | None,
    drop: int | None,
    dry_run: bool,
    yes: bool,
) -> tuple[bool, int | None]:
    """Say which concepts become recognisable again; on a terminal, ask.

    Args:
        invocation: the command.
        model: which model; None if there is only one.
        to: version to serve; None for the one before.
        drop: request to drop instead; None if a version is served again.
        dry_run: only say it.
        yes: do not ask.

    Returns:
        Whether to go on, and the version that was served when this was said; None if nobody can tell.

    Raises:
        RefusedError: it would be refused, and this is a dry run.
        click.Abort: somebody said no.
    """
    try:
        record = _consider(invocation, model, to, drop)
    except RefusedError:
        if dry_run:
            raise
        return True, None  # what refuses it then writes that down, too
    goal = f"version {record['to']}" if drop is None else f"a version without request {drop}"
    lines = [
        f"Recognisable again: {back['scope']} (request {back['id']}, due {back['due_at'][:10]})"
        for back in record["recognisable_again"]
    ]
    text = [f"Going to {goal}; version {record['served']} of {record['model']} is served now."]
    text += lines or ["Nothing becomes recognisable again."]
    if dry_run:
        invocation.emit(record, lambda: click.echo("\n".join(text)))
        return False, record["served"]
    click.echo("\n".join(text), err=True)
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm("Go on?", abort=True, err=True)
    return True, record["served"]


def _consider(
    invocation: Invocation, model: str | None, to: int | None, drop: int | None
) -> dict[str, Any]:
    from governance.ledger.lookup import find_request
    from governance.reports.records import request_record
    from governance.states import Action
    from governance.workflow.aliases import served_number
    from governance.workflow.release import consider
    from governance.workflow.transition import check_action

    with invocation.ledger.read() as session:
        if drop is None:
            found = consider(session, model, to)
            name, number, served, lost = found.model, found.number, found.served, found.lost
        else:
            request = find_request(session, drop)
            check_action(request, Action.REINSTATE)
            name, number, lost = request.model.name, None, [drop]
            served = served_number(session, request.model)
        back = [request_record(find_request(session, number)) for number in lost]
    return {"model": name, "served": served, "to": number, "recognisable_again": back}
