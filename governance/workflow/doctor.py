"""What interruptions, outages and strangers left: found, named, and put right where that is possible.

The ledger is the record. MLflow, the files of the workspace and open intents are made to agree with it, never the other
way round, and every repair is written down before it is made. Nothing of value is deleted: what MLflow got from an
abandoned intent is marked, a private key that the ledger does not know and the directory of an abandoned export are set
aside, and so is what lies in MLflow in the place of a version's files.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import time

from governance.audit.mirror import Mirror
from governance.errors import GovernanceError
from governance.evidence.keyring import key_digits
from governance.ledger.checkpoints import stored
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.intents import ALIAS, EXPORT, abandon, open_intents
from governance.ledger.lookup import every, model_names
from governance.ledger.tables import ActorKey, Event
from governance.outside import file_name, read_text, write_note
from governance.workflow.holdings import holdings
from governance.workflow.problems import Looked, Problem, Workplace
from governance.workflow.refusals import recorded
from governance.workflow.sent import departures, exports, unfinished_export
from governance.workflow.transition import require

__all__ = ["ASIDE", "SUBJECT", "Looked", "Problem", "Workplace", "examine", "repair"]

SUBJECT = "doctor:ledger"

FRESH_S = 3600
"""Age in seconds below which an unfinished file may be one that somebody is writing."""

ASIDE = ".unknown"
"""End of the names of key files that were set aside."""


def examine(place: Workplace) -> list[Problem]:
    """Everything that is wrong, in the order in which it is best put right; `place.looked` says what was looked at.

    Raises:
        UnavailableError: ledger, MLflow or a directory cannot be read.
    """
    place.looked.forget()
    with place.ledger.read() as session:
        models = model_names(session)
    found = Mirror.read(place.registry, models)
    with place.ledger.read() as session:
        return [
            *_intents(place, session),
            *departures(place, session),
            *holdings(place, session, found),
            *exports(place, session),
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
        payload = {"problems": [problem.facts() for problem in curable]}
        intent = append(session, actor, "doctor.repair_intended", SUBJECT, payload).digest
    outcomes = {problem: _apply(problem, actor) for problem in curable}
    failed = {problem: why for problem, why in outcomes.items() if why is not None}
    with place.ledger.write() as session:
        outcome = {"intent": intent, "failed": [problem.facts() for problem in failed]}
        append(session, actor, "doctor.repaired", SUBJECT, outcome)
    reasons = {problem.where: why for problem, why in failed.items()}
    left = [replace(problem, failure=reasons.get(problem.where)) for problem in examine(place)]
    return [problem for problem in curable if problem not in failed], left


def _apply(problem: Problem, actor: str) -> str | None:
    """Why the remedy does not help, None if it does."""
    try:
        if problem.apply is not None:
            problem.apply(actor)
    except (GovernanceError, OSError) as error:
        return str(error)
    return None


def _intents(place: Workplace, session: Session) -> Iterator[Problem]:
    """Intents that nothing came of."""
    for event in open_intents(session):
        if event.action == EXPORT:
            yield unfinished_export(place, session, event)
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


def _checkpoints(place: Workplace, session: Session) -> Iterator[Problem]:
    """Signed tree heads that the workspace should hold a copy of: all up to the newest that it has.

    Later ones may have been signed in other workspaces.
    """
    directory, later = place.settings.checkpoint_dir, 0
    notes = [(row, read_text(directory / file_name(row.size))) for row in stored(session)]
    newest = max((row.size for row, note in notes if note is not None), default=0)
    for row, note in notes:
        path = directory / file_name(row.size)
        if note is None and row.size > newest:
            later += 1
        elif note is None:
            cure = partial(_write, directory, row.size, row.note)
            yield Problem(_name(place, path), "this checkpoint is missing", "write it again", cure)
        elif note != row.note:
            yield Problem(
                _name(place, path),
                "it is not the checkpoint that the ledger holds; see `governance audit verify`",
            )
    if later:
        place.looked.unchecked.append(
            f"{later} {'checkpoint' if later == 1 else 'checkpoints'} signed since the newest in this workspace; "
            "`governance audit verify` brings them"
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
        elsewhere = {settings.artifact_dir, settings.aside_dir} & {*path.parents}
        if elsewhere or not _is_unfinished(inside) or not _is_old(path):
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
