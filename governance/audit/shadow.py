"""Holding the tables against what the log says there must be, both read once and side by side.

A table's rows were inserted in the order of the events that announce them, so two cursors are enough, whatever the
size: the next row must be the next record that the log speaks of.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from governance.audit.fault import UNREADABLE, Fault, unreadable
from governance.audit.world import Said, World
from governance.ledger import facts
from governance.ledger.database import Session
from governance.ledger.facts import Facts
from governance.ledger.lookup import every, primary_key, with_its, without
from governance.ledger.tables import (
    Actor,
    ActorKey,
    Alias,
    Base,
    CheckpointRecord,
    Dataset,
    Decision,
    Model,
    ModelVersion,
    Override,
    PolicyRecord,
    PrivateText,
    ProjectorRecord,
    Report,
    Request,
    VersionMember,
)

Row = TypeVar("Row", bound=Base)


@dataclass(frozen=True)
class _Kind:
    """How the rows of one table look from the log."""

    table: type[Base]
    owner: Callable[[Any], str]
    facts: Callable[[Any], Facts]
    name: Callable[[Any], str]
    noun: Callable[[str], str]
    loads: tuple[Any, ...] = ()


def _request_facts(request: Request) -> Facts:
    found = facts.request_facts(request)
    del found["due_at"]  # it may move; `states` looks at it
    return found


def _actor_facts(actor: Actor) -> Facts:
    return facts.actor_facts(actor) | {"active": True}


def _report_facts(report: Report) -> Facts:
    projector = report.projector.digest if report.projector else None
    return facts.report_facts(report) | {"projector": projector}


def _report_owner(report: Report) -> str:
    if report.version is not None:
        return f"version:{report.version.model.name}/{report.version.number}"
    projector = report.projector
    return f"request:{projector.request_id}" if projector else "request of a missing projector"


def _override_owner(override: Override) -> str:
    if (override.request_id is None) is (override.version_id is None):
        return "not exactly one thing"
    if override.request_id is not None:
        return f"request:{override.request_id}"
    version = override.version
    return f"version:{version.model.name}/{version.number}" if version else "a missing version"


def _key_name(key: ActorKey) -> str:
    return f"key {key.id} of {key.actor.name if key.actor else 'a missing actor'}"


def _version_name(version: ModelVersion) -> str:
    return (
        f"version {version.number} of {version.model.name if version.model else 'a missing model'}"
    )


def _plain(prefix: str) -> Callable[[str], str]:
    return lambda owner: f"{prefix} {owner}"


_KINDS = {
    "actors": _Kind(
        Actor, lambda a: a.name, _actor_facts, lambda a: f"actor {a.name}", _plain("actor")
    ),
    "actor_keys": _Kind(
        ActorKey, lambda k: k.actor.name, facts.key_facts, _key_name,
        _plain("a key of"), (with_its(ActorKey.actor),),
    ),
    "policies": _Kind(
        PolicyRecord, lambda _: "ledger", facts.policy_facts, lambda p: f"policy {p.id}",
        lambda _: "a policy",
    ),
    "checkpoints": _Kind(
        CheckpointRecord, lambda _: "ledger", facts.checkpoint_facts,
        lambda c: f"checkpoint {c.id}", lambda _: "a checkpoint",
    ),
    "models": _Kind(
        Model, lambda m: m.name, facts.model_facts, lambda m: f"model {m.name}", _plain("model")
    ),
    "datasets": _Kind(
        Dataset, lambda d: d.name, facts.dataset_facts, lambda d: f"data set {d.name}",
        _plain("data set"),
    ),
    "requests": _Kind(
        Request, lambda r: str(r.id), _request_facts, lambda r: f"request {r.id}",
        _plain("request"), (with_its(Request.model), with_its(Request.targets)),
    ),
    "private_texts": _Kind(
        PrivateText, lambda t: f"request:{t.request_id}", facts.text_facts,
        lambda t: f"private text {t.id} of request {t.request_id}",
        lambda owner: f"a private text of {owner.replace(':', ' ')}",
        (without(PrivateText.content),),
    ),
    "projectors": _Kind(
        ProjectorRecord, lambda p: str(p.request_id), facts.projector_facts,
        lambda p: f"projector {p.id} of request {p.request_id}", _plain("a projector of request"),
    ),
    "decisions": _Kind(
        Decision, lambda d: str(d.request_id), facts.decision_facts,
        lambda d: f"decision {d.id} on request {d.request_id}", _plain("a decision on request"),
        (with_its(Decision.comment),),
    ),
    "overrides": _Kind(
        Override, _override_owner, facts.override_facts, lambda o: f"override {o.id}",
        lambda owner: f"an override of {owner.replace(':', ' ')}",
        (with_its(Override.version, ModelVersion.model),),
    ),
    "evaluation_reports": _Kind(
        Report, _report_owner, _report_facts, lambda r: f"report {r.id}",
        lambda owner: f"a report on {owner.replace(':', ' ')}",
        (
            without(Report.content), with_its(Report.dataset), with_its(Report.projector),
            with_its(Report.version, ModelVersion.model),
        ),
    ),
    "model_versions": _Kind(
        ModelVersion, lambda v: f"{v.model.name}/{v.number}", facts.version_facts,
        _version_name,
        lambda owner: "version {1} of {0}".format(*owner.rsplit("/", 1)),
        (with_its(ModelVersion.model), with_its(ModelVersion.members, VersionMember.projector)),
    ),
}  # fmt: skip


class Shadow:
    """One table, read along with the log.

    Attributes:
        count: rows that were read.
    """

    def __init__(self, session: Session, kind: _Kind) -> None:
        """Begin before the first row."""
        self.count = 0
        self._damaged = False
        self._kind = kind
        self._rows = every(session, kind.table, chunk=100, loads=kind.loads)
        self._ahead: list[_Found] = []
        self._waiting: Said | None = None

    def expect(self, said: Said) -> Iterator[Fault]:
        """The next record of which the log speaks."""
        yield from self._guarded(self._expect(said))

    def finish(self) -> Iterator[Fault]:
        """After the last event: what is still open, and rows of which the log said nothing."""
        yield from self._guarded(self._finish())

    def _guarded(self, faults: Iterator[Fault]) -> Iterator[Fault]:
        """A row that cannot be read is a fault, after which the table is not looked at any more."""
        if self._damaged:
            return
        try:
            yield from faults
        except UNREADABLE as error:
            self._damaged = True
            yield unreadable(f"table {self._kind.table.__tablename__}", error)

    def _expect(self, said: Said) -> Iterator[Fault]:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            row = self._peek(0)
            if row is not None and not row.is_(said) and row.owner == waiting.owner:
                yield self._take().differs(waiting)
            else:
                yield self._missing(waiting)
        row = self._peek(0)
        if row is None:
            yield self._missing(said)
        elif row.is_(said):
            self._take()
        elif row.facts is None:
            yield Fault(self._take().name, "it refers to a record that is missing")
        elif (after := self._peek(1)) is not None and after.is_(said):
            yield Fault(self._take().name, "the log knows no such record")
            self._take()
        else:
            self._waiting = said  # changed or missing: the next record tells

    def _finish(self) -> Iterator[Fault]:
        if self._waiting is not None:
            row = self._peek(0)
            if row is not None and row.owner == self._waiting.owner:
                yield self._take().differs(self._waiting)
            else:
                yield self._missing(self._waiting)
        while self._peek(0) is not None:
            yield Fault(self._take().name, "the log knows no such record")

    def close(self) -> None:
        """Let go of the rows that are left, a cursor of the server's on PostgreSQL."""
        self._rows.close()

    def _missing(self, said: Said) -> Fault:
        return Fault(self._kind.noun(said.owner), "a record that the log knows is missing")

    def _peek(self, ahead: int) -> "_Found | None":
        while len(self._ahead) <= ahead:
            row = next(self._rows, None)
            if row is None:
                return None
            self.count += 1
            self._ahead.append(_found(self._kind, row))
        return self._ahead[ahead]

    def _take(self) -> "_Found":
        return self._ahead.pop(0)


@dataclass(frozen=True)
class _Found:
    """A row as the log would speak of it; no facts if something it refers to is missing."""

    name: str
    owner: str
    facts: Facts | None

    def is_(self, said: Said) -> bool:
        return self.facts == said.facts and self.owner == said.owner

    def differs(self, said: Said) -> Fault:
        mine = self.facts or {}
        keys = mine.keys() | said.facts.keys()
        changed = sorted(key for key in keys if mine.get(key) != said.facts.get(key))
        return Fault(self.name, f"it differs from the log in {', '.join(changed)}")


def _found(kind: _Kind, row: Base) -> _Found:
    name = f"{kind.table.__tablename__} {'/'.join(map(str, primary_key(row)))}"
    try:
        name = kind.name(row)
        return _Found(name, kind.owner(row), kind.facts(row))
    except AttributeError:  # a relationship that leads nowhere
        return _Found(name, "", None)


class Shadows:
    """All tables, read along with the log."""

    def __init__(self, session: Session) -> None:
        """Begin before the first rows."""
        self._of = {table: Shadow(session, kind) for table, kind in _KINDS.items()}

    def expect(self, said: Said) -> Iterator[Fault]:
        """The next record of which the log speaks."""
        yield from self._of[said.table].expect(said)

    def finish(self) -> Iterator[Fault]:
        """After the last event."""
        for shadow in self._of.values():
            yield from shadow.finish()

    def close(self) -> None:
        """Let go of all rows that are left."""
        for shadow in self._of.values():
            shadow.close()

    @property
    def counts(self) -> dict[str, int]:
        """Rows read, by table."""
        return {table.replace("_", " "): shadow.count for table, shadow in self._of.items()}


def states(session: Session, log: World) -> Iterator[Fault]:
    """Rows that hold a current state must hold the one that the log ends with."""
    for request in every(session, Request):
        case = log.cases.get(request.id)
        if case is None:
            continue  # found already: the log knows no such request
        name = f"request {request.id}"
        if case.reached != request.state:
            yield Fault(name, f"it is {request.state}, but the log says {case.reached}")
        if case.due_at != request.due_at.isoformat():
            yield Fault(name, f"it is due {request.due_at}, but the log says {case.due_at}")
        for what, mine, said in (
            ("held", request.held, case.held),
            ("redacted", request.redacted, case.redacted),
        ):
            if mine != said:
                yield Fault(name, f"it is {_not(mine)}{what}, but the log says {_not(said)}{what}")
    for actor in every(session, Actor):
        if actor.name in log.roles and actor.active == (actor.name in log.inactive):
            active = "active" if actor.active else "deactivated"
            yield Fault(f"actor {actor.name}", f"it is {active}, but the log says otherwise")
    for key in every(session, ActorKey, loads=[with_its(ActorKey.actor)]):
        retired_at = key.retired_at.isoformat() if key.retired_at else None
        if retired_at != log.retired.get(key.key_id):
            yield Fault(
                _KINDS["actor_keys"].name(key), "the log says otherwise about its retirement"
            )
    yield from _aliases(session, log)


def _not(value: bool) -> str:
    return "" if value else "not "


def _aliases(session: Session, log: World) -> Iterator[Fault]:
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
