"""A ledger with several rows in every table: whatever can be tampered with is in it."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from governance.evidence.note import Checkpoint
from governance.ledger.checkpoints import key_name, origin
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append, head
from governance.ledger.facts import checkpoint_facts, text_facts
from governance.ledger.lookup import find_request
from governance.ledger.private import ATTACHMENT, erase, keep
from governance.ledger.signers import signer_of
from governance.ledger.tables import CheckpointRecord
from governance.ledger.tree import root
from governance.ledger.types import now
from governance.policy import Gates, Policy, Quorum
from governance.states import Action, Role
from governance.unlearning.recipe import Recipe
from governance.workflow import actors, policies, prepare, requests
from governance.workflow.tools import Tools
from governance.workflow.transition import advance
from tests.fakes import FakeRegistry
from tests.keys import KEYS
from tests.ledger.case import RandomEncoder, add_dataset, add_model, add_version, build, file

REFUSALS = 720
"""Enough for three stored nodes of the tree."""


def sign_head(session: Session, actor: str) -> None:
    """Sign the head of the tree and record it."""
    key = signer_of(session, actor)
    assert key is not None
    size, log = head(session)[0], origin(session)
    signed = Checkpoint(log, size, root(session, size), now().isoformat(timespec="microseconds"))
    row = CheckpointRecord(
        size=size,
        root=signed.root.hex(),
        key_id=key.key_id,
        note=signed.sign(key, key_name(log, actor)),
        taken_at=datetime.fromisoformat(signed.time),
    )
    session.add(row)
    session.flush()
    payload = {"checkpoint": checkpoint_facts(row)}
    append(session, actor, "checkpoint.taken", f"checkpoint:{size}", payload)


def take_checkpoint(ledger: Ledger, actor: str = "zoe") -> None:
    """What the command for it records."""
    with ledger.write() as session:
        sign_head(session, actor)


def build_all(ledger: Ledger) -> None:
    """After `case.build`: 4 is endorsed and approved by two, 5 approved in an emergency and waits, 6 is redacted."""
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
    policies.adopt(ledger, "ada", Policy(quorum=Quorum(default=2)), "two eyes more")
    joint = file(ledger, "cat", "sketch")
    prepare.prepare(tools, "mona", joint, "eval", Recipe.of("redirect"))
    prepare.evaluate_request(tools, "zoe", joint, "street")
    requests.approve(ledger, "dmitri", joint, "the first")
    requests.approve(ledger, "eva", joint, "the second")
    add_version(ledger, [1, joint], number=3, nominate=True)
    take_checkpoint(ledger)
    policies.adopt(ledger, "ada", Policy(Gates(max_retain_drop=0.1), Quorum(default=2)), "looser")
    urgent = file(ledger, "mug", "sketch")
    prepare.prepare(tools, "mona", urgent, "eval", Recipe.of("nullspace"))
    requests.approve(ledger, "ada", urgent, "the court sits tomorrow", break_glass=True)
    requests.extend(ledger, "carla", urgent, datetime.now(UTC) + timedelta(days=60), "more time")
    over = file(ledger, "oak", "sketch")
    requests.withdraw(ledger, "carla", over, "no longer asked for")
    with ledger.write() as session:
        request = find_request(session, urgent)
        advance(session, request, Action.HOLD, "carla", {"reason": "litigation"})
        request.held = True
        paper = keep(request, ATTACHMENT, b"%PDF", "writ.pdf")
        advance(session, request, Action.ATTACH, "carla", {"texts": [text_facts(paper)]})
        request = find_request(session, over)
        payload = {"reason": "over", "erased": len(request.texts)}
        advance(session, request, Action.REDACT, "carla", payload)
        for text in request.texts:
            erase(text)
        request.redacted = True
        for number in range(REFUSALS):
            problem = {"attempt": "approve", "problem": f"attempt {number}"}
            append(session, "dmitri", "request.refused", "request:3", problem)
    take_checkpoint(ledger)


@pytest.fixture(scope="session")
def full_file(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with what `build_all` makes; copy it."""
    path = tmp_path_factory.mktemp("full") / "ledger.db"
    shutil.copy(migrated, path)
    ledger = Ledger(f"sqlite:///{path}", KEYS)
    build_all(ledger)
    ledger.dispose()
    return path


@pytest.fixture
def full(full_file: Path, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with what `build_all` makes."""
    path = tmp_path / "full.db"
    shutil.copy(full_file, path)
    ledger = Ledger(f"sqlite:///{path}", KEYS)
    yield ledger
    ledger.dispose()
