"""Whole versions in a bundle: which arrays they bring, and recipes that say something else than what was approved."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from governance.audit import verify_bundle as verifier
from governance.audit.bundle_contents import Scope
from governance.ledger.database import Ledger
from governance.states import Role
from governance.unlearning.prototypes import PrototypeKind
from governance.workflow import actors, prepare
from governance.workflow.prototypes import Wanted
from tests.audit.bundle_case import (
    add_dataset,
    add_model,
    approved,
    bundle,
    members_of,
    release,
)
from tests.ledger.case import add_people

Row = dict[str, Any]


def records_of(path: Path) -> verifier.Records:
    """The records of a bundle."""
    package = verifier.Package(path)
    replay = verifier.Replay(True)
    for line in package.lines("events.jsonl"):
        for _ in replay.read(verifier.read_event(line)):
            pass
    return verifier.Records(package, replay)


def problems(records: verifier.Records, row: Row) -> list[str]:
    unchecked: list[str] = []
    return list(verifier.check_matrix(records, row, unchecked))


@pytest.fixture(scope="module")
def records(bundles: dict[str, Path]) -> verifier.Records:
    return records_of(bundles["all"])


def test_every_version_holds(records: verifier.Records) -> None:
    assert [row["recipe"].get("format") for row in records.versions] == [None, 2, 2, 2]
    for row in records.versions:
        assert problems(records, row) == []


SAID: dict[str, tuple[Callable[[Row], object], str]] = {
    "a format to come": (lambda r: r.update(format=3), "which this verifier does not know"),
    "the format before": (lambda r: r.update(format=1), "has another format than the version's"),
    "no format": (lambda r: r.pop("format"), "has another format than the version's"),
    "other weights": (lambda r: r["active"][0]["hyperparameters"].update(mu=0.5), "says other things of its requests"),
    "other targets": (lambda r: r["active"][0]["targets"].pop(), "says other things of its requests"),
    "other prototypes": (lambda r: r["active"][0].update(prototypes=[]), "says other things of its requests"),
    "a request left out": (lambda r: r["active"].pop(), "says other things of its requests"),
    "another block": (lambda r: r["problem"]["image"]["blocks"].pop(), "lists other blocks"),
    "another residual": (lambda r: r["residuals"][0].update(residual=0.0), "says another residual of request 1"),
    "no residual": (lambda r: r["residuals"].pop(), "says another residual of request 2"),
}  # fmt: skip


@pytest.mark.parametrize("how", SAID)
def test_a_recipe_that_says_something_else_is_found(records: verifier.Records, how: str) -> None:
    change, words = SAID[how]
    row = deepcopy(records.versions[2])
    change(row["recipe"])
    (problem,) = problems(records, row)
    assert words in problem


def test_a_matrix_of_fewer_requests_is_found(records: verifier.Records) -> None:
    row = deepcopy(records.versions[2])
    for name in ("factor_a", "factor_b"):
        row[name] = records.versions[1][name]
    assert "something is left over or missing" in problems(records, row)[0]


def test_a_request_that_is_left_undone_is_found(records: verifier.Records) -> None:
    row = records.versions[1]
    made = next(p for p in records.projectors if p["facts"]["digest"] in row["facts"]["projectors"])
    tolerance = made["facts"]["tolerance"]
    made["facts"]["tolerance"] = 1e-9
    (problem,) = problems(records, row)
    made["facts"]["tolerance"] = tolerance
    assert "of request 1 is left undone, more than" in problem


@pytest.fixture
def rich(
    copy_ledger: Callable[[str], Ledger], migrated: str, monkeypatch: pytest.MonkeyPatch
) -> Ledger:
    """A version with synonyms, few-shot prototypes, a reference and both sides."""
    monkeypatch.setattr(prepare, "check_text_side", lambda *_: None)  # there is no text tower
    ledger = copy_ledger(migrated)
    add_people(ledger)
    actors.add(ledger, "ada", "otto", [Role.AUDITOR])
    add_model(ledger)
    for name, role in (("eval", "eval"), ("shots", "prototypes"), ("stream", "reference")):
        add_dataset(ledger, name, role)
    first = approved(ledger, "oak", synonyms=True, both_sides=True)
    wanted = Wanted((PrototypeKind.FEW_SHOT,), shots=2, reference="stream")
    second = approved(ledger, "cat", "sketch", wanted)
    release(ledger, [first])
    release(ledger, [second])
    return ledger


def test_a_bundle_brings_every_array_that_recipes_refer_to(rich: Ledger, tmp_path: Path) -> None:
    path = bundle(rich, Scope(), tmp_path / "all.zip")
    outcome = verifier.verify(path)
    assert outcome.first_bad is None
    members = members_of(path)
    model = json.loads(members["models.json"])[0]["facts"]
    table = json.loads(members["arrays.json"])
    assert model["bank_paraphrases"] in table
    recipes = [row["recipe"] for row in json.loads(members["projectors.json"])]
    shots = next(chosen for r in recipes for chosen in r["prototypes"] if "rows" in chosen)
    reference = next(r["reference"] for r in recipes if r["reference"])
    assert {shots["rows"], shots["scatter"], reference["mean"], reference["moment"]} <= set(table)
    blocks = json.loads(members["versions.json"])[2]["recipe"]["problem"]["image"]["blocks"]
    assert {block["side"] for block in blocks} == {"images", "texts"}
    assert any(block["synonym"] for block in blocks)
    assert any(block["prototypes"] for block in blocks)


def test_exchanged_arrays_are_found(rich: Ledger, tmp_path: Path) -> None:
    """The factors were solved with other prototypes, scatter, moment or paraphrases than the records name."""
    found = records_of(bundle(rich, Scope(), tmp_path / "all.zip"))
    row = found.versions[2]
    assert problems(found, row) == []
    recipe = found.projectors[1]["recipe"]
    shots = next(chosen for chosen in recipe["prototypes"] if "rows" in chosen)
    honest = found.arrays.rows
    names = [shots["rows"], shots["scatter"], recipe["reference"]["mean"], recipe["reference"]["moment"],
             found.models[0]["facts"]["bank_paraphrases"]]  # fmt: skip
    for wrong in names:

        def lying(name: str, wrong: str = wrong) -> list[list[float]]:
            rows = honest(name)
            return [[1.01 * value for value in line] for line in rows] if name == wrong else rows

        found.arrays.rows = lying  # type: ignore[method-assign]
        assert len(problems(found, row)) == 1
    found.arrays.rows = honest  # type: ignore[method-assign]


def test_a_bundle_without_synonyms_brings_no_paraphrases(bundles: dict[str, Path]) -> None:
    members = members_of(bundles["all"])
    model = json.loads(members["models.json"])[0]["facts"]
    assert model["bank_paraphrases"] not in json.loads(members["arrays.json"])
