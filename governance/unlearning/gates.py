"""Promotion gates: thresholds on a before/after report."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gate:
    """One threshold and how a report met it; `value` and `limit` are fractions."""

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the value keeps within the limit."""
        return self.value <= self.limit

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
    gates = [
        Gate("retain drop", before["retain_accuracy"] - after["retain_accuracy"], max_retain_drop)
    ]
    worst = max(full_forget, default=None)
    if worst is not None:
        gates.append(Gate("forget accuracy", worst, max_forget_accuracy))
    return gates
