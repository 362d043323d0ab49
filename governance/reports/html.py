"""A report as one self-contained HTML page for people who decide and supervise, not for engineers.

Everything that is computed is computed here and in `chart`; the template only places it. Names, reasons and comments
are user input: autoescape is on, and characters that could reorder or break the text are replaced.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from governance.reports.chart import (
    MAX_LISTED,
    Share,
    hardest_hit,
    hardest_hit_pair,
    measurement,
    plot_position,
    side_share,
    targets_of,
)
from governance.reports.leakage import leakage
from governance.reports.words import (
    describe_approvals,
    describe_assumption,
    describe_certificate,
    describe_prototypes,
)
from governance.unlearning.gates import describe
from governance.unlearning.targets import Target
from governance.unlearning.words import percent

BASES = {
    "gdpr-17-1-a": "GDPR Art. 17(1)(a): no longer needed for the purpose it was collected for",
    "gdpr-17-1-b": "GDPR Art. 17(1)(b): consent withdrawn",
    "gdpr-17-1-c": "GDPR Art. 17(1)(c): the person objects to the processing",
    "gdpr-17-1-d": "GDPR Art. 17(1)(d): unlawfully processed",
    "gdpr-17-1-e": "GDPR Art. 17(1)(e): erasure required by law",
    "gdpr-17-1-f": "GDPR Art. 17(1)(f): collected from a child for an online service",
    "court-order": "Court order",
    "licence": "Licence",
    "bias": "Bias finding",
    "policy": "Internal policy",
}
"""What the grounds of a request mean; others are shown as they stand."""

STATES = {
    "filed": "Filed. No edit has been prepared.",
    "prepared": "Prepared and measured. Nobody has decided on it yet.",
    "approved": "Approved. The edit is not yet part of a model version.",
    "applied": "Part of a model version that has not been released yet.",
    "released": "Released in a model version.",
    "reinstated": "Taken back. The edit is no longer in force; what was to be forgotten is recognisable again.",
    "rejected": "Rejected. The edit was not applied.",
    "withdrawn": "Withdrawn.",
    "closed": "Closed after release. The edit stays in every later version.",
}

METHODS = {
    "redirect": "Moves what is to be forgotten onto the average of what is kept, and holds the rest in place.",
    "ccup": "Sends what is to be forgotten to zero, and holds the rest in place.",
    "multimodal": "Removes the directions of what is to be forgotten, in words and in images, from the embedding.",
    "nullspace": "Removes the directions of what is to be forgotten from the embedding.",
}

ACTIONS = {
    "request.filed": "Request filed",
    "request.prepared": "Edit prepared and measured",
    "request.evaluated": "Measured again",
    "request.approved": "Approved",
    "request.rejected": "Rejected",
    "request.withdrawn": "Withdrawn",
    "request.extended": "Deadline extended",
    "request.applied": "Edit put into a model version",
    "request.released": "Released",
    "request.reinstated": "Edit taken back",
    "request.closed": "Closed",
    "request.endorsed": "Approved; the quorum needs others beside",
    "request.attached": "File attached",
    "request.held": "Put on legal hold",
    "request.hold_lifted": "Legal hold lifted",
    "request.redacted": "Reason, references, comments and files erased",
    "request.refused": "Refused",
    "report.exported": "Report given out",
    "attachment.exported": "File of the case given out",
    "version.refused": "Refused",
    "version.intended": "Model version announced",
    "version.registered": "Model version registered",
    "version.nominated": "Made the candidate for release",
    "version.alias_intended": "Change of the served version announced",
    "version.promoted": "Made the version to be served",
    "version.evaluated": "Model version measured",
    "version.export_intended": "Export of the model version announced",
    "version.exported": "Model version exported",
    "version.restored": "Model version registered in MLflow again",
    "version.abandoned": "What was announced came to nothing",
}

_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def render(document: Mapping[str, Any]) -> str:
    """The page of a document that `governance.reports.document` built.

    Args:
        document: of the kind ``request`` or ``version``.

    Returns:
        Complete HTML5 text, without scripts and without anything loaded from elsewhere.
    """
    return environment().get_template("report.html.j2").render(page=_page(document))


@cache
def environment() -> Environment:
    """Templates of all pages, with everything that user input needs."""
    made = Environment(
        loader=PackageLoader("governance.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(moment=moment, machine_time=machine_time, at=plot_position, number=number)
    return made


def moment(text: str) -> str:
    """An ISO time as people write it, in UTC."""
    when = _utc(text)
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def machine_time(text: str) -> str:
    """An ISO time as HTML allows it: no finer than milliseconds."""
    return _utc(text).isoformat(timespec="milliseconds")


def _utc(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def number(value: float) -> str:
    """A technical figure with four significant digits, as a power of ten only if it is huge or tiny."""
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3e}"
    return f"{float(f'{value:.4g}'):,.10g}"


def _clean(value: Any) -> Any:
    """Text that is valid in HTML and cannot reverse what stands around it; other values as they are."""
    if not isinstance(value, str) or value.isprintable():
        return value
    kind = type(value)  # Markup must stay Markup, so that it is not escaped twice
    return kind("".join("\ufffd" if _unsafe(character) else character for character in value))


def _unsafe(character: str) -> bool:
    if character in "\n\r\t":
        return False
    return unicodedata.category(character) in ("Cc", "Cs") or character in _REORDERING


def _page(document: Mapping[str, Any]) -> dict[str, Any]:
    version = document["version"]
    requests = document["requests"]
    targets = [target for request in requests for target in targets_of(request)]
    return {
        "document": document,
        "model": document["model"],
        "version": version,
        "summary": _summary(document, targets),
        "break_glass": [request["id"] for request in requests if request["break_glass"]],
        "overrides": _overrides(document),
        "gates": document["gates"],
        "requests": [_request(request, document) for request in requests],
        "measurements": [
            measurement(report, document, targets, index)
            for index, report in enumerate(document["reports"], start=1)
        ],
        "leaks": [
            {"dataset": report["dataset"], "groups": leakage(assessment), "assessment": assessment}
            for report in document["reports"]
            if (assessment := report.get("assessment"))
        ],
        "promises": [
            {"dataset": report["dataset"], "lines": lines}
            for report in document["reports"]
            if (lines := describe_certificate(report))
        ],
        "history": [_event(event) for event in document["history"]],
        "head": document["ledger_head"],
        "sides": _sides(document),
        "max_listed": MAX_LISTED,
    }


def _overrides(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What passed in spite of its gates, with words on each gate; of a version, what it holds too."""
    version = document["version"]
    found = version["overrides"] if version else document["requests"][0]["overrides"]
    return [{**entry, "words": [describe(gate) for gate in entry["gates"]]} for entry in found]


def _sides(document: Mapping[str, Any]) -> list[str]:
    """Towers that what the page is about edits; none for a version without requests."""
    if document["version"] is not None:
        return list(document["version"]["sides"])
    projector = document["requests"][0]["projector"]
    return list(projector["sides"]) if projector else []


def _images_of(targets: Sequence[Target]) -> str:
    if len(targets) > 4:
        return f"images that the {len(targets)} targets cover"
    return " and ".join(
        {
            (True, False): f"images of “{target.label}”",
            (True, True): f"images of “{target.label}” in the domain “{target.domain}”",
            (False, True): f"images in the domain “{target.domain}”",
        }[target.label is not None, target.domain is not None]
        for target in targets
    )


# Summary: sentences that say no more than the figures do.


def _summary(document: Mapping[str, Any], targets: Sequence[Target]) -> list[dict[str, Any]]:
    version = document["version"]
    opening = _version_opening(document) if version else _request_opening(document)
    blocks: list[dict[str, Any]] = [{"heading": None, "verdict": None, "lines": opening}]
    for report in document["reports"]:
        dataset = report["dataset"]
        classes = len(document["model"]["classes"])
        lines = (_version_lines if version else _request_lines)(report, classes)
        blocks.append(
            {
                "verdict": report.get("verdict"),
                "heading": f"Measured on the data set “{dataset['name']}”, {_images(dataset['images'])}",
                "lines": [*lines, *_retain_lines(report, targets), *_composed_lines(report)],
            }
        )
    if not document["reports"]:
        opening.append("No measurement of it is recorded.")
    return blocks


def _request_opening(document: Mapping[str, Any]) -> list[str]:
    lines = []
    for request in document["requests"]:
        lines.append(
            f"Request {request['id']} asks that the model “{request['model']}” no longer recognise: "
            f"{request['scope']}."
        )
        lines.append(f"Where it stands: {_state(request)}")
    return lines


def _version_opening(document: Mapping[str, Any]) -> list[str]:
    version = document["version"]
    active, aliases = version["active_requests"], version["aliases"]
    what = f"Version {version['version']} of the model “{version['model']}”"
    if active:
        scopes = {request["id"]: request["scope"] for request in document["requests"]}
        named = "; ".join(f"request {key} ({scopes[key]})" for key in active[:MAX_LISTED])
        rest = f"; and {len(active) - MAX_LISTED} more" if len(active) > MAX_LISTED else ""
        lines = [f"{what} holds the edits of {_count(len(active), 'request')}: {named}{rest}."]
    elif version["parent"] is None:
        lines = [f"{what} is the unedited base model. It holds no request."]
    else:
        lines = [f"{what} holds no request, so nothing is edited in it."]
    if version["served"]:
        lines.append("When this report was made it was the version to be served.")
    elif "candidate" in aliases:
        lines.append("When this report was made it was the candidate for release, not yet served.")
    else:
        lines.append("When this report was made it was neither served nor the candidate.")
    return lines


def _request_lines(report: Mapping[str, Any], classes: int) -> list[str]:
    before, after = (side_share(report, when, "forget") for when in ("before", "after"))
    lines = []
    if before and after:
        lines.append(_recognised(report["targets"], before, after, classes))
    if report["strength"] < 1:
        lines.append(_partial(report["strength"]))
    return lines


def _composed_lines(report: Mapping[str, Any]) -> list[str]:
    composed = report.get("composed")
    if not composed:
        return []
    return [
        f"Put together with what was active already ({_numbers(composed['active_requests'])}), it leaves "
        f"{percent(composed['forget_accuracy'])} of the images to be forgotten recognised, and "
        f"{percent(composed['retain_accuracy'])} of the images that none of these requests covers."
    ]


def _version_lines(report: Mapping[str, Any], classes: int) -> list[str]:
    lines = []
    for entry in report["requests"]:
        before, after = (Share.of(entry["counts"][when]) for when in ("before", "after"))
        guessing = classes if entry["active"] else None
        sentence = _recognised(entry["targets"], before, after, guessing)
        if not entry["active"]:
            lines.append(
                f"Request {entry['request']} is not held any more; what it covered is meant to be "
                f"recognisable again. {sentence}"
            )
            continue
        partial = f" {_partial(entry['strength'])}" if entry["strength"] < 1 else ""
        lines.append(f"Request {entry['request']}: {sentence[0].lower()}{sentence[1:]}{partial}")
    measured = {entry["request"] for entry in report["requests"]}
    if missing := [key for key in report["active_requests"] if key not in measured]:
        lines.append(
            f"The data set has no image of what {_numbers(missing)} "
            f"{'covers' if len(missing) == 1 else 'cover'}, so nothing is known here about that."
        )
    return lines


def _recognised(
    targets: Sequence[Mapping[str, Any]], before: Share, after: Share, classes: int | None
) -> str:
    images = _images_of([Target.from_dict(dict(target)) for target in targets])
    text = (
        f"Of {after.n} {images}, the model recognised {before.correct} ({before.percent}) before and "
        f"{after.correct} ({after.percent}) after; 95% interval after: {after.interval}."
    )
    if classes and after.low > 1 / classes:
        text += f" That is more than guessing among {classes} names would give ({percent(1 / classes)})."
    return text


def _partial(strength: float) -> str:
    return f"The edit has the strength {strength:g} of 1: it is meant to leave some recognition."


def _retain_lines(report: Mapping[str, Any], targets: Sequence[Target]) -> list[str]:
    before, after = (side_share(report, when, "retain") for when in ("before", "after"))
    if before is None or after is None:
        return ["It has no other images, so nothing is known here about what the model keeps."]
    others = "all" if report["after"]["counts"]["forget"] is None else "the other"
    lines = [
        f"On {others} {_images(after.n)} it was right in {before.percent} before and {after.percent} "
        f"after; 95% interval after: {after.interval}."
    ]
    figures = report["before"], report["after"], targets
    worst = hardest_hit(*figures)
    if worst is not None and worst.moved < 0:
        lines.append(
            f"Of the classes that were to be kept whole, “{worst.name}” lost most: {worst.before.percent} "
            f"before, {worst.after.percent} after, of {_images(worst.after.n)}."
        )
    elif worst is not None:
        lines.append(
            "None of the classes that were to be kept whole lost accuracy on these images."
        )
    pair = hardest_hit_pair(*figures)
    if pair is not None and pair[3] < pair[2]:
        lines.append(
            "Of what was to be kept of the classes that are to be forgotten in part, "
            f"“{pair[0]}” in the domain “{pair[1]}” lost most: {percent(pair[2])} before, "
            f"{percent(pair[3])} after."
        )
    return lines


# The parts of the page.


def _request(request: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    projector = request["projector"]
    reports = {report["digest"] for report in document["reports"]}
    recipe = projector["recipe"] if projector else {}
    released = _events(document, request, "request.released")
    redactions = _events(document, request, "request.redacted")
    holds = _events(document, request, "request.held") if request["held"] else []
    decisions = [_decision(decision, projector, reports) for decision in request["decisions"]]
    ruling = decisions[-1] if decisions and not decisions[-1]["void"] else None
    return {
        **request,
        "four_eyes": _four_eyes(request, ruling),
        "state_text": _state(request),
        "basis_text": BASES.get(request["basis"]),
        "released_at": released[-1]["at"] if released else None,
        "redaction": redactions[-1] if redactions else None,
        "hold": holds[-1] if holds else None,
        "approvals_text": describe_approvals(request["approvals"]),
        "method_text": METHODS.get(recipe["hyperparameters"]["method"]) if recipe else None,
        "fitted_on": describe_prototypes(recipe["prototypes"]) if recipe else None,
        "assumed": describe_assumption(recipe) if recipe else None,
        "saw_images": any(p["kind"] == "few-shot" for p in recipe.get("prototypes", ())),
        "residual": _residual(request["id"], document),
        "decisions": decisions,
    }


def _events(
    document: Mapping[str, Any], request: Mapping[str, Any], action: str
) -> list[Mapping[str, Any]]:
    """Entries of the log on a request, oldest first."""
    return [
        event
        for event in document["history"]
        if event["action"] == action and event["subject"] == f"request:{request['id']}"
    ]


def _residual(request: int, document: Mapping[str, Any]) -> float | None:
    """How much of a request's edit is left undone: on its own, or in the version's joint solution."""
    if document["version"] is None:
        alone: float | None = document["reports"][0].get("residual")
        return alone
    for entry in document["version"]["residuals"]:
        if entry["request"] == request:
            return float(entry["residual"])
    return None


def _four_eyes(request: Mapping[str, Any], ruling: Mapping[str, Any] | None) -> str | None:
    projector = request["projector"]
    if ruling is None or ruling["ruling"] != "approval" or projector is None:
        return None
    if request["break_glass"]:
        return None  # the banner says so
    if ruling["actor"] in (request["filed_by"], projector["prepared_by"]):
        return "Who approved it also filed or prepared it, so four eyes were not kept."
    return "Four eyes: who approved it neither filed nor prepared it."


def _state(request: Mapping[str, Any]) -> str:
    return STATES.get(request["state"], f"{request['state']}.")


def _decision(
    decision: Mapping[str, Any], projector: Mapping[str, Any] | None, reports: set[str]
) -> dict[str, Any]:
    void = projector is not None and (_utc(decision["decided_at"]) < _utc(projector["prepared_at"]))
    return {
        **decision,
        "word": {"approval": "Approved", "rejection": "Rejected"}.get(
            decision["ruling"], decision["ruling"]
        ),
        "void": void,
        "binds_shown_report": decision["report_digest"] in reports,
    }


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    payload = event["payload"]
    said = (payload.get("reason"), payload.get("problem"), *event.get("texts", ()))
    notes = [str(note) for note in said if note]
    if "was_due_at" in payload:
        notes.append(f"from {moment(payload['was_due_at'])} to {moment(payload['due_at'])}")
    return {**event, "words": ACTIONS.get(event["action"]), "notes": notes}


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n:,} {noun}s"


def _images(n: int) -> str:
    return _count(n, "image")


def _numbers(requests: Sequence[int]) -> str:
    """Requests by number."""
    noun = "request" if len(requests) == 1 else "requests"
    return f"{noun} {', '.join(map(str, requests))}"
