"""Finding records by the names and numbers that people use."""

from collections.abc import Collection, Iterator
from typing import Any, TypeVar

from sqlalchemy import inspect, select

from governance.datasets import DatasetRole
from governance.errors import IntegrityError, InvalidInputError, NotFoundError
from governance.ledger.database import Session
from governance.ledger.names import with_article
from governance.ledger.tables import (
    Actor,
    ActorKey,
    Alias,
    Base,
    Dataset,
    Event,
    Model,
    ModelVersion,
    PolicyRecord,
    PrivateText,
    Request,
)
from governance.states import ACTIVE_STATES

Row = TypeVar("Row", bound=Base)


def every(session: Session, table: type[Row], chunk: int = 1000) -> Iterator[Row]:
    """All rows of a table by primary key, at most `chunk` in memory at once."""
    query = select(table).order_by(*inspect(table).primary_key)
    yield from session.scalars(query.execution_options(yield_per=chunk))


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
    """Version of a model by its number.

    Raises:
        NotFoundError: there is none.
    """
    version = session.scalars(
        select(ModelVersion).where(ModelVersion.model_id == model.id, ModelVersion.number == number)
    ).one_or_none()
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
    """Requests whose edits belong to the newest version, by id."""
    return requests(session, model, [state.value for state in ACTIVE_STATES])


def requests(
    session: Session, model: Model | None = None, states: Collection[str] = ()
) -> list[Request]:
    """Requests by id: all of them, or those of one model and in one of some states."""
    query = select(Request).order_by(Request.id)
    if model is not None:
        query = query.where(Request.model_id == model.id)
    if states:
        query = query.where(Request.state.in_(states))
    return list(session.scalars(query))


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


def newest_events(session: Session, subject: str, action: str) -> Iterator[Event]:
    """Events of one kind on one subject, newest first."""
    query = select(Event).where(Event.subject == subject, Event.action == action)
    yield from session.scalars(query.order_by(Event.seq.desc()))
