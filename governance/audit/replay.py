"""Replaying the log: what each event says there must be, and whether it was allowed."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from governance.audit import cases, releases
from governance.audit.allowed import forbidden
from governance.audit.fault import UNREADABLE, Fault
from governance.audit.world import Said, World, number_of
from governance.errors import GovernanceError
from governance.ledger.events import REFUSED, Entry
from governance.ledger.facts import Facts
from governance.policy import helpless, parse_policy
from governance.states import Role

_SKEW = timedelta(days=1)
"""How far the clock of a program may be from that of the log."""

_ELSEWHERE = frozenset({"attachment", "bundle", "report"})
"""First words of actions whose subjects are something else: what was read out of them."""


class Replay(World):
    """Takes the events in order and follows what they say."""

    def read(self, event: Entry, payload: Any) -> Iterator[Fault | Said]:
        """Take the next event: what it announces, and what is wrong with it."""
        where = f"event {event.seq}"
        try:
            problem = forbidden(self, event, payload)
            if problem is not None:
                yield Fault(where, problem)
            for found in self._apply(event, payload):
                if isinstance(found, str):
                    yield Fault(where, found)
                    continue
                if (problem := self._backdated(event, found.facts)) is not None:
                    yield Fault(where, problem)
                yield found
        except (*UNREADABLE, GovernanceError):
            yield Fault(where, f"{event.action} makes no sense there")
        self.at = event.at

    def _apply(self, event: Entry, payload: Any) -> Iterator[str | Said]:
        kind, _, name = event.subject.partition(":")
        if event.action == f"{kind}{REFUSED}":
            return
        first = event.action.partition(".")[0]
        if first != kind and first not in _ELSEWHERE:
            raise ValueError("another kind of subject")
        match event.action:
            case "actor.added" | "actor.key_rotated" | "actor.deactivated":
                yield from self._actor(event, name, payload)
            case "policy.adopted":
                policy = parse_policy(payload["content"])
                if policy.production != self.policy.production and self.newest:
                    yield "it names another production alias, although models are served already"
                self.policy, self.policy_digest = policy, policy.digest
                if (lost := helpless(policy, self.roles.values())) is not None:
                    yield f"nobody who was active could do {lost} any more"
                facts = payload["policy"]
                if (facts["digest"], facts["adopted_by"]) != (self.policy_digest, event.actor):
                    raise ValueError("another digest or actor")
                yield Said("policies", "ledger", facts)
            case "checkpoint.taken":
                facts = payload["checkpoint"]
                if facts["size"] >= event.seq:
                    yield "it vouches for events that were not there yet"
                if facts["key_id"] != event.key_id:
                    yield "the checkpoint was signed with another key than the event"
                yield Said("checkpoints", "ledger", facts)
            case "dataset.added":
                if name in self.datasets or payload["dataset"]["name"] != name:
                    raise ValueError("added twice, or under another name")
                self.datasets.add(name)
                yield Said("datasets", name, payload["dataset"])
            case "model.registered":
                yield from releases.register_model(self, event, name, payload)
            case "version.registered":
                self._fulfil(event, payload)
                yield from releases.register_version(self, event, name, payload)
            case "version.evaluated":
                yield from releases.evaluate(self, event, name, payload)
            case "version.promoted" | "version.nominated":
                self._fulfil(event, payload)
                yield from releases.move_alias(self, event, name, payload)
            case "version.restored":
                releases.restore(self, name, payload)
            case "version.export_intended":
                releases.export(self, name, payload)
                self.intents[event.digest] = event.subject, event.actor
            case "version.exported":
                releases.export(self, name, payload)
                self._fulfil(event, {"intent": payload["intent"]})
            case "request.filed":
                yield from cases.file(self, event, number_of(name), payload)
            case _ if first == "request":
                yield from cases.move(self, event, number_of(name), payload)
            case "version.intended" | "version.alias_intended":
                self.intents[event.digest] = event.subject, event.actor
            case "version.abandoned":
                self._fulfil(event, {"intent": payload["intent"]})
            case "doctor.repair_intended" | "doctor.repaired":
                pass  # they change nothing
            case "bundle.exported" | "report.exported" | "attachment.exported":
                pass
            case _:
                raise ValueError(event.action)

    def _actor(self, event: Entry, name: str, payload: Any) -> Iterator[str | Said]:
        if event.action == "actor.added":
            facts = dict(payload["actor"])
            key = facts.pop("key")
            if name in self.roles or facts["name"] != name:
                raise ValueError("added twice, or under another name")
            self.roles[name] = frozenset(Role(role) for role in facts["roles"])
            if event.seq == 1 and Role.ADMIN not in self.roles[name]:
                yield "a log begins with an admin"
            yield Said("actors", name, facts)
            yield Said("actor_keys", name, key)
            return
        if name not in self.roles or name in self.inactive:
            raise ValueError("nobody who is active")
        if event.action == "actor.key_rotated":
            self.retired |= dict.fromkeys(payload["retired"], payload["key"]["added_at"])
            yield Said("actor_keys", name, payload["key"])
            return
        if name == event.actor:
            yield "nobody deactivates themselves"
        self.roles[name] = frozenset()
        self.inactive.add(name)
        if (lost := helpless(self.policy, self.roles.values())) is not None:
            yield f"nobody who was active could do {lost} any more"

    def _fulfil(self, event: Entry, payload: Any) -> None:
        """An intent ends once, on its own subject."""
        if "intent" not in payload:
            return
        subject, _ = self.intents.pop(payload["intent"], (None, None))
        if subject != event.subject:
            raise ValueError("no such intent is open")

    def _backdated(self, event: Entry, facts: Facts) -> str | None:
        """Why a record's own time cannot be, or None."""
        at = datetime.fromisoformat(event.at)
        for name, value in facts.items():
            if not name.endswith("_at"):
                continue
            ahead = datetime.fromisoformat(value) - at
            # The log's time stands still while a clock that was ahead is waited for.
            if ahead > _SKEW or (ahead < -_SKEW and event.at != self.at):
                return f"the record's {name}, {value}, is another time than the event's"
        return None
