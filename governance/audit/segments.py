"""Segments of the log, each checked by itself, in any order and in any process.

That is all about an event that depends on no other but its predecessor, and nearly all of the work: its digest, link
and time, its leaf in the tree, whether its payload is canonical, and whether its signature is by the key it names.
What depends on the whole log before it is left to who puts the segments together.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from governance.audit.fault import cannot_be_read
from governance.digests import canonical_json
from governance.errors import IntegrityError, InvalidInputError
from governance.evidence.merkle import BLOCK, leaf_hash, perfect_root
from governance.ledger.direct import Rows
from governance.ledger.entries import GENESIS, Entry, check_signature, entry

if TYPE_CHECKING:
    from governance.evidence.keys import PublicKey

LENGTH = 8 * BLOCK
"""Events in a segment, but for the last one."""

UNREAD = ...
"""Stands for a payload that is not canonical JSON."""

ABOUT_ACTORS = "actor."
"""Begin of the actions that say whose keys are valid."""


class Position(NamedTuple):
    """A place in the log: behind event `seq`, which has this digest and time."""

    seq: int
    digest: str
    at: str


START = Position(0, GENESIS, "")


class Segment(NamedTuple):
    """Some events in a row.

    Attributes:
        before: behind which event it begins; None if that event is missing.
        end: behind which event it ends: the last that holds.
        first: digest of its first event.
        hashes: the tree over its events that hold: hashes of blocks of 256 leaves, and lists of leaf hashes for blocks
            that are incomplete, or within which the root is wanted.
        events: fields of an `Entry`, the payload or `UNREAD`, and whether the signature is by the key that the event
            names (None if that was not looked at), of each event that is wanted.
        problem: why the next event does not hold.
    """

    before: Position | None
    end: Position
    first: str | None
    hashes: list[bytes | list[bytes]]
    events: list[tuple[tuple[Any, ...], Any, bool | None]]
    problem: str | None


@dataclass(frozen=True)
class Plan:
    """What is read of a log.

    Attributes:
        until: number of its last event.
        sizes: at which the root of its tree is wanted.
        keys: key id → public key in base64, with which signatures are verified; what is no such key is left out.
        log_only: of all events, only those about actors are wanted.
    """

    until: int
    sizes: Collection[int] = ()
    keys: Mapping[str, str] | None = None
    log_only: bool = False

    @property
    def count(self) -> int:
        """How many segments there are; the last one has no event if those before it are full."""
        return max(self.until, 0) // LENGTH + 1

    def read(self, source: Rows, number: int) -> Segment:
        """One segment, counted from 0."""
        first = number * LENGTH
        # With its predecessor, since it must follow that; the first segment with whatever comes first.
        rows, unreadable = _read(source, first or None, self.until, LENGTH + bool(first))
        before: Position | None = START
        if first:
            before = _position(rows.pop(0)) if rows and rows[0][0] == first else None
        if before is None:
            return Segment(None, START, None, [], [], None)
        end, leaves, problem = _follow(before, rows)
        if problem is None:
            problem = unreadable
            if problem is None and len(leaves) < LENGTH and end.seq < self.until:
                problem = f"event {end.seq + 1} is missing"
        wanted = rows[: len(leaves)]
        if self.log_only:
            wanted = [row for row in wanted if row[3].startswith(ABOUT_ACTORS)]
        events = [self.look(row) for row in wanted]
        return Segment(
            before, end, rows[0][-1] if leaves else None,
            self._condensed(first, leaves), events, problem,
        )  # fmt: skip

    def look(self, row: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any, bool | None]:
        """What is found out about an event by itself, see `Segment.events`."""
        event = Entry._make(row)
        key = self._public.get(event.key_id) if event.key_id and event.signature else None
        return row, read_payload(event.payload), None if key is None else is_signed(event, key)

    @cached_property
    def _public(self) -> "dict[str, PublicKey]":
        if not self.keys:
            return {}
        from governance.evidence.keys import PublicKey

        found = {}
        for key_id, text in self.keys.items():
            try:
                key = PublicKey.from_base64(text)
            except InvalidInputError:
                continue
            # Whoever wrote the table: this is the key that the event names.
            if key.key_id == key_id:
                found[key_id] = key
        return found

    @cached_property
    def _inside(self) -> frozenset[int]:
        """Blocks within which the root is wanted."""
        return frozenset(size // BLOCK for size in self.sizes if size % BLOCK)

    def _condensed(self, first: int, leaves: Sequence[bytes]) -> list[bytes | list[bytes]]:
        hashes: list[bytes | list[bytes]] = []
        for start in range(0, len(leaves), BLOCK):
            block = list(leaves[start : start + BLOCK])
            whole = len(block) == BLOCK and (first + start) // BLOCK not in self._inside
            hashes.append(perfect_root(block) if whole else block)
        return hashes


def is_signed(event: Entry, key: "PublicKey") -> bool:
    """Whether an event has a signature that is by this key."""
    try:
        check_signature(event, key)
    except IntegrityError:
        return False
    return True


def _position(row: tuple[Any, ...]) -> Position:
    """The place behind an event."""
    seq, at, *_, digest = row
    return Position(seq, digest, at)


def _read(
    source: Rows, first: int | None, last: int, limit: int
) -> tuple[list[tuple[Any, ...]], str | None]:
    """Rows, and why the one behind them cannot be read."""
    rows: list[tuple[Any, ...]] = []
    try:
        for row in source(first, last, limit):
            rows.append(row)  # one by one: those before one that cannot be read are kept
    except ValueError as error:
        return rows, cannot_be_read(error)
    return rows, None


def _follow(
    before: Position, rows: Sequence[tuple[Any, ...]]
) -> tuple[Position, list[bytes], str | None]:
    """The last row that holds, the leaves up to it, and why the next one does not hold."""
    number, head, time = before
    leaves: list[bytes] = []
    for row in rows:
        seq, at, actor, action, subject, payload, prev_digest, key_id, signature, digest = row
        try:
            text = entry(action, actor, at, key_id, payload, prev_digest, seq, signature, subject)
        except TypeError:  # SQLite takes any type anywhere
            problem = "cannot be read: a field has another type than it must"
            return Position(number, head, time), leaves, problem
        found = sha256(text.encode()).digest()
        number += 1
        # One test for what is nearly always so; which part of it fails is found out afterwards.
        if digest != f"sha256:{found.hex()}" or prev_digest != head or seq != number or at < time:
            last = Position(number - 1, head, time)
            return last, leaves, _problem(Entry._make(row), last, found.hex())
        head, time = digest, at
        leaves.append(leaf_hash(found))
    return Position(number, head, time), leaves, None


def _problem(event: Entry, last: Position, found: str) -> str:
    """Why an event whose content has the digest `found`, 64 hex digits, does not hold behind another."""
    if event.seq != last.seq + 1:
        return f"event {last.seq + 1} is missing; the next one is {event.seq}"
    if event.prev_digest != last.digest:
        return "does not follow its predecessor's digest"
    if event.digest != f"sha256:{found}":
        return "was altered: its content has another digest"
    return f"is dated {event.at}, before its predecessor"


class _OddNumberError(Exception):
    """A number that the standard writer may write otherwise than RFC 8785, or that JSON does not have."""


def _odd(text: str) -> NoReturn:
    raise _OddNumberError(text)


def _small(text: str) -> int:
    return int(text) if len(text) <= _DIGITS else _odd(text)


def _number(text: str) -> int | float:
    """An integer; one that a double may not hold was a float that happens to be written without a point."""
    return int(text) if len(text) <= _DIGITS else float(text)


_DIGITS = 15
"""So many digits of an integer any double holds."""

_READER = json.JSONDecoder(parse_float=_odd, parse_int=_small, parse_constant=_odd)
_WRITER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_payload(text: str) -> Any:
    """JSON of a payload, `UNREAD` if it is none or not written in the one canonical way."""
    try:
        # Without odd numbers and letters the standard writer writes as RFC 8785 says, in a tenth of the time.
        if text.isascii():
            try:
                payload = _READER.decode(text)
            except _OddNumberError:
                pass
            else:
                return payload if _WRITER.encode(payload) == text else UNREAD
        payload = json.loads(text, parse_int=_number)
        return payload if canonical_json(payload) == text else UNREAD
    except (ValueError, RecursionError):
        return UNREAD
