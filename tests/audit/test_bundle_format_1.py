"""Matrices of recipes of format 1, which an earlier engine made, are checked as they always were."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from governance.audit import verify_bundle as verifier

KEPT: dict[str, Any] = json.loads(
    (Path(__file__).parent / "bundles" / "format-1-matrices.json").read_text(encoding="utf-8")
)
"""A bank and compositions of six cases, made with the engine of format 1."""
CASES: dict[str, Any] = KEPT["cases"]


class Loose(verifier.Arrays):
    """Arrays that come from memory."""

    def __init__(self, rows: dict[str, list[list[float]]]) -> None:
        self._rows = rows

    def rows(self, name: str) -> list[list[float]]:
        return self._rows[name]


def sides(
    case: dict[str, Any], without: int | None = None
) -> list[tuple[verifier.Matrix, dict[str, Any]]]:
    """For each tower the factors and what the recipe says of them."""
    bank = verifier.Bank(KEPT["bank"], KEPT["bank"]["rows"], KEPT["bank"]["scores"])
    edits = [
        verifier.Edit(n + 1, edit, Loose(case["arrays"])) for n, edit in enumerate(case["edits"])
        if n != without
    ]  # fmt: skip
    factors = deepcopy(case["factors"])
    return [
        (matrix, case["problem"][side])
        for side, matrix in verifier.sides_1(bank, edits, factors, "")
    ]


@pytest.mark.parametrize("name", CASES)
def test_what_was_composed_still_holds(name: str) -> None:
    case = CASES[name]
    left: dict[int, float] = {}
    for matrix, stated in sides(case):
        assert list(matrix.check(stated)) == []
        assert matrix.unchecked == []
        for edit in matrix.edits:
            left[edit.request] = max(left.get(edit.request, 0.0), matrix.residual(edit))
    assert [left[n + 1] for n in range(len(left))] == pytest.approx(case["residuals"], abs=1e-9)


def test_margins_were_in_danger() -> None:
    """Otherwise the case "held hard" would show nothing."""
    assert len(set(CASES["held hard"]["problem"]["image"]["held"])) > 2


TAMPERED: dict[str, Callable[[verifier.Matrix], object]] = {
    "a row too many": lambda m: m.b.append(m.b[0]),
    "a row missing": lambda m: m.b.pop(),
    "another goal": lambda m: m.b[0].__setitem__(3, m.b[0][3] + 1e-6),
    "two rows exchanged": lambda m: m.b.insert(0, m.b.pop()),
    "another share": lambda m: m.columns[0].__setitem__(3, m.columns[0][3] + 1e-3),
    "a share doubled": lambda m: m.columns.__setitem__(0, [2 * x for x in m.columns[0]]),
}


@pytest.mark.parametrize("how", TAMPERED)
@pytest.mark.parametrize("name", CASES)
def test_a_changed_factor_is_found(name: str, how: str) -> None:
    for matrix, stated in sides(CASES[name]):
        TAMPERED[how](matrix)
        assert len(list(matrix.check(stated))) == 1


def test_a_request_less_is_found() -> None:
    for number in range(3):
        (matrix, stated), *_ = sides(CASES["both sides"], without=number)
        assert list(matrix.check(stated)), number


def test_weights_that_no_recipe_leads_to_are_found() -> None:
    ((matrix, stated),) = sides(CASES["all three"])
    for wrong in (2.0, 3.0**-1, 3.0**11):
        held = [*stated["held"][:-1], stated["held"][-1] * wrong]
        assert "a retained row has the weight" in next(matrix.check({**stated, "held": held}))
    held = [3 * value for value in stated["held"]]
    assert "A does not solve" in next(matrix.check({**stated, "held": held}))
    assert "another number" in next(matrix.check({**stated, "held": held[1:]}))


def test_a_margin_that_was_not_held_is_found() -> None:
    ((matrix, stated),) = sides({**CASES["held hard"], **KEPT["loose"]})
    assert "loses more of its margin" in next(matrix.check(stated))


def test_without_the_weights_the_solution_is_only_checked_where_none_was_raised() -> None:
    ((matrix, _),) = sides(CASES["held hard"])
    assert list(matrix.check(None)) == []
    assert len(matrix.unchecked) == 1
    ((matrix, _),) = sides(CASES["nullspace of many"])
    assert list(matrix.check(None)) == []
    assert matrix.unchecked == []
