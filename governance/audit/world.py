"""What the log says there is, as far as later events depend on it; grows with the records, not with the events."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from governance.ledger.facts import Facts
from governance.policy import Policy
from governance.states import ACTIVE_STATES, Role, State


class Said(NamedTuple):
    """A record that an event announces: the table, whose it is, and its facts."""

    table: str
    owner: str
    facts: Facts


@dataclass
class Case:
    """What the log says of a request.

    Attributes:
        projector, report: digests of the newest preparation, which a decision must be about.
        reports: of every report on that preparation.
        approvers: who approved that preparation.
        approved: digest of the projector that is approved, None after a new preparation.
        texts: private texts that were announced, of which the first `erased` were erased.
    """

    model: str
    reached: State
    due_at: str
    filed_by: str
    basis: str
    scopes: tuple[str, ...]
    prepared_by: str | None = None
    projector: str | None = None
    report: str | None = None
    reports: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    approved: str | None = None
    held: bool = False
    redacted: bool = False
    texts: int = 0
    erased: int = 0


@dataclass
class Version:
    """What the log says of a model version.

    Attributes:
        members: requests that it holds.
        served: whether it ever was the champion.
    """

    digest: str
    members: frozenset[int]
    reports: list[str] = field(default_factory=list)
    served: bool = False


@dataclass
class World:
    """Everything, at one point of the log.

    Attributes:
        cases: by request.
        active: requests whose edits belong to the newest version, by model.
        versions: by model and number.
        newest: number of the newest version, by model.
        aliases: (model, alias) → version number.
        datasets: their names.
        roles: by actor; an actor who was deactivated has none.
        retired: key id → when it was retired.
        intents: subjects of the open intents and who had them, by the digest of their event.
        at: time of the event before.
        report_of: content of a report by its digest, None if it is gone or was altered.
    """

    cases: dict[int, Case] = field(default_factory=dict)
    active: dict[str, set[int]] = field(default_factory=dict)
    versions: dict[tuple[str, int], Version] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    aliases: dict[tuple[str, str], int] = field(default_factory=dict)
    datasets: set[str] = field(default_factory=set)
    roles: dict[str, frozenset[Role]] = field(default_factory=dict)
    inactive: set[str] = field(default_factory=set)
    retired: dict[str, str] = field(default_factory=dict)
    intents: dict[str, tuple[str, str]] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    policy_digest: str | None = None
    at: str = ""
    report_of: Callable[[str], Any] = lambda _: None

    def enter(self, number: int, case: Case, state: State) -> None:
        """Let a request be in a state."""
        case.reached = state
        active = self.active.setdefault(case.model, set())
        if state in ACTIVE_STATES:
            active.add(number)
        else:
            active.discard(number)

    def served(self, model: str) -> int | None:
        """Number of the version that is served."""
        return self.aliases.get((model, self.policy.production))

    def named(self, model: str, payload: Any) -> Version:
        """The version that a payload names by number and digest.

        Raises:
            ValueError: there is none.
        """
        version = self.versions[model, payload["version"]]
        if version.digest != payload["version_digest"]:
            raise ValueError("another digest")
        return version


def number_of(name: str) -> int:
    """A number as subjects write it.

    Raises:
        ValueError: it is written in another way.
    """
    number = int(name)
    if str(number) != name:
        raise ValueError(name)
    return number


def later(one: str, other: str) -> bool:
    """Whether one ISO 8601 time is later than another."""
    return datetime.fromisoformat(one) > datetime.fromisoformat(other)
