"""The part of the ledger that concerns some subjects, found by index whatever lies beside it."""

from collections.abc import Collection, Iterator

from sqlalchemy import Select, select

from governance.ledger.database import Session
from governance.ledger.events import Entry
from governance.ledger.tables import Array, Event, Model, ModelVersion, Report, Request


def events_about(
    session: Session, subjects: Collection[str], actions: Collection[str], size: int
) -> list[Entry]:
    """Events on any of these subjects or of any of these actions among the first `size`, in order.

    Sorted here: asked for the order, a database may read the whole log in it rather than use its indexes.
    """
    found: dict[int, Entry] = {}
    query = select(*(getattr(Event, name) for name in Entry._fields))
    for part in (
        *(query.where(Event.subject == subject) for subject in sorted(set(subjects))),
        *(query.where(Event.action == action) for action in sorted(set(actions))),
    ):
        for row in session.execute(part):
            found[row.seq] = Entry._make(row)
    return [found[seq] for seq in sorted(found) if seq <= size]


def event_at(session: Session, seq: int) -> Event | None:
    """One event by its number."""
    return session.get(Event, seq)


def array_bytes(session: Session, digest: str) -> Array | None:
    """A stored array."""
    return session.get(Array, digest)


def reports_of_request(session: Session, number: int) -> Iterator[Report]:
    """Every report on any projector of a request, oldest first."""
    request = session.get(Request, number)
    for projector in request.projectors if request else ():
        yield from projector.reports


def reports_of_version(session: Session, model: str, number: int) -> Iterator[Report]:
    """Every report on a version, oldest first."""
    yield from (
        report for version in session.scalars(_version(model, number)) for report in version.reports
    )


def version_row(session: Session, model: str, number: int) -> ModelVersion | None:
    """A version by the name of its model and its number."""
    return session.scalars(_version(model, number)).one_or_none()


def _version(model: str, number: int) -> Select[ModelVersion]:
    query = select(ModelVersion).join(Model)
    return query.where(Model.name == model, ModelVersion.number == number)
