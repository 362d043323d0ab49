"""The page of an evidence bundle, for people."""

from collections.abc import Mapping
from typing import Any

from governance.reports.html import ACTIONS, BASES, STATES, environment
from governance.unlearning.targets import Target, describe_all

_MORE = {
    "actor.added": "Person added",
    "actor.deactivated": "Person deactivated",
    "actor.key_rotated": "New key",
    "policy.adopted": "Policy adopted",
    "model.registered": "Model registered",
    "dataset.added": "Data set added",
    "bundle.exported": "Bundle exported",
    "version.abandoned": "Interrupted step given up",
    "doctor.repair_intended": "Repair begun",
    "doctor.repaired": "Repaired",
}
"""Words for actions that reports on one request or version do not show."""


def _words(action: str) -> str:
    if action.endswith(".refused"):
        return "Refused"
    return ACTIONS.get(action) or _MORE.get(action, action)


def render_bundle(document: Mapping[str, Any]) -> str:
    """The page of a bundle.

    Args:
        document: manifest, requests, decisions, projectors, versions and events, as the bundle's tables have them.

    Returns:
        Complete HTML5 text, without scripts and without anything loaded from elsewhere.
    """
    page = {
        **document,
        "requests": [_request(request, document) for request in document["requests"]],
        "events": [{**event, "words": _words(event["action"])} for event in document["events"]],
    }
    return environment().get_template("bundle.html.j2").render(page=page)


def _request(request: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    facts = request["facts"]
    mine = [row["facts"] for row in document["projectors"] if row["request"] == request["id"]]
    newest = mine[-1] if mine else None
    return {
        **request,
        "scope": describe_all(Target.from_dict(target) for target in facts["targets"]),
        "basis_text": BASES.get(facts["basis"], facts["basis"]),
        "state_text": STATES.get(request["state"], request["state"]),
        "projector": newest,
        "decisions": [
            {
                **row["facts"],
                "void": row["facts"]["projector_digest"] != (newest or {}).get("digest"),
            }
            for row in document["decisions"]
            if row["request"] == request["id"]
        ],
        "versions": [
            f"{row['facts']['number']} of {row['model']}"
            for row in document["versions"]
            if request["id"] in row["facts"]["active_requests"]
        ],
    }
