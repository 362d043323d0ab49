"""Reading events with the driver of the database alone, for processes that are to begin at once.

To import SQLAlchemy takes most of a second, in which such a process would have read a hundred thousand events.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from typing import Any, NamedTuple

from governance.errors import UnavailableError
from governance.ledger.entries import rows_query

Rows = Callable[[int | None, int, int], Iterable[tuple[Any, ...]]]
"""`events.rows_between` of something that was opened."""


class Access(NamedTuple):
    """How the driver opens a database, in plain values that another process can be told.

    Attributes:
        driver: its module.
        arguments: of the module's ``connect``.
        options: likewise, by name; with them the driver begins no transaction by itself.
        begin: begins one that sees one state.
        at_once: whether it is to give all rows of a query at once.
        shown: the URL of the database for messages, without its password.
    """

    driver: str
    arguments: list[Any]
    options: dict[str, Any]
    begin: str
    at_once: bool
    shown: str


@contextmanager
def opened(access: Access) -> Iterator[Rows]:
    """The rows of one consistent state; that it is a ledger was found out before.

    Raises:
        UnavailableError: the database cannot be read.
    """
    driver = import_module(access.driver)

    def rows(first: int | None, last: int, limit: int) -> Iterator[tuple[Any, ...]]:
        with closing(connection.cursor()) as cursor:
            try:
                cursor.execute(rows_query(first, last, limit))
                yield from cursor.fetchall() if access.at_once else cursor
            except driver.OperationalError as error:
                if not of_text(error):
                    raise
                raise ValueError(str(error)) from error

    try:
        with closing(driver.connect(*access.arguments, **access.options)) as connection:
            connection.execute(access.begin)
            yield rows
    except driver.Error as error:
        raise UnavailableError(
            f"the ledger {access.shown} cannot be used: {said(error)}"
        ) from error


def of_text(error: BaseException | None) -> bool:
    """Whether a driver means that a text is not Unicode, which is an error of the row and not of the database."""
    return "decode" in str(error)


def said(error: BaseException | None) -> str:
    """What the database says, in one line; PostgreSQL adds detail, hint and context on further ones."""
    diagnosis = getattr(error, "diag", None)
    return getattr(diagnosis, "message_primary", None) or " ".join(str(error).split())
