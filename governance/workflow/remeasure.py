"""Measuring again what recorded reports say: whoever has the model and the images can see that the figures are so."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from governance.clip.encoder import Encoder
from governance.datasets import DatasetRole
from governance.digests import canonical_json, load_json
from governance.errors import NotFoundError
from governance.ledger import arrays
from governance.ledger.database import Session
from governance.ledger.lookup import find_dataset, find_model, find_request, find_version
from governance.ledger.tables import ModelVersion, ProjectorRecord, Report, Request
from governance.reports.leakage import VIEWS
from governance.unlearning.capacity import capacity
from governance.unlearning.composition import compose
from governance.workflow.build import measure, read_measured
from governance.workflow.measure import (
    FORMAT,
    EvalSet,
    Member,
    Solved,
    read_eval_set,
    read_member,
)
from governance.workflow.prepare import measure_request, read_task
from governance.workflow.tools import Tools

LEFT_OUT = ("confusion", "relearning by prototypes in place of texts", "verdict")
"""What a report of the first format lacks, or says of another measurement."""

_SINCE = (
    "format", "confusion", "verdict", "gallery_size", "scaled", "turning", "certificate", "inversion", "approved",
    "excess", "certified_images",
)  # fmt: skip
_NUMBER = (int, float)


@dataclass(frozen=True)
class Difference:
    """A figure or a word that came out otherwise.

    Attributes:
        where: its place in the report, names and list positions joined by dots.
        recorded, measured: what the report says, and what was found now; None if it is missing there.
    """

    where: str
    recorded: Any
    measured: Any

    def to_dict(self) -> dict[str, Any]:
        """The difference as plain JSON values."""
        return {"where": self.where, "recorded": self.recorded, "measured": self.measured}


@dataclass(frozen=True)
class Remeasured:
    """A report beside what was measured now.

    Attributes:
        digest: of the report.
        dataset: name of what it was measured on.
        values: numbers and words that it holds.
        largest: by how much a number differs at most.
        differences: those that differ by more than was tolerated.
        left_out: figures of an older format that are measured in another way today, so that nothing can be compared.
    """

    digest: str
    dataset: str
    values: int
    largest: float
    differences: list[Difference]
    left_out: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain JSON values."""
        return {
            "report": self.digest,
            "dataset": self.dataset,
            "values": self.values,
            "largest_difference": self.largest,
            "differences": [difference.to_dict() for difference in self.differences],
            "left_out": list(self.left_out),
        }


@dataclass(frozen=True)
class _Job:
    """A report, and what measures the same again; free of the session."""

    digest: str
    dataset: str
    recorded: dict[str, Any]
    measure: Callable[[Tools], dict[str, Any]]


def remeasure_version(
    tools: Tools, model_name: str | None, number: int, tolerance: float
) -> list[Remeasured]:
    """Measure a version again on every data set of its reports, from the images; nothing is recorded.

    Raises:
        NotFoundError: there is no such version or no report on it, or images or weights are missing.
        IntegrityError: images or weights changed.
    """
    with tools.ledger.read() as session:
        version = find_version(session, find_model(session, model_name), number)
        jobs = [_of_version(session, version, report) for report in version.reports]
        where = f"version {number} of {version.model.name!r}"
    return _measured(tools, jobs, tolerance, where)


def remeasure_request(tools: Tools, request_id: int, tolerance: float) -> list[Remeasured]:
    """Measure the newest preparation of a request again on every data set of its reports; nothing is recorded.

    Raises:
        NotFoundError: there is no such request or no report on it, or images or weights are missing.
        IntegrityError: images or weights changed.
    """
    with tools.ledger.read() as session:
        request = find_request(session, request_id)
        record = request.projector
        jobs = []
        if record is not None:
            jobs = [_of_request(session, request, record, report) for report in record.reports]
    return _measured(tools, jobs, tolerance, f"request {request_id}")


def compare(recorded: Any, measured: Any, tolerance: float) -> tuple[int, float, list[Difference]]:
    """Hold two reports against each other, value by value.

    Returns:
        How many values there are, the largest difference of two numbers, and what differs by more than `tolerance`.
    """
    was, is_ = dict(_values(recorded)), dict(_values(measured))
    largest, differences = 0.0, []
    for where in dict.fromkeys([*was, *is_]):
        old, new = was.get(where), is_.get(where)
        if (
            isinstance(old, _NUMBER)
            and isinstance(new, _NUMBER)
            and bool not in map(type, (old, new))
        ):
            gap = abs(old - new)
            largest = max(largest, gap)
            same = gap <= tolerance
        else:
            same = where in was and where in is_ and (type(old), old) == (type(new), new)
        if not same:
            differences.append(Difference(where, old, new))
    return len(was), largest, differences


def _measured(tools: Tools, jobs: list[_Job], tolerance: float, where: str) -> list[Remeasured]:
    if not jobs:
        raise NotFoundError(f"{where} was never measured, so there is nothing to compare with")
    found = []
    # Embeddings that were kept are no evidence of what the images give.
    with tempfile.TemporaryDirectory(prefix="governance-") as place:
        fresh = replace(tools, encoder=Encoder(Path(place)))
        for job in jobs:
            # As it is stored: canonical JSON writes 1.0 as 1.
            content = load_json(canonical_json(job.measure(fresh)))
            recorded, older = job.recorded, job.recorded.get("format", 1) < FORMAT
            if older:
                recorded, content = _first_format(recorded), _first_format(content)
            compared = compare(recorded, content, tolerance)
            found.append(Remeasured(job.digest, job.dataset, *compared, LEFT_OUT if older else ()))
    return found


def _first_format(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a report of the first format has in common with today's."""
    kept = {key: value for key, value in content.items() if key not in _SINCE}
    if "assessment" in kept:
        assessment = dict(kept["assessment"])
        assessment["protocol"] = {
            key: value for key, value in assessment["protocol"].items() if key not in _SINCE
        }
        kept["assessment"] = assessment | {view: _comparable(assessment[view]) for view in VIEWS}
    if "requests" in kept:
        kept["requests"] = [
            {key: _comparable(value) if key == "attacks" and value else value
             for key, value in entry.items() if key not in _SINCE}
            for entry in kept["requests"]
        ]  # fmt: skip
    return kept


def _comparable(view: Mapping[str, Any]) -> dict[str, Any]:
    """A view without the attacks that mix prototypes with texts."""
    attacks = [attack for attack in view["relearning"] if attack["mix"] is None]
    return {
        **view,
        "relearning": [{k: v for k, v in a.items() if k not in _SINCE} for a in attacks],
    }


def _of_version(session: Session, version: ModelVersion, report: Report) -> _Job:
    recorded, on = load_json(report.content), read_eval_set(report.dataset)
    shares = recorded["requests"]
    subject = read_measured(
        session,
        version,
        [_then(session, s["request"], report) for s in shares if not s["active"]],
        frozenset(s["request"] for s in shares if s["attacks"] is not None),
        _guards(session, recorded),
    )
    solved = Solved.read(session, version, [member.edit for member in subject.members])
    return _Job(report.digest, on.name, recorded, lambda tools: measure(tools, subject, solved, on))


def _of_request(
    session: Session, request: Request, record: ProjectorRecord, report: Report
) -> _Job:
    recorded = load_json(report.content)
    together = recorded["composed"] or {"active_requests": []}
    others = [_then(session, number, report) for number in together["active_requests"]]
    on = read_eval_set(report.dataset)
    task = read_task(session, request, others, on, _guards(session, recorded))
    edit, digest = arrays.load_edit(session, record), record.digest
    solved = Solved.read(session, record, [edit])

    def again(tools: Tools) -> dict[str, Any]:
        used = capacity(task.bank, task.targets, solved.projector)
        content = measure_request(tools, task, digest, edit, solved, used)
        if "residual" in recorded:
            content["residual"] = compose(task.bank, [edit]).residual(edit)
        return content

    return _Job(report.digest, on.name, recorded, again)


def _then(session: Session, request_id: int, report: Report) -> Member:
    """A request with the projector that it had when a report was made."""
    made = find_request(session, request_id).projectors
    return read_member(
        session, request_id, [p for p in made if p.prepared_at <= report.created_at][-1]
    )


def _guards(session: Session, recorded: Mapping[str, Any]) -> list[EvalSet]:
    """The guard sets that a report speaks of; others may have been added since."""
    names = [found["dataset"]["name"] for found in recorded["guard"]]
    return [read_eval_set(find_dataset(session, name, DatasetRole.GUARD)) for name in names]


def _values(content: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers and words of a report by their places."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _values(value, f"{where}.{name}" if where else name)
    elif isinstance(content, list):
        yield f"{where}.length", len(content)
        for number, value in enumerate(content):
            yield from _values(value, f"{where}.{number}")
    else:
        yield where, content
