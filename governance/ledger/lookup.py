"""Finding records by the names and numbers that people use."""

from collections.abc import Collection, Generator, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import and_, func, inspect, or_, outerjoin, select
from sqlalchemy.orm import defer, joinedload, object_session, selectinload, undefer
from sqlalchemy.sql.base import ExecutableOption

from governance.datasets import DatasetRole
from governance.errors import IntegrityError, InvalidInputError, NotFoundError
from governance.ledger.database import Session
from governance.ledger.driver import decoded
from governance.ledger.names import with_article
from governance.ledger.tables import (
    Actor,
    ActorKey,
    Alias,
    Array,
    Base,
    Dataset,
    Decision,
    Event,
    Model,
    ModelVersion,
    Override,
    PolicyRecord,
    PrivateText,
    ProjectorRecord,
    Report,
    Request,
    RequestTarget,
    VersionMember,
)
from governance.states import ACTIVE_STATES, OPEN_STATES

Row = TypeVar("Row", bound=Base)


def every(
    session: Session, table: type[Row], chunk: int = 1000, loads: Collection[ExecutableOption] = ()
) -> Generator[Row]:
    """All rows of a table by primary key, at most `chunk` in memory at once.

    Args:
        session: where to read.
        table: whose rows.
        chunk: rows that are fetched together.
        loads: what to load with them, or to leave out.
    """
    query = select(table).order_by(*inspect(table).primary_key).options(*loads)
    with decoded(), session.scalars(query.execution_options(yield_per=chunk)) as found:
        yield from found


def with_its(*relations: Any) -> ExecutableOption:
    """Load what a relation leads to, and what the next one leads to from there, for many rows at once."""
    first, *further = relations
    option = selectinload(first)
    for relation in further:
        option = option.selectinload(relation)
    return option


def with_column(column: Any) -> ExecutableOption:
    """Load a column that is left out otherwise."""
    return undefer(column)


def without(column: Any) -> ExecutableOption:
    """Leave a large column out."""
    return defer(column)


def orphans(session: Session) -> Iterator[tuple[str, int]]:
    """Table and owner's id of rows that belong to no record, where only the record is looked at otherwise."""
    members, targets = VersionMember.version_id, RequestTarget.request_id
    for table, column, owner in (
        ("version_members", members, ModelVersion.id),
        ("request_targets", targets, Request.id),
    ):
        for number in session.scalars(
            select(column).where(column.not_in(select(owner))).distinct()
        ):
            yield table, number


def misplaced_decisions(session: Session) -> Iterator[tuple[int, int]]:
    """Decisions, and their requests, whose projector is not the one that their digest names."""
    projector = outerjoin(Decision, ProjectorRecord, Decision.projector_id == ProjectorRecord.id)
    named, found = (
        func.coalesce(Decision.projector_digest, ""),
        func.coalesce(ProjectorRecord.digest, ""),
    )
    lost = and_(Decision.projector_id.is_not(None), ProjectorRecord.id.is_(None))
    other = or_(named != found, ProjectorRecord.request_id != Decision.request_id, lost)
    query = select(Decision.id, Decision.request_id).select_from(projector).where(other)
    for row in session.execute(query.order_by(Decision.id)):
        yield row[0], row[1]


def every_text(session: Session) -> Iterator[PrivateText]:
    """All private texts with their contents, few at a time: each may hold tens of megabytes."""
    query = select(PrivateText).options(undefer(PrivateText.content)).order_by(PrivateText.id)
    yield from session.scalars(query.execution_options(yield_per=4))


def primary_key(row: Base) -> tuple[Any, ...]:
    """Values of a row's primary key."""
    return tuple(inspect(row).identity or ())


def check_free(
    session: Session, table: type[Actor | Model | Dataset], what: str, name: str
) -> None:
    """Make sure that a name is not taken.

    Raises:
        InvalidInputError: it is.
    """
    if session.scalars(select(table.id).where(table.name == name)).first() is not None:
        raise InvalidInputError(
            f"there is {with_article(what)} {name!r} already; choose another name"
        )


def find_actor(session: Session, name: str) -> Actor:
    """Actor of that name.

    Raises:
        NotFoundError: there is none.
    """
    actor = session.scalars(select(Actor).where(Actor.name == name)).one_or_none()
    if actor is None:
        raise NotFoundError(f"there is no actor {name!r}; an admin adds one: governance actor add")
    return actor


def is_actor(session: Session, name: str) -> bool:
    """Whether there is, or was, an actor of that name."""
    return session.scalar(select(Actor.id).where(Actor.name == name)) is not None


def find_key(session: Session, key_id: str) -> ActorKey | None:
    """Anybody's key of that id, valid or retired."""
    return session.scalars(select(ActorKey).where(ActorKey.key_id == key_id)).first()


def find_model(session: Session, name: str | None) -> Model:
    """Model of that name, or the only one if no name is given.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: no name is given and there are several.
    """
    query = select(Model).order_by(Model.id)
    if name is not None:
        model = session.scalars(query.where(Model.name == name)).one_or_none()
        if model is None:
            raise NotFoundError(f"there is no model {name!r}; see: governance model list")
        return model
    models = session.scalars(query).all()
    if not models:
        raise NotFoundError("no model is registered yet; see: governance model register --help")
    if len(models) > 1:
        names = ", ".join(model.name for model in models)
        raise InvalidInputError(f"name one of the models with --model: {names}")
    return models[0]


def model_names(session: Session) -> list[str]:
    """Names of all models, in the order of their registration."""
    return list(session.scalars(select(Model.name).order_by(Model.id)))


def find_dataset(
    session: Session, name: str | None, role: DatasetRole = DatasetRole.EVAL
) -> Dataset:
    """Data set of that name and role, or the only one of that role if no name is given.

    Raises:
        NotFoundError: there is none.
        InvalidInputError: it has another role, or no name is given and there are several.
    """
    if name is not None:
        dataset = session.scalars(select(Dataset).where(Dataset.name == name)).one_or_none()
        if dataset is None:
            raise NotFoundError(f"there is no data set {name!r}; see: governance dataset list")
        if dataset.role != role:
            raise InvalidInputError(
                f"data set {name!r} has the role {dataset.role}; name one with the role {role.value}"
            )
        return dataset
    datasets = session.scalars(select(Dataset).where(Dataset.role == role.value)).all()
    use, flag = _USES[role]
    if not datasets:
        raise NotFoundError(
            f"there is no data set to {use} yet; see: governance dataset add --help"
        )
    if len(datasets) > 1:
        names = ", ".join(dataset.name for dataset in datasets)
        raise InvalidInputError(f"name one of the data sets with {flag}: {names}")
    return datasets[0]


_USES = {
    DatasetRole.EVAL: ("evaluate on", "--dataset"),
    DatasetRole.PROTOTYPES: ("make prototypes from", "--prototype-dataset"),
    DatasetRole.GUARD: ("guard", "--guard"),
    DatasetRole.REFERENCE: ("take as a reference", "--reference"),
}


def find_request(session: Session, number: int) -> Request:
    """Request of that id.

    Raises:
        NotFoundError: there is none.
    """
    request = session.get(Request, number)
    if request is None:
        raise NotFoundError(f"there is no request {number}; see: governance request list")
    return request


def find_text(session: Session, commitment: str) -> PrivateText | None:
    """The private text of an event's commitment."""
    query = select(PrivateText).where(PrivateText.commitment == commitment)
    return session.scalars(query).first()


def find_version(session: Session, model: Model, number: int) -> ModelVersion:
    """Version of a model by its number, with the requests that it holds.

    Raises:
        NotFoundError: there is none.
    """
    query = select(ModelVersion).where(
        ModelVersion.model_id == model.id, ModelVersion.number == number
    )
    members = [
        with_its(ModelVersion.members, VersionMember.projector),
        with_its(ModelVersion.members, VersionMember.request, Request.decisions),
        with_its(ModelVersion.members, VersionMember.request, Request.targets),
    ]
    version = session.scalars(query.options(*members)).one_or_none()
    if version is None:
        raise NotFoundError(
            f"model {model.name!r} has no version {number}; see: governance version list"
        )
    return version


def newest_version(session: Session, model: Model) -> ModelVersion:
    """The version with the highest number; a registered model has at least the base version."""
    return session.scalars(
        select(ModelVersion)
        .where(ModelVersion.model_id == model.id)
        .order_by(ModelVersion.number.desc())
        .limit(1)
    ).one()


def alias_version(session: Session, model: Model, alias: str) -> ModelVersion | None:
    """The version that an alias points at in the ledger."""
    row = session.get(Alias, (model.id, alias))
    return None if row is None else row.version


def active_requests(session: Session, model: Model) -> list[Request]:
    """Requests whose edits belong to the newest version, by id, with their preparations; reports without content."""
    states = sorted(ACTIVE_STATES)
    query = select(Request).where(Request.model_id == model.id, Request.state.in_(states))
    reports = selectinload(Request.projectors).selectinload(ProjectorRecord.reports)
    return list(session.scalars(query.order_by(Request.id).options(reports.defer(Report.content))))


def open_requests_by(
    session: Session,
    actor: str,
    model: Model,
    basis: str,
    retention: str,
    label: str | None,
    domain: str | None,
) -> Iterator[Request]:
    """Requests that somebody filed on a ground, with a target among theirs, whose deadline still runs; newest first."""
    # Asked of each such request, not joined: a database would begin with whoever ever named the class.
    target = (
        select(RequestTarget.id)
        .where(
            RequestTarget.request_id == Request.id,
            RequestTarget.label.is_not_distinct_from(label),
            RequestTarget.domain.is_not_distinct_from(domain),
        )
        .exists()
    )
    query = select(Request).where(
        Request.model_id == model.id,
        Request.state.in_([state.value for state in OPEN_STATES]),
        Request.filed_by == actor,
        Request.basis == basis,
        Request.retention == retention,
        target,
    )
    # Sorted here: asked for the order, SQLite would go through all that the person ever filed.
    yield from sorted(session.scalars(query), key=lambda request: request.id, reverse=True)


def versions(session: Session, model: Model) -> list[ModelVersion]:
    """Versions of a model, oldest first."""
    query = select(ModelVersion).where(ModelVersion.model_id == model.id)
    return list(session.scalars(query.order_by(ModelVersion.number)))


def aliases_of(session: Session, version: ModelVersion) -> list[str]:
    """Names of the aliases at a version."""
    query = select(Alias.name).where(Alias.version_id == version.id)
    return list(session.scalars(query.order_by(Alias.name)))


def policy_in_force(session: Session) -> PolicyRecord:
    """The newest policy.

    Raises:
        IntegrityError: there is none, which founding a ledger makes impossible.
    """
    query = select(PolicyRecord).order_by(PolicyRecord.id.desc()).limit(1)
    policy = session.scalars(query).first()
    if policy is None:
        raise IntegrityError("the ledger holds no policy; restore it from a backup")
    return policy


def policy_of(session: Session, digest: str | None) -> PolicyRecord:
    """The policy of a digest, the one in force if there is none.

    Raises:
        IntegrityError: it was never adopted.
    """
    if digest is None:
        return policy_in_force(session)
    query = select(PolicyRecord).where(PolicyRecord.digest == digest).limit(1)
    policy = session.scalars(query).first()
    if policy is None:
        raise IntegrityError(f"the ledger holds no policy {digest}, though a decision names it")
    return policy


def broke_glass(member: VersionMember) -> bool:
    """Whether the edit that a version holds was approved without four eyes and quorum."""
    return any(
        decision.break_glass
        for decision in member.request.decisions
        if decision.projector_id == member.projector_id
    )


def report_owners(session: Session) -> list[tuple[int, int | None, int | None]]:
    """Number of every report with that of its projector or version, in their order."""
    found = session.execute(
        select(Report.id, Report.projector_id, Report.version_id).order_by(Report.id)
    )
    return [(number, projector, version) for number, projector, version in found]


def some_projectors(session: Session, numbers: Sequence[int]) -> list[ProjectorRecord]:
    """Projectors by number, with the models of their requests."""
    loads = joinedload(ProjectorRecord.request).joinedload(Request.model)
    query = select(ProjectorRecord).where(ProjectorRecord.id.in_(numbers)).options(loads)
    return list(session.scalars(query))


def some_versions(session: Session, numbers: Sequence[int]) -> list[ModelVersion]:
    """Versions by number of the row, with their models."""
    loads = joinedload(ModelVersion.model)
    query = select(ModelVersion).where(ModelVersion.id.in_(numbers)).options(loads)
    return list(session.scalars(query))


def some_arrays(session: Session, digests: Collection[str]) -> dict[str, Array]:
    """Arrays by digest; those that are missing are left out."""
    found = session.scalars(select(Array).where(Array.digest.in_(sorted(digests))))
    return {array.digest: array for array in found}


def some_reports(session: Session, numbers: Collection[int]) -> dict[int, str]:
    """Contents of reports by their numbers."""
    query = select(Report.id, Report.content).where(Report.id.in_(sorted(numbers)))
    return {row.id: row.content for row in session.execute(query)}


def report_content(session: Session, digest: str) -> str | None:
    """Content of a report by its digest."""
    return session.scalars(select(Report.content).where(Report.digest == digest).limit(1)).first()


def overrides_of_request(session: Session, request: Request) -> list[Override]:
    """Approvals of a request in spite of gates that failed, of former preparations too, oldest first."""
    query = select(Override).where(Override.request_id == request.id)
    return list(session.scalars(query.order_by(Override.id)))


def overrides_of_version(session: Session, version: ModelVersion) -> list[Override]:
    """Promotions of a version in spite of gates that failed, and such approvals of what it holds, oldest first."""
    held = {(member.request_id, member.projector.digest) for member in version.members}
    of = or_(
        Override.version_id == version.id,
        Override.request_id.in_([member.request_id for member in version.members]),
    )
    return [
        row
        for row in session.scalars(select(Override).where(of).order_by(Override.id))
        if row.request_id is None or (row.request_id, row.about) in held
    ]


def session_of(row: Base) -> Session:
    """The session that a row was read in.

    Raises:
        IntegrityError: it is closed, or the row is not one of a ledger.
    """
    session = object_session(row)
    if session is None:
        raise IntegrityError("the record is not one of an open ledger")
    return session


def count_events(session: Session, action: str) -> int:
    """How many events of one kind there are."""
    query = select(func.count()).select_from(Event).where(Event.action == action)
    return session.scalars(query).one()


def newest_events(session: Session, subject: str, action: str) -> Iterator[Event]:
    """Events of one kind on one subject, newest first."""
    query = select(Event).where(Event.subject == subject, Event.action == action)
    yield from session.scalars(query.order_by(Event.seq.desc()))
