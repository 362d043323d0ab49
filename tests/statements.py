"""SQLAlchemy's compiled statements, shared by all connections to databases of one kind.

Every engine has a cache of its own, and every test a ledger, so an engine, of its own: a third of the time of a test of
verification went into turning the same statements into SQL again. The program itself has one engine, so one cache.
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect, Engine

_SHARED: dict[object, tuple[Dialect, dict[Any, Any]]] = {}


@event.listens_for(Engine, "engine_connect")
def _share(connection: Connection) -> None:
    own = connection.dialect
    kind = (type(own), own.server_version_info, own.default_schema_name)
    connection.dialect, cache = _SHARED.setdefault(kind, (own, {}))  # part of a cache's keys
    connection.execution_options(compiled_cache=cache)
