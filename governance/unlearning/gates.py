"""Gates: the limits of a policy, held against the figures of reports. Pure functions of what a report says.

The verifier inside a bundle has its own copy of this arithmetic (`governance.audit.verify_bundle`); a test holds the
two to the same results.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from governance.policy import Gates, Limit
from governance.unlearning.verdict import strongest

ROUNDING = 1e-9
"""Far below one image of any data set."""

Content = Mapping[str, Any]
"""Content of a report on a request or on a version."""

WHOLE = {
    "max_retain_drop": "retain drop",
    "max_class_drop": "worst class drop",
    "max_guard_drop": "guard drop",
    "max_prompts_lost": "prompts lost",
    "max_turning": "turning",
    "max_retained_change": "change of retained prompts",
}
"""Limits on what an edit costs, and the names of their gates."""

OWN = {
    "max_forget_accuracy": "forget accuracy",
    "max_paraphrase": "paraphrase",
    "max_relearning": "relearning",
    "max_probe_auc": "probe AUC",
    "max_inversion": "inversion",
    "max_excess": "excess over the anchor",
    "max_forget_rise": "forget accuracy gained since approval",
}
"""Limits on what is left of one request; a partial strength is meant to leave a rest and is not held to them."""

IN_VERSIONS = ("max_forget_rise",)
"""Limits on what other requests do to one, which only a version shows."""

ATTACKS = ("max_paraphrase", "max_relearning", "max_probe_auc", "max_inversion")
"""Those of them that a version is measured on only if the policy asks for it."""

NEEDS = {
    "retain drop": "images that are to be kept",
    "worst class drop": "images that are to be kept",
    "guard drop": "a data set of other classes, added with `governance dataset add NAME PLACE --role guard`",
    "prompts lost": "a newer preparation",
    "forget accuracy": "images of what is forgotten",
    "paraphrase": "synonyms or held-out templates in the model's label file",
    "relearning": "more than five images of what is forgotten",
    "probe AUC": "at least five images of what is forgotten and of what is kept",
    "turning": "a newer preparation",
    "change of retained prompts": "a newer preparation, of a scope that leaves some classes alone",
    "inversion": "a newer preparation",
    "excess over the anchor": "a class that is forgotten everywhere by the method redirect, prepared anew",
    "forget accuracy gained since approval": "the data set on which the request was approved",
}
"""What it takes to measure a figure."""


class Kind(NamedTuple):
    """What decides which limits apply to a request.

    Attributes:
        scopes: of its targets.
        basis: its legal basis.
    """

    scopes: Sequence[str]
    basis: str


@dataclass(frozen=True)
class Gate:
    """One limit, and how a report met it; fractions.

    Attributes:
        name: of the figure.
        value: what was measured; None if it was measured nowhere, which does not pass.
        limit: what is allowed.
        rule: the part of the policy that sets it.
        dataset: where it was measured; None if nowhere.
        request: of a version, whose figure it is; None for what the version as a whole costs.
    """

    name: str
    value: float | None
    limit: float
    rule: str = "gates"
    dataset: str | None = None
    request: int | None = None

    @property
    def passed(self) -> bool:
        """Whether the value keeps within the limit."""
        # Differences of fractions come out a rounding error beside the limit; a NaN never passes.
        return self.value is not None and self.value <= self.limit + ROUNDING

    def to_dict(self) -> dict[str, Any]:
        """The gate as plain JSON values."""
        return {**asdict(self), "passed": self.passed}

    def describe(self) -> str:
        """Words for people."""
        return describe(self.to_dict())


def describe(gate: Mapping[str, Any]) -> str:
    """Words for people on a gate as JSON values."""
    name = (
        gate["name"] if gate["request"] is None else f"{gate['name']} of request {gate['request']}"
    )
    if gate["value"] is None:
        return f"{name} not measured (limit {gate['limit']:.3f}, {gate['rule']})"
    sign = "≤" if gate["passed"] else ">"
    return f"{name} {gate['value']:.3f} {sign} {gate['limit']:.3f} on {gate['dataset']} ({gate['rule']})"


def request_gates(reports: Sequence[Content], rules: Gates, kind: Kind) -> list[Gate]:
    """Hold every report on one preparation of a request against the limits that apply to it.

    Args:
        reports: contents, in the order in which they were made.
        rules: of the policy.
        kind: of the request.
    """
    partial = any(content["strength"] < 1 for content in reports)
    own = {key: name for key, name in OWN.items() if key not in IN_VERSIONS}
    names = WHOLE if partial else {**own, **WHOLE}
    limits = {key: rules.limit(key, *kind) for key in names}
    return _held(limits, names, [(_place(c), _costs(c) | _rest(c)) for c in reports], None)


def version_gates(
    reports: Sequence[Content], rules: Gates, requests: Mapping[int, Kind]
) -> list[Gate]:
    """Hold every report on a version against the limits of the requests that it holds.

    Args:
        reports: contents, in the order in which they were made.
        rules: of the policy.
        requests: those that it holds.
    """
    gates = []
    for request, kind in requests.items():
        found = [
            (_place(content), entry)
            for content in reports
            for entry in content["requests"]
            if entry["active"] and entry["request"] == request
        ]
        if all(entry["strength"] == 1 for _, entry in found):
            limits = {key: rules.limit(key, *kind) for key in OWN}
            gates += _held(limits, OWN, [(place, _left(entry)) for place, entry in found], request)
    # What was accepted when one of the requests was approved is lost in every version that holds it.
    whole = {
        key: max(
            filter(None, (rules.limit(key, *kind) for kind in requests.values())), default=None
        )
        if requests
        else rules.limit(key)
        for key in WHOLE
    }
    return gates + _held(whole, WHOLE, [(_place(c), _costs(c)) for c in reports], None)


def attacked(rules: Gates, kind: Kind) -> bool:
    """Whether the policy limits what attacks on a request may find, so that its versions are measured on them."""
    return any(rules.limit(key, *kind) is not None for key in ATTACKS)


def failed(gates: Iterable[Gate]) -> list[Gate]:
    """Those that do not pass."""
    return [gate for gate in gates if not gate.passed]


def _held(
    limits: Mapping[str, Limit | None],
    names: Mapping[str, str],
    measured: Sequence[tuple[str, Mapping[str, float | None]]],
    request: int | None,
) -> list[Gate]:
    gates = []
    for key, name in names.items():
        limit = limits[key]
        if limit is None:
            continue
        found = [
            Gate(name, value, limit.value, limit.rule, place, request)
            for place, figures in measured
            if (value := figures.get(key)) is not None
        ]
        gates += found or [Gate(name, None, limit.value, limit.rule, None, request)]
    return gates


def _place(content: Content) -> str:
    return str(content["dataset"]["name"])


def _costs(content: Content) -> dict[str, float | None]:
    """What the edit costs."""
    before, after = content["before"], content["after"]
    kept, keeps = before.get("retain_per_class") or {}, after.get("retain_per_class") or {}
    return {
        "max_retain_drop": _drop(before["retain_accuracy"], after["retain_accuracy"]),
        "max_class_drop": max((kept[label] - keeps[label] for label in kept), default=None),
        "max_guard_drop": max(
            (
                guard["before"]["value"] - guard["after"]["value"]
                for guard in content.get("guard", ())
            ),
            default=None,
        ),
        "max_prompts_lost": content["capacity"]["lost"],
        "max_turning": content.get("turning"),
        "max_retained_change": _worst(content, "retained", "change"),
    }


def _worst(content: Content, part: str, figure: str) -> float | None:
    """The worst value of a figure of the certificate, if there is one."""
    found = (content.get("certificate") or {}).get(part)
    return None if found is None else float(found[figure]["worst"])


def _drop(before: float | None, after: float | None) -> float | None:
    # A data set on which everything is forgotten says nothing about what is retained.
    return None if before is None or after is None else before - after


def _rest(content: Content) -> dict[str, float | None]:
    """What is left of a request that was measured alone."""
    return {
        "max_forget_accuracy": content["after"]["forget_accuracy"],
        "max_excess": _worst(content, "forgotten", "excess"),
        **_found(content["assessment"]["after"]),
    }


def _left(entry: Content) -> dict[str, float | None]:
    """What is left of a request in a version."""
    approved = entry.get("approved")
    return {
        "max_forget_accuracy": entry["after"],
        "max_forget_rise": None if approved is None else entry["after"] - approved,
        "max_excess": entry.get("excess"),
        **_found(entry.get("attacks") or {}),
    }


def _found(view: Content) -> dict[str, float | None]:
    """What attacks find."""
    words, probe = view.get("paraphrase"), view.get("probe_auc")
    inverted = view.get("inversion")
    attack = strongest(view.get("relearning") or ())
    return {
        "max_paraphrase": None if words is None else words["max"]["value"],
        "max_relearning": None if attack is None else attack["recovered"] - attack["false_alarms"],
        "max_probe_auc": None if probe is None else probe["value"],
        "max_inversion": None
        if inverted is None
        else max(inverted["plain"]["value"], inverted["informed"]["value"]),
    }
