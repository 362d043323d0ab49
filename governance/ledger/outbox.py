"""Who is told what: messages derived from the log and from notices, and how their deliveries stand.

A message is never stored beside the change it speaks of. The log is transactional already, so an event *is* the
message; what is stored for an endpoint is how far the log was read for it, and in the same transaction one delivery for
each event that it wants. So none is lost and none invented, whenever a process dies. An attempt is counted and its
delivery put off in one transaction before anything is sent; another one records how it ended. Who dies in between
leaves a delivery that is due again later, under the same message id.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import joinedload, selectinload

from governance.digests import digest_json, load_json
from governance.errors import ConflictError, NotFoundError
from governance.ledger.clock import present
from governance.ledger.database import Session
from governance.ledger.tables import Delivery, DeliveryAttempt, Event, Notice, Outbox, Request
from governance.notifications import EVENT_KINDS, ROLLED_BACK
from governance.states import OPEN_STATES

_CHUNK = 1000
"""Events that are read for one endpoint in one transaction."""


class DeliveryState(StrEnum):
    """How a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True)
class Occasion:
    """What makes a notice: it is recorded once for each kind, subject and occasion."""

    kind: str
    subject: str
    occasion: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """A delivery that one runner holds for a while.

    Attributes:
        delivery: its number.
        message: id of the message, the same in every attempt.
        number: of the attempt.
        last: whether no further attempt is allowed.
        source: the event or notice that the message is made of.
    """

    delivery: int
    message: str
    number: int
    last: bool
    source: Event | Notice


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, as it is recorded.

    Attributes:
        outcome: one word or two.
        delivered: whether the message arrived.
        gone: whether the endpoint says that nobody is there any more.
        retry_in: how long to wait for the next attempt.
    """

    outcome: str
    status: int | None
    excerpt: str
    seconds: float
    delivered: bool = False
    gone: bool = False
    retry_in: timedelta = timedelta()


def event_message_id(digest: str) -> str:
    """Id of the message of an event, from the event's digest."""
    return f"msg_{digest.removeprefix('sha256:')[:32]}"


def notice_message_id(log: str, notice: Notice) -> str:
    """Id of the message of a notice, from the digest of the log's first event and what the notice is unique by."""
    named = [log, notice.kind, notice.subject, notice.occasion]
    return f"msg_{digest_json(named).removeprefix('sha256:')[:32]}"


def kind_of(event: Event) -> str:
    """Kind of the message of an event."""
    if event.action == "version.promoted" and load_json(event.payload).get("rollback"):
        return ROLLED_BACK
    return event.action


def running_out(session: Session, before: datetime) -> list[Request]:
    """Requests whose deadline runs and lies before a moment."""
    states = [state.value for state in OPEN_STATES]
    query = select(Request).where(Request.state.in_(states), Request.due_at <= before)
    return list(session.scalars(query.order_by(Request.id)))


def unnoticed(session: Session, occasions: Sequence[Occasion]) -> list[Occasion]:
    """Those that were not recorded yet."""
    kinds = {occasion.kind for occasion in occasions}
    if not kinds:
        return []
    query = select(Notice.kind, Notice.subject, Notice.occasion).where(Notice.kind.in_(kinds))
    known = {tuple(row) for row in session.execute(query)}
    return [one for one in occasions if (one.kind, one.subject, one.occasion) not in known]


def notice(session: Session, occasions: Sequence[Occasion]) -> None:
    """Record occasions that were not recorded yet; others are passed over."""
    at = present(session)
    for one in unnoticed(session, occasions):
        session.add(Notice(
            kind=one.kind, subject=one.subject, occasion=one.occasion, data=dict(one.data), at=at,
        ))  # fmt: skip
    session.flush()


def behind(session: Session, names: Collection[str]) -> bool:
    """Whether there is anything to collect for endpoints of these names."""
    rows = {row.name: row for row in session.scalars(select(Outbox).where(Outbox.name.in_(names)))}
    if len(rows) < len(set(names)):
        return True
    events, notices = _ends(session)
    return any(row.event_cursor < events or row.notice_cursor < notices for row in rows.values())


def collect(session: Session, wanted: Mapping[str, Collection[str]], allowed: int) -> bool:
    """Make deliveries of what came to pass since the last time; a new endpoint begins with what comes from now on.

    Args:
        session: a transaction that writes.
        wanted: kinds of messages by the names of the endpoints.
        allowed: attempts at each delivery.

    Returns:
        Whether there is more than one transaction should hold.
    """
    events, notices = _ends(session)
    at = present(session)
    more = False
    for name, kinds in wanted.items():
        outbox = session.get(Outbox, name)
        if outbox is None:
            session.add(Outbox(name=name, event_cursor=events, notice_cursor=notices, added_at=at))
            continue
        made, outbox.event_cursor = _events_for(session, outbox, kinds, events)
        more = more or outbox.event_cursor < events
        if outbox.notice_cursor < notices:
            made += _notices_for(session, outbox, kinds)
            outbox.notice_cursor = notices
        for values in made:
            session.add(Delivery(
                outbox=name, state=DeliveryState.PENDING.value, tries=0, allowed=allowed,
                due_at=at, added_at=at, **values,
            ))  # fmt: skip
    session.flush()
    return more


def has_due(session: Session, name: str) -> bool:
    """Whether an attempt at a delivery for this endpoint may be made now."""
    outbox = session.get(Outbox, name)
    if outbox is None or outbox.gone_at is not None:
        return False
    return session.scalars(_due(session, name).with_only_columns(Delivery.id)).first() is not None


def claim(session: Session, name: str, lease: timedelta) -> Claim | None:
    """Take the delivery that has been due longest, so that no other runner does until the lease is over.

    An attempt that was begun and never recorded is written down as interrupted.

    Args:
        session: a transaction that writes.
        name: of the endpoint.
        lease: for how long; longer than an attempt can take.
    """
    outbox = session.get(Outbox, name)
    if outbox is None or outbox.gone_at is not None:
        return None
    while (delivery := session.scalars(_due(session, name)).first()) is not None:
        _write_down_interruption(session, delivery)
        if delivery.tries >= delivery.allowed:
            delivery.state = DeliveryState.FAILED.value
            session.flush()
            continue
        delivery.tries += 1
        delivery.due_at = present(session) + lease
        source = delivery.event or delivery.notice
        assert source is not None  # a foreign key holds it
        return Claim(
            delivery.id,
            delivery.message,
            delivery.tries,
            delivery.tries >= delivery.allowed,
            source,
        )
    return None


def record(session: Session, claim: Claim, ending: Ending) -> None:
    """Write down how an attempt ended, and what follows from it.

    A runner that comes back after its lease has ended changes nothing that another one did meanwhile, but for one
    thing: what arrived is delivered.
    """
    delivery = _find(session, claim.delivery)
    moment = present(session)
    _add_attempt(session, delivery, claim.number, ending, moment)
    if ending.delivered:
        delivery.state = DeliveryState.DELIVERED.value
    elif delivery.state == DeliveryState.PENDING and delivery.tries == claim.number:
        delivery.due_at = moment + ending.retry_in
        if ending.gone or claim.last:
            delivery.state = DeliveryState.FAILED.value
    if ending.gone:
        outbox = session.get(Outbox, delivery.outbox)
        assert outbox is not None  # a foreign key holds it
        outbox.gone_at = outbox.gone_at or moment


def redeliver(session: Session, number: int, allowed: int) -> Delivery:
    """Let a delivery be made again, now, under the same message id; its history stays.

    Raises:
        NotFoundError: there is no such delivery.
        ConflictError: it is being made at this moment.
    """
    delivery = _find(session, number)
    moment = present(session)
    in_flight = delivery.tries > 0 and not _has_attempt(session, delivery)
    if delivery.state == DeliveryState.PENDING and in_flight and delivery.due_at > moment:
        raise ConflictError(
            f"delivery {number} is being made at this moment; look at it again later"
        )
    delivery.state = DeliveryState.PENDING.value
    delivery.allowed = delivery.tries + allowed
    delivery.due_at = moment
    session.flush()
    session.refresh(delivery, ["attempts"])
    return delivery


def reopen(session: Session, name: str) -> bool:
    """Let an endpoint that was gone be served again.

    Returns:
        Whether it was gone.
    """
    outbox = session.get(Outbox, name)
    if outbox is None or outbox.gone_at is None:
        return False
    outbox.gone_at = None
    return True


def outboxes(session: Session) -> dict[str, Outbox]:
    """What is known of every endpoint that was ever served, by name."""
    return {row.name: row for row in session.scalars(select(Outbox).order_by(Outbox.name))}


def deliveries(
    session: Session,
    states: Collection[str] = (),
    names: Collection[str] = (),
    kinds: Collection[str] = (),
    limit: int | None = None,
) -> list[Delivery]:
    """The newest deliveries with their attempts, oldest first.

    Args:
        session: where to read.
        states: only those that stand so.
        names: only those for these endpoints.
        kinds: only messages of these kinds.
        limit: how many at most.
    """
    query = select(Delivery).order_by(Delivery.id.desc()).options(selectinload(Delivery.attempts))
    for column, among in (
        (Delivery.state, states), (Delivery.outbox, names), (Delivery.kind, kinds),
    ):  # fmt: skip
        if among:
            query = query.where(column.in_(among))
    return list(session.scalars(query.limit(limit)))[::-1]


def counts(session: Session) -> dict[tuple[str, str], int]:
    """Number of deliveries by endpoint and state."""
    query = select(Delivery.outbox, Delivery.state, func.count())
    rows = session.execute(query.group_by(Delivery.outbox, Delivery.state))
    return {(name, state): number for name, state, number in rows}


def _ends(session: Session) -> tuple[int, int]:
    """Numbers of the newest event and the newest notice."""
    return tuple(  # type: ignore[return-value]
        session.scalar(select(func.coalesce(func.max(column), 0)))
        for column in (Event.seq, Notice.id)
    )


def _events_for(
    session: Session, outbox: Outbox, kinds: Collection[str], end: int
) -> tuple[list[dict[str, Any]], int]:
    query = select(Event).where(
        Event.seq > outbox.event_cursor, Event.seq <= end, Event.action.in_(EVENT_KINDS)
    )
    found = list(session.scalars(query.order_by(Event.seq).limit(_CHUNK)))
    made = [
        {
            "message": event_message_id(event.digest),
            "kind": kind_of(event),
            "subject": event.subject,
            "event_seq": event.seq,
        }
        for event in found
    ]
    read = found[-1].seq if len(found) == _CHUNK else end
    return [values for values in made if values["kind"] in kinds], read


def _notices_for(session: Session, outbox: Outbox, kinds: Collection[str]) -> list[dict[str, Any]]:
    query = select(Notice).where(Notice.id > outbox.notice_cursor, Notice.kind.in_(kinds))
    log = session.scalar(select(Event.digest).where(Event.seq == 1)) or ""
    return [
        {
            "message": notice_message_id(log, row),
            "kind": row.kind,
            "subject": row.subject,
            "notice_id": row.id,
        }
        for row in session.scalars(query.order_by(Notice.id))
    ]


def _due(session: Session, name: str) -> Any:
    return (
        select(Delivery)
        .where(
            Delivery.outbox == name,
            Delivery.state == DeliveryState.PENDING.value,
            Delivery.due_at <= present(session),
        )
        .order_by(Delivery.due_at, Delivery.id)
        .limit(1)
        .options(joinedload(Delivery.event), joinedload(Delivery.notice))
    )


def _find(session: Session, number: int) -> Delivery:
    delivery = session.get(Delivery, number)
    if delivery is None:
        raise NotFoundError(f"there is no delivery {number}; see: governance notify list")
    return delivery


def _has_attempt(session: Session, delivery: Delivery) -> bool:
    """Whether the newest attempt was recorded."""
    query = select(DeliveryAttempt.id).where(
        DeliveryAttempt.delivery_id == delivery.id, DeliveryAttempt.number == delivery.tries
    )
    return session.scalars(query.limit(1)).first() is not None


def _write_down_interruption(session: Session, delivery: Delivery) -> None:
    if delivery.tries > 0 and not _has_attempt(session, delivery):
        ending = Ending("interrupted", None, "nobody recorded how it ended", 0.0)
        _add_attempt(session, delivery, delivery.tries, ending, present(session))


def _add_attempt(
    session: Session, delivery: Delivery, number: int, ending: Ending, at: datetime
) -> None:
    session.add(DeliveryAttempt(
        delivery_id=delivery.id, number=number, outcome=ending.outcome, status=ending.status,
        excerpt=ending.excerpt, seconds=ending.seconds, at=at,
    ))  # fmt: skip
    session.flush()
