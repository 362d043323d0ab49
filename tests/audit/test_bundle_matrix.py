"""The stand-alone verifier's arithmetic agrees with the engine's, whatever the requests, and sees what does not."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from governance.audit import verify_bundle as verifier
from governance.unlearning.bank import PromptBank, build_bank
from governance.unlearning.composition import Composition, Edit, compose
from governance.unlearning.labels import LabelSpace, default_domain_templates
from governance.unlearning.prototypes import PrototypeKind, Prototypes
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow.build import problem_of
from governance.workflow.measure import Member

DOMAINS = ("sketch", "photo")


def bank_of(classes: int = 5, dimension: int = 24, domains: Sequence[str] = DOMAINS) -> PromptBank:
    """A bank whose rows are a class, a domain and some noise, so that margins are in danger."""
    labels = LabelSpace(
        tuple(f"class {n}" for n in range(classes)),
        tuple(domains),
        domain_templates={domain: default_domain_templates(domain) for domain in domains},
    )
    generator = torch.Generator().manual_seed(1)

    def rows(*shape: int) -> Tensor:
        return torch.randn(*shape, dimension, generator=generator, dtype=torch.float64)

    named, common = rows(classes), rows()
    return build_bank(
        labels,
        lambda prompts: (
            torch.stack(
                [
                    named[next(n for n in reversed(range(classes)) if f"class {n}" in prompt)]
                    + 2 * common
                    for prompt in prompts
                ]
            )
            + 0.5 * rows(len(prompts))
        ),
    )


def visual(bank: PromptBank, *pairs: tuple[str, str | None]) -> Prototypes:
    generator = torch.Generator().manual_seed(len(pairs))
    rows = torch.randn(len(pairs), bank.dimension, generator=generator, dtype=torch.float64)
    return Prototypes(PrototypeKind.FEW_SHOT, pairs, torch.nn.functional.normalize(rows), {})


class Loose(verifier.Arrays):
    """Arrays that come from memory."""

    def __init__(self, rows: dict[str, list[list[float]]]) -> None:
        self._rows = rows

    def rows(self, name: str) -> list[list[float]]:
        return self._rows[name]


def sides(
    bank: PromptBank, edits: Sequence[Edit], composed: Composition
) -> list[tuple[verifier.Matrix, dict[str, Any], Composition]]:
    """The verifier's view of a composition: for each side the matrix and what the recipe says of it."""
    members = [Member(n + 1, 1, "", 1.0, edit, 1) for n, edit in enumerate(edits)]
    stated = problem_of(composed, members)
    rows = {p.digest: p.rows.tolist() for edit in edits for p in edit.prototypes}
    mine = [verifier.Edit(n + 1, edit.to_dict(), Loose(rows)) for n, edit in enumerate(edits)]
    known = verifier.Bank(
        {"classes": list(bank.labels.classes), "domains": list(bank.labels.domains)},
        bank.rows.tolist(),
        bank.scores.tolist(),
    )
    found = [(_matrix(known, mine, composed), stated["image"], composed)]
    if composed.text_side is not None:
        both = [edit.for_text() for edit in mine if edit.recipe["both_sides"]]
        found.append((_matrix(known, both, composed.text_side), stated["text"], composed.text_side))
    return found


def _matrix(
    bank: verifier.Bank, edits: list[verifier.Edit], composed: Composition
) -> verifier.Matrix:
    projector = composed.projector
    return verifier.Matrix(
        verifier.Problem(bank, edits), projector.a.tolist(), projector.b.tolist()
    )


R = Recipe.of
BANK = bank_of()
ONE = Target("class 1", None)
IN_SKETCH = Target("class 2", "sketch")
SKETCH = Target(None, "sketch")

CASES: dict[str, list[Edit]] = {
    "a class": [Edit((ONE,), R("redirect"))],
    "a class in a domain": [Edit((IN_SKETCH,), R("redirect"))],
    "a domain": [Edit((SKETCH,), R("redirect"))],
    "all three": [
        Edit((ONE,), R("redirect")),
        Edit((IN_SKETCH,), R("redirect", 0.7, lambda_retain=1.0)),
        Edit((SKETCH,), R("redirect", contraction=0.2)),
    ],
    "overlapping": [
        Edit((IN_SKETCH, ONE), R("redirect", 0.5)),
        Edit((Target("class 2", None),), R("ccup")),
    ],
    "nullspace": [Edit((ONE,), R("nullspace"))],
    "nullspace of many": [
        Edit((ONE,), R("nullspace", 0.6)),
        Edit((IN_SKETCH,), R("nullspace")),
    ],
    "nullspace with mu": [Edit((ONE,), R("nullspace", mu=0.1))],
    "ccup": [Edit((ONE,), R("ccup"))],
    "held hard": [Edit((ONE, IN_SKETCH), R("redirect", margin=0.9))],
    "both sides": [
        Edit((ONE,), R("redirect", both_sides=True)),
        Edit((IN_SKETCH,), R("nullspace", both_sides=True)),
        Edit((Target("class 3", None),), R("redirect")),
    ],
    "prototypes": [
        Edit((ONE,), R("redirect"), (visual(BANK, ("class 1", "photo"), ("class 0", "photo")),)),
        Edit((IN_SKETCH,), R("multimodal"), (visual(BANK, ("class 2", "sketch")),)),
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_the_engine_and_the_verifier_agree(name: str) -> None:
    edits = CASES[name]
    composed = compose(BANK, edits)
    for matrix, stated, side in sides(BANK, edits, composed):
        assert list(matrix.check(stated)) == []
        assert matrix.unchecked == []
        left = {edit.request: matrix.residual(edit) for edit in matrix.problem.edits}
        for number, value in left.items():
            edit = edits[number - 1]
            if side is not composed:  # the text side has only the text rows
                edit = replace(edit, prototypes=())
            assert value == pytest.approx(side._left(edit), abs=1e-9)


def test_margins_were_in_danger() -> None:
    """Otherwise the case "held hard" would show nothing."""
    held = compose(BANK, CASES["held hard"]).held
    assert len(set(held.tolist())) > 2


TAMPERED: dict[str, Callable[[verifier.Matrix], object]] = {
    "a row too many": lambda m: m.b.append(m.b[0]),
    "a row missing": lambda m: m.b.pop(),
    "another goal": lambda m: m.b[0].__setitem__(3, m.b[0][3] + 1e-6),
    "two rows exchanged": lambda m: m.b.insert(0, m.b.pop()) if len(m.b) > 1 else m.b.pop(),
    "another share": lambda m: m.columns[0].__setitem__(3, m.columns[0][3] + 1e-6),
    "a share doubled": lambda m: m.columns.__setitem__(0, [2 * x for x in m.columns[0]]),
}


@pytest.mark.parametrize("how", TAMPERED)
@pytest.mark.parametrize("name", CASES)
def test_a_changed_factor_is_found(name: str, how: str) -> None:
    edits = CASES[name]
    for matrix, stated, _ in sides(BANK, edits, compose(BANK, edits)):
        if name.startswith("nullspace") and "mu" not in name and "another share" in how:
            matrix.columns[0][3] += 1e-3  # the limit is held to less
        else:
            TAMPERED[how](matrix)
        assert len(list(matrix.check(stated))) == 1


def test_a_request_more_or_less_is_found() -> None:
    edits = CASES["both sides"]
    composed = compose(BANK, edits)
    for number in range(3):
        others = [edit for n, edit in enumerate(edits) if n != number]
        (matrix, stated, _), *_ = sides(BANK, others, composed)
        problems = list(matrix.check(stated))
        assert problems, number


def test_weights_that_no_recipe_leads_to_are_found() -> None:
    edits = CASES["all three"]
    (matrix, stated, _), *_ = sides(BANK, edits, compose(BANK, edits))
    for wrong in (2.0, 3.0**-1, 3.0**11):
        held = [*stated["held"][:-1], stated["held"][-1] * wrong]
        assert "a retained row has the weight" in next(matrix.check({**stated, "held": held}))
    held = [3 * value for value in stated["held"]]
    assert "A does not solve" in next(matrix.check({**stated, "held": held}))
    assert "another number" in next(matrix.check({**stated, "held": held[1:]}))


def test_a_margin_that_was_not_held_is_found() -> None:
    edits = CASES["held hard"]
    loose = [replace(edit, recipe=replace(edit.recipe, margin=0.0)) for edit in edits]
    composed = compose(BANK, loose)
    (matrix, stated, _), *_ = sides(BANK, edits, composed)
    assert "loses more of its margin" in next(matrix.check(stated))


def test_without_the_weights_the_solution_is_only_checked_where_none_was_raised() -> None:
    edits = CASES["held hard"]
    (matrix, _, _), *_ = sides(BANK, edits, compose(BANK, edits))
    assert list(matrix.check(None)) == []
    assert len(matrix.unchecked) == 1
    edits = CASES["ccup"]
    (matrix, _, _), *_ = sides(BANK, edits, compose(BANK, edits))
    assert list(matrix.check(None)) == []
    assert matrix.unchecked == []


@pytest.mark.slow
def test_a_large_version_takes_seconds() -> None:
    """60 forgotten rows of width 512 among 260, in plain Python."""
    bank = bank_of(52, 512, ("sketch", "photo", "art", "cartoon"))
    edits = [Edit((Target(f"class {n}", None),), R("redirect")) for n in range(12)]
    composed = compose(bank, edits)
    assert composed.projector.b.shape == (60, 512)
    start = time.perf_counter()
    (matrix, stated, _), *_ = sides(bank, edits, composed)
    assert list(matrix.check(stated)) == []
    assert matrix.unchecked == []
    for edit in matrix.problem.edits:
        matrix.residual(edit)
    assert time.perf_counter() - start < 20
