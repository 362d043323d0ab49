"""``governance actor``: who may do what."""

import click

from governance.cli.context import FOR_EVER, Invocation, common, pass_invocation, table
from governance.states import Role


@click.group()
@common
def actor() -> None:
    """Who may do what."""


@actor.command()
@click.argument("name")
@click.option(
    "--role", "roles", multiple=True, required=True, type=click.Choice([r.value for r in Role]),
    help="A role; repeat for several.",
)  # fmt: skip
@common
@pass_invocation
def add(invocation: Invocation, name: str, roles: tuple[str, ...]) -> None:
    """Add an actor called NAME.

    compliance files requests, approver decides, mlops prepares and releases, auditor reads and exports, admin may do
    all of it and manages actors. Nobody approves what they filed or prepared themselves, whatever their roles.
    """
    from governance.workflow import actors

    actors.add(invocation.ledger, invocation.acting, name, [Role(role) for role in roles])
    record = {"name": name, "roles": sorted(set(roles))}
    invocation.emit(record, lambda: click.echo(f"Added {name} ({', '.join(record['roles'])})."))


@actor.command("list")
@common
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the actors."""
    from governance.ledger.lookup import every
    from governance.ledger.tables import Actor
    from governance.reports.records import actor_record

    with invocation.ledger.read() as session:
        records = [actor_record(row) for row in every(session, Actor)]
    rows = [
        (r["name"], ", ".join(r["roles"]), "yes" if r["active"] else "no", r["added_at"][:10])
        for r in records
    ]
    invocation.emit(records, lambda: table(rows, ["name", "roles", "active", "since"]))


@actor.command()
@click.argument("name")
@click.option("--reason", required=True, help=FOR_EVER)
@common
@pass_invocation
def deactivate(invocation: Invocation, name: str, reason: str) -> None:
    """Take away NAME's right to act; what they did stays valid."""
    from governance.workflow import actors

    actors.deactivate(invocation.ledger, invocation.acting, name, reason)
    record = {"name": name, "active": False}
    invocation.emit(record, lambda: click.echo(f"Deactivated {name}."))
