"""Asking the driver of the database itself, past SQLAlchemy, where its time would be most of the time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import OperationalError as DatabaseDown

from governance.ledger.direct import of_text


def driver_rows(connection: Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What the driver itself gives for a query; none for a statement that gives no rows.

    For the few statements of every transaction and append, of which SQLAlchemy takes ten times as long as SQLite: most
    of the time for which other writers wait.

    Args:
        connection: in its transaction.
        query: plain SQL with ``?`` for each value.
        values: of types that the driver knows.

    Raises:
        DBAPIError: the driver failed.
    """
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "postgresql":
        query = query.replace("?", "%s")
    with translated(connection, query):
        cursor = driver.execute(query, values)
        rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
        cursor.close()
    return rows


def rows_of_last(connection: Connection, statements: str) -> list[tuple[Any, ...]]:
    """Send PostgreSQL several statements at once, as one journey; what the last one gives.

    Each sees what was committed before it began, as if it had been sent alone.

    Raises:
        DBAPIError: one of them failed.
    """
    driver: Any = connection.connection.driver_connection
    with translated(connection, statements):
        cursor = driver.execute(statements, prepare=False)  # several cannot be prepared
        while cursor.nextset():
            pass
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        cursor.close()
    return rows


@contextmanager
def translated(connection: Connection, statement: str) -> Iterator[None]:
    """Let errors of the driver itself, where it is used directly, be those of SQLAlchemy as everywhere else.

    Raises:
        DBAPIError: the driver failed.
    """
    dialect = connection.dialect
    driver_error = dialect.loaded_dbapi.Error
    try:
        yield
    except driver_error as error:
        raise DBAPIError.instance(statement, (), error, driver_error, dialect=dialect) from error


@contextmanager
def decoded() -> Iterator[None]:
    """Let text that is not Unicode, which SQLite takes, be an error of the row and not of the database.

    Raises:
        ValueError: the text cannot be decoded.
    """
    try:
        yield
    except DatabaseDown as error:
        if not of_text(error.orig):
            raise
        raise ValueError(str(error.orig)) from error
