"""MLflow held against the ledger: it mirrors what the ledger says, and keeps signed tree heads outside of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from governance.audit.fault import Fault
from governance.digests import canonical_json
from governance.ledger.database import Session
from governance.ledger.lookup import every
from governance.ledger.rules import production
from governance.ledger.tables import Alias, Model, ModelVersion
from governance.ledger.whereabouts import moved, place_among
from governance.policy import CANDIDATE

NOTE_TAG = "governance.checkpoint"


class Registry(Protocol):
    """What is asked of MLflow; see `governance.registry.Registry`."""

    def all_tags(self, model: str) -> dict[str, dict[str, str]]:
        """Tags of every version of a model."""

    def aliases(self, model: str) -> dict[str, str]:
        """Alias → version."""


@dataclass(frozen=True)
class Difference(Fault):
    """Something in MLflow that is not as the ledger says.

    Attributes:
        model: of which.
        version: in MLflow, if it is about one that MLflow has.
        tag, said: the tag that differs, and its value in the ledger.
        alias: the alias that differs.
        lost: number in the ledger of a version that MLflow does not have.
    """

    model: str
    version: str | None = None
    tag: str | None = None
    said: str = ""
    alias: str | None = None
    lost: int | None = None


@dataclass(frozen=True)
class Mirror:
    """What MLflow holds of the models that the ledger knows.

    Attributes:
        tags: model → version → tags.
        aliases: model → alias → version; a model that MLflow does not know is not there.
    """

    tags: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, registry: Registry, models: list[str]) -> "Mirror":
        """Ask MLflow.

        Raises:
            UnavailableError: it does not answer.
        """
        tags = {model: registry.all_tags(model) for model in models}
        return cls(tags, {model: registry.aliases(model) for model in models if tags[model]})

    @property
    def notes(self) -> dict[str, str]:
        """Signed tree heads among the tags, by where they were found."""
        return {
            f"MLflow: version {number} of {model}: tag {NOTE_TAG}": tags[NOTE_TAG]
            for model, versions in self.tags.items()
            for number, tags in versions.items()
            if NOTE_TAG in tags
        }

    def check(self, session: Session) -> Iterator[Difference]:
        """Every difference to the ledger."""
        again = moved(session)
        for version in every(session, ModelVersion):
            model, number = version.model.name, place_among(again, version).registry_version
            where = f"MLflow: version {version.number} of {model}"
            tags = self.tags[model].get(number)
            if tags is None:
                yield Difference(where, "it is missing", model, lost=version.number)
                continue
            active = [member.request_id for member in version.members]
            for tag, said in (
                ("governance.digest", version.digest),
                ("governance.weights_digest", version.weights_digest),
                ("governance.active_requests", canonical_json(active)),
            ):
                if tags.get(tag) != said:
                    problem = f"tag {tag} is {_shown(tags.get(tag))}, not {said}"
                    yield Difference(where, problem, model, number, tag, said)
        served = production(session)
        aliases = {
            (row.version.model.name, row.name): place_among(again, row.version).registry_version
            for row in every(session, Alias)
        }
        for name in [model.name for model in every(session, Model)]:
            for alias in (CANDIDATE, served):
                found = self.aliases.get(name, {}).get(alias)
                wanted = aliases.get((name, alias))
                if found != wanted:
                    yield Difference(
                        f"MLflow: alias {alias} of {name}",
                        f"it is at version {_shown(found)}, but the ledger says {_shown(wanted)}",
                        name,
                        version=wanted,
                        alias=alias,
                    )


def _shown(value: str | None) -> str:
    return "none" if value is None else value[:100]
