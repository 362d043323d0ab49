"""Whose keys are valid at each point of the log, and whether the events are signed with them."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from governance.audit.fault import UNREADABLE
from governance.errors import IntegrityError, InvalidInputError
from governance.evidence.keys import PublicKey
from governance.ledger.checkpoints import key_name
from governance.ledger.events import REFUSED, Entry, check_signature
from governance.ledger.tables import Event

UNREAD = object()
"""Stands for a payload that cannot be read."""

_BATCH = 1024
"""Events that are looked at together."""

_SHARE = 64
"""Signatures that a thread checks before it asks for more."""


class Keys:
    """Follows the keys of actors through the log; feed it, in order, at least every event on an actor.

    Attributes:
        announced: all keys of an actor, oldest first.
    """

    def __init__(self) -> None:
        """Know of nobody yet."""
        self.announced: dict[str, list[PublicKey]] = {}
        self._valid: dict[str, dict[str, PublicKey]] = {}
        self._known: set[str] = set()

    def valid(self, actor: str, key_id: str) -> PublicKey | None:
        """An actor's key, if it is one of theirs at this point."""
        return self._valid.get(actor, {}).get(key_id)

    def follow(self, event: Entry | Event, payload: Any) -> str | None:
        """Take what the event says of keys; why that cannot be, or None.

        Raises:
            KeyError, TypeError: the payload is not what such an event holds.
        """
        name = event.subject.partition(":")[2]
        match event.action:
            case "actor.added":
                return self._announce(name, payload["actor"]["key"])
            case "actor.key_rotated":
                valid = self._valid.get(name, {})
                if sorted(payload["retired"]) != sorted(valid):
                    return f"retires other keys than those of {name}"
                valid.clear()
                return self._announce(name, payload["key"])
            case "actor.deactivated":
                self._valid[name] = {}
            case _:
                pass
        return None

    def _announce(self, name: str, facts: Any) -> str | None:
        try:
            key = PublicKey.from_base64(facts["public_key"])
        except InvalidInputError as error:
            raise TypeError(str(error)) from error
        if key.key_id != facts["key_id"]:
            raise TypeError("the key has another id")
        if key.key_id in self._known:
            return "announces a key that was announced before"
        self._known.add(key.key_id)
        self._valid.setdefault(name, {})[key.key_id] = key
        self.announced.setdefault(name, []).append(key)
        return None


class Signatures:
    """Follows the keys through the log; feed it every event in order.

    Signatures are checked in threads, one for each processor: OpenSSL works outside the interpreter's lock
    (`cryptography` gives it up), and nothing else takes so long in a verification.

    Attributes:
        checked: number of signatures that were verified.
    """

    def __init__(self, verify: bool = True) -> None:
        """Follow the keys, and verify the signatures too unless `verify` is false."""
        self.checked = 0
        self._verify = verify
        self._keys = Keys()

    def read(self, events: Iterator[tuple[Entry, Any]]) -> Iterator[tuple[Entry, Any, str | None]]:
        """Take events with their payloads; those that are `UNREAD` are passed on and not looked at.

        Some are checked while the caller has those before them.

        Yields:
            Each event and payload again, in order, and why its signature or what it says of keys does not hold, None
            if both do.
        """
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            before = None
            while batch := list(islice(events, _BATCH)):
                begun = self._begin(pool, batch)
                if before is not None:
                    yield from self._end(before)
                before = begun
            if before is not None:
                yield from self._end(before)

    def _begin(self, pool: ThreadPoolExecutor, batch: Sequence[tuple[Entry, Any]]) -> "_Begun":
        problems: list[str | None] = []
        signed: list[tuple[int, Entry, PublicKey]] = []
        for number, (event, payload) in enumerate(batch):
            try:
                found = None if payload is UNREAD else self._take(event, payload)
            except UNREADABLE:
                found = f"{event.action} makes no sense there"
            if isinstance(found, PublicKey):
                signed.append((number, event, found))
            problems.append(None if isinstance(found, PublicKey) else found)
        if not self._verify:
            signed = []
        shares = [signed[start : start + _SHARE] for start in range(0, len(signed), _SHARE)]
        return _Begun(batch, problems, len(signed), [pool.submit(_false, part) for part in shares])

    def _end(self, begun: "_Begun") -> Iterator[tuple[Entry, Any, str | None]]:
        false = [found for share in begun.shares for found in share.result()]
        for number in false:
            actor = begun.batch[number][0].actor
            begun.problems[number] = f"has a signature that is not {actor}'s"
        self.checked += begun.signed - len(false)
        for (event, payload), problem in zip(begun.batch, begun.problems, strict=True):
            yield event, payload, problem

    def note_keys(self, origin: str) -> dict[str, list[PublicKey]]:
        """Keys of all actors, by the names under which they sign notes on this log."""
        return {key_name(origin, actor): keys for actor, keys in self._keys.announced.items()}

    def _take(self, event: Entry, payload: Any) -> PublicKey | str | None:
        """The key with which an event must be signed, or a problem, or None where it need not be signed."""
        founding = event.seq == 1 and event.action == "actor.added"
        if founding and (problem := self._keys.follow(event, payload)):
            return problem  # it signs its own announcement
        if event.key_id is None or event.signature is None:
            if event.action.endswith(REFUSED) and event.key_id is event.signature is None:
                return None
            return "is not signed"
        key = self._keys.valid(event.actor, event.key_id)
        if key is None:
            return f"is signed with a key that was not {event.actor}'s at that point"
        return (None if founding else self._keys.follow(event, payload)) or key


@dataclass(frozen=True)
class _Begun:
    """Events whose signatures are being checked.

    Attributes:
        batch: they and their payloads.
        problems: what is known to be wrong with each.
        signed: how many signatures are checked.
        shares: will give the numbers in `batch` of those that are false.
    """

    batch: Sequence[tuple[Entry, Any]]
    problems: list[str | None]
    signed: int
    shares: "list[Future[list[int]]]"


def _false(signed: Sequence[tuple[int, Entry, PublicKey]]) -> list[int]:
    """Numbers of those that are not signed with their key."""
    false = []
    for number, event, key in signed:
        try:
            check_signature(event, key)
        except IntegrityError:
            false.append(number)
    return false
