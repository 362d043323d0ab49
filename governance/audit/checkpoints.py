"""Signed tree heads held against the log: whoever cut its tail or wrote it anew cannot make them again."""

from collections.abc import Collection, Iterator, Mapping

from governance.audit.fault import Fault
from governance.audit.log import Log
from governance.audit.signatures import Signatures
from governance.errors import GovernanceError
from governance.evidence.note import Checkpoint, parse, verify
from governance.ledger.checkpoints import origin_of, stored
from governance.ledger.database import Session


class Checkpoints:
    """Every known tree head: those of the ledger and those found outside it."""

    def __init__(self, session: Session, outside: Mapping[str, str]) -> None:
        """Read them; `outside` are notes by where they were found."""
        self._notes: dict[str, str] = {}
        self._rows: dict[str, tuple[int, str]] = {}
        for row in stored(session):
            where = f"checkpoint {row.id}"
            self._notes[where], self._rows[where] = row.note, (row.size, row.root)
        self._notes |= outside
        self._heads: dict[str, Checkpoint] = {}
        self._unreadable: list[Fault] = []
        for where, note in self._notes.items():
            try:
                self._heads[where], _ = parse(note)
            except GovernanceError as error:
                self._unreadable.append(Fault(where, f"it is no checkpoint: {error}"))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._notes)

    @property
    def sizes(self) -> frozenset[int]:
        """Sizes at which the root of the tree is needed."""
        return frozenset(head.size for head in self._heads.values())

    def anchored(self, among: Collection[str], bad: Collection[str], count: int) -> int:
        """Size of the largest of some heads that hold, in a log of `count` events."""
        good = (self._heads[where].size for where in among if where not in bad)
        return max((size for size in good if size <= count), default=0)

    def check(self, log: Log, signed: Signatures) -> Iterator[Fault]:
        """Every one that is not a signed head of this log."""
        yield from self._unreadable
        origin = origin_of(log.first) if log.first else None
        keys = signed.note_keys(origin) if origin else {}
        for where, head in sorted(self._heads.items(), key=lambda item: item[1].size):
            problem = self._problem(where, head, log, origin)
            if problem is None:
                try:
                    verify(self._notes[where], keys)
                except GovernanceError as error:
                    problem = str(error)
            if problem is not None:
                yield Fault(where, problem)

    def _problem(self, where: str, head: Checkpoint, log: Log, origin: str | None) -> str | None:
        if where in self._rows and self._rows[where] != (head.size, head.root.hex()):
            return "its note speaks of another size or root"
        if head.origin != origin:
            return f"it is a checkpoint of another log, {head.origin}"
        if head.size > log.count:
            if log.fault is not None:
                return None  # the log was not read that far
            return f"it vouches for {head.size} events, but the log ends after {log.count}: the tail was cut"
        if log.roots[head.size] != head.root:
            return f"the first {head.size} events are others than those it vouches for: the log was rewritten"
        return None
