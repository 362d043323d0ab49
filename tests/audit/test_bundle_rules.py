"""What the stand-alone verifier repeats of the package is what the package says."""

import ast
import json
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from governance import policy
from governance.audit import allowed, releases, replay
from governance.audit import verify_bundle as verifier
from governance.digests import digest_array
from governance.evidence import dsse, keys, merkle, note
from governance.ledger.identity import prototype_digests
from governance.states import (
    ACTIVE_STATES,
    ENDED_STATES,
    PAPERWORK,
    PERMISSIONS,
    TRANSITIONS,
    Action,
    State,
)
from governance.unlearning import anchors, composition, gates, images, labels, recipe, texts

SOURCE = Path(verifier.__file__)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_the_transition_table_is_ours() -> None:
    mine = {
        (State(before), Action(action)): State(after)
        for before, steps in verifier.TRANSITIONS.items()
        for action, after in steps.items()
    }
    assert mine == TRANSITIONS
    assert set(verifier.ALWAYS) == PAPERWORK
    assert verifier.ACTIVE == ACTIVE_STATES
    assert verifier.ENDED == ENDED_STATES
    assert verifier.CAN_JOIN == releases._CAN_JOIN


def test_the_actions_are_ours() -> None:
    assert verifier._ELSEWHERE == replay._ELSEWHERE
    assert verifier._SKEW == replay._SKEW


def test_the_permissions_are_ours() -> None:
    assert {name: {role.value for role in roles} for name, roles in PERMISSIONS.items()} == (
        verifier.PERMISSIONS
    )
    assert verifier.PERMISSION_OF == allowed._PERMISSION_OF


def test_the_limits_are_ours() -> None:
    assert (verifier.OWN, verifier.WHOLE) == (gates.OWN, gates.WHOLE)
    assert {**verifier.OWN, **verifier.WHOLE}.keys() == policy.LIMITS.keys()
    assert (verifier.SCOPES, verifier.ESSENTIAL) == (policy.SCOPES, policy.ESSENTIAL)


def test_the_numbers_of_the_engine_are_ours() -> None:
    assert verifier.HYPERPARAMETERS == recipe.HYPERPARAMETERS
    assert tuple(verifier._STRENGTH) == tuple(method.value for method in composition._RANK)
    assert (verifier.EXACT, verifier.IRREVERSIBLE_RIDGE) == (texts.EXACT, texts.IRREVERSIBLE_RIDGE)
    assert verifier.DUAL_RIDGE == anchors.DUAL_RIDGE
    names = (
        "SIBLING_TEXT", "SIBLING_IMAGE", "MU_TEXTS", "MU_IMAGES", "OVERSHOOT_TEXT", "OVERSHOOT_BOTH",
        "OVERSHOOT_IMAGE", "SAME",
    )  # fmt: skip
    assert [getattr(verifier, name) for name in names] == [getattr(images, name) for name in names]
    assert {name: getattr(composition.TOWER, name) for name in verifier.TOWER} == verifier.TOWER
    assert verifier.PLACEHOLDER == labels.PLACEHOLDER
    assert set(verifier._SIDES) == {1, composition.RECIPE_FORMAT}


def test_the_arrays_of_a_recipe_are_ours() -> None:
    said = {
        "prototypes": [{"kind": "text"}, {"rows": "a", "scatter": "b"}, {"rows": "c"}],
        "reference": {"mean": "d", "moment": "e"},
    }
    for value in (said, {"prototypes": said["prototypes"]}, {**said, "reference": None}):
        assert verifier.fit_arrays(value) == prototype_digests(value)
    assert verifier.fit_arrays(said) == ["a", "b", "c", "d", "e"]


recipes = st.builds(
    recipe.Recipe,
    method=st.sampled_from(recipe.Method),
    strength=st.sampled_from([0.5, 1.0]),
    lambda_forget=st.sampled_from([1.0, 2.5]),
    overshoot=st.sampled_from([None, 1.0, 3.0]),
    anchors=st.sampled_from([1, 20]),
    synonyms=st.booleans(),
)


@given(recipes, recipes)
def test_the_order_of_recipes_is_ours(one: recipe.Recipe, other: recipe.Recipe) -> None:
    mine = verifier.precedence(one.to_dict()) < verifier.precedence(other.to_dict())
    assert mine == (composition._priority(one) < composition._priority(other))


@pytest.mark.parametrize(
    "change",
    [
        lambda rules: rules.pop("gates"),
        lambda rules: rules.update(more=1),
        lambda rules: rules["gates"].update(max_forgotten=0.5),
        lambda rules: rules["gates"].update(max_retain_drop=True),
        lambda rules: rules["gates"].update(max_retain_drop=1.5),
        lambda rules: rules["gates"]["scope"].update(everything={}),
        lambda rules: rules["gates"]["basis"].update(bias={"max_retain_drop": "0"}),
        lambda rules: rules["roles"].update({"policy.adopt": []}),
        lambda rules: rules["roles"].update({"policy.change": ["admin"]}),
        lambda rules: rules["release"].update(production=1),
    ],
)
def test_a_policy_of_another_form_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    rules = policy.Policy().to_dict()
    verifier.check_policy(rules)
    change(rules)
    with pytest.raises(verifier.MALFORMED):
        verifier.check_policy(rules)


def test_the_small_points_are_ours() -> None:
    assert verifier._SMALL_ORDER == keys._SMALL_ORDER
    for y in verifier._SMALL_ORDER:
        with pytest.raises(ValueError, match="not an Ed25519"):
            verifier.Key(bytes.fromhex(y))


@given(values)
def test_canonical_json_is_that_of_the_library(value: object) -> None:
    assert verifier.canonical(value).encode() == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_every_number_is_written_as_the_standard_says(value: float) -> None:
    assert verifier.canonical(value).encode() == rfc8785.dumps(value)
    # Large ones come back as integers, as which they must be written again.
    assert verifier.canonical(json.loads(verifier.canonical(value))) == verifier.canonical(value)


@pytest.mark.parametrize("text", [b'{"a":1,"a":1}', b"NaN", b'"\\ud800"', b"[" * 5000, b"\xff"])
def test_ambiguous_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        verifier.parse(text)


@given(st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=40), st.data())
def test_the_tree_is_ours(leaves: list[bytes], data: st.DataObject) -> None:
    digests = [f"sha256:{sha256(leaf).hexdigest()}" for leaf in leaves]
    mine, ours = verifier.Tree(), merkle.Frontier()
    hashes = [verifier.leaf_hash(value) for value in digests]
    roots = []
    for value in hashes:
        mine.append(value)
        ours.append(value)
        assert mine.root() == ours.root()
        roots.append(mine.root())

    def node(level: int, position: int) -> bytes:
        if level == 0:
            return hashes[position]
        halves = (node(level - 1, 2 * position + half) for half in (0, 1))
        return verifier.node_hash(*halves)

    size = len(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, node)
    assert verifier.included(index, size, hashes[index], proof, roots[-1])
    old = data.draw(st.integers(1, size))
    path = merkle.consistency_proof(old, size, node)
    assert verifier.consistent(old, size, roots[old - 1], roots[-1], path)
    wrong = bytes(32)
    assert not verifier.included(index, size, wrong, proof, roots[-1])
    assert not verifier.included(index, size, hashes[index], [*proof, wrong], roots[-1])
    assert not verifier.consistent(old, size, wrong, roots[-1], path)
    assert not verifier.consistent(old, size, roots[old - 1], roots[-1], [*path, wrong])
    if proof:
        assert not verifier.included(index, size, hashes[index], proof[:-1], roots[-1])
    if path:
        assert not verifier.consistent(old, size, roots[old - 1], roots[-1], path[:-1])


def test_notes_and_envelopes_are_ours() -> None:
    key = keys.SigningKey.from_seed(bytes(32))
    head = note.Checkpoint("example.org/log", 7, bytes(32), "2026-01-02T03:04:05Z")
    read = verifier.read_note(head.sign(key, "example.org/log/ada").encode())
    known = verifier.Key(key.public.raw, "ada")
    assert (read.size, read.root) == (7, bytes(32))
    assert verifier.note_signers(read, {"example.org/log/ada": [known]}) == [known]
    said = dsse.statement({"x": verifier.GENESIS}, "urn:x", {"a": 1})
    envelope = json.loads(dsse.sign(dsse.statement_bytes(said), [key]).to_json())
    assert verifier.open_envelope(envelope, {known.key_id: known}) == (said, known)
    envelope["signatures"][0]["sig"] = b64encode(bytes(64)).decode()
    with pytest.raises(verifier.Broken, match="not that of key"):
        verifier.open_envelope(envelope, {known.key_id: known})


def test_arrays_have_our_digests() -> None:
    assert verifier.digest_array("float64", [1, 2], bytes(16)) == digest_array(
        "float64", (1, 2), bytes(16)
    )


def test_the_verifier_needs_nothing_newer_than_python_3_9() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported == {
        "__future__", "argparse", "array", "base64", "binascii", "cryptography", "datetime", "decimal",
        "hashlib", "json", "math", "operator", "os", "pathlib", "re", "stat", "sys", "typing",
        "zipfile",
    }  # fmt: skip
