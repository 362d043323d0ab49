"""Exports that were not seen to their end, and directories that are no longer what was exported."""

import os
from collections.abc import Iterator
from functools import partial

from governance.errors import GovernanceError, IntegrityError
from governance.evidence.artifact import differences, read_signature
from governance.ledger.database import Ledger, Session
from governance.ledger.intents import abandon, find_intent, open_intents
from governance.ledger.lookup import count_events
from governance.ledger.tables import Event
from governance.workflow.departures import (
    EXPORTED,
    Departure,
    arrived,
    begun,
    clear,
    complete,
    fulfilled,
    names_intent,
    outcome_of,
    sent,
    set_aside,
    settle,
)
from governance.workflow.problems import Problem, Workplace

_UNKNOWN = "the ledger does not know this export"


def unfinished_export(place: Workplace, session: Session, intent: Event) -> Problem:
    """An export that was announced and has no outcome: on record if its directory is there, over if not."""
    departures = begun(place.settings.departures_dir)
    departure = next((found for found in departures if found.intent == intent.digest), None)
    signed = departure and arrived(session, intent, departure)
    where = f" to {departure.directory}" if departure else ""
    problem = f"event {intent.seq}: {intent.actor} was about to export this version{where}, and no outcome followed"
    if signed:
        remedy = "record the export, for the directory is there and complete"
    else:
        remedy = "close the intent as abandoned, for there is no such directory"
    statement = signed.statement_digest if signed else None
    cure = partial(_end_export, place.ledger, intent, departure, statement)
    private = str(departure.directory) if departure else None
    return Problem(intent.subject, problem, remedy, cure, private=private)


def _end_export(
    ledger: Ledger, intent: Event, departure: Departure | None, statement: str | None, actor: str
) -> None:
    if statement is not None:
        complete(ledger, actor, intent.digest, statement)
    else:
        with ledger.write() as session:
            abandon(session, actor, intent.subject, intent.digest)
    if departure is not None:
        _finish(departure, statement is None, actor)


def departures(place: Workplace, session: Session) -> Iterator[Problem]:
    """What exports left that have ended in the ledger."""
    still_open = {event.digest for event in open_intents(session)}
    for departure in begun(place.settings.departures_dir):
        if departure.intent in still_open:
            continue
        where = departure.file.relative_to(place.settings.home).as_posix()
        intent = _intent(session, departure)
        if intent is None:
            yield Problem(where, _UNKNOWN)
            continue
        over = not fulfilled(session, departure.intent, intent.subject)
        problem = f"event {intent.seq}: the export to {departure.directory} has ended"
        if over:
            remedy = "remove this file and what was never finished"
        else:
            remedy = "keep this file with those of the exports on record"
        if over and names_intent(departure):
            problem += " without a record, and its directory is there"
            remedy += f", and set the directory aside as {departure.aside.name}"
        cure = partial(_finish, departure, over)
        yield Problem(where, problem, remedy, cure, private=str(departure.directory))


def _intent(session: Session, departure: Departure) -> Event | None:
    try:
        return find_intent(session, departure.intent)
    except IntegrityError:
        return None


def _finish(departure: Departure, over: bool, actor: str) -> None:
    if not over:
        settle(departure)
        return
    set_aside(departure)
    clear(departure)


def exports(place: Workplace, session: Session) -> Iterator[Problem]:
    """Directories that were exported from this workspace and are not what they were.

    They are named only: what somebody may have changed on purpose is not overwritten. One that is not there any more
    may have been moved, which is no fault, and one that another workspace exported nobody knows here.
    """
    looked, known = place.looked, 0
    for departure in sent(place.settings.departures_dir):
        where = departure.file.relative_to(place.settings.home).as_posix()
        intent = _intent(session, departure)
        if intent is None:
            yield Problem(where, _UNKNOWN)
            continue
        said = outcome_of(session, departure.intent, intent.subject)
        if said is None:
            yield Problem(where, "the ledger does not have this export on record")
            continue
        known += 1
        if not os.path.lexists(departure.directory):
            looked.unchecked.append(
                f"the export of {intent.subject} to {departure.directory}, which is not there any more"
            )
        elif not place.quick:
            looked.exports += 1
            yield from _exported(departure, intent.subject, said["statement_digest"])
    if place.quick and known:
        looked.unchecked.append("the files of exported directories, which --quick leaves out")
    if others := count_events(session, EXPORTED) - known:
        looked.unchecked.append(
            f"exports whose place this workspace does not know: {others}; see `governance version verify N DIR`"
        )


def _exported(departure: Departure, subject: str, statement: str) -> Iterator[Problem]:
    directory = departure.directory
    try:
        signed = read_signature(directory)
        if signed.statement_digest != statement:
            problems = [f"{directory} is signed as something else than was exported there"]
        else:
            problems = [
                f"{directory}: {name} {what}" for name, what in differences(directory, signed)
            ]
    except GovernanceError as error:
        problems = [f"{error}"]
    number = subject.rpartition("/")[2]
    advice = f"move it away and make it again: governance version export {number} -o DIR"
    for problem in problems:
        yield Problem(subject, problem, advice=advice, private=str(directory))
