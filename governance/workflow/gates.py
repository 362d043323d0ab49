"""The gates of the policy, held against a report."""

from collections.abc import Mapping
from typing import Any

from governance.policy import Gates
from governance.unlearning.gates import Gate, report_gates


def gates_of(content: Mapping[str, Any], limits: Gates) -> list[Gate]:
    """Gates on one report of a request or a version."""
    return report_gates(content, limits.max_forget_accuracy, limits.max_retain_drop)
