"""Gates: every limit by scope and basis, what passes, what does not, what was not measured, exactly at the limit."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.audit import verify_bundle as verifier
from governance.policy import LIMITS, SCOPES, Gates, Policy
from governance.states import Basis
from governance.unlearning.gates import (
    IN_VERSIONS,
    NEEDS,
    OWN,
    WHOLE,
    Gate,
    Kind,
    attacked,
    failed,
    request_gates,
    version_gates,
)

NAMES = OWN | WHOLE
NONE = dict.fromkeys(LIMITS)
BASES = [basis.value for basis in Basis]


def view(retain: float | None, kept: dict[str, float]) -> dict[str, Any]:
    return {"forget_accuracy": None, "retain_accuracy": retain, "retain_per_class": kept}


def found(value: float | None) -> dict[str, Any]:
    """What attacks find: the same by each."""
    if value is None:
        return {"paraphrase": None, "relearning": [], "probe_auc": None, "inversion": None}
    weak = {"shots": 5, "recovered": 0.0, "false_alarms": 0.5}
    other = {"shots": 16, "recovered": 1.0, "false_alarms": 0.0}
    strong = {"shots": 5, "recovered": value + 0.125, "false_alarms": 0.125}
    return {
        "paraphrase": {"max": {"value": value}},
        "relearning": [weak, strong, other],
        "probe_auc": {"value": value},
        "inversion": {"plain": {"value": value / 2}, "informed": {"value": value}},
    }


def request(value: float | None, name: str = "eval", strength: float = 1) -> dict[str, Any]:
    """A report on a request in which every figure is `value`; None: nothing was measured."""
    lost = 0.0 if value is None else value
    before, after = (
        view(1.0, {"cat": 1.0, "oak": 1.0}),
        view(1 - lost, {"cat": 1.0, "oak": 1 - lost}),
    )
    if value is None:
        before, after = view(None, {}), view(None, {})
    guard = {"before": {"value": 1.0}, "after": {"value": 1 - lost}}
    return {
        "kind": "request",
        "dataset": {"name": name},
        "strength": strength,
        "before": before,
        "after": after | {"forget_accuracy": value},
        "assessment": {"after": found(value)},
        "guard": [] if value is None else [guard],
        "capacity": {"lost": value},
        "turning": value,
        "certificate": None
        if value is None
        else {"forgotten": {"excess": {"worst": value}}, "retained": {"change": {"worst": value}}},
    }


def version(
    value: float | None, requests: list[int], name: str = "eval", strength: float = 1
) -> dict[str, Any]:
    """The same of a version."""
    alone = request(value, name)
    entries = [
        {
            "request": n,
            "active": True,
            "strength": strength,
            "before": 1.0,
            "after": value,
            "approved": None if value is None else 0.0,
            "excess": value,
            "attacks": found(value),
        }
        for n in requests
    ]
    dropped = {"request": 99, "active": False, "strength": 1, "after": 1.0, "attacks": None}
    shared = ("dataset", "before", "after", "guard", "capacity", "turning", "certificate")
    whole = {key: alone[key] for key in shared}
    return {"kind": "version", "requests": [] if value is None else [*entries, dropped], **whole}


def rules(place: str, scope: str, basis: str, key: str, limit: float) -> Gates:
    """One limit, set in one place; where it is set by scope or basis, the general one would let nothing pass."""
    if place == "gates":
        return Gates(**NONE | {key: limit})  # type: ignore[arg-type]
    table = {scope if place == "scope" else basis: {key: limit}}
    return Gates(**NONE | {key: 0.0}, **{place: table})  # type: ignore[arg-type]


@pytest.mark.parametrize("key", LIMITS)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("place", ["gates", "scope", "basis"])
def test_every_gate_by_scope_and_basis(key: str, scope: str, basis: str, place: str) -> None:
    limits, kind = rules(place, scope, basis, key, 0.25), Kind([scope], basis)
    rule = {"gates": "gates", "scope": f"gates.scope.{scope}", "basis": f"gates.basis.{basis}"}[
        place
    ]
    for value, passes in ((0.25, True), (0.125, True), (0.375, False), (None, False)):
        gates = request_gates([request(value)], limits, kind)
        if key in IN_VERSIONS:
            assert gates == []
        else:
            [gate] = gates
            assert (gate.name, gate.value, gate.limit, gate.rule) == (NAMES[key], value, 0.25, rule)
            assert (gate.passed, gate.request) == (passes, None)
        [gate] = version_gates([version(value, [7])], limits, {7: kind})
        assert (gate.name, gate.value, gate.limit, gate.rule) == (NAMES[key], value, 0.25, rule)
        assert (gate.passed, gate.request) == (passes, 7 if key in OWN else None)
    if place != "gates":  # another scope or basis is held to the general limit
        other = Kind([next(s for s in SCOPES if s != scope)], next(b for b in BASES if b != basis))
        [gate] = version_gates([version(0.25, [7])], limits, {7: other})
        assert (gate.limit, gate.rule, gate.passed) == (0.0, "gates", False)


def test_of_several_special_limits_the_strictest_counts() -> None:
    limits = Gates(
        max_retain_drop=0.03,
        scope={"domain": {"max_retain_drop": 0.2}},
        basis={"bias": {"max_retain_drop": 0.1}},
    )
    assert limits.limit("max_retain_drop", ["domain"], "bias") == (0.1, "gates.basis.bias")
    assert limits.limit("max_retain_drop", ["domain"], "licence") == (0.2, "gates.scope.domain")
    assert limits.limit("max_retain_drop", ["class", "domain"], "licence") == (0.03, "gates")
    assert limits.limit("max_retain_drop") == (0.03, "gates")
    assert limits.limit("max_paraphrase", ["class"], "bias") is None


def test_what_a_version_loses_is_held_to_the_most_generous_of_its_requests() -> None:
    limits = Gates(max_retain_drop=0.03, scope={"domain": {"max_retain_drop": 0.2}})
    kinds = {1: Kind(["class"], "bias"), 2: Kind(["domain"], "bias")}

    def drop(requests: list[int]) -> Gate:
        held = {number: kinds[number] for number in requests}
        gates = version_gates([version(0.125, requests)], limits, held)
        return next(gate for gate in gates if gate.name == "retain drop")

    assert not drop([1]).passed
    assert drop([1, 2]).passed
    assert drop([2]).rule == "gates.scope.domain"
    assert drop([]).rule == "gates"  # a version from which everything was dropped


def test_what_is_left_of_each_request_is_held_to_its_own_limit() -> None:
    limits = Gates(max_forget_accuracy=0.5, basis={"court-order": {"max_forget_accuracy": 0.125}})
    kinds = {1: Kind(["class"], "bias"), 2: Kind(["class"], "court-order")}
    gates = version_gates([version(0.25, [1, 2])], limits, kinds)
    assert [(g.request, g.passed) for g in gates if g.name == "forget accuracy"] == [
        (1, True),
        (2, False),
    ]


def test_every_report_counts_and_one_is_enough_to_have_measured() -> None:
    limits, kind = rules("gates", "class", "bias", "max_retain_drop", 0.25), Kind(["class"], "bias")
    reports = [request(0.125, "one"), request(None, "two"), request(0.5, "three")]
    gates = request_gates(reports, limits, kind)
    assert [(g.dataset, g.passed) for g in gates] == [("one", True), ("three", False)]
    assert [g.dataset for g in failed(gates)] == ["three"]
    assert [g.value for g in request_gates([request(None)], limits, kind)] == [None]


def test_a_partial_strength_is_held_to_what_it_costs_only() -> None:
    limits = Gates(
        **dict.fromkeys(OWN, 0.0) | dict.fromkeys(WHOLE, 1.0)  # type: ignore[arg-type]
    )
    kind = Kind(["class"], "bias")
    weak = request_gates([request(0.5, strength=0.5)], limits, kind)
    assert {gate.name for gate in weak} == set(WHOLE.values())
    assert not failed(weak)
    weak = version_gates([version(0.5, [1], strength=0.5)], limits, {1: kind})
    assert {gate.name for gate in weak} == set(WHOLE.values())


def test_a_policy_asks_for_attacks_only_where_it_limits_them() -> None:
    limits = Gates(basis={"court-order": {"max_relearning": 0.5}})
    assert attacked(limits, Kind(["class"], "court-order"))
    assert not attacked(limits, Kind(["class"], "bias"))


def test_a_gain_passes_and_a_figure_that_is_no_number_does_not() -> None:
    assert Gate("retain drop", -0.2, 0.0).passed
    assert not Gate("retain drop", float("nan"), 0.9).passed


def test_losing_exactly_the_limit_passes_and_one_more_image_fails() -> None:
    """3 of 100 images are 0.03, whatever 0.90 − 0.87 is in binary."""
    judged = {
        (correct, lost): Gate("retain drop", correct / 100 - (correct - lost) / 100, 0.03)
        for correct in range(4, 101)
        for lost in (3, 4)
    }
    assert not [at for at, gate in judged.items() if gate.passed != (at[1] == 3)]


def test_a_gate_explains_itself() -> None:
    good, bad = (
        Gate("retain drop", 0.01, 0.03, dataset="eval"),
        Gate("probe AUC", 0.9, 0.8, "gates.basis.bias", "eval", 3),
    )
    assert good.describe() == "retain drop 0.010 ≤ 0.030 on eval (gates)"
    assert bad.describe() == "probe AUC of request 3 0.900 > 0.800 on eval (gates.basis.bias)"
    missing = Gate("guard drop", None, 0.03)
    assert missing.describe() == "guard drop not measured (limit 0.030, gates)"
    assert missing.to_dict() == {
        "name": "guard drop", "value": None, "limit": 0.03, "rule": "gates", "dataset": None,
        "request": None, "passed": False,
    }  # fmt: skip
    assert NEEDS.keys() == set(NAMES.values())


FRACTIONS = st.none() | st.sampled_from([0.0, 0.125, 0.2, 0.25, 0.3, 1.0])
LIMIT = st.dictionaries(st.sampled_from(list(LIMITS)), st.sampled_from([0.0, 0.1, 0.2, 0.25, 1.0]))
GATES = st.builds(
    Gates,
    *[FRACTIONS] * len(LIMITS),
    st.dictionaries(st.sampled_from(SCOPES), LIMIT),
    st.dictionaries(st.sampled_from(BASES), LIMIT),
)
KINDS = st.builds(
    Kind, st.lists(st.sampled_from(SCOPES), min_size=1, max_size=3), st.sampled_from(BASES)
)


@given(GATES, KINDS, KINDS, st.lists(FRACTIONS, max_size=3), st.sampled_from([0.5, 1]))
def test_the_verifier_in_a_bundle_computes_the_same(
    limits: Gates, one: Kind, other: Kind, values: list[float | None], strength: float
) -> None:
    content = Policy(limits).to_dict()
    verifier.check_policy(content)
    reports = [request(value, f"set {n}", strength) for n, value in enumerate(values)]
    mine = [gate.to_dict() for gate in request_gates(reports, limits, one)]
    assert mine == verifier.request_gates(reports, content["gates"], (list(one.scopes), one.basis))
    kinds = {1: one, 5: other}
    reports = [version(value, [1, 5], f"set {n}", strength) for n, value in enumerate(values)]
    mine = [gate.to_dict() for gate in version_gates(reports, limits, kinds)]
    theirs = {number: (list(kind.scopes), kind.basis) for number, kind in kinds.items()}
    assert mine == verifier.version_gates(reports, content["gates"], theirs)
    mine = [gate.to_dict() for gate in version_gates(reports, limits, {})]
    assert mine == verifier.version_gates(reports, content["gates"], {})
