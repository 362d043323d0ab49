"""An export appears in two places that cannot be changed atomically: the ledger and a file system.

Intent (ledger) → where it goes (workspace) → the directory, complete under another name, then moved → outcome (ledger).
Where it went stays in the workspace, so that it can be looked at again.
The signed directory names the intent's event, so what an interruption left is told from anything else that may lie
there. The place stays out of the log: it may hold personal data, and nothing in the log can be erased.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from governance.digests import canonical_json, load_json
from governance.errors import ConflictError, GovernanceError, InvalidInputError
from governance.evidence.artifact import SignedModel, read_signature, verify_directory
from governance.ledger.checkpoints import origin
from governance.ledger.database import Ledger, Session
from governance.ledger.events import Entry, append
from governance.ledger.intents import (
    EXPORT,
    abandon,
    check_open,
    find_intent,
    is_ended,
    open_intents,
)
from governance.ledger.lookup import newest_events
from governance.ledger.signers import valid_key_ids
from governance.ledger.tables import Event
from governance.outside import read_text, replace_text
from governance.workflow.transition import require

EXPORTED = "version.exported"

ABANDONED_END = ".abandoned"
"""End of the name of a directory whose export was abandoned after it had appeared."""

_END = ".json"

_SENT = "sent"
"""Folder, inside that of the departures, of those that ended well."""


@dataclass(frozen=True)
class Departure:
    """Where an export was going, or went; a file of the workspace, from before the first byte is written.

    Attributes:
        file: the file that says so.
        intent: digest of the intent's event.
        directory: absolute path of the exported directory.
    """

    file: Path
    intent: str
    directory: Path

    @classmethod
    def of(cls, folder: Path, intent: str, directory: Path) -> Self:
        """Where the export of an intent is going."""
        file = folder / f"{intent.removeprefix('sha256:')}{_END}"
        return cls(file, intent, absolute(directory))

    @property
    def temporary(self) -> Path:
        """What the directory is called until it is complete."""
        name = f".{self.directory.name}.{self.file.stem[:12]}.partial"
        return self.directory.with_name(name)

    @property
    def aside(self) -> Path:
        """What the directory is called if the export was abandoned after it had appeared."""
        return self.directory.with_name(self.directory.name + ABANDONED_END)

    def begin(self) -> None:
        """Write it down.

        Raises:
            UnavailableError: the workspace cannot be written.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(self.file, canonical_json({"directory": str(self.directory)}) + "\n")


def absolute(directory: Path) -> Path:
    """One name for a directory, wherever it is spoken of from."""
    return Path(os.path.abspath(directory))


def begun(folder: Path, directory: Path | None = None) -> list[Departure]:
    """Exports that were begun and not seen to their end: all of them, or those to one directory.

    Raises:
        UnavailableError: the workspace cannot be read.
    """
    return _notes(folder, directory)


def sent(folder: Path) -> list[Departure]:
    """Exports that ended well, by where they went; of several to one directory the last.

    Raises:
        UnavailableError: the workspace cannot be read.
    """
    return _notes(folder / _SENT)


def _notes(folder: Path, directory: Path | None = None) -> list[Departure]:
    found = []
    for file in sorted(folder.glob(f"*{_END}")):
        try:
            place = Path(load_json(read_text(file) or "")["directory"])
        except (ValueError, KeyError, TypeError):
            continue
        if directory is None or place == absolute(directory):
            found.append(Departure(file, f"sha256:{file.stem}", place))
    return found


def unfinished(
    session: Session, actor: str, subject: str, precision: str, before: Sequence[Departure]
) -> tuple[Departure, SignedModel] | None:
    """An export of the actor's that lacks nothing but its outcome, among those that were going to one place."""
    for intent in open_intents(session, subject):
        for departure in before:
            if (intent.digest, intent.actor) != (departure.intent, actor):
                continue
            signed = arrived(session, intent, departure)
            if signed is not None and signed.facts["precision"] == precision:
                return departure, signed
    return None


def announce(
    session: Session,
    actor: str,
    subject: str,
    payload: Mapping[str, Any],
    before: Sequence[Departure],
) -> Entry:
    """Append the intent of an export; the actor's earlier tries at the same place are over."""
    mine = {event.digest for event in open_intents(session, subject) if event.actor == actor}
    for departure in before:
        if departure.intent in mine:
            abandon(session, actor, subject, departure.intent)
    return append(session, actor, EXPORT, subject, payload)


def clear_ended(ledger: Ledger, before: Sequence[Departure]) -> None:
    """Clear those whose intents have ended, and remember where those went that are on record.

    The others may still be going on.
    """
    with ledger.read() as session:
        ended = [departure for departure in before if is_ended(session, departure.intent)]
        on_record = {
            departure.intent
            for departure in ended
            if fulfilled(session, departure.intent, find_intent(session, departure.intent).subject)
        }
    for departure in ended:
        (settle if departure.intent in on_record else clear)(departure)


def arrived(session: Session, intent: Event, departure: Departure) -> SignedModel | None:
    """The directory, if it is complete, names the intent, and its signer's key is still valid; else None."""
    try:
        signed = verify_directory(departure.directory)
    except GovernanceError:
        return None
    said = load_json(intent.payload)
    same = all(
        signed.facts.get(name) == said[name]
        for name in ("version_digest", "weights_digest", "precision", "exported_weights_digest")
    )
    signer = signed.key.key_id == intent.key_id in valid_key_ids(session, intent.actor)
    named = signed.facts.get("ledger") == announced_in(session, intent)
    return signed if same and signer and named else None


def announced_in(session: Session, intent: Event | Entry) -> dict[str, Any]:
    """What a directory says of its intent: which log, and how far it had come with that event."""
    return {"origin": origin(session), "size": intent.seq, "head": intent.digest}


def complete(ledger: Ledger, actor: str, intent: str, statement: str) -> dict[str, Any]:
    """Record that an export left the house.

    Returns:
        The payload of the event.

    Raises:
        ConflictError: its intent was abandoned, or fulfilled by somebody else, or who announced it has another key.
        RefusedError: the actor may not export.
    """
    with ledger.write() as session:
        require(session, actor, "version.export")
        event = find_intent(session, intent)
        check_open(session, event.subject, intent)
        if event.key_id not in valid_key_ids(session, event.actor):
            raise ConflictError(f"{event.actor!r} got another key meanwhile; export again")
        payload = {**load_json(event.payload), "intent": intent, "statement_digest": statement}
        append(session, actor, EXPORTED, event.subject, payload)
        return payload


def give_up(ledger: Ledger, actor: str, subject: str, departure: Departure) -> None:
    """End an export that failed; what the ledger cannot be told now is left to the doctor.

    If the directory has got its name, it is removed, unless somebody else recorded it meanwhile.
    """
    with suppress(GovernanceError):
        with ledger.write() as session:
            abandon(session, actor, subject, departure.intent)
            known = fulfilled(session, departure.intent, subject)
        if known:
            settle(departure)
            return
        if names_intent(departure):
            shutil.rmtree(departure.directory)
        clear(departure)


def fulfilled(session: Session, intent: str, subject: str) -> bool:
    """Whether an export is on record as having left the house."""
    return outcome_of(session, intent, subject) is not None


def outcome_of(session: Session, intent: str, subject: str) -> dict[str, Any] | None:
    """What the log says of an export that left the house, None if it says nothing."""
    for event in newest_events(session, subject, EXPORTED):
        payload: dict[str, Any] = load_json(event.payload)
        if payload["intent"] == intent:
            return payload
    return None


def set_aside(departure: Departure) -> None:
    """Give the directory of an abandoned export a name that says so; nothing else that lies there is touched.

    Raises:
        InvalidInputError: that name is taken.
    """
    if names_intent(departure):
        if os.path.lexists(departure.aside):
            raise InvalidInputError(f"{departure.aside} is in the way")
        departure.directory.rename(departure.aside)


def names_intent(departure: Departure) -> bool:
    """Whether the directory, changed or not, is signed as that of the intent."""
    try:
        log = read_signature(departure.directory).facts.get("ledger")
    except GovernanceError:
        return False
    return isinstance(log, dict) and log.get("head") == departure.intent


def settle(departure: Departure) -> None:
    """An export is on record: remember where it went. What fails now is left to the doctor."""
    folder = departure.file.parent / _SENT
    with suppress(OSError, GovernanceError):
        before = [
            note for note in sent(departure.file.parent) if note.directory == departure.directory
        ]
        folder.mkdir(exist_ok=True)
        shutil.rmtree(departure.temporary, ignore_errors=True)
        departure.file.replace(folder / departure.file.name)
        for note in before:
            if note.intent != departure.intent:
                note.file.unlink(missing_ok=True)


def clear(departure: Departure) -> None:
    """Remove what was never finished, and then the note of where it was going."""
    shutil.rmtree(departure.temporary, ignore_errors=True)
    departure.file.unlink(missing_ok=True)
