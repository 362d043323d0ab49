"""``governance db``: the ledger's schema."""

import click

from governance.cli.context import Invocation, common, pass_invocation


@click.group()
@common
def db() -> None:
    """The ledger's schema."""


@db.command()
@common
@pass_invocation
def upgrade(invocation: Invocation) -> None:
    """Create the ledger's tables, or bring them to this program's revision."""
    from governance.ledger.migrate import upgrade as upgrade_ledger

    before, after = upgrade_ledger(invocation.ledger)
    record = {"before": before, "after": after}
    text = f"The ledger is at revision {after}" + (" already." if before == after else ".")
    invocation.emit(record, lambda: click.echo(text))


@db.command("grants")
@click.argument("role")
@common
@pass_invocation
def show_grants(invocation: Invocation, role: str) -> None:
    """Print the SQL that gives a PostgreSQL role what this program needs, and nothing else.

    For the owner of the tables to run in the ledger's database, after each upgrade. See docs/postgresql.md.
    """
    from governance.ledger.grants import grants

    statements = grants(role)
    lines = ["BEGIN", *statements, "COMMIT"]
    record = {"role": role, "statements": statements}
    invocation.emit(record, lambda: click.echo("".join(f"{line};\n" for line in lines), nl=False))


@db.command()
@common
@pass_invocation
def current(invocation: Invocation) -> None:
    """Show the ledger's revision."""
    from governance.ledger.database import HEAD, current_revision

    with invocation.ledger.connect() as connection:
        revision = current_revision(connection)
    record = {"revision": revision, "needed": HEAD}
    invocation.emit(record, lambda: click.echo(revision or "no ledger"))


@db.command()
@common
@pass_invocation
def check(invocation: Invocation) -> None:
    """Succeed if the ledger is at this program's revision, fail otherwise."""
    from governance.ledger.database import HEAD

    with invocation.ledger.read():
        pass
    invocation.emit(
        {"revision": HEAD, "ok": True}, lambda: click.echo(f"The ledger is at revision {HEAD}.")
    )
