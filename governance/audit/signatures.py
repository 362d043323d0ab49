"""Whose keys are valid at each point of the log, and whether the events are signed with them."""

from typing import Any

from governance.errors import IntegrityError, InvalidInputError
from governance.evidence.keys import PublicKey
from governance.ledger.checkpoints import key_name
from governance.ledger.events import REFUSED, Entry, check_signature


class Signatures:
    """Follows the keys through the log; feed it every event in order.

    Attributes:
        checked: number of signatures that were verified.
    """

    def __init__(self, verify: bool = True) -> None:
        """Follow the keys, and verify the signatures too unless `verify` is false."""
        self.checked = 0
        self._verify = verify
        self._valid: dict[str, dict[str, PublicKey]] = {}
        self._announced: dict[str, list[PublicKey]] = {}
        self._known: set[str] = set()

    def read(self, event: Entry, payload: Any) -> str | None:
        """Take an event; why its signature does not hold, or None.

        Raises:
            KeyError, TypeError: the payload is not what such an event holds.
        """
        if event.seq == 1 and event.action == "actor.added":
            self._announce(event, payload["actor"]["key"])  # it signs its own announcement
        return self._problem(event) or self._follow(event, payload)

    def note_keys(self, origin: str) -> dict[str, list[PublicKey]]:
        """Keys of all actors, by the names under which they sign notes on this log."""
        return {key_name(origin, actor): keys for actor, keys in self._announced.items()}

    def _problem(self, event: Entry) -> str | None:
        if event.key_id is None or event.signature is None:
            if event.action.endswith(REFUSED) and event.key_id is event.signature is None:
                return None
            return "is not signed"
        key = self._valid.get(event.actor, {}).get(event.key_id)
        if key is None:
            return f"is signed with a key that was not {event.actor}'s at that point"
        if not self._verify:
            return None
        try:
            check_signature(event, key)
        except IntegrityError:
            return f"has a signature that is not {event.actor}'s"
        self.checked += 1
        return None

    def _follow(self, event: Entry, payload: Any) -> str | None:
        """Take what the event says of keys; why that cannot be, or None."""
        name = event.subject.partition(":")[2]
        match event.action:
            case "actor.added" if event.seq > 1:
                return self._announce(event, payload["actor"]["key"])
            case "actor.key_rotated":
                valid = self._valid.get(name, {})
                if sorted(payload["retired"]) != sorted(valid):
                    return f"retires other keys than those of {name}"
                valid.clear()
                return self._announce(event, payload["key"])
            case "actor.deactivated":
                self._valid[name] = {}
            case _:
                pass
        return None

    def _announce(self, event: Entry, facts: Any) -> str | None:
        name = event.subject.partition(":")[2]
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
        self._announced.setdefault(name, []).append(key)
        return None
