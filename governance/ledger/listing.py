"""Pages of requests and versions: what is filtered and numbered is found by index, what is shown is read together.

However many there are, a page takes the same number of queries, and each reads about as much as it gives back.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, select, union_all
from sqlalchemy.orm import selectinload, undefer

from governance.ledger.database import Session
from governance.ledger.private import ATTACHMENT
from governance.ledger.tables import (
    Alias,
    Decision,
    Model,
    ModelVersion,
    Override,
    PrivateText,
    Request,
    RequestTarget,
)
from governance.paging import Page
from governance.states import ENDED_STATES, OPEN_STATES, State

_TOGETHER = 500
"""Requests that are read at once."""


@dataclass(frozen=True)
class Wanted:
    """Which requests; everything that is given must hold.

    Attributes:
        model: on this model.
        states: in one of these states; any if there are none.
        basis: on this ground.
        filed_by: filed by this person.
        label, domain: with a target that names this class, this domain, or both together.
        due_before: whose deadline still runs, and ends before this moment.
        held: only those on legal hold.
        redactable: only those that could be redacted now.
    """

    model: Model | None = None
    states: frozenset[State] = frozenset()
    basis: str | None = None
    filed_by: str | None = None
    label: str | None = None
    domain: str | None = None
    due_before: datetime | None = None
    held: bool = False
    redactable: bool = False

    @property
    def narrowed(self) -> frozenset[State] | None:
        """States that a wanted request can be in, None for all."""
        sets = [set(self.states)] if self.states else []
        sets += [set(OPEN_STATES)] if self.due_before is not None else []
        sets += [set(ENDED_STATES)] if self.redactable else []
        if not sets:
            return frozenset(State) if self.model is not None else None
        return frozenset(set.intersection(*sets))


def requests_page(session: Session, wanted: Wanted, page: Page) -> tuple[list[Request], bool]:
    """Requests with everything that a list shows of them, by id.

    Returns:
        The page, and whether more follow.
    """
    numbers, more = _cut(list(session.scalars(_numbers(wanted, page))), page)
    return requests_of(session, numbers), more


def requests_of(session: Session, numbers: Sequence[int]) -> list[Request]:
    """Requests that there are, in the order of their numbers here, with everything that a list shows of them."""
    return [request for some in _together(numbers) for request in _read(session, some)]


@dataclass(frozen=True)
class VersionNotes:
    """What a list says of a version besides what the version holds.

    Attributes:
        aliases: that point at it.
        broken: requests in it that were approved without four eyes and quorum.
        overrides: promotions of it in spite of gates that failed, and such approvals of what it holds.
    """

    aliases: Sequence[str]
    broken: Sequence[int]
    overrides: Sequence[Override]


def versions_page(
    session: Session, model: Model, page: Page
) -> tuple[list[ModelVersion], dict[int, VersionNotes], bool]:
    """Versions of a model with their members, by number.

    Returns:
        The page, notes on each version by its id, and whether more follow.
    """
    query = select(ModelVersion).where(
        ModelVersion.model_id == model.id, *_follows(ModelVersion.number, page)
    )
    query = _ordered(query, ModelVersion.number, page).options(
        selectinload(ModelVersion.model), selectinload(ModelVersion.members)
    )
    found, more = _cut(list(session.scalars(query)), page)
    ids = [version.id for version in found]
    named = select(Alias.version_id, Alias.name).where(Alias.model_id == model.id)
    aliases = _grouped(session, named.order_by(Alias.name))
    members = {(m.request_id, m.projector_id) for version in found for m in version.members}
    urgent = _urgent(session, members)
    spited = _spited(session, ids, members)
    notes = {
        version.id: VersionNotes(
            aliases.get(version.id, []),
            [m.request_id for m in version.members if (m.request_id, m.projector_id) in urgent],
            sorted(
                [
                    *spited.get((None, version.id), []),
                    *(row for m in version.members
                      for row in spited.get((m.request_id, m.projector_id), [])),
                ],
                key=lambda row: row.id,
            ),
        )
        for version in found
    }  # fmt: skip
    return found, notes, more


def _urgent(session: Session, members: Collection[tuple[int, int]]) -> set[tuple[int, int | None]]:
    """Requests and projectors among these that were approved without four eyes and quorum."""
    query = select(Decision.request_id, Decision.projector_id).where(Decision.break_glass)
    return {
        (row[0], row[1])
        for some in _together(sorted({request for request, _ in members}))
        for row in session.execute(query.where(Decision.request_id.in_(some)))
    }


def _spited(
    session: Session, versions: Sequence[int], members: Collection[tuple[int, int]]
) -> dict[tuple[int | None, int], list[Override]]:
    """Overrides by the request and the projector among these that were approved, or None and the version promoted."""
    loads = [
        selectinload(Override.request).selectinload(Request.projectors),
        selectinload(Override.version),
    ]
    query = select(Override).options(*loads)
    found: dict[tuple[int | None, int], list[Override]] = {}
    for some in _together(versions):
        for row in session.scalars(query.where(Override.version_id.in_(some))):
            found.setdefault((None, row.version_id or 0), []).append(row)
    for some in _together(sorted({request for request, _ in members})):
        for row in session.scalars(query.where(Override.request_id.in_(some))):
            for projector in row.request.projectors if row.request else ():
                if projector.digest == row.about and (row.request_id, projector.id) in members:
                    found.setdefault((row.request_id, projector.id), []).append(row)
    return found


def _together(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), _TOGETHER):
        yield numbers[start : start + _TOGETHER]


def _grouped(session: Session, pairs: Any) -> dict[int, list[Any]]:
    """Second values of a query's rows by the first."""
    found: dict[int, list[Any]] = {}
    for first, second in session.execute(pairs):
        found.setdefault(first, []).append(second)
    return found


def _numbers(wanted: Wanted, page: Page) -> Select[int]:
    """The ids of a page, and one more if more follow.

    With states a database would sort whatever is in any of them. So each state gives its own page in order, which an
    index has ready, and the page is the beginning of all of them together.
    """
    conditions = [*_conditions(wanted), *_follows(Request.id, page)]
    states = wanted.narrowed
    if wanted.label is not None or wanted.domain is not None:
        targeted = select(RequestTarget.request_id).distinct().where(
            *_follows(RequestTarget.request_id, page), *_targets(wanted)
        )  # fmt: skip
        if states is not None:
            conditions.append(Request.state.in_(sorted(states)))
        if conditions:
            targeted = targeted.join(Request, Request.id == RequestTarget.request_id)
        return _ordered(targeted.where(*conditions), RequestTarget.request_id, page)
    plain = select(Request.id).where(*conditions)
    if states is None:
        return _ordered(plain, Request.id, page)
    parts = [
        _ordered(plain.where(Request.state == state), Request.id, page).subquery()
        for state in sorted(states)
    ]
    if not parts:
        return plain.where(Request.id.is_(None))
    joined = _united(parts)
    return _ordered(select(joined.c.id), joined.c.id, page)


def _united(parts: Sequence[Subquery]) -> Subquery:
    return union_all(*(select(part.c.id) for part in parts)).subquery()


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.model is not None:
        found.append(Request.model_id == wanted.model.id)
    if wanted.basis is not None:
        found.append(Request.basis == wanted.basis)
    if wanted.filed_by is not None:
        found.append(Request.filed_by == wanted.filed_by)
    if wanted.due_before is not None:
        found.append(Request.due_at < wanted.due_before)
    if wanted.held:
        found.append(Request.held == True)  # noqa: E712
    if wanted.redactable:
        found += [Request.held == False, Request.redacted == False]  # noqa: E712
    return found


def _targets(wanted: Wanted) -> list[ColumnElement[bool]]:
    named = ((RequestTarget.label, wanted.label), (RequestTarget.domain, wanted.domain))
    return [column == name for column, name in named if name is not None]


def _follows(number: Any, page: Page) -> list[ColumnElement[bool]]:
    if page.after is None:
        return []
    return [number < page.after if page.newest else number > page.after]


def _ordered(query: Select[Any], number: Any, page: Page) -> Select[Any]:
    """In the order of the page, with one entry more than it holds."""
    ordered = query.order_by(number.desc() if page.newest else number)
    return ordered if page.limit is None else ordered.limit(page.limit + 1)


def _cut(found: list[Any], page: Page) -> tuple[list[Any], bool]:
    if page.limit is None or len(found) <= page.limit:
        return found, False
    return found[: page.limit], True


def _read(session: Session, numbers: Sequence[int]) -> list[Request]:
    """Requests in the order given, with the contents of all texts but the attachments, which may be large."""
    rows = select(Request).where(Request.id.in_(numbers)).options(
        selectinload(Request.model),
        selectinload(Request.targets),
        selectinload(Request.texts),
        selectinload(Request.decisions).selectinload(Decision.comment),
        selectinload(Request.projectors),
    )  # fmt: skip
    found = {request.id: request for request in session.scalars(rows)}
    words = select(PrivateText).where(
        PrivateText.request_id.in_(numbers), PrivateText.kind != ATTACHMENT
    )
    session.scalars(words.options(undefer(PrivateText.content))).all()
    return [found[number] for number in numbers]
