"""One clock for all who write: the server's on PostgreSQL, the machine's on SQLite."""

from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from governance.ledger.types import now

CLOCK = "clock_timestamp()"
"""PostgreSQL's clock, where a statement asks for it beside other things."""


def present(session: Session) -> datetime:
    """The present moment, UTC."""
    if session.get_bind().dialect.name != "postgresql":
        return now()
    moment: datetime = session.connection().execute(text(f"SELECT {CLOCK}")).scalar_one()
    return moment.astimezone(UTC)
