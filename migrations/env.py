"""Alembic environment of the ledger, used by `governance db upgrade` and by `alembic` itself."""

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Engine

from governance.errors import GovernanceError
from governance.ledger.database import VERSION_TABLE, Ledger
from governance.ledger.tables import Base
from governance.settings import find_database


def _engine() -> Engine:
    engine = context.config.attributes.get("engine")
    if engine is None:
        try:
            engine = Ledger(find_database()).engine
        except GovernanceError as error:
            raise CommandError(str(error)) from error  # which alembic prints as one line
    return engine


def run() -> None:
    """Run the migrations in one write transaction, so that a failing one leaves the schema as it was."""
    engine = _engine().execution_options(governance_write=True)
    with engine.begin() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            version_table=VERSION_TABLE,
            # Batch mode copies tables and silently loses their triggers.
            render_as_batch=False,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
