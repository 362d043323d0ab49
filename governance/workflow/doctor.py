"""What interruptions, outages and strangers left: found, named, and put right where that is possible.

The ledger is the record. MLflow, the files of the workspace and open intents are made to agree with it, never the other
way round, and every repair is written down before it is made. Nothing of value is deleted: what MLflow got from an
abandoned intent is marked, a private key that the ledger does not know and the directory of an abandoned export are set
aside.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import time

from governance.audit.mirror import Difference, Mirror
from governance.errors import GovernanceError, IntegrityError
from governance.evidence.keyring import key_digits
from governance.ledger.checkpoints import stored
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.intents import (
    ALIAS,
    EXPORT,
    abandon,
    ended_intents,
    find_intent,
    open_intents,
)
from governance.ledger.lookup import every
from governance.ledger.tables import ActorKey, Event, Model, ModelVersion
from governance.outside import file_name, read_text, write_note
from governance.registry import ABANDONED_TAG, KEY_TAG, Registry
from governance.settings import Settings
from governance.workflow.aliases import mirror
from governance.workflow.departures import (
    Departure,
    arrived,
    begun,
    clear,
    complete,
    fulfilled,
    names_intent,
    set_aside,
)
from governance.workflow.publish import mark_abandoned
from governance.workflow.refusals import recorded
from governance.workflow.transition import require

SUBJECT = "doctor:ledger"

FRESH_S = 3600
"""Age in seconds below which an unfinished file may be one that somebody is writing."""

ASIDE = ".unknown"
"""End of the names of key files that were set aside."""


@dataclass(frozen=True)
class Problem:
    """Something that is not as the ledger says.

    Attributes:
        where: subject, place in MLflow, or file of the workspace.
        problem: one sentence.
        remedy: what `repair` does about it, None if it can do nothing.
        apply: does it, given who acts.
    """

    where: str
    problem: str
    remedy: str | None = None
    apply: Callable[[str], object] | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, str | None]:
        """The problem as plain JSON values."""
        return {"where": self.where, "problem": self.problem, "remedy": self.remedy}


@dataclass(frozen=True)
class Workplace:
    """What is examined: the ledger, MLflow, and where the files are."""

    ledger: Ledger
    registry: Registry
    settings: Settings


def examine(place: Workplace) -> list[Problem]:
    """Everything that is wrong, in the order in which it is best put right.

    Raises:
        UnavailableError: ledger, MLflow or a directory cannot be read.
    """
    with place.ledger.read() as session:
        models = [model.name for model in every(session, Model)]
    found = Mirror.read(place.registry, models)
    with place.ledger.read() as session:
        return [
            *_intents(place, session),
            *_departures(place, session),
            *_mirrored(place, session, found),
            *_strangers(place, session, found),
            *_checkpoints(place, session),
            *_keys(place, session),
            *_leftovers(place),
        ]


@recorded("repair", "doctor")
def repair(place: Workplace, actor: str) -> tuple[list[Problem], list[Problem]]:
    """Put right what can be put right.

    Intents of work that is still going on are closed too, and that work then ends as a conflict; so this is for when
    nobody else is at it.

    Returns:
        What was repaired, and what is still wrong.

    Raises:
        UnavailableError: ledger or MLflow cannot be used.
        RefusedError: the actor has none of the roles for it, or no valid key at hand.
    """
    with place.ledger.read() as session:
        require(session, actor, "doctor.repair")
    problems = examine(place)
    curable = [problem for problem in problems if problem.apply is not None]
    if not curable:
        return [], problems
    with place.ledger.write() as session:
        require(session, actor, "doctor.repair")
        payload = {"problems": [problem.to_dict() for problem in curable]}
        intent = append(session, actor, "doctor.repair_intended", SUBJECT, payload).digest
    failed = [problem for problem in curable if not _apply(problem, actor)]
    with place.ledger.write() as session:
        outcome = {"intent": intent, "failed": [problem.to_dict() for problem in failed]}
        append(session, actor, "doctor.repaired", SUBJECT, outcome)
    return [problem for problem in curable if problem not in failed], examine(place)


def _apply(problem: Problem, actor: str) -> bool:
    try:
        if problem.apply is not None:
            problem.apply(actor)
    except (GovernanceError, OSError):
        return False
    return True


def _intents(place: Workplace, session: Session) -> Iterator[Problem]:
    """Intents that nothing came of."""
    for event in open_intents(session):
        if event.action == EXPORT:
            yield _export(place, session, event)
            continue
        what = "move an alias to this version" if event.action == ALIAS else "make this version"
        yield Problem(
            event.subject,
            f"event {event.seq}: {event.actor} was about to {what}, and no outcome followed",
            "close the intent as abandoned",
            partial(_abandon, place.ledger, event),
        )


def _abandon(ledger: Ledger, intent: Event, actor: str) -> None:
    with ledger.write() as session:
        abandon(session, actor, intent.subject, intent.digest)


def _export(place: Workplace, session: Session, intent: Event) -> Problem:
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
    return Problem(intent.subject, problem, remedy, cure)


def _end_export(
    ledger: Ledger, intent: Event, departure: Departure | None, statement: str | None, actor: str
) -> None:
    if statement is not None:
        complete(ledger, actor, intent.digest, statement)
    else:
        _abandon(ledger, intent, actor)
    if departure is not None:
        _finish(departure, statement is None, actor)


def _departures(place: Workplace, session: Session) -> Iterator[Problem]:
    """What exports left that have ended in the ledger."""
    still_open = {event.digest for event in open_intents(session)}
    for departure in begun(place.settings.departures_dir):
        if departure.intent in still_open:
            continue
        where = _name(place, departure.file)
        try:
            intent = find_intent(session, departure.intent)
        except IntegrityError:
            yield Problem(where, "the ledger does not know this export")
            continue
        over = not fulfilled(session, departure.intent, intent.subject)
        problem = f"event {intent.seq}: the export to {departure.directory} has ended"
        remedy = "remove this file and what was never finished"
        if over and names_intent(departure):
            problem += " without a record, and its directory is there"
            remedy += f", and set the directory aside as {departure.aside.name}"
        yield Problem(where, problem, remedy, partial(_finish, departure, over))


def _finish(departure: Departure, over: bool, actor: str) -> None:
    if over:
        set_aside(departure)
    clear(departure)


def _mirrored(place: Workplace, session: Session, found: Mirror) -> Iterator[Problem]:
    """What MLflow has otherwise than the ledger."""
    for difference in found.check(session):
        known = difference.version in found.tags[difference.model]
        if difference.alias is not None and (known or difference.version is None):
            remedy = "set the alias to what the ledger says"
            cure = partial(_set_alias, place, difference.model, difference.alias)
            yield Problem(difference.where, difference.problem, remedy, cure)
        elif difference.tag is not None and known:
            remedy = "set the tag to what the ledger says"
            yield Problem(
                difference.where, difference.problem, remedy, partial(_set_tag, place, difference)
            )
        else:
            yield Problem(difference.where, difference.problem)


def _set_alias(place: Workplace, model: str, alias: str, actor: str) -> None:
    mirror(place.ledger, place.registry, model, [alias])


def _set_tag(place: Workplace, found: Difference, actor: str) -> None:
    if found.version is not None and found.tag is not None:
        place.registry.tag_version(found.model, found.version, found.tag, found.said)


def _strangers(place: Workplace, session: Session, found: Mirror) -> Iterator[Problem]:
    """Versions in MLflow that the ledger does not hold."""
    known = {(row.model.name, row.registry_version) for row in every(session, ModelVersion)}
    intents = ended_intents(session) | {event.digest for event in open_intents(session)}
    for model, versions in found.tags.items():
        for version, tags in versions.items():
            key = tags.get(KEY_TAG)
            if (model, version) in known or (key in intents and tags.get(ABANDONED_TAG) == key):
                continue
            where = f"MLflow: its version {version} of {model}"
            if key in intents:
                problem = "an intent that came to nothing, or a doubled try, left it"
                cure = partial(_mark, place, model)
                yield Problem(where, problem, f"mark it with the tag {ABANDONED_TAG}", cure)
            else:
                yield Problem(where, "the ledger does not know it; somebody else registered it")


def _mark(place: Workplace, model: str, actor: str) -> None:
    mark_abandoned(place.ledger, place.registry, model)


def _checkpoints(place: Workplace, session: Session) -> Iterator[Problem]:
    """Signed tree heads that the workspace should hold a copy of."""
    directory = place.settings.checkpoint_dir
    for row in stored(session):
        path = directory / file_name(row.size)
        note = read_text(path)
        if note is None:
            cure = partial(_write, directory, row.size, row.note)
            yield Problem(_name(place, path), "this checkpoint is missing", "write it again", cure)
        elif note != row.note:
            yield Problem(
                _name(place, path),
                "it is not the checkpoint that the ledger holds; see `governance audit verify`",
            )


def _write(directory: Path, size: int, note: str, actor: str) -> None:
    write_note(directory, size, note)


def _keys(place: Workplace, session: Session) -> Iterator[Problem]:
    """Private keys whose public half the ledger does not have."""
    known = {row.key_id.removeprefix("sha256:")[:12] for row in every(session, ActorKey)}
    directory = place.settings.keys_dir
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        digits = key_digits(path)
        if digits is not None and digits not in known and _is_old(path):
            problem = "the ledger does not know this key"
            remedy = f"set it aside as {path.name}{ASIDE}"
            yield Problem(_name(place, path), problem, remedy, partial(_set_aside, path))


def _set_aside(path: Path, actor: str) -> None:
    path.rename(path.with_name(path.name + ASIDE))


def _leftovers(place: Workplace) -> Iterator[Problem]:
    """Files that were being written when something ended it."""
    settings = place.settings
    for path in sorted(settings.home.rglob("*")):
        inside = path.relative_to(settings.home)
        if settings.artifact_dir in path.parents or not _is_unfinished(inside) or not _is_old(path):
            continue
        yield Problem(
            _name(place, path), "it was never finished", "remove it", partial(_remove, path)
        )


def _is_unfinished(inside: Path) -> bool:
    """Whether something goes by a name that it only has until it is complete."""
    name = inside.name
    if inside.parts[0] in ("checkpoints", "departures"):
        return name.startswith(".")
    return name.endswith(".partial") or (name.startswith(".") and name.count(".") == 2)


def _is_old(path: Path) -> bool:
    return time() - path.stat().st_mtime > FRESH_S


def _remove(path: Path, actor: str) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _name(place: Workplace, path: Path) -> str:
    """Where a file is inside the workspace."""
    return path.relative_to(place.settings.home).as_posix()
