"""Every table, every column, every kind of change: verification finds it and names the place.

Whoever changes something here owns the database: triggers and foreign keys are out of force while it happens and as
they were afterwards. What MLflow holds is in the tests of its mirror.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import JSON, Boolean, Column, Integer, LargeBinary
from sqlalchemy.engine import Connection

from governance.audit.verify import Verification, verify
from governance.ledger.database import Ledger
from governance.ledger.types import UtcDateTime
from tests.audit.hostile import TABLES, Values, attack, change, peek, peek_all, put, remove, rows

UNSEEN = {
    ("datasets", "location"): "images may be moved; their digests are in the manifest",
    ("checkpoints", "id"): "numbers only the order, which is that of the log",
    ("policies", "id"): "numbers only the order, which is that of the log",
    ("private_texts", "id"): "numbers only the order, and decisions point at it, which is seen",
    ("decisions", "id"): "numbers only the order, which is that of the log",
    ("overrides", "id"): "numbers only the order, which is that of the log",
    ("evaluation_reports", "id"): "numbers only the order, which is that of the log",
    ("request_targets", "id"): "numbers only the order, which is that of the log",
    ("actor_keys", "id"): "numbers only the order, which is that of the log",
}
"""Columns whose change verification does not see, and why that is right."""

NAMES: dict[str, Callable[[Values, dict[str, dict[int, str]]], str]] = {
    "events": lambda r, _: f"event {r['seq']}",
    "tree_nodes": lambda r, _: f"tree node {r['level']}/{r['position']}",
    "checkpoints": lambda r, _: f"checkpoint {r['id']}",
    "arrays": lambda r, _: f"array {r['digest']}",
    "actors": lambda r, _: f"actor {r['name']}",
    "actor_keys": lambda r, n: (
        f"key {r['id']} of {n['actors'].get(r['actor_id'], 'a missing actor')}"
    ),
    "policies": lambda r, _: f"policy {r['id']}",
    "models": lambda r, _: f"model {r['name']}",
    "datasets": lambda r, _: f"data set {r['name']}",
    "requests": lambda r, _: f"request {r['id']}",
    "request_targets": lambda r, _: f"request {r['request_id']}",
    "private_texts": lambda r, _: f"private text {r['id']} of request {r['request_id']}",
    "projectors": lambda r, _: f"projector {r['id']} of request {r['request_id']}",
    "evaluation_reports": lambda r, _: f"report {r['id']}",
    "decisions": lambda r, _: f"decision {r['id']} on request {r['request_id']}",
    "overrides": lambda r, _: f"override {r['id']}",
    "model_versions": lambda r, n: (
        f"version {r['number']} of {n['models'].get(r['model_id'], 'a missing model')}"
    ),
    "version_members": lambda r, n: n["versions"].get(r["version_id"], ""),
    "aliases": lambda r, n: (
        f"alias {r['name']} of {n['models'].get(r['model_id'], 'a missing model')}"
    ),
}
"""How verification names a row."""

NOUNS = {
    "checkpoints": "a checkpoint",
    "arrays": r"(model|projector|version) .*",
    "actors": r"actor .*|key \d+ of .*",
    "actor_keys": "a key of .*",
    "policies": "a policy",
    "models": "model .*|version .*|a report on .*|request .*",
    "datasets": r"data set .*|report \d+",
    "requests": r"request .*",
    "private_texts": "a private text of request .*|decision .*",
    "projectors": r"a projector of request .*|version .*|a report on .*|report \d+",
    "evaluation_reports": "a report on .*",
    "decisions": "a decision on request .*",
    "overrides": "an override of .*",
    "model_versions": r"version .*|a report on version .*|report \d+",
    "version_members": r"version_members of \d+",
}
"""How it names one that is gone, or what the gone one belonged to."""


def names(ledger: Ledger) -> dict[str, dict[int, str]]:
    """What other rows are called, by their ids."""
    found = peek_all(ledger, "models", "model_versions", "actors")
    models = {row["id"]: row["name"] for row in found["models"]}
    versions = {
        row["id"]: f"version {row['number']} of {models.get(row['model_id'])}"
        for row in found["model_versions"]
    }
    actors = {row["id"]: row["name"] for row in found["actors"]}
    return {"models": models, "versions": versions, "actors": actors}


def find(ledger: Ledger, table: str) -> Verification:
    """A verification; only a change of the events needs the signatures."""
    return verify(ledger, signatures=table == "events")


def check_found(result: Verification, table: str, *possible: str) -> None:
    """It is found, one of the possible places is named, and the first place is of that table."""
    found = [fault.where for fault in result.faults]
    assert found, "nothing was found"
    nouns = re.compile(NOUNS.get(table, "(?!)"))
    assert set(found) & set(possible) or any(nouns.fullmatch(where) for where in found), found
    assert found[0] in possible or nouns.fullmatch(found[0]), found


def other(column: Column[Any], value: Any, all_values: list[Any]) -> Any:
    """Another value that a column could hold; one of another row where that is likely to go unnoticed."""
    if isinstance(column.type, Boolean):
        return not value
    if isinstance(column.type, UtcDateTime):
        return next(filter(None, all_values)) if value is None else value + timedelta(seconds=1)
    if isinstance(column.type, LargeBinary):
        return b"x" if value is None else bytes([value[0] ^ 1]) + value[1:]
    if isinstance(column.type, JSON):
        return [*value, "admin"] if isinstance(value, list) else {**value, "more": 1}
    different = [v for v in all_values if v not in (value, None)]
    alone = not column.primary_key and column.name != "model_id"  # no part of a key
    if column.foreign_keys and different and alone:
        return different[0]
    if isinstance(column.type, Integer):
        return 1 if value is None else value + 1000
    if isinstance(value, float):
        return value * 1.5
    if value is None:
        return different[0] if different else "x"
    digit = "1" if value[-1:] == "0" else "0"
    return value[:-1] + digit


COLUMNS = [(table.name, column.name) for table in TABLES.values() for column in table.columns]


def test_every_table_is_in_the_matrix(full: Ledger) -> None:
    assert NAMES.keys() == TABLES.keys()
    assert {table: len(peek(full, table)) >= 3 for table in TABLES} == dict.fromkeys(TABLES, True)
    assert UNSEEN.keys() <= set(COLUMNS)
    assert verify(full).faults == ()


def _edited(table: str, column: str, count: int) -> int:
    """Which row: in the middle, but the first if others refer to it, and the last where only the order counts."""
    if column != "id":
        return count // 2
    return -1 if (table, column) in UNSEEN else 0


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_an_edited_field_is_found(full: Ledger, table: str, column: str) -> None:
    found = peek(full, table)
    old = found[_edited(table, column, len(found))]
    value = other(TABLES[table].c[column], old[column], [row[column] for row in found])
    before = names(full)
    attack(full, lambda c: change(c, table, old, **{column: value}))
    assert peek(full, table) != found
    result = find(full, table)
    if (table, column) in UNSEEN:
        assert result.ok
        return
    after = names(full)
    new = old | {column: value}
    check_found(result, table, NAMES[table](old, before), NAMES[table](new, after))


@pytest.mark.parametrize(
    ("table", "column"),
    [(table.name, column.name) for table in TABLES.values() for column in table.columns if column.nullable],
)  # fmt: skip
def test_an_emptied_field_is_found(full: Ledger, table: str, column: str) -> None:
    old = next(row for row in peek(full, table) if row[column] is not None)
    attack(full, lambda c: change(c, table, old, **{column: None}))
    check_found(find(full, table), table, NAMES[table](old, names(full)))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("distance", ["neighbours", "first and last"])
def test_swapped_rows_are_found(full: Ledger, table: str, distance: str) -> None:
    found = peek(full, table)
    one, two = (found[0], found[-1]) if distance == "first and last" else (found[1], found[2])
    keys = [column.name for column in TABLES[table].primary_key]
    if table == "request_targets":  # their order means something within one request only
        keys = ["request_id"]
    swapped = [
        one | {key: two[key] for key in keys},
        two | {key: one[key] for key in keys},
    ]

    def swap(connection: Connection) -> None:
        for row in (one, two):
            remove(connection, table, row)
        for row in swapped:
            put(connection, table, row)

    before = names(full)
    attack(full, swap)
    after = names(full)
    possible = [NAMES[table](row, of) for row in (one, two, *swapped) for of in (before, after)]
    check_found(find(full, table), table, *possible)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_deleted_row_is_found(full: Ledger, table: str, place: str) -> None:
    found = peek(full, table)
    row = found[{"first": 0, "middle": len(found) // 2, "last": -1}[place]]
    before = names(full)
    attack(full, lambda c: remove(c, table, row))
    if (table, place) == ("events", "last"):  # the checkpoint that it took down is left alone
        name = f"checkpoint {len(peek(full, 'checkpoints'))}"
    else:
        name = NAMES[table](row, before)
    check_found(find(full, table), table, name)


@pytest.mark.parametrize("table", sorted(TABLES.keys() - {"events"}))
def test_an_added_row_is_found(full: Ledger, table: str) -> None:
    def add(connection: Connection) -> Values:
        found = rows(connection, table)
        row = dict(found[-1])
        for column in TABLES[table].columns:
            if column.primary_key or column.unique or column.name == "number":
                values = [other_row[column.name] for other_row in found]
                row[column.name] = fresh(column, row[column.name], values)
        put(connection, table, row)
        return row

    row = attack(full, add)
    check_found(find(full, table), table, NAMES[table](row, names(full)))


def fresh(column: Column[Any], value: Any, values: list[Any]) -> Any:
    """A value that no row has yet."""
    if isinstance(column.type, Integer):
        return max(values) + 1
    return value[:-1] + next(end for end in "0123456789abcdef" if value[:-1] + end not in values)
