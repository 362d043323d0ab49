"""Whose keys are valid at each point of the log, and whether the events are signed with them."""

from typing import Any

from governance.audit.fault import UNREADABLE
from governance.audit.log import Checked
from governance.audit.segments import UNREAD, is_signed
from governance.errors import InvalidInputError
from governance.evidence.keys import PublicKey
from governance.ledger.checkpoints import key_name
from governance.ledger.events import REFUSED, Entry
from governance.ledger.tables import Event


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
    """Follows the keys through the log; feed it, in order, at least every event on an actor.

    Attributes:
        checked: number of signatures that were verified.
    """

    def __init__(self, verify: bool = True) -> None:
        """Follow the keys, and look at the signatures too unless `verify` is false."""
        self.checked = 0
        self._verify = verify
        self._keys = Keys()

    def check(self, found: Checked) -> str | None:
        """Why the signature of an event, or what it says of keys, does not hold; None if both do."""
        event, payload, signed = found
        if payload is UNREAD:
            return None
        try:
            key = self._take(event, payload)
        except UNREADABLE:
            return f"{event.action} makes no sense there"
        if not isinstance(key, PublicKey):
            return key
        if self._verify:
            # Who read the segment knows the keys of the table; the log may know another one.
            if not (is_signed(event, key) if signed is None else signed):
                return f"has a signature that is not {event.actor}'s"
            self.checked += 1
        return None

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
