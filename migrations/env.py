"""Alembic environment of the ledger, used by `governance db upgrade` and by `alembic` itself."""

from alembic import context
from sqlalchemy import Engine

from governance.ledger.database import VERSION_TABLE, Ledger
from governance.ledger.tables import Base


def _engine() -> Engine:
    engine = context.config.attributes.get("engine")
    if engine is None:
        from governance.settings import load_settings

        engine = Ledger(load_settings().database_url).engine
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
