"""What somebody can do who owns the database, and perhaps holds the key of one actor."""

from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy import Engine, Table, create_engine, delete, insert, select, text, update
from sqlalchemy.engine import Connection

from governance.digests import canonical_json, digest_bytes, load_json
from governance.evidence.keys import SigningKey
from governance.evidence.merkle import Frontier
from governance.evidence.note import Checkpoint, parse
from governance.ledger.checkpoints import key_name, origin_of
from governance.ledger.database import Ledger
from governance.ledger.events import GENESIS, entry, signed_bytes
from governance.ledger.tables import OPERATIONAL_TABLES, Base
from governance.ledger.tree import leaf
from tests.databases import as_owner
from tests.keys import KEYS

TABLES: Mapping[str, Table] = {
    name: table for name, table in Base.metadata.tables.items() if name not in OPERATIONAL_TABLES
}
"""Those of the evidence."""

Values = dict[str, Any]


def attack(ledger: Ledger, change: Callable[[Connection], Any]) -> Any:
    """Make a change with triggers and foreign keys out of force; afterwards the triggers are as they were."""
    engine = _engine(ledger)  # SQLite looks at foreign keys only if it is told to
    with engine.begin() as connection:
        sqlite = engine.dialect.name == "sqlite"
        found = connection.execute(text(_SQLITE if sqlite else _POSTGRESQL)).fetchall()
        for name, _ in found:
            connection.execute(text(f"DROP TRIGGER {name}"))
        if not sqlite:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
        _ATTACKING.append(connection)
        try:
            result = change(connection)
        finally:
            _ATTACKING.pop()
        for _, sql in found:
            connection.exec_driver_sql(sql)
    engine.dispose()
    return result


_ATTACKING: list[Connection] = []
_SQLITE = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
_POSTGRESQL = (
    "SELECT format('%s ON %s', quote_ident(tgname), tgrelid::regclass), pg_get_triggerdef(oid) "
    "FROM pg_trigger WHERE NOT tgisinternal"
)


def _engine(ledger: Ledger) -> Engine:
    """A connection of its own, as the owner of the database."""
    return create_engine(as_owner(ledger.engine.url.render_as_string(hide_password=False)))


def rows(connection: Connection, table: str) -> list[Values]:
    """Every row of a table by primary key."""
    query = select(TABLES[table]).order_by(*TABLES[table].primary_key)
    return [dict(row) for row in connection.execute(query).mappings()]


def peek(ledger: Ledger, table: str) -> list[Values]:
    """Every row of a table, read without changing anything."""
    return peek_all(ledger, table)[table]


def peek_all(ledger: Ledger, *tables: str) -> dict[str, list[Values]]:
    """Every row of some tables, read without changing anything."""
    if _ATTACKING:  # whoever else asked would wait for the locks of the attack
        return {table: rows(_ATTACKING[-1], table) for table in tables}
    engine = _engine(ledger)
    with engine.connect() as connection:
        found = {table: rows(connection, table) for table in tables}
    engine.dispose()
    return found


def put(connection: Connection, table: str, values: Values) -> None:
    """Add a row as it is."""
    connection.execute(insert(TABLES[table]).values(values))


def remove(connection: Connection, table: str, values: Values) -> None:
    """Remove the row with the same primary key."""
    connection.execute(delete(TABLES[table]).where(*_same_key(table, values)))


def change(connection: Connection, table: str, values: Values, **new: Any) -> None:
    """Change some columns of the row with the same primary key."""
    connection.execute(update(TABLES[table]).where(*_same_key(table, values)).values(new))


def forge(
    connection: Connection,
    actor: str,
    action: str,
    subject: str,
    payload: Values,
    key: SigningKey | None,
    at: str | None = None,
) -> int:
    """Append an event that follows the head of the log in every respect but those that are asked for; its number."""
    last = rows(connection, "events")[-1]
    event = {
        "seq": last["seq"] + 1,
        "at": at or last["at"],
        "actor": actor,
        "action": action,
        "subject": subject,
        "payload": canonical_json(payload),
        "prev_digest": last["digest"],
    }
    sealed = seal(event, key)
    put(connection, "events", sealed)
    _grow(connection, [event["digest"] for event in rows(connection, "events")])
    return int(sealed["seq"])


def key_of(ledger: Ledger, actor: str) -> SigningKey:
    """The actor's key that is valid at the end of the log."""
    keys = [row["key_id"] for row in peek(ledger, "actor_keys") if row["retired_at"] is None]
    found = KEYS.signer(actor, keys)
    assert found is not None
    return found


def seal(event: Values, key: SigningKey | None) -> Values:
    """An event with key, signature and digest."""
    fields = {name: value for name, value in event.items() if name not in _SEAL}
    key_id = None if key is None else key.key_id
    signature = None
    if key is not None:
        signature = b64encode(key.sign(signed_bytes(key_id=key_id, **fields))).decode()
    return _digested({**fields, "key_id": key_id, "signature": signature})


def rewrite(
    connection: Connection,
    edit: Callable[[Values], None],
    keys: Callable[[Values], SigningKey] | None = None,
    replaced: Collection[str] = (),
) -> None:
    """Write the whole log anew, with an edit of any event, so that digests, tree and checkpoints fit.

    Args:
        connection: of `attack`.
        edit: changes an event in place.
        keys: with which event is signed; without it the signatures stay what they are.
        replaced: actors whose announced public keys become those that sign.
    """
    head, digests = GENESIS, []
    notes = {row["size"]: row for row in rows(connection, "checkpoints")}
    frontier = Frontier()
    new: list[Values] = []
    for event in rows(connection, "events"):
        edit(event)
        payload = load_json(event["payload"])
        key = keys(event) if keys is not None else None
        if event["action"] == "checkpoint.taken" and key is not None:
            size = payload["checkpoint"]["size"]
            origin = origin_of(digests[0])
            time = parse(notes[size]["note"])[0].time
            note = Checkpoint(origin, size, frontier.root(), time)
            signed = note.sign(key, key_name(origin, event["actor"]))
            values = {"root": note.root.hex(), "key_id": key.key_id, "note": signed}
            change(connection, "checkpoints", notes[size], **values)
            payload["checkpoint"] |= values | {"note": digest_bytes(signed.encode())}
        for announced in (payload.get("actor", {}).get("key"), payload.get("key")):
            name = event["subject"].partition(":")[2]
            if announced is not None and name in replaced and keys is not None:
                own = keys({"actor": name, "seq": event["seq"] + 1})
                table = TABLES["actor_keys"]
                values = {"key_id": own.key_id, "public_key": own.public.to_base64()}
                old = table.c.key_id == announced["key_id"]
                connection.execute(update(table).where(old).values(values))
                announced |= values
                if "retired" in payload:
                    payload["retired"] = [keys({"actor": name, "seq": event["seq"]}).key_id]
        event["payload"], event["prev_digest"] = canonical_json(payload), head
        event = _digested(event) if key is None else seal(event, key)
        head = event["digest"]
        digests.append(head)
        frontier.extend([leaf(head)])
        new.append(event)
    connection.execute(delete(TABLES["events"]))
    connection.execute(insert(TABLES["events"]), new)
    _grow(connection, digests)


_SEAL = ("key_id", "signature", "digest")


def _digested(event: Values) -> Values:
    fields = {name: value for name, value in event.items() if name != "digest"}
    return fields | {"digest": digest_bytes(entry(**fields).encode())}


def _grow(connection: Connection, digests: list[str]) -> None:
    """The stored nodes of the tree, all anew."""
    connection.execute(delete(TABLES["tree_nodes"]))
    for level, position, value in Frontier().extend([leaf(digest) for digest in digests]):
        put(connection, "tree_nodes", {"level": level, "position": position, "hash": value.hex()})


def _same_key(table: str, values: Values) -> list[Any]:
    return [column == values[column.name] for column in TABLES[table].primary_key]
