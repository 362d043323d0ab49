"""``governance actor``: who may do what."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from governance.cli.context import Invocation, common, pass_invocation, table
from governance.cli.keys import new_passphrase, read_public_key
from governance.digests import short
from governance.states import Role

if TYPE_CHECKING:
    from governance.evidence.keys import PublicKey

_public_key = click.option(
    "--public-key", metavar="FILE|BASE64",
    help="Public key of a pair made with `actor new-key`; otherwise a pair is made in the workspace.",
)  # fmt: skip
_encrypt_key = click.option(
    "--encrypt-key", is_flag=True,
    help="Encrypt the private key that is made; GOVERNANCE_NEW_KEY_PASSPHRASE, or asked for.",
)  # fmt: skip


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
@_public_key
@_encrypt_key
@common
@pass_invocation
def add(
    invocation: Invocation,
    name: str,
    roles: tuple[str, ...],
    public_key: str | None,
    encrypt_key: bool,
) -> None:
    """Add an actor called NAME.

    compliance files requests, approver decides, mlops prepares and releases, auditor reads and exports, admin may do
    all of it and manages actors. Nobody approves what they filed or prepared themselves, whatever their roles.

    NAME signs with a key. Best they make it themselves (`governance actor new-key`) and hand over the public half;
    without --public-key a pair is made here, and lies in the workspace's keys directory.
    """
    from governance.workflow import actors

    key = _prepare_key(invocation, name, public_key, encrypt_key)
    key_id = actors.add(invocation.ledger, invocation.acting, name, [Role(r) for r in roles], key)
    record = {"name": name, "roles": sorted(set(roles)), "key_id": key_id}

    def show() -> None:
        click.echo(f"Added {name} ({', '.join(record['roles'])}), key {short(key_id)}.")

    invocation.emit(record, show)


@actor.command("rotate-key")
@click.argument("name")
@click.option("--reason", required=True, help="Why; kept for ever, so no personal data.")
@_public_key
@_encrypt_key
@common
@pass_invocation
def rotate_key(
    invocation: Invocation, name: str, reason: str, public_key: str | None, encrypt_key: bool
) -> None:
    """Give NAME a new key. What the old one signed stays valid; it signs nothing any more.

    People rotate their own key; an admin does it for somebody whose key is lost or stolen. The old private key is
    removed from the workspace's keys directory.
    """
    from governance.workflow import actors

    key = _prepare_key(invocation, name, public_key, encrypt_key)
    key_id = actors.rotate_key(invocation.ledger, invocation.acting, name, reason, key)
    record = {"name": name, "key_id": key_id}
    invocation.emit(record, lambda: click.echo(f"{name} signs with key {short(key_id)} now."))


@actor.command("new-key")
@click.option(
    "-o", "--output", "path", metavar="FILE", required=True, type=click.Path(path_type=Path),
    help="File to make for the private key, mode 0600.",
)  # fmt: skip
@click.option(
    "--encrypt", is_flag=True,
    help="Encrypt it; the passphrase is GOVERNANCE_NEW_KEY_PASSPHRASE, or asked for.",
)  # fmt: skip
@common
@pass_invocation
def new_key(invocation: Invocation, path: Path, encrypt: bool) -> None:
    """Make a key pair on your own machine, without any workspace, and print the public key.

    Hand the public key to an admin, who adds you with `governance actor add --public-key`. The private key stays with
    you: work with GOVERNANCE_KEY_FILE=FILE.
    """
    from governance.evidence.keys import SigningKey, write_key

    passphrase = new_passphrase(str(path)) if encrypt else None
    key = SigningKey.generate()
    write_key(path, key, passphrase)
    public = key.public.to_base64()
    record = {"public_key": public, "key_id": key.key_id, "file": str(path.absolute())}

    def show() -> None:
        click.echo(public)
        click.echo(f"The private key lies in {path}; hand over only the line above.", err=True)

    invocation.emit(record, show)


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
        (r["name"], ", ".join(r["roles"]), "yes" if r["active"] else "no", r["added_at"][:10],
         ", ".join(map(short, r["keys"])))
        for r in records
    ]  # fmt: skip
    invocation.emit(records, lambda: table(rows, ["name", "roles", "active", "since", "key"]))


@actor.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why; kept for ever, so no personal data.")
@common
@pass_invocation
def deactivate(invocation: Invocation, name: str, reason: str) -> None:
    """Take away NAME's right to act; what they did stays valid."""
    from governance.workflow import actors

    actors.deactivate(invocation.ledger, invocation.acting, name, reason)
    record = {"name": name, "active": False}
    invocation.emit(record, lambda: click.echo(f"Deactivated {name}."))


def _prepare_key(
    invocation: Invocation, name: str, public_key: str | None, encrypt_key: bool
) -> "PublicKey | None":
    """The public key that was handed over, or None and how to encrypt the one that will be made."""
    if public_key is not None:
        if encrypt_key:
            raise click.UsageError("--public-key and --encrypt-key exclude each other")
        return read_public_key(public_key)
    if encrypt_key:
        invocation.new_passphrase = new_passphrase(f"the key of {name}")
    return None
