"""What one version of a model has otherwise than another: requests, figures, and the matrices themselves."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from governance.ledger import arrays
from governance.ledger.database import Session
from governance.ledger.lookup import find_model, find_version
from governance.ledger.tables import ModelVersion, VersionMember
from governance.reports.records import report_record
from governance.unlearning.projector import Projector, identity
from governance.unlearning.targets import Target, describe_all

Side = tuple[dict[str, Any], str]
"""A report, and its side that is about the version: ``after``, or ``before`` for the base model."""

_NO_FIGURES = frozenset({"counts", "n", "correct", "low", "high"})
"""Numbers of samples and ends of intervals, which stand beside figures."""


def version_difference(
    session: Session, model_name: str | None, before: int, after: int
) -> dict[str, Any]:
    """How version `after` differs from version `before`, as plain JSON values.

    Args:
        session: reads the ledger.
        model_name: which model; None if there is only one.
        before: number of a version.
        after: number of another one, newer or older.

    Returns:
        ``requests``: ``added``, ``dropped``, and ``changed`` ones, which both hold with different edits.
        ``metrics``: for each data set that both were measured on, the newest reports and every figure with its
        change; the base model was measured wherever the other one was. ``measured_once``: the other data sets.
        ``drift``: see `drift`, for images and texts.

    Raises:
        NotFoundError: there is no such model or version.
        IntegrityError: a factor was altered.
    """
    model = find_model(session, model_name)
    old, new = (find_version(session, model, number) for number in (before, after))
    measured = _measured(old), _measured(new)
    for mine, others, version in zip(measured, reversed(measured), (old, new), strict=True):
        if not version.members:  # every report of another version measured the base model, too
            mine |= {
                name: (found, "before") for name, (found, _) in others.items() if name not in mine
            }
    common = [name for name in measured[0] if name in measured[1]]
    nothing = identity(model.dimension)
    texts = [arrays.load_text(session, version) or nothing for version in (old, new)]
    return {
        "model": model.name,
        "from": _named(old),
        "to": _named(new),
        "requests": _requests(old, new),
        "metrics": [
            {
                "dataset": name,
                "from_report": measured[0][name][0]["digest"],
                "to_report": measured[1][name][0]["digest"],
                "figures": _changes(measured[0][name], measured[1][name]),
            }
            for name in common
        ],
        "measured_once": sorted(set(measured[0]) ^ set(measured[1])),
        "drift": {
            "image": drift(*(arrays.load_projector(session, version) for version in (old, new))),
            "text": drift(*texts),
        },
    }


def drift(before: Projector, after: Projector) -> dict[str, Any]:
    """How far two edits are apart, from their factors alone: P' − P = [A', −A] [B'; B].

    Returns:
        ``frobenius``: ‖P' − P‖_F. ``relative``: that by ‖P − I‖_F, the size of the edit before; None if that one
        changes nothing. ``largest``: the largest singular value, by which a feature of length 1 moves at most.
        ``rank``: of the difference.
    """
    size = float(torch.linalg.vector_norm(before.singular_values()))
    if before.digest == after.digest:  # rounding would leave a little between them
        between = identity(before.dimension)
    else:
        a, b = torch.cat([after.a, -before.a], dim=1), torch.cat([after.b, before.b])
        between = Projector(a, b, math.nan)
    values = between.singular_values()
    distance = float(torch.linalg.vector_norm(values))
    return {
        "frobenius": distance,
        "relative": distance / size if size else None,
        "largest": float(values.max()) if len(values) else 0.0,
        "rank": between.rank,
    }


def _named(version: ModelVersion) -> dict[str, Any]:
    return {
        "version": version.number,
        "digest": version.digest,
        "weights_digest": version.weights_digest,
        "active_requests": [member.request_id for member in version.members],
    }


def _requests(old: ModelVersion, new: ModelVersion) -> dict[str, list[dict[str, Any]]]:
    """Requests that only one version holds, or that it holds with another edit."""
    held = [{member.request_id: member for member in version.members} for version in (old, new)]

    def told(number: int, sides: Mapping[str, Mapping[int, VersionMember]]) -> dict[str, Any]:
        targets = next(iter(sides.values()))[number].request.targets
        scope = describe_all(Target(target.label, target.domain) for target in targets)
        digests = {name: members[number].projector.digest for name, members in sides.items()}
        return {"request": number, "scope": scope, **digests}

    before, after = held
    return {
        "added": [told(number, {"to": after}) for number in after if number not in before],
        "dropped": [told(number, {"from": before}) for number in before if number not in after],
        "changed": [
            told(number, {"from": before, "to": after})
            for number in before
            if number in after and before[number].projector_id != after[number].projector_id
        ],
    }


def _measured(version: ModelVersion) -> dict[str, Side]:
    """The newest report on each data set, by its name."""
    return {report.dataset.name: (report_record(report), "after") for report in version.reports}


def _changes(old: Side, new: Side) -> list[dict[str, Any]]:
    """Every figure of two reports; None where one of them does not have it."""
    before, after = dict(_figures(*old)), dict(_figures(*new))
    found = []
    for name in {**before, **after}:
        was, became = before.get(name), after.get(name)
        change = None if was is None or became is None else became - was
        found.append({"figure": name, "from": was, "to": became, "change": change})
    return found


def _figures(report: Mapping[str, Any], side: str) -> Iterator[tuple[str, float]]:
    """Figures of one side by dotted name: accuracies, each request's, and those of the edit itself."""
    yield from _numbers("", report[side])
    for entry in report["requests"]:
        yield f"requests.{entry['request']}", entry[side]
    for part in ("overall", "capacity") if side == "after" else ():
        yield from _numbers(f"{part}.", report[part] or {})


def _numbers(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if name in _NO_FIGURES:
            continue
        if isinstance(value, Mapping):
            yield from _numbers(f"{prefix}{name}.", value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", value
