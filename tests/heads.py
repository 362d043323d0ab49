"""A ledger with a few people, and what MLflow would hold of a ledger."""

from dataclasses import dataclass, field

from governance.digests import canonical_json
from governance.errors import UnavailableError
from governance.evidence.keyring import MemoryKeyring
from governance.ledger.database import Ledger
from governance.ledger.lookup import every
from governance.ledger.tables import Alias, Model, ModelVersion
from governance.states import Role
from governance.workflow import actors

PEOPLE = {"carla": Role.COMPLIANCE, "mona": Role.MLOPS, "otto": Role.AUDITOR}


def populate(ledger: Ledger) -> None:
    """Add an admin and `PEOPLE` to an empty ledger: five events."""
    actors.found(ledger, "ada")
    for name, role in PEOPLE.items():
        actors.add(ledger, "ada", name, [role])


def found(ledger: Ledger) -> Ledger:
    """Populate an empty ledger, with a keyring of its own."""
    ledger.keys = MemoryKeyring()
    populate(ledger)
    return ledger


def grow(ledger: Ledger, *names: str) -> None:
    """Add events: one new auditor each."""
    for name in names:
        actors.add(ledger, "ada", name, [Role.AUDITOR])


@dataclass
class Mirrored:
    """MLflow as it is when it mirrors a ledger; a test may change it."""

    tags: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    aliased: dict[str, dict[str, str]] = field(default_factory=dict)
    down: bool = False

    @classmethod
    def of(cls, ledger: Ledger) -> "Mirrored":
        made = cls()
        with ledger.read() as session:
            for model in every(session, Model):
                made.tags[model.name], made.aliased[model.name] = {}, {}
            for version in every(session, ModelVersion):
                made.tags[version.model.name][version.registry_version] = {
                    "governance.digest": version.digest,
                    "governance.weights_digest": version.weights_digest,
                    "governance.active_requests": canonical_json(
                        [member.request_id for member in version.members]
                    ),
                }
            for row in every(session, Alias):
                made.aliased[row.version.model.name][row.name] = row.version.registry_version
        return made

    def all_tags(self, model: str) -> dict[str, dict[str, str]]:
        if self.down:
            raise UnavailableError("MLflow is down")
        return self.tags.get(model, {})

    def aliases(self, model: str) -> dict[str, str]:
        return self.aliased[model]

    def version_tags(self, model: str, version: str) -> dict[str, str]:
        return self.all_tags(model)[version]

    def tag_version(self, model: str, version: str, tag: str, value: str) -> None:
        self.all_tags(model)[version][tag] = value
