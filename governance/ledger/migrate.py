"""Creating and upgrading the schema with Alembic; imported only by the commands that do so."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

import governance
from governance.errors import UnavailableError
from governance.ledger.database import HEAD, Ledger, current_revision, explained


def migrations_dir() -> Path:
    """Where the migrations are: inside the installed package, or at the top of a checkout."""
    package = Path(governance.__file__).parent
    for candidate in (package / "migrations", package.parent / "migrations"):
        if (candidate / "env.py").is_file():
            return candidate
    raise UnavailableError(
        f"the migrations are missing from {package}; reinstall the package"
    )  # pragma: no cover


def config(ledger: Ledger) -> Config:
    """Alembic configuration for a ledger, without a file."""
    settings = Config()
    settings.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    settings.attributes["engine"] = ledger.engine
    return settings


def upgrade(ledger: Ledger) -> tuple[str | None, str]:
    """Bring the schema to head.

    Returns:
        The revision before and after.

    Raises:
        UnavailableError: the database cannot be used, or was written by a newer version.
    """
    with ledger.connect() as connection:
        before = current_revision(connection)
    try:
        with explained(ledger.url):
            command.upgrade(config(ledger), "head")
    except CommandError as error:  # a revision that the migrations do not know
        raise UnavailableError(
            f"the ledger is at revision {before}, which this program does not know; install the "
            "version that wrote it"
        ) from error
    return before, HEAD


def head_revision() -> str:
    """The newest revision among the migrations."""
    settings = Config()
    settings.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    head = ScriptDirectory.from_config(settings).get_current_head()
    if head is None:
        raise UnavailableError("the migrations hold no revision; reinstall the package")
    return head
