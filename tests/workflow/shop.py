"""A furnished workspace and the steps that most workflow tests begin with."""

from dataclasses import dataclass

from governance.ledger.database import Ledger
from governance.states import Basis, Role
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import prepare, requests
from governance.workflow.tools import Tools
from tests.fakes import FakeRegistry

PEOPLE = {
    "carla": Role.COMPLIANCE,
    "dmitri": Role.APPROVER,
    "mona": Role.MLOPS,
    "otto": Role.AUDITOR,
}


@dataclass
class Shop:
    """One workspace, with the steps that most tests begin with."""

    tools: Tools
    registry: FakeRegistry

    @property
    def ledger(self) -> Ledger:
        """Its ledger."""
        return self.tools.ledger

    def file(self, label: str | None = "mug", domain: str | None = None) -> int:
        """File a request as compliance."""
        return requests.file(
            self.ledger,
            "carla",
            "shop",
            [Target(label, domain)],
            Basis.BIAS,
            "a reason",
            again=True,
        ).number

    def prepared(self, label: str | None = "mug", domain: str | None = None, **kw: float) -> int:
        """File and prepare as mlops."""
        number = self.file(label, domain)
        prepare.prepare(self.tools, "mona", number, "eval", Recipe.of("redirect", **kw))
        return number

    def approved(self, label: str | None = "mug", domain: str | None = None, **kw: float) -> int:
        """File, prepare, and approve as approver."""
        number = self.prepared(label, domain, **kw)
        requests.approve(self.ledger, "dmitri", number)
        return number
