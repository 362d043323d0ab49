"""The in-toto statements in a bundle: what was measured, who approved, and how each version was made.

The subject of each is a model version, by the digest of what it is and by that of its weights.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from governance.audit.verify_bundle import (
    APPROVAL_PREDICATE,
    RECIPE_PREDICATE,
    TEST_PREDICATE,
    approval_predicate,
    recipe_predicate,
    subjects,
)
from governance.digests import load_json
from governance.evidence.dsse import sign, statement, statement_bytes
from governance.evidence.keys import SigningKey
from governance.policy import Policy
from governance.unlearning.gates import Gate, Kind, version_gates

Row = Mapping[str, Any]


def statements(
    key: SigningKey,
    versions: Sequence[Row],
    decisions: Sequence[Row],
    reports: Sequence[tuple[str, Row]],
    contents: Mapping[str, str],
    policy: Policy,
    kinds: Mapping[int, Kind],
) -> Iterator[tuple[str, bytes]]:
    """Name and DSSE envelope of each statement.

    Args:
        key: with which they are signed.
        versions: rows of the bundle's table.
        decisions: rows of the bundle's table.
        reports: owner and facts of each report.
        contents: digest → content of each report.
        policy: whose gates say whether a measurement passes.
        kinds: of the requests, which decide the limits that apply.
    """
    for row in versions:
        model, facts = row["model"], row["facts"]
        if not facts["active_requests"]:
            continue
        place = f"attestations/{model}-{facts['number']}"
        about = subjects(model, facts["number"], facts)
        yield _signed(f"{place}-recipe", key, about, RECIPE_PREDICATE, recipe_predicate(dict(row)))
        said = approval_predicate(dict(row), [dict(decision) for decision in decisions])
        yield _signed(f"{place}-approval", key, about, APPROVAL_PREDICATE, said)
        owner = f"version:{model}/{facts['number']}"
        for number, (_, report) in enumerate(r for r in reports if r[0] == owner):
            held = {request: kinds[request] for request in facts["active_requests"]}
            result = _test_result(report, load_json(contents[report["digest"]]), policy, held)
            yield _signed(f"{place}-test-{number + 1}", key, about, TEST_PREDICATE, result)


def _test_result(
    report: Row, content: Row, policy: Policy, kinds: Mapping[int, Kind]
) -> dict[str, Any]:
    """Predicate ``test-result`` v0.1 of in-toto: the gates of the policy in force, on one report."""
    gates = version_gates([content], policy.gates, kinds)
    failed = [gate for gate in gates if not gate.passed]
    digests = {
        "report": report["digest"],
        "dataset": report["dataset_digest"],
        "policy": policy.digest,
    }
    return {
        "result": "FAILED" if failed else "PASSED",
        "configuration": [
            {"name": name, "digest": {"sha256": value.removeprefix("sha256:")}}
            for name, value in digests.items()
        ],
        "passedTests": [_words(gate) for gate in gates if gate.passed],
        "warnedTests": [],
        "failedTests": [_words(gate) for gate in failed],
    }


def _words(gate: Gate) -> str:
    name = gate.name if gate.request is None else f"{gate.name} of request {gate.request}"
    value = "not measured" if gate.value is None else f"{gate.value:.4f}"
    return f"{name} at most {gate.limit:g}: {value}"


def _signed(
    name: str, key: SigningKey, about: Sequence[Row], kind: str, said: Row
) -> tuple[str, bytes]:
    named = {entry["name"]: f"sha256:{entry['digest']['sha256']}" for entry in about}
    envelope = sign(statement_bytes(statement(named, kind, said)), [key])
    return f"{name}.dsse.json", (envelope.to_json() + "\n").encode()
