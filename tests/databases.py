"""Where the tests' ledgers come from, on each kind of database: made once, then copied for each test."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sqlalchemy.engine import make_url

from governance.ledger.database import Ledger
from governance.ledger.grants import grants
from governance.ledger.migrate import upgrade
from tests.keys import KEYS
from tests.postgres import APPLICATION, OWNER, Server

KINDS = ("sqlite", "postgresql")


class Databases(Protocol):
    """Databases of one kind. A template is named by the URL of whoever owns it, and nobody has it open."""

    def new(self) -> str:
        """URL of an empty database, without a schema, for its owner."""

    def copy(self, template: str) -> str:
        """URL of a copy of a template, for its owner."""

    def drop(self, url: str) -> None:
        """Remove a database."""


class SqliteFiles:
    """Files in one directory."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._numbers = itertools.count(1)

    def new(self) -> str:
        """URL of a file that does not exist yet."""
        return f"sqlite:///{self._place}/ledger-{next(self._numbers)}.db"

    def copy(self, template: str) -> str:
        """URL of a copied file."""
        url = self.new()
        shutil.copy(_path(template), _path(url))
        return url

    def drop(self, url: str) -> None:
        """Remove the file and what SQLite keeps beside it."""
        for end in ("", "-wal", "-shm"):
            Path(_path(url) + end).unlink(missing_ok=True)


class PostgresDatabases:
    """Databases on one server."""

    _numbers = itertools.count(1)  # of all that use a server, so that no name is given twice

    def __init__(self, server: Server) -> None:
        self._server = server

    def new(self) -> str:
        """URL of a database without tables."""
        return self._make("template0")

    def copy(self, template: str) -> str:
        """URL of a copy that the server makes."""
        return self._make(_path(template))

    def drop(self, url: str) -> None:
        """Remove the database, whoever is connected to it."""
        self._server.drop(_path(url))

    def _make(self, template: str) -> str:
        name = f"ledger_{next(self._numbers)}"
        self._server.create(name, template)
        return self._server.url(name)


def make_template(
    databases: Databases, furnish: Callable[[Ledger], None], template: str | None = None
) -> str:
    """URL of a new template: the migrated schema, or another template, with what `furnish` adds as the program.

    On PostgreSQL the owner migrates and the program works as a role that has only what `governance db grants` gives.
    """
    url = databases.new() if template is None else databases.copy(template)
    if template is None:
        owner = Ledger(url)
        upgrade(owner)
        if owner.engine.dialect.name == "postgresql":
            with owner.engine.begin() as connection:
                for statement in grants(APPLICATION):
                    connection.exec_driver_sql(statement)
        owner.dispose()
    ledger = Ledger(as_program(url), KEYS)
    furnish(ledger)
    ledger.dispose()
    return url


def as_program(url: str) -> str:
    """The URL with which the program opens a database; on SQLite there is only one."""
    return _as_role(url, APPLICATION)


def as_owner(url: str) -> str:
    """The URL with which its owner opens a database; on SQLite there is only one."""
    return _as_role(url, OWNER)


def _as_role(url: str, role: str) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return url
    return parsed.set(username=role).render_as_string(hide_password=False)


def _path(url: str) -> str:
    database = make_url(url).database
    assert database is not None
    return database
