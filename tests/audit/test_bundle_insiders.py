"""Whoever holds valid keys can sign lies; the stand-alone verifier finds them as the audit of a ledger does."""

from pathlib import Path
from typing import Any

import pytest

from governance.audit import verify_bundle as verifier
from governance.audit.bundle_contents import Scope
from governance.ledger.checkpoints import take
from governance.ledger.database import Ledger
from governance.states import PERMISSIONS
from tests.audit.bundle_case import bundle
from tests.audit.forgery import told
from tests.audit.hostile import attack, forge, key_of, peek
from tests.audit.test_forgeries import LIES, lie

pytestmark = pytest.mark.only("sqlite")


@pytest.mark.parametrize("complete", [True, False])
def test_an_honest_log_is_allowed(full: Ledger, complete: bool) -> None:
    assert told(full, complete) == []


SAID = {
    "a rejection called approval": "the decision says approval, the event rejected",
    "other states": "but the events before it lead to prepared",
    "a rollback to what was never served": "makes no sense",
    "a policy in another's name": "it was adopted by ada, not carla",
}
"""Where its words differ from those of the audit."""


@pytest.mark.parametrize("name", LIES)
def test_what_a_valid_key_signs_must_be_true(full: Ledger, name: str) -> None:
    actor, action, subject, payload, problem = lie(full, name)
    key = key_of(full, actor)
    last = attack(full, lambda c: forge(c, actor, action, subject, payload, key))
    found = [said for seq, said in told(full) if seq == last]
    problem = SAID.get(name, problem)
    assert any(problem in said for said in found), found


def moved(ledger: Ledger, **more: Any) -> dict[str, Any]:
    state = peek(ledger, "requests")[4]["state"]
    return {"from": state, "to": state, "texts": [], **more}


@pytest.mark.parametrize(
    ("action", "actor", "more", "problem"),
    [
        ("redacted", "carla", {"reason": "x"}, "what has not ended cannot be redacted"),
        ("held", "dmitri", {}, "dmitri had no role for request.hold"),
        ("extended", "carla", {"due_at": "2026-01-01T00:00:00+00:00"}, "to a later day"),
        ("withdrawn", "carla", {"to": "rejected"}, "but the events before it lead to filed"),
        ("closed", "carla", {"to": "closed"}, "request 5 was filed and could not be closed"),
    ],
)
@pytest.mark.parametrize("scope", [Scope(), Scope(request=5)], ids=str)
def test_a_bundle_that_insiders_made_of_a_lie_is_found(
    trail: Ledger, tmp_path: Path, action: str, actor: str, more: Any, problem: str, scope: Scope
) -> None:
    """Every digest, proof and signature in it holds."""
    due = peek(trail, "requests")[4]["due_at"].isoformat() + "+00:00"
    said = moved(trail, was_due_at=due) | more
    key = key_of(trail, actor)
    last = attack(trail, lambda c: forge(c, actor, f"request.{action}", "request:5", said, key))
    outcome = verifier.verify(bundle(trail, scope, tmp_path / "lie.zip"))
    assert [step.number for step in outcome.steps if step.problems] == [8]
    assert str(outcome.first_bad).startswith(f"event {last}: ")
    assert problem in str(outcome.first_bad)
    assert len(outcome.steps[7].problems) == 1


def test_every_permission_is_needed_for_something() -> None:
    """Nothing that the tables name is left out of the replay."""
    asked = {"actor.rotate-own-key", "request.break-glass", "version.rollback", "version.promote"}
    asked |= {"request.override", "version.override"}
    assert asked | set(verifier.PERMISSION_OF.values()) == set(PERMISSIONS)


def test_a_head_may_be_signed_by_whoever_may_export(trail: Ledger) -> None:
    assert PERMISSIONS["audit.export"] <= PERMISSIONS["checkpoint.take"]
    with trail.write() as session:
        take(session, "carla")
    assert told(trail) == []
