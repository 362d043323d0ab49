"""A ledger with several rows in every table: whatever can be tampered with is in it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from governance.ledger import outbox
from governance.ledger.checkpoints import take
from governance.ledger.database import Ledger
from governance.ledger.events import append
from governance.ledger.outbox import Ending, Occasion
from governance.notifications import DUE_SOON, KINDS, OVERDUE
from governance.policy import Policy, Quorum
from governance.states import Role
from governance.unlearning.recipe import Recipe
from governance.workflow import actors, cases, policies, prepare, requests
from governance.workflow.tools import Tools
from tests.databases import Databases, make_template
from tests.fakes import FakeRegistry
from tests.ledger.case import RandomEncoder, add_dataset, add_model, add_version, build, file
from tests.policies import GUARDED, OPEN

REFUSALS = 720
"""Enough for three stored nodes of the tree."""


def take_checkpoint(ledger: Ledger, actor: str = "zoe") -> None:
    """What the command for it records."""
    with ledger.write() as session:
        take(session, actor)


def build_all(ledger: Ledger) -> None:
    """After `case.build`: 4 is approved by two in spite of a gate, 5 in an emergency and waits, 6 is redacted."""
    build(ledger)
    take_checkpoint(ledger)
    tools = Tools(ledger, FakeRegistry(), RandomEncoder())  # type: ignore[arg-type]
    actors.add(ledger, "ada", "eva", [Role.APPROVER])
    actors.add(ledger, "ada", "gone", [Role.MLOPS])
    actors.deactivate(ledger, "ada", "gone", "left")
    actors.rotate_key(ledger, "mona", "mona", "a new laptop")
    for name, images in (("street", 3), ("studio", 4)):
        add_dataset(ledger, name, images)
        add_model(ledger, f"{name}-search")
    rules = Policy(
        GUARDED,
        Quorum(default=2),
        roles={
            "request.override": frozenset({Role.ADMIN, Role.APPROVER}),
            "version.override": frozenset({Role.ADMIN, Role.MLOPS}),
        },
    )
    policies.adopt(ledger, "ada", rules, "two eyes more")
    joint = file(ledger, "cat", "sketch")
    prepare.prepare(tools, "mona", joint, "eval", Recipe.of("redirect"))
    prepare.evaluate_request(tools, "zoe", joint, "street")
    requests.approve(ledger, "dmitri", joint, "the first", override="nobody has other classes")
    requests.approve(ledger, "eva", joint, "the second", override="nor will anybody")
    add_version(ledger, [1, joint], number=3, nominate=True, override="measured elsewhere")
    take_checkpoint(ledger)
    looser = replace(rules, gates=replace(OPEN, max_retain_drop=0.9))
    policies.adopt(ledger, "ada", looser, "looser")
    urgent = file(ledger, "mug", "sketch")
    prepare.prepare(tools, "mona", urgent, "eval", Recipe.of("nullspace"))
    requests.approve(ledger, "ada", urgent, "the court sits tomorrow", break_glass=True)
    requests.extend(ledger, "carla", urgent, datetime.now(UTC) + timedelta(days=60), "more time")
    over = file(ledger, "oak", "sketch")
    requests.withdraw(ledger, "carla", over, "no longer asked for")
    cases.hold(ledger, "carla", urgent, "litigation")
    cases.attach(ledger, "carla", urgent, "writ.pdf", b"%PDF")
    cases.redact(ledger, "carla", over, "over")
    with ledger.write() as session:
        for number in range(REFUSALS):
            problem = {"attempt": "approve", "problem": f"attempt {number}"}
            append(session, "dmitri", "request.refused", "request:3", problem)
    take_checkpoint(ledger)
    tell(ledger)


def tell(ledger: Ledger) -> None:
    """An endpoint with a delivery that arrived and one that waits."""
    wanted = {"team": KINDS}
    occasions = [
        Occasion(kind, "request:3", "2026-01-01T00:00:00+00:00", {"request": 3})
        for kind in (DUE_SOON, OVERDUE)
    ]
    with ledger.write() as session:
        outbox.collect(session, wanted, 10)
        outbox.notice(session, occasions)
        outbox.collect(session, wanted, 10)
        claim = outbox.claim(session, "team", timedelta(minutes=1))
        assert claim is not None
        outbox.record(session, claim, Ending("delivered", 200, "", 0.1, delivered=True))


@pytest.fixture(scope="session")
def full_template(databases: Databases, migrated: str) -> str:
    """A template with what `build_all` makes."""
    return make_template(databases, build_all, migrated)


@pytest.fixture
def full(copy_ledger: Callable[[str], Ledger], full_template: str) -> Ledger:
    """A ledger with what `build_all` makes."""
    return copy_ledger(full_template)
