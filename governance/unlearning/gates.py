"""Promotion gates: thresholds on a before/after report."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ROUNDING = 1e-9
"""Far below one image of any data set."""


@dataclass(frozen=True)
class Gate:
    """One threshold and how a report met it; `value` and `limit` are fractions."""

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the value keeps within the limit."""
        # Differences of fractions come out a rounding error beside the limit; a NaN never passes.
        return self.value <= self.limit + ROUNDING

    def to_dict(self) -> dict[str, Any]:
        """The gate as plain JSON values."""
        return {
            "name": self.name,
            "value": self.value,
            "limit": self.limit,
            "passed": self.passed,
        }

    def describe(self) -> str:
        """Words for people."""
        sign = "≤" if self.passed else ">"
        return f"{self.name} {self.value:.3f} {sign} {self.limit:.3f}"


def check_gates(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    full_forget: Iterable[float],
    max_forget_accuracy: float,
    max_retain_drop: float,
) -> list[Gate]:
    """Hold a before/after report against the limits.

    Args:
        before: evaluation of the unedited model.
        after: evaluation of the version.
        full_forget: forget accuracies of the requests with strength 1; a partial one is meant to leave a rest.
        max_forget_accuracy: limit on each of them.
        max_retain_drop: limit on the accuracy lost on the retain set.
    """
    gates = []
    # A data set on which everything is forgotten says nothing about what is retained.
    if before["retain_accuracy"] is not None:
        drop = before["retain_accuracy"] - after["retain_accuracy"]
        gates.append(Gate("retain drop", drop, max_retain_drop))
    accuracies = list(full_forget)
    if accuracies:
        worst = max(accuracies, key=lambda value: math.inf if math.isnan(value) else value)
        gates.append(Gate("forget accuracy", worst, max_forget_accuracy))
    return gates


def report_gates(
    content: Mapping[str, Any], max_forget_accuracy: float, max_retain_drop: float
) -> list[Gate]:
    """Hold the report on a request or a version against the limits."""
    if content["kind"] == "version":
        entries = [entry for entry in content["requests"] if entry["active"]]
        full = [entry["after"] for entry in entries if entry["strength"] == 1]
    else:
        full = [content["after"]["forget_accuracy"]] if content["strength"] == 1 else []
    return check_gates(
        content["before"], content["after"], full, max_forget_accuracy, max_retain_drop
    )
