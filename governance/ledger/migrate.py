"""Creating and upgrading the schema with Alembic; imported only by the commands that do so."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

import governance
from governance.errors import UnavailableError
from governance.ledger.database import Ledger, current_revision


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
    """
    with ledger.engine.connect() as connection:
        before = current_revision(connection)
    command.upgrade(config(ledger), "head")
    with ledger.engine.connect() as connection:
        after = current_revision(connection)
    assert after is not None
    return before, after


def head_revision() -> str:
    """The newest revision among the migrations."""
    settings = Config()
    settings.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    head = ScriptDirectory.from_config(settings).get_current_head()
    if head is None:
        raise UnavailableError("the migrations hold no revision; reinstall the package")
    return head
