"""The gates of the policy, held against a report."""

from collections.abc import Mapping
from typing import Any

from governance.policy import Gates
from governance.unlearning.gates import Gate, check_gates


def gates_of(content: Mapping[str, Any], limits: Gates) -> list[Gate]:
    """Gates on one report of a request or a version."""
    if content["kind"] == "version":
        entries = [entry for entry in content["requests"] if entry["active"]]
        full = [entry["after"] for entry in entries if entry["strength"] == 1]
    else:
        full = [content["after"]["forget_accuracy"]] if content["strength"] == 1 else []
    return check_gates(
        content["before"],
        content["after"],
        full,
        limits.max_forget_accuracy,
        limits.max_retain_drop,
    )
