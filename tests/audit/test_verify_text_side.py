"""Verification covers the factors of an edited text tower like those of the image tower."""

import json

import pytest

from governance.audit.verify import verify
from governance.ledger.identity import text_digests
from governance.ledger.lookup import find_model, find_request, find_version
from governance.workflow import versions
from tests.ledger.tampering import raw, tamper
from tests.workflow.shop import Shop

PROJECTOR, VERSION = "projector 1 of request 1", "version 2 of shop"


@pytest.fixture
def applied(shop: Shop) -> Shop:
    """Request 1 edits both towers, with another matrix each, and is in version 2."""
    versions.apply(shop.tools, "mona", [shop.approved("cat", "sketch", both_sides=True)])
    assert verify(shop.ledger).ok
    return shop


def places(shop: Shop) -> list[str]:
    return [fault.where for fault in verify(shop.ledger).faults]


def test_a_missing_or_altered_text_factor_is_found(applied: Shop) -> None:
    with applied.ledger.read() as session:
        projector = find_request(session, 1).projector
        version = find_version(session, find_model(session, "shop"), 2)
        assert projector is not None
        digests = text_digests(projector.recipe)
        assert text_digests(version.recipe) == digests  # the only request of the version
    assert len(set(digests)) == 2
    for digest in digests:
        ((data,),) = raw(applied.ledger, ("SELECT data FROM arrays WHERE digest = ?", [digest]))
        flipped = bytes([data[0] ^ 1]) + data[1:]
        change = "UPDATE arrays SET data = ? WHERE digest = ?"
        tamper(applied.ledger, (change, [flipped, digest]))
        assert places(applied) == [f"array {digest}"]
        tamper(applied.ledger, (change, [data, digest]))
        tamper(
            applied.ledger,
            ("UPDATE arrays SET digest = 'gone' || substr(digest, 5) WHERE digest = ?", [digest]),
        )
        found = {(fault.where, fault.problem) for fault in verify(applied.ledger).faults}
        missing = f"its array {digest} is missing"
        assert {(PROJECTOR, missing), (VERSION, missing)} <= found
        tamper(
            applied.ledger,
            "UPDATE arrays SET digest = 'sha2' || substr(digest, 5) WHERE digest LIKE 'gone%'",
        )
        assert places(applied) == []


@pytest.mark.parametrize(
    ("table", "place"), [("projectors", PROJECTOR), ("model_versions", VERSION)]
)
@pytest.mark.parametrize("change", ["removed", "swapped", "replaced"])
def test_a_recipe_that_names_other_text_factors_is_found(
    applied: Shop, table: str, place: str, change: str
) -> None:
    key = "number = 2" if table == "model_versions" else "id = 1"
    ((text, a),) = raw(applied.ledger, f"SELECT recipe, factor_a FROM {table} WHERE {key}")
    recipe = json.loads(text)
    factors = recipe["text_factors"]
    recipe["text_factors"] = {
        "removed": None,
        "swapped": {"a": factors["b"], "b": factors["a"]},
        "replaced": factors | {"a": a},  # an array that exists, of the right shape
    }[change]
    tamper(applied.ledger, (f"UPDATE {table} SET recipe = ? WHERE {key}", [json.dumps(recipe)]))
    assert place in places(applied)
