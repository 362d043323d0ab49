"""The gates of the policy in force, held against the reports on a request or a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from governance.digests import load_json
from governance.ledger.database import Session
from governance.ledger.rules import current
from governance.ledger.tables import ModelVersion, Report, Request
from governance.policy import Policy, scope_of
from governance.unlearning.gates import Gate, Kind, failed, request_gates, version_gates


@dataclass(frozen=True)
class Judgement:
    """The gates on every report of one thing.

    Attributes:
        gates: all of them.
        reports: digests of the reports that they were held against.
        policy: digest of the policy that sets them.
    """

    gates: Sequence[Gate]
    reports: Sequence[str]
    policy: str

    @property
    def failing(self) -> list[Gate]:
        """Those that do not pass."""
        return failed(self.gates)

    def to_dict(self) -> dict[str, Any]:
        """What the log says of them."""
        return {
            "report_digests": list(self.reports),
            "gates": [gate.to_dict() for gate in self.gates],
        }


def kind_of(request: Request) -> Kind:
    """What decides which limits apply to a request."""
    scopes = [scope_of(target.label, target.domain) for target in request.targets]
    return Kind(scopes, request.basis)


def judge_request(session: Session, request: Request) -> Judgement:
    """The gates on every report of the newest preparation of a request; none without one."""
    rules, digest = current(session)
    reports = request.projector.reports if request.projector else []
    gates = request_gates(_contents(reports), rules.gates, kind_of(request)) if reports else []
    return Judgement(gates, [report.digest for report in reports], digest)


def judge_version(session: Session, version: ModelVersion) -> Judgement:
    """The gates on every report of a version; none on the unedited base model."""
    if version.parent is None:
        return Judgement([], [], current(session)[1])
    members = [member.request for member in version.members]
    digests = [report.digest for report in version.reports]
    return judge_planned(session, _contents(version.reports), digests, members)


def judge_planned(
    session: Session,
    contents: Sequence[Mapping[str, Any]],
    digests: Sequence[str],
    members: Sequence[Request],
) -> Judgement:
    """The gates on the reports of a version, be it in the ledger yet or not.

    Args:
        session: reads the policy.
        contents: of its reports.
        digests: of its reports.
        members: requests that it holds.
    """
    rules, policy = current(session)
    kinds = {request.id: kind_of(request) for request in members}
    return Judgement(version_gates(contents, rules.gates, kinds), digests, policy)


def gates_of_report(rules: Policy, report: Report) -> list[Gate]:
    """The gates on one report alone."""
    contents, version, projector = _contents([report]), report.version, report.projector
    if version is not None:
        return version_gates(contents, rules.gates, _kinds(version))
    request = projector.request if projector else None
    return request_gates(contents, rules.gates, kind_of(request)) if request else []


def _kinds(version: ModelVersion) -> dict[int, Kind]:
    return {member.request_id: kind_of(member.request) for member in version.members}


def _contents(reports: Sequence[Report]) -> list[Mapping[str, Any]]:
    return [load_json(report.content) for report in reports]
