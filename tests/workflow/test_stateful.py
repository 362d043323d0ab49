"""Random walks through the whole workflow, held against a model of it that fits on a page."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from governance.audit.verify import verify
from governance.errors import RefusedError
from governance.ledger.lookup import find_model, newest_version
from governance.policy import Gates, Policy, Quorum
from governance.states import Basis, Role
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import actors, policies, prepare, release, requests, versions
from tests.audit.forgery import told
from tests.workflow.helpers import active, champion, refusals, state
from tests.workflow.shop import Shop

ACTIVE = {"applied", "released", "closed"}
LABELS = ("mug", "cat", "boat", "car")
APPROVERS = ("dmitri", "dora", "ada")


@dataclass
class Case:
    """What the model knows of a request."""

    filed_by: str
    state: str = "filed"
    prepared_by: str = ""
    preparations: int = 0
    approvers: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Version:
    """What the model knows of a version: request → which of its preparations it holds."""

    members: dict[int, int]


class Walk(RuleBasedStateMachine):
    """The workflow and its model, side by side."""

    shop: Shop
    quorum: int

    def __init__(self) -> None:
        super().__init__()
        policy = Policy(Gates(1.0, 1.0), Quorum(default=self.quorum))
        policies.adopt(self.shop.ledger, "ada", policy, "a walk")
        actors.add(self.shop.ledger, "ada", "dora", [Role.APPROVER])
        self.cases: dict[int, Case] = {}
        self.versions: dict[int, Version] = {1: Version({})}
        self.served = 1
        self.once_served = {1}
        self.refused = 0

    # What the model says may happen, and what the workflow does.

    def step(self, allowed: bool, act: Callable[[], object], subjects: int = 1) -> bool:
        if allowed:
            act()
        else:
            with pytest.raises(RefusedError):
                act()
            self.refused += subjects
        return allowed

    def pick(self, choice: int) -> int:
        return sorted(self.cases)[choice % len(self.cases)]

    @precondition(lambda self: len(self.cases) < len(LABELS))
    @rule(who=st.sampled_from(["carla", "ada"]))
    def file(self, who: str) -> None:
        target = Target(LABELS[len(self.cases)], None)
        number, _ = requests.file(self.shop.ledger, who, "shop", [target], Basis.BIAS, "a reason")
        self.cases[number] = Case(who)

    @precondition(lambda self: self.cases)
    @rule(choice=st.integers(0, 3), who=st.sampled_from(["mona", "ada"]))
    def prepare(self, choice: int, who: str) -> None:
        number = self.pick(choice)
        case = self.cases[number]
        act = lambda: prepare.prepare(  # noqa: E731
            self.shop.tools, who, number, "eval", Recipe.of("redirect")
        )
        if self.step(case.state in {"filed", "prepared", "approved", "reinstated"}, act):
            case.state, case.prepared_by, case.approvers = "prepared", who, set()
            case.preparations += 1

    @precondition(lambda self: self.cases)
    @rule(choice=st.integers(0, 3), who=st.sampled_from(APPROVERS))
    def approve(self, choice: int, who: str) -> None:
        number = self.pick(choice)
        case = self.cases[number]
        allowed = case.state == "prepared" and who not in {
            *case.approvers, case.filed_by, case.prepared_by,
        }  # fmt: skip
        if self.step(allowed, lambda: requests.approve(self.shop.ledger, who, number)):
            case.approvers.add(who)
            if len(case.approvers) >= self.quorum:
                case.state = "approved"

    @precondition(lambda self: self.cases)
    @rule(choice=st.integers(0, 3))
    def apply(self, choice: int) -> None:
        number = self.pick(choice)
        allowed = self.cases[number].state in {"approved", "reinstated"}
        if self.step(allowed, lambda: versions.apply(self.shop.tools, "mona", [number])):
            self.cases[number].state = "applied"
            self.make_version()

    @rule(choice=st.integers(0, 5))
    def promote(self, choice: int) -> None:
        number = sorted(self.versions)[choice % len(self.versions)]
        members = self.versions[number].members
        lost = [n for n in self.lost(number) if self.cases[n].state in ACTIVE]
        allowed = (
            number > self.served
            and not lost
            and all(self.cases[n].state in ACTIVE for n in members)
        )
        act = lambda: release.promote(  # noqa: E731
            self.shop.ledger, self.shop.registry, "mona", None, number
        )
        if self.step(allowed, act):
            self.serve(number)

    @rule(choice=st.integers(0, 5))
    def roll_back(self, choice: int) -> None:
        number = sorted(self.versions)[choice % len(self.versions)]
        members = self.versions[number].members
        allowed = (
            number != self.served
            and number in self.once_served
            and all(
                self.cases[n].state in ACTIVE | {"reinstated"}
                and self.cases[n].preparations == preparation
                for n, preparation in members.items()
            )
        )
        act = lambda: release.roll_back(  # noqa: E731
            self.shop.ledger, self.shop.registry, "mona", None, number, "a reason"
        )
        if self.step(allowed, act):
            for lost in self.lost(number):
                if self.cases[lost].state in ACTIVE:
                    self.cases[lost].state = "reinstated"
            for member in members:
                if self.cases[member].state == "reinstated":
                    self.cases[member].state = "applied"
            self.serve(number)

    @precondition(lambda self: self.cases)
    @rule(choice=st.integers(0, 3))
    def drop(self, choice: int) -> None:
        number = self.pick(choice)
        served = number in self.versions[self.served].members
        waiting = [n for n, case in self.cases.items() if n != number and case.state == "applied"]
        allowed = self.cases[number].state in ACTIVE and not (served and waiting)
        if self.step(allowed, lambda: versions.drop(self.shop.tools, "mona", number, "a reason")):
            self.cases[number].state = "reinstated"
            self.make_version()
            if served:
                self.serve(max(self.versions))

    @precondition(lambda self: self.cases)
    @rule(choice=st.integers(0, 3), verb=st.sampled_from(["reject", "withdraw", "close"]))
    def end(self, choice: int, verb: str) -> None:
        number = self.pick(choice)
        case = self.cases[number]
        possible, after = {
            "reject": ({"filed", "prepared"}, "rejected"),
            "withdraw": ({"filed", "prepared", "approved", "reinstated"}, "withdrawn"),
            "close": ({"released"}, "closed"),
        }[verb]
        who = "dmitri" if verb == "reject" else "carla"
        act = lambda: getattr(requests, verb)(self.shop.ledger, who, number, "why")  # noqa: E731
        if self.step(case.state in possible, act):
            case.state = after

    @rule(who=st.sampled_from(["carla", "dmitri", "mona"]))
    def rotate(self, who: str) -> None:
        actors.rotate_key(self.shop.ledger, who, who, "it is Monday")

    # What the model knows of versions.

    def lost(self, number: int) -> set[int]:
        return set(self.versions[self.served].members) - set(self.versions[number].members)

    def make_version(self) -> None:
        members = {n: c.preparations for n, c in self.cases.items() if c.state in ACTIVE}
        self.versions[max(self.versions) + 1] = Version(members)

    def serve(self, number: int) -> None:
        self.served = number
        self.once_served.add(number)
        for member in self.versions[number].members:
            if self.cases[member].state == "applied":
                self.cases[member].state = "released"

    # What must hold after each step.

    @invariant()
    def the_model_is_right(self) -> None:
        ledger = self.shop.ledger
        assert {n: state(ledger, n) for n in self.cases} == {
            n: case.state for n, case in self.cases.items()
        }
        assert champion(ledger) == self.served
        newest = max(self.versions)
        with ledger.read() as session:
            assert newest_version(session, find_model(session, "shop")).number == newest
        assert active(ledger, newest) == sorted(self.versions[newest].members)
        assert self.shop.registry.aliases("shop")["champion"] == str(self.served)

    def teardown(self) -> None:
        assert verify(self.shop.ledger).faults == ()
        assert told(self.shop.ledger) == []  # nor has the stand-alone verifier anything to say
        assert len(refusals(self.shop.ledger)) == self.refused


@pytest.mark.slow
@pytest.mark.only("sqlite")
@pytest.mark.parametrize("quorum", [1, 2])
def test_the_workflow_is_what_its_model_says(make_shop: Callable[[], Shop], quorum: int) -> None:
    def machine() -> Walk:
        made = type("Walk", (Walk,), {"shop": make_shop(), "quorum": quorum})
        walk: Walk = made()
        return walk

    run_state_machine_as_test(
        machine,
        settings=effort(
            max_examples=12,
            stateful_step_count=18,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
