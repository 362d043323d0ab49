"""Holding the tables against what the log says there must be."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from typing import Any, TypeVar

from governance.audit.fault import Fault
from governance.audit.replay import Replayed
from governance.ledger.database import Session
from governance.ledger.facts import (
    Facts,
    actor_facts,
    dataset_facts,
    decision_facts,
    model_facts,
    projector_facts,
    report_facts,
    request_facts,
    version_facts,
)
from governance.ledger.lookup import every
from governance.ledger.tables import (
    Actor,
    Alias,
    Base,
    Dataset,
    Decision,
    Model,
    ModelVersion,
    ProjectorRecord,
    Report,
    Request,
)

Row = TypeVar("Row", bound=Base)
Named = tuple[str, Facts | None]
"""How a row is called in a fault, and its facts; None if something it refers to is missing."""


def compare(session: Session, log: Replayed) -> Iterator[Fault]:
    """Every difference between the log and the tables."""
    yield from _single(session, Actor, lambda a: a.name, "actor {}", actor_facts, log.actors)
    yield from _single(session, Model, lambda m: m.name, "model {}", model_facts, log.models)
    yield from _single(
        session, Dataset, lambda d: d.name, "data set {}", dataset_facts, log.datasets
    )
    yield from _single(session, Request, lambda r: r.id, "request {}", request_facts, log.requests)
    yield from _states(session, log)
    yield from _several(
        session, ProjectorRecord, lambda p: p.request_id, _projector_name, projector_facts,
        log.projectors,
    )  # fmt: skip
    yield from _several(
        session, Decision, lambda d: d.request_id, lambda d: f"decision {d.id}", decision_facts,
        log.decisions,
    )  # fmt: skip
    yield from _versions(session, log)
    yield from _several(
        session, Report, lambda r: _report_subject(session, r), lambda r: f"report {r.id}",
        report_facts, log.reports,
    )  # fmt: skip
    yield from _aliases(session, log)


def _single(
    session: Session,
    table: type[Row],
    key: Callable[[Row], Any],
    name: str,
    facts: Callable[[Row], Facts],
    expected: Mapping[Any, Facts],
) -> Iterator[Fault]:
    """Rows of which the log knows exactly one by that key."""
    rows = {key(row): _facts(facts, row) for row in every(session, table)}
    for known in sorted(expected.keys() | rows.keys(), key=str):
        yield from _differences(
            name.format(known), name.format(known), expected.get(known), rows.get(known),
            known in rows,
        )  # fmt: skip


def _several(
    session: Session,
    table: type[Row],
    key: Callable[[Row], Any],
    name: Callable[[Row], str],
    facts: Callable[[Row], Facts],
    expected: Mapping[Any, list[Facts]],
) -> Iterator[Fault]:
    """Rows of which the log knows a sequence for each key."""
    rows: dict[Any, list[Named]] = defaultdict(list)
    for row in every(session, table):
        rows[key(row)].append((name(row), _facts(facts, row)))
    for known in sorted(expected.keys() | rows.keys(), key=str):
        owner = f"request {known}" if isinstance(known, int) else str(known).replace(":", " ")
        for wanted, found in zip_longest(expected.get(known, []), rows.get(known, [])):
            place, actual = found or ("", None)
            missing = f"{owner}, {table.__tablename__}"
            yield from _differences(place, missing, wanted, actual, found is not None)


def _versions(session: Session, log: Replayed) -> Iterator[Fault]:
    rows: dict[tuple[str, int], Facts | None] = {}
    for version in every(session, ModelVersion):
        model = version.model.name if version.model else "a missing model"
        rows[model, version.number] = _facts(version_facts, version)
    for model, number in sorted(log.versions.keys() | rows.keys()):
        name, key = f"version {number} of {model}", (model, number)
        yield from _differences(name, name, log.versions.get(key), rows.get(key), key in rows)


def _states(session: Session, log: Replayed) -> Iterator[Fault]:
    for request in every(session, Request):
        said = log.states.get(request.id)
        if said is not None and said != request.state:
            yield Fault(f"request {request.id}", f"it is {request.state}, but the log says {said}")


def _aliases(session: Session, log: Replayed) -> Iterator[Fault]:
    rows: dict[tuple[str, str], int | None] = {}
    models = {model.id: model.name for model in every(session, Model)}
    for row in every(session, Alias):
        key = models.get(row.model_id, "a missing model"), row.name
        rows[key] = row.version.number if row.version else None
    for model, alias in sorted(log.aliases.keys() | rows.keys()):
        said, found = log.aliases.get((model, alias)), rows.get((model, alias))
        if said != found:
            yield Fault(
                f"alias {alias} of {model}", f"it is at version {found}, but the log says {said}"
            )


def _differences(
    name: str, owner: str, wanted: Facts | None, actual: Facts | None, exists: bool
) -> Iterator[Fault]:
    if wanted is None:
        yield Fault(name, "the log knows no such record")
    elif not exists:
        yield Fault(owner, "a record that the log knows is missing")
    elif actual is None:
        yield Fault(name, "it refers to a record that is missing")
    else:
        keys = sorted(k for k in wanted.keys() | actual.keys() if wanted.get(k) != actual.get(k))
        if keys:
            yield Fault(name, f"it differs from the log in {', '.join(keys)}")


def _facts(facts: Callable[[Row], Facts], row: Row) -> Facts | None:
    try:
        return facts(row)
    except AttributeError:  # a relationship that leads nowhere
        return None


def _projector_name(projector: ProjectorRecord) -> str:
    return f"projector {projector.id} of request {projector.request_id}"


def _report_subject(session: Session, report: Report) -> str:
    """Subject of the event that recorded the report."""
    if report.version_id is not None:
        version = session.get(ModelVersion, report.version_id)
        if version is None or version.model is None:
            return "version of a missing model"
        return f"version:{version.model.name}/{version.number}"
    projector = session.get(ProjectorRecord, report.projector_id)
    return f"request:{projector.request_id}" if projector else "request of a missing projector"
