"""Signed tree heads: taking one, and keeping it where whoever changes the database does not reach.

The head is signed in the transaction that records it; every release signs one in its own. Only then is it carried to
the places outside, by `spread`, which repeats whatever an interruption or an outage left undone.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from governance.errors import GovernanceError, IntegrityError
from governance.ledger.checkpoints import newest, stored
from governance.ledger.checkpoints import take as sign_head
from governance.ledger.database import Ledger
from governance.ledger.lookup import every
from governance.ledger.rules import served_version
from governance.ledger.tables import Model
from governance.ledger.whereabouts import place_of
from governance.outside import TIMEOUT_S, read_text, replace_text, run_command, write_note
from governance.workflow.refusals import recorded
from governance.workflow.transition import require

if TYPE_CHECKING:
    from governance.registry import Registry

TAG = "governance.checkpoint"
"""Tag of a model version in MLflow that holds a note."""

SENT = "sent.txt"
"""File in the workspace with the last note that the command took."""


@dataclass(frozen=True)
class Head:
    """A signed tree head.

    Attributes:
        size: number of events it is on.
        root: root of their tree, 64 hex digits.
        key_id: of the key that signed it.
        note: the whole signed note.
    """

    size: int
    root: str
    key_id: str
    note: str


@dataclass(frozen=True)
class Anchors:
    """Where signed tree heads are kept outside the database.

    Attributes:
        workspace: directory of the workspace's own copies.
        directory: one that the operator chose, best on another machine.
        command: program and arguments that get each newest note on standard input.
        registry: opens MLflow, which holds the newest note as a tag of every served version; None leaves it out.
        timeout_s: of the command.
    """

    workspace: Path
    directory: Path | None = None
    command: tuple[str, ...] = ()
    registry: "Callable[[], Registry] | None" = None
    timeout_s: float = TIMEOUT_S


@dataclass
class Spread:
    """What carrying the notes outside came to.

    Attributes:
        failures: by place; the note is in the ledger all the same, and the next `spread` tries again.
    """

    failures: dict[str, GovernanceError] = field(default_factory=dict)

    @contextmanager
    def _at(self, place: str) -> Iterator[None]:
        try:
            yield
        except GovernanceError as error:
            self.failures[place] = error


@recorded("take", "checkpoint")
def take(ledger: Ledger, actor: str) -> Head:
    """Sign the present head of the log's tree and record it; `spread` carries it outside.

    Raises:
        RefusedError: the actor has none of the roles for it, or no valid key at hand.
    """
    with ledger.write() as session:
        require(session, actor, "checkpoint.take")
        row = sign_head(session, actor)
        return Head(row.size, row.root, row.key_id, row.note)


def spread(ledger: Ledger, anchors: Anchors) -> Spread:
    """Bring every note of the ledger to every place where it is missing; repeatable.

    Directories get all notes. The command and MLflow get the newest, which vouches for everything before it. What lies
    in a place and is not of the ledger is left there and reported: it may be what proves a rewriting.
    """
    with ledger.read() as session:
        notes = {row.size: row.note for row in stored(session)}
        served = [
            (model.name, place_of(session, version).registry_version)
            for model in every(session, Model)
            if (version := served_version(session, model)) is not None
        ]
        last = newest(session)
    result = Spread()
    if last is None:
        return result
    with result._at(f"the workspace directory {anchors.workspace}"):
        _fill(anchors.workspace, notes)
    if anchors.directory is not None:
        with result._at(f"the anchor directory {anchors.directory}"):
            _fill(anchors.directory, notes)
    if anchors.command:
        with result._at("the anchor command"):
            _send(anchors, last.size, last.note)
    if anchors.registry is not None and served:
        with result._at("MLflow"):
            _tag(anchors.registry(), served, last.note, set(notes.values()))
    return result


def _fill(directory: Path, notes: dict[int, str]) -> None:
    """Write what is missing, all of it, before saying what contradicts."""
    problems = []
    for size, note in notes.items():
        try:
            write_note(directory, size, note)
        except IntegrityError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def _send(anchors: Anchors, size: int, note: str) -> None:
    """Let the command have a note, at least once."""
    sent = anchors.workspace / SENT
    if read_text(sent) == note:
        return
    run_command(anchors.command, size, note, anchors.timeout_s)
    replace_text(sent, note)


def _tag(
    registry: "Registry", served: Iterable[tuple[str, str]], note: str, known: set[str]
) -> None:
    for model, version in served:
        found = registry.version_tags(model, version).get(TAG)
        if found == note:
            continue
        if found is not None and found not in known:
            raise IntegrityError(
                f"version {version} of {model} holds a checkpoint that the ledger does not"
            )
        registry.tag_version(model, version, TAG, note)
