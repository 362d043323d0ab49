"""Telling: what came to pass becomes deliveries, and deliveries are made until they arrive or are given up.

Every endpoint is served by a thread of its own, so that one that hangs holds up nobody else. Its messages are sent one
at a time in the order of the log; one that is waiting to be tried again lets the later ones pass.
"""

import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import time

from governance.checks import new_failures, read_checks
from governance.digests import canonical_json, load_json
from governance.errors import ConflictError, GovernanceError, InvalidInputError, UnavailableError
from governance.evidence.webhook import parse_secrets, read_secrets, sign
from governance.ledger import outbox
from governance.ledger.clock import present
from governance.ledger.database import Ledger, Session
from governance.ledger.outbox import Claim, Ending, Occasion
from governance.ledger.tables import Delivery
from governance.notifications import DUE_SOON, INTEGRITY, OVERDUE, Endpoint, Notifications
from governance.telemetry import log
from governance.webhooks import Answer, Outcome, append_line, post
from governance.workflow.messages import body_of, request_data, trial_message

ATTEMPTS = 10
"""After which a delivery is given up; with the waits in between that takes about four days."""

FIRST_WAIT_S = 5.0
FACTOR = 6.0
LONGEST_WAIT_S = 86_400.0
JITTER = 0.25
"""A wait is up to a quarter shorter or longer, so that what failed together does not come back together."""

MARGIN = timedelta(seconds=60)
"""How much longer than its time limit an attempt may take: looking up names and connecting are not cut short."""

PAUSE_S = 2.0
"""Between two looks at the ledger."""


def wait_s(number: int) -> float:
    """Seconds after attempt `number`: 5, 30, 180, …, a day, give or take a quarter."""
    longest = min(FIRST_WAIT_S * FACTOR ** (number - 1), LONGEST_WAIT_S)
    return longest * random.uniform(1 - JITTER, 1 + JITTER)


@dataclass(frozen=True)
class Post:
    """Where messages come from and go.

    Attributes:
        ledger: holds log, notices and deliveries.
        notifications: endpoints and what is due soon.
        checks: file with what verifications came to.
        wait: how long after attempt n the next one is made.
    """

    ledger: Ledger
    notifications: Notifications
    checks: Path
    wait: Callable[[int], float] = wait_s


@dataclass
class Tally:
    """What a round came to, by endpoint."""

    delivered: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def collect(place: Post) -> None:
    """Record what time and verifications say, and make deliveries of everything new.

    Raises:
        UnavailableError: the ledger or the file of checks cannot be read.
    """
    wanted = {endpoint.name: endpoint.kinds for endpoint in place.notifications.endpoints}
    with place.ledger.read() as session:
        occasions = outbox.unnoticed(session, _occasions(place, session))
        behind = bool(occasions) or outbox.behind(session, wanted)
    while behind:
        with place.ledger.write() as session:
            # Endpoints that are new begin before the notices, so that they hear of what is overdue.
            behind = outbox.collect(session, wanted, ATTEMPTS)
            if occasions:
                outbox.notice(session, _occasions(place, session))
                occasions, behind = [], True


def deliver(place: Post, endpoint: Endpoint, stopping: threading.Event | None = None) -> Tally:
    """Make every delivery that is due for an endpoint, until it cannot be reached or there is none.

    Raises:
        UnavailableError: the ledger cannot be used.
    """
    tally = Tally()
    try:
        secrets = _secrets(endpoint)
    except GovernanceError as error:
        tally.problems[endpoint.name] = str(error)
        return tally
    while stopping is None or not stopping.is_set():
        claim = _claim(place.ledger, endpoint)
        if claim is None:
            break
        answer = _send(endpoint, secrets, claim.message, body_of(claim.source))
        _record(place, endpoint, claim, answer)
        if answer.outcome is Outcome.DELIVERED:
            tally.delivered[endpoint.name] = tally.delivered.get(endpoint.name, 0) + 1
            continue
        tally.problems[endpoint.name] = describe(answer)
        if not answer.reached or answer.outcome is Outcome.GONE:
            break
    return tally


def run_once(place: Post) -> Tally:
    """One round: collect, then serve all endpoints at the same time.

    Raises:
        UnavailableError: the ledger cannot be used.
    """
    collect(place)
    tally = Tally()
    endpoints = place.notifications.endpoints
    with ThreadPoolExecutor(max(len(endpoints), 1)) as pool:
        for done in pool.map(lambda endpoint: deliver(place, endpoint), endpoints):
            tally.delivered |= done.delivered
            tally.problems |= done.problems
    return tally


def follow(place: Post, stopping: threading.Event, pause_s: float = PAUSE_S) -> None:
    """Round after round until `stopping` is set; the attempts that are being made then are ended and recorded.

    An outage of the ledger is waited for.
    """
    endpoints = place.notifications.endpoints
    at_work: dict[str, Future[Tally]] = {}
    with ThreadPoolExecutor(max(len(endpoints), 1)) as pool:
        while not stopping.is_set():
            _survive(lambda: collect(place))
            for endpoint in endpoints:
                before = at_work.get(endpoint.name)
                if before is not None:
                    if not before.done():
                        continue
                    _survive(before.result)
                at_work[endpoint.name] = pool.submit(deliver, place, endpoint, stopping)
            stopping.wait(pause_s)
    for future in at_work.values():
        _survive(future.result)


def redeliver(ledger: Ledger, number: int) -> Delivery:
    """Let a delivery be made again, with as many attempts as a new one.

    Raises:
        NotFoundError: there is no such delivery.
        ConflictError: it is being made at this moment.
    """
    with ledger.write() as session:
        return outbox.redeliver(session, number, ATTEMPTS)


def try_out(ledger: Ledger, endpoint: Endpoint) -> tuple[str, Answer]:
    """Send a message that says nothing; an endpoint that was gone is served again if it takes it.

    Returns:
        Id of the message and what came of it.

    Raises:
        NotFoundError, RefusedError, InvalidInputError: its secret cannot be read.
    """
    secrets = _secrets(endpoint)
    with ledger.read() as session:
        message, body = trial_message(present(session))
    answer = _send(endpoint, secrets, message, body)
    if answer.outcome is Outcome.DELIVERED:
        with ledger.write() as session:
            outbox.reopen(session, endpoint.name)
    return message, answer


def describe(answer: Answer) -> str:
    """An answer that is no delivery, for people."""
    status = f" with {answer.status}" if answer.status is not None else ""
    excerpt = f": {answer.excerpt}" if answer.excerpt else ""
    return f"{answer.outcome.value}{status}{excerpt}"


def _occasions(place: Post, session: Session) -> list[Occasion]:
    """What time and verifications have to say now, told before or not."""
    moment = present(session)
    found = []
    for request in outbox.running_out(session, moment + place.notifications.due_soon):
        kind = OVERDUE if request.due_at <= moment else DUE_SOON
        data = request_data(request.id, request.due_at, request.state)
        found.append(Occasion(kind, f"request:{request.id}", request.due_at.isoformat(), data))
    for check in new_failures(read_checks(place.checks)):
        data = {"found_by": check.what, "faults": check.faults, "checked_at": check.at}
        found.append(Occasion(INTEGRITY, "ledger", check.id, data))
    return found


def _secrets(endpoint: Endpoint) -> tuple[bytes, ...]:
    if endpoint.secret_file is not None:
        return read_secrets(endpoint.secret_file)
    if endpoint.secret_variable is not None:
        text = os.environ.get(endpoint.secret_variable)
        if not text:
            raise InvalidInputError(
                f"{endpoint.secret_variable}, which holds the secret of endpoint {endpoint.name}, is not set"
            )
        return parse_secrets(text, endpoint.secret_variable)
    return ()


def _claim(ledger: Ledger, endpoint: Endpoint) -> Claim | None:
    with ledger.read() as session:  # so that nobody waits for an idle runner
        if not outbox.has_due(session, endpoint.name):
            return None
    with ledger.write() as session:
        return outbox.claim(session, endpoint.name, timedelta(seconds=endpoint.timeout_s) + MARGIN)


def _send(endpoint: Endpoint, secrets: tuple[bytes, ...], message: str, body: bytes) -> Answer:
    if endpoint.file is not None:
        line = canonical_json({"id": message, **load_json(body.decode())})
        return append_line(endpoint.file, line.encode())
    assert endpoint.url is not None  # either is there
    timestamp = int(time())
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secrets, message, timestamp, body),
    }
    return post(endpoint.url, headers, body, endpoint.timeout_s)


def _record(place: Post, endpoint: Endpoint, claim: Claim, answer: Answer) -> None:
    """Write down how an attempt ended; if that cannot be, it will be found interrupted and made again."""
    wait = max(place.wait(claim.number), answer.retry_after_s or 0.0)
    ending = Ending(
        outcome=answer.outcome.value,
        status=answer.status,
        excerpt=answer.excerpt,
        seconds=round(answer.seconds, 3),
        delivered=answer.outcome is Outcome.DELIVERED,
        gone=answer.outcome is Outcome.GONE,
        retry_in=timedelta(seconds=wait),
    )
    with place.ledger.write() as session:
        outbox.record(session, claim, ending)
    log(
        "info" if ending.delivered else "warning",
        "notify.attempt",
        endpoint=endpoint.name,
        delivery=claim.delivery,
        message_id=claim.message,
        attempt=claim.number,
        outcome=ending.outcome,
        status=ending.status,
        duration_s=ending.seconds,
    )


def _survive(step: Callable[[], object]) -> None:
    """A round that fails because of an outage is one that did not take place."""
    try:
        step()
    except (UnavailableError, ConflictError) as error:
        log("warning", "notify.outage", problem=str(error))
