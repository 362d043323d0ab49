"""Promotion gates: what passes, what does not, and exactly at the limit."""

import pytest

from governance.unlearning.gates import Gate, check_gates


def gates(retain: tuple[float, float], forget: list[float]) -> dict[str, Gate]:
    before, after = ({"retain_accuracy": accuracy} for accuracy in retain)
    return {gate.name: gate for gate in check_gates(before, after, forget, 0.2, 0.03)}


def test_a_good_version_passes_every_gate() -> None:
    checked = gates((0.90, 0.89), [0.0, 0.15])
    assert set(checked) == {"retain drop", "forget accuracy"}
    assert all(gate.passed for gate in checked.values())


def test_a_version_that_forgets_too_little_fails_on_its_worst_request() -> None:
    gate = gates((0.90, 0.90), [0.0, 0.25, 0.1])["forget accuracy"]
    assert (gate.value, gate.passed) == (0.25, False)


def test_a_version_that_loses_too_much_fails() -> None:
    checked = gates((0.90, 0.80), [0.0])
    assert not checked["retain drop"].passed
    assert checked["retain drop"].value == pytest.approx(0.1)
    assert checked["forget accuracy"].passed


def test_a_gain_on_the_retain_set_passes() -> None:
    assert gates((0.80, 0.95), [])["retain drop"].passed


def test_without_a_full_request_only_the_retain_set_is_judged() -> None:
    assert set(gates((0.9, 0.9), [])) == {"retain drop"}


def test_a_value_at_its_limit_passes() -> None:
    assert Gate("forget accuracy", 0.2, 0.2).passed
    assert not Gate("forget accuracy", 0.2 + 1e-6, 0.2).passed


def test_losing_exactly_the_limit_passes_and_one_more_image_fails() -> None:
    """3 of 100 images are 0.03, whatever 0.90 − 0.87 is in binary."""
    judged = {
        (correct, lost): gates((correct / 100, (correct - lost) / 100), [])["retain drop"]
        for correct in range(4, 101)
        for lost in (3, 4)
    }
    assert not [at for at, gate in judged.items() if gate.passed != (at[1] == 3)]


def test_a_gate_explains_itself() -> None:
    passed, failed = Gate("retain drop", 0.01, 0.03), Gate("retain drop", 0.0512, 0.03)
    assert passed.describe() == "retain drop 0.010 ≤ 0.030"
    assert failed.describe() == "retain drop 0.051 > 0.030"
    assert failed.to_dict() == {
        "name": "retain drop",
        "value": 0.0512,
        "limit": 0.03,
        "passed": False,
    }
