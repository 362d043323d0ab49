"""The model card of a version, in Hugging Face's form: YAML front matter, then Markdown.

It leaves the house with the model, so it names no person, no reason, no reference and no time.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from governance.unlearning.words import percent

UNKNOWN = "unknown"
"""What Hugging Face's cards say where nobody named a licence."""

_MARKUP = re.compile(r"[\\`*_{}\[\]<>|#~]")


@dataclass(frozen=True)
class CardRequest:
    """A request of the active set, as far as a card speaks of it.

    Attributes:
        number: of the request.
        scope: what it forgets, in words.
        method, strength: of its edit.
        verdict: what its evaluation on its own showed, in words.
        break_glass: whether it was approved without four eyes and quorum.
        overridden: names of the gates that it failed and that somebody set aside when it was approved.
    """

    number: int
    scope: str
    method: str
    strength: float
    verdict: str
    break_glass: bool
    overridden: tuple[str, ...] = ()


def model_card(
    facts: Mapping[str, Any],
    base: str,
    repository: str | None,
    requests: Sequence[CardRequest],
    reports: Sequence[Mapping[str, Any]],
    loading: str,
) -> str:
    """The card.

    Args:
        facts: what the signature says of the version (`governance.serving.contents.Identity.facts`).
        base: the base model in words.
        repository: its name on the hub, if it has one.
        requests: the active set.
        reports: contents of the version's reports.
        loading: how to load what the card lies beside, Markdown.
    """
    name, number = facts["model"], facts["version"]
    license_ = facts["source"].get("license")
    front = {
        "license": license_ or UNKNOWN,
        **({"base_model": repository} if repository else {}),
        "library_name": "open_clip",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["clip", *(["machine-unlearning"] if requests else [])],
        **({"model-index": _index(f"{name}/{number}", reports)} if reports else {}),
    }
    lines = "\n".join(
        f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()
    )
    sections = [
        f"# {_plain(name)}, version {number}",
        _introduction(facts, base, license_),
        "## What was unlearned\n\n" + _unlearned(requests),
        "## Figures\n\n" + _figures(reports),
        "## Limits\n\n" + _limits(requests),
        "## Loading\n\n" + loading,
        "## Identity\n\n" + _identity(facts),
    ]
    return f"---\n{lines}\n---\n\n" + "\n\n".join(sections) + "\n"


def _introduction(facts: Mapping[str, Any], base: str, license_: str | None) -> str:
    sides = facts["sides"]
    edited = f"{' and '.join(sides)} tower{'s' if len(sides) > 1 else ''}" if sides else "nothing"
    words = (
        f"The licence of the base model is {_plain(license_)}."
        if license_
        else "The licence of the base model is unknown: neither its files nor whoever registered it named one."
    )
    return (
        f"An edit of the CLIP model {_plain(base)} by a linear projection after the last layer, in closed form and "
        f"without training. Edited: {edited}. {words}"
    )


def _unlearned(requests: Sequence[CardRequest]) -> str:
    if not requests:
        return "Nothing: this version is the base model."
    rows = [
        f"| {r.number} | {_plain(r.scope)} | {_plain(r.method)} | {r.strength:g} |"
        for r in requests
    ]
    table = "\n".join(["| request | scope | method | strength |", "|---:|---|---|---:|", *rows])
    broken = [str(request.number) for request in requests if request.break_glass]
    if broken:
        table += f"\n\n**Break glass:** approved without four eyes and quorum: {', '.join(broken)}."
    spite = [f"{r.number} ({', '.join(r.overridden)})" for r in requests if r.overridden]
    if spite:
        table += (
            f"\n\n**Override:** approved although a gate of the policy failed: {', '.join(spite)}."
        )
    return table


def _figures(reports: Sequence[Mapping[str, Any]]) -> str:
    if not reports:
        return "Not measured: nothing was edited."
    rows = [
        f"| {_plain(report['dataset']['name'])} | {words} | {_share(report, 'before', side)} | "
        f"{_share(report, 'after', side)} |"
        for report in reports
        for side, words in (("forget", "to be forgotten"), ("retain", "to be kept"))
    ]
    head = "| data set | images | before | after |\n|---|---|---|---|\n"
    note = "\n\nZero-shot accuracy over all classes of the label space, with 95% Wilson intervals."
    return head + "\n".join(rows) + note


def _share(report: Mapping[str, Any], when: str, side: str) -> str:
    found = report[when]["counts"][side]
    if found is None:
        return "no image"
    interval = f"{percent(found['low'])} to {percent(found['high'])}"
    value = report[when][f"{side}_accuracy"]
    return f"{percent(value)} ({interval}, {found['n']} images)"


def _limits(requests: Sequence[CardRequest]) -> str:
    verdicts = [f"- Request {r.number}, on its own: {_plain(r.verdict)}" for r in requests]
    general = (
        "The projection removes what can be read linearly through the joint embedding. It deletes nothing: features "
        "before the last projection are those of the base model, whoever has its weights recognises what was "
        "unlearned, and labelled images bring part of it back."
    )
    return "\n".join([general, *(["", *verdicts] if verdicts else [])])


def _identity(facts: Mapping[str, Any]) -> str:
    rows = [
        ("version", facts["version_digest"]),
        ("weights", facts["weights_digest"]),
        ("weights of the base model", facts["base_weights_digest"]),
        ("label space", facts["labels_digest"]),
    ]
    active = ", ".join(map(str, facts["active_requests"])) or "none"
    lines = [f"- {what}: `{digest}`" for what, digest in rows]
    return "\n".join([f"- active requests: {active}", *lines])


def _index(name: str, reports: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    task = {"type": "zero-shot-image-classification", "name": "Zero-Shot Image Classification"}
    results = []
    for report in reports:
        metrics = [
            {
                "type": "accuracy",
                "name": f"accuracy on what is to be {words}, {when}",
                "value": report[when][f"{side}_accuracy"],
            }
            for side, words in (("forget", "forgotten"), ("retain", "kept"))
            for when in ("before", "after")
            if report[when][f"{side}_accuracy"] is not None
        ]
        dataset = {"type": "image-folder", "name": report["dataset"]["name"]}
        results.append({"task": task, "dataset": dataset, "metrics": metrics})
    return [{"name": name, "results": results}]


def _plain(text: object) -> str:
    """Words that people chose, without a meaning in Markdown or HTML."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", str(text))
