"""``governance init``."""

import getpass
import os

import click

from governance.cli.context import Invocation, pass_invocation, places
from governance.errors import InvalidInputError, RefusedError
from governance.settings import CONFIG_NAME, config_text, home_path, new_settings


@click.command()
@click.option("--admin", metavar="NAME", help="First admin (default: your user name).")
@click.option(
    "--encrypt-texts", is_flag=True,
    help="Make a key with which reasons, subjects, comments and attachments are encrypted in the database.",
)  # fmt: skip
@places
@pass_invocation
def init(invocation: Invocation, admin: str | None, encrypt_texts: bool) -> None:
    """Make a workspace: ledger, MLflow store, configuration file, first admin.

    The stores are SQLite files in the home unless --database or --tracking-uri say otherwise. An interrupted init can
    be repeated.
    """
    from governance.evidence.cipher import create_key
    from governance.ledger.database import Ledger
    from governance.ledger.lookup import is_actor
    from governance.ledger.migrate import upgrade
    from governance.ledger.names import check_name
    from governance.registry import Registry
    from governance.workflow import actors

    home = home_path(invocation.home)
    config = home / CONFIG_NAME
    if config.exists():
        raise RefusedError(f"{home} is a workspace already; nothing was changed")
    name = admin or invocation.actor or os.environ.get("GOVERNANCE_ACTOR") or _user()
    check_name("actor", name)
    settings = new_settings(home, invocation.database, invocation.tracking_uri, name)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)  # reasons may be personal data
    except OSError as error:
        raise InvalidInputError(f"{home} cannot be made: {error.strerror}") from error
    if encrypt_texts and invocation.cipher is None:
        made = create_key(settings.keys_dir)
        click.echo(
            f"Key of the private texts: {made}; without a copy of it they are lost.", err=True
        )
    ledger = Ledger(settings.database_url, invocation.keyring)
    click.get_current_context().call_on_close(ledger.dispose)
    upgrade(ledger)
    Registry(settings.tracking_uri, settings.artifact_dir).check()
    is_first = actors.found(ledger, name)
    # The configuration file makes the directory a workspace, so it comes last.
    config.write_text(
        config_text(name, invocation.database, invocation.tracking_uri), encoding="utf-8"
    )
    config.chmod(0o600)
    click.echo(f"Workspace {home} is ready.")
    if is_first:
        click.echo(f"First admin: {name}, whose signing key lies in {settings.keys_dir}")
        return
    with ledger.read() as session:
        known = is_actor(session, name)
    click.echo(
        f"The ledger knows {name}; a private key that lies elsewhere is named by GOVERNANCE_KEY_FILE."
        if known
        else f"The ledger has its actors already, and {name} is none of them: make a key with `governance actor "
        f"new-key`, and an admin adds you with `governance actor add {name} --public-key …`."
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        raise InvalidInputError("name the first admin with --admin NAME") from None
