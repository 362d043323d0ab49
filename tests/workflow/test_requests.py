"""Filing and deciding: who may, what is refused, and that a refusal changes nothing."""

import base64
import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from governance.errors import (
    ConflictError,
    GovernanceError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
)
from governance.evidence.cipher import Cipher
from governance.ledger.lookup import find_request
from governance.ledger.private import first, words
from governance.states import PAPERWORK, TRANSITIONS, Action, Basis, Role, State
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import actors, cases, prepare, requests, transition
from governance.workflow.attachments import Attachment
from tests.workflow.helpers import actions, dump, holds, state
from tests.workflow.shop import Shop

SOON = datetime.now(UTC) + timedelta(days=90)


def test_filing_records_targets_deadline_and_an_event_without_personal_data(shop: Shop) -> None:
    number, _ = requests.file(
        shop.ledger,
        "carla",
        "shop",
        [Target("mug", None), Target("cat", "sketch")],
        Basis.GDPR_17_1_D,
        reason="Jane Roe objects",
        subject_ref="Jane Roe",
    )
    with shop.ledger.read() as session:
        request = find_request(session, number)
        assert [(t.label, t.domain) for t in request.targets] == [("mug", None), ("cat", "sketch")]
        assert request.state == State.FILED
        assert 29 <= (request.due_at - datetime.now(UTC)).days <= 30
        assert words(first(request, "reason")) == "Jane Roe objects"
    events = str(dump(shop.ledger)["events"])
    assert "gdpr-17-1-d" in events
    assert "Jane Roe" not in events


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([Target("unicorn", None)], "'unicorn' is not in the model's label space: boat, car"),
        ([Target("mug", "fresco")], "'fresco' is not in the model's label space: photo, painting"),
        ([Target(None, d) for d in ("photo", "painting", "cartoon", "sketch")], "everything"),
    ],
)
def test_impossible_targets_are_refused(shop: Shop, targets: list[Target], message: str) -> None:
    before = dump(shop.ledger)
    with pytest.raises(InvalidInputError, match=message):
        requests.file(shop.ledger, "carla", "shop", targets, Basis.BIAS, "a reason")
    assert dump(shop.ledger) == before


def test_a_due_date_in_the_past_is_refused(shop: Shop) -> None:
    with pytest.raises(InvalidInputError, match="not in the future"):
        requests.file(
            shop.ledger, "carla", "shop", [Target("mug", None)], Basis.BIAS, "a reason",
            due=datetime(2020, 1, 1, tzinfo=UTC),
        )  # fmt: skip


def test_an_empty_reason_is_refused(shop: Shop) -> None:
    with pytest.raises(InvalidInputError, match="reason"):
        requests.file(shop.ledger, "carla", "shop", [Target("mug", None)], Basis.BIAS, "  ")


def test_roles_are_enforced(shop: Shop) -> None:
    number = shop.prepared()
    attempts: dict[str, Callable[[], object]] = {
        "request.file": lambda: requests.file(
            shop.ledger, "otto", "shop", [Target("mug", None)], Basis.BIAS, "a reason"
        ),
        "request.decide": lambda: requests.approve(shop.ledger, "otto", number),
        "request.prepare": lambda: prepare.prepare(
            shop.tools, "otto", number, None, Recipe.of("redirect")
        ),
        "request.withdraw": lambda: requests.withdraw(shop.ledger, "otto", number, "x"),
        "actor.manage": lambda: actors.add(shop.ledger, "otto", "eve", [Role.ADMIN]),
    }
    before = dump(shop.ledger)
    for permission, attempt in attempts.items():
        with pytest.raises(RefusedError, match=f"'otto' has the role auditor; {permission} needs"):
            attempt()
    assert dump(shop.ledger) == before


def test_unknown_and_deactivated_people_may_nothing(shop: Shop) -> None:
    number = shop.prepared()
    with pytest.raises(NotFoundError, match="no actor 'nobody'"):
        requests.approve(shop.ledger, "nobody", number)
    actors.deactivate(shop.ledger, "ada", "dmitri", "left")
    with pytest.raises(RefusedError, match="deactivated"):
        requests.approve(shop.ledger, "dmitri", number)


@pytest.mark.parametrize(("filer", "preparer"), [("ada", "mona"), ("carla", "ada")])
def test_four_eyes_holds_for_who_filed_and_who_prepared(
    shop: Shop, filer: str, preparer: str
) -> None:
    number, _ = requests.file(
        shop.ledger, filer, "shop", [Target("mug", None)], Basis.BIAS, "a reason"
    )
    prepare.prepare(shop.tools, preparer, number, None, Recipe.of("redirect"))
    before = dump(shop.ledger)
    with pytest.raises(RefusedError, match="four eyes: 'ada'"):
        requests.approve(shop.ledger, "ada", number)
    assert dump(shop.ledger) == before
    requests.approve(shop.ledger, "dmitri", number)
    assert state(shop.ledger, number) == "approved"


def test_an_approval_binds_the_newest_projector_and_report(shop: Shop) -> None:
    number = shop.approved()
    with shop.ledger.read() as session:
        request = find_request(session, number)
        decision, projector = request.decisions[0], request.projector
        assert projector is not None
        assert decision.projector_digest == projector.digest
        assert decision.report_digest == projector.report.digest


def test_an_approval_can_name_what_was_looked_at(shop: Shop) -> None:
    number = shop.prepared()
    with shop.ledger.read() as session:
        seen = find_request(session, number).projectors[0].digest
    prepare.prepare(shop.tools, "mona", number, "eval", Recipe.of("redirect", 0.5))
    before = dump(shop.ledger)
    with pytest.raises(ConflictError, match="was prepared again"):
        requests.approve(shop.ledger, "dmitri", number, projector=seen)
    assert dump(shop.ledger) == before
    with shop.ledger.read() as session:
        newest = find_request(session, number).projectors[1].digest
    requests.approve(shop.ledger, "dmitri", number, projector=newest[:15])
    assert state(shop.ledger, number) == "approved"


def test_preparing_again_voids_the_approval(shop: Shop) -> None:
    number = shop.approved()
    prepare.prepare(shop.tools, "mona", number, "eval", Recipe.of("redirect", 0.5))
    assert state(shop.ledger, number) == "prepared"
    requests.approve(shop.ledger, "dmitri", number)
    with shop.ledger.read() as session:
        request = find_request(session, number)
        assert request.projector is not None
        assert request.decisions[-1].projector_digest == request.projector.digest
        assert request.decisions[0].projector_digest != request.projector.digest


def test_what_is_not_prepared_cannot_be_approved(shop: Shop) -> None:
    number = shop.file()
    with pytest.raises(RefusedError, match=f"request {number}: it is filed and cannot be approved"):
        requests.approve(shop.ledger, "dmitri", number)


def test_extension_moves_the_deadline_later_only(shop: Shop) -> None:
    number = shop.file()
    with pytest.raises(InvalidInputError, match="must be later"):
        requests.extend(
            shop.ledger, "carla", number, datetime.now(UTC) + timedelta(days=1), "early"
        )
    requests.extend(shop.ledger, "carla", number, SOON, "complex case")
    with shop.ledger.read() as session:
        assert find_request(session, number).due_at == SOON


@pytest.mark.parametrize("verb", ["reject", "withdraw"])
def test_an_ended_request_stays_ended(shop: Shop, verb: str) -> None:
    number = shop.prepared()
    if verb == "reject":
        requests.reject(shop.ledger, "dmitri", number, "not justified")
    else:
        requests.withdraw(shop.ledger, "carla", number, "settled")
    before = dump(shop.ledger)
    attempts: list[Callable[[], object]] = [
        lambda: requests.approve(shop.ledger, "dmitri", number),
        lambda: requests.extend(shop.ledger, "carla", number, SOON, "x"),
        lambda: prepare.prepare(shop.tools, "mona", number, None, Recipe.of("redirect")),
    ]
    for attempt in attempts:
        with pytest.raises(RefusedError, match="nothing any more"):
            attempt()
    assert dump(shop.ledger) == before


def test_the_table_is_the_only_way_to_change_a_state(shop: Shop) -> None:
    number = shop.file()
    for current, action in itertools.product(State, Action):
        with shop.ledger.write() as session:
            # The test puts the request where it wants it; the workflow never does.
            find_request(session, number).state = current.value
        events = actions(shop.ledger)
        allowed = current if action in PAPERWORK else TRANSITIONS.get((current, action))
        with shop.ledger.write() as session:
            request = find_request(session, number)
            if allowed is None:
                with pytest.raises(RefusedError):
                    transition.advance(session, request, action, "ada", {})
            else:
                transition.advance(session, request, action, "ada", {})
        expected = events if allowed is None else [*events, f"request.{action.value}"]
        assert actions(shop.ledger) == expected, (current, action)
        assert state(shop.ledger, number) == (allowed or current), (current, action)


def test_a_state_does_not_move_when_its_event_cannot_be_written(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = shop.prepared()
    before = dump(shop.ledger)

    def broken(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(transition, "append", broken)
    with pytest.raises(OSError, match="disk full"):
        requests.approve(shop.ledger, "dmitri", number)
    assert dump(shop.ledger) == before


def test_nobody_else_assigns_a_state() -> None:
    package = Path(transition.__file__).parents[1]
    found = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.name != "verify_bundle.py"
        and re.search(r"(?<!delivery)\.state = ", path.read_text(encoding="utf-8"))
    ]
    assert found == ["workflow/transition.py"]


def test_names_are_checked_and_unique(shop: Shop) -> None:
    for name in ("", "../x", "two words", "x" * 101):
        with pytest.raises(InvalidInputError, match="cannot name an actor"):
            actors.add(shop.ledger, "ada", name, [Role.AUDITOR])
    with pytest.raises(InvalidInputError, match="there is an actor 'mona' already"):
        actors.add(shop.ledger, "ada", "mona", [Role.AUDITOR])
    with pytest.raises(RefusedError, match="themselves"):
        actors.deactivate(shop.ledger, "ada", "ada", "x")


def test_every_refusal_is_explained_in_one_line(shop: Shop) -> None:
    number = shop.file()
    for attempt in (
        lambda: requests.approve(shop.ledger, "dmitri", number),
        lambda: requests.approve(shop.ledger, "dmitri", 999),
        lambda: requests.file(shop.ledger, "carla", "nope", [Target("mug", None)], Basis.BIAS, "r"),
    ):
        with pytest.raises(GovernanceError) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert holds(shop.ledger)


# The same command given again.

FILED: dict[str, Any] = {
    "actor": "carla",
    "model": "shop",
    "targets": [Target("mug", None), Target("cat", "sketch")],
    "basis": Basis.BIAS,
    "reason": "Jane Roe objects",
    "subject_ref": "Jane Roe",
    "attachments": [Attachment.of("letter.txt", b"Dear Sir")],
}


@pytest.mark.parametrize("due", [None, SOON])
def test_the_same_command_again_names_the_request_that_is_there(
    shop: Shop, due: datetime | None
) -> None:
    filed = requests.file(shop.ledger, **FILED, due=due)
    assert filed == (1, True)
    requests.extend(shop.ledger, "carla", 1, SOON + timedelta(days=1), "waits for the court")
    cases.attach(shop.ledger, "carla", 1, "more.txt", b"later")
    prepare.prepare(shop.tools, "mona", 1, None, Recipe.of("redirect"))
    before = dump(shop.ledger)
    again = FILED | {"targets": FILED["targets"][::-1]}
    assert requests.file(shop.ledger, **again, due=due) == (1, False)
    assert dump(shop.ledger) == before
    assert requests.file(shop.ledger, **again, due=due, again=True) == (2, True)
    assert requests.file(shop.ledger, **again, due=due) == (2, False)
    assert holds(shop.ledger)


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "ada"},
        {"targets": [Target("mug", None)]},
        {"targets": [Target("mug", None), Target("cat", None)]},
        {"basis": Basis.LICENCE},
        {"reason": "Jane Roe objects."},
        {"subject_ref": "Jane Doe"},
        {"subject_ref": None},
        {"attachments": []},
        {"attachments": [Attachment.of("letter.txt", b"Dear Madam")]},
        {"attachments": [Attachment.of("letter2.txt", b"Dear Sir")]},
        {"due": SOON},
        {"retention": "litigation"},
    ],
)
def test_whatever_differs_is_another_request(shop: Shop, change: dict[str, Any]) -> None:
    assert requests.file(shop.ledger, **FILED) == (1, True)
    assert requests.file(shop.ledger, **FILED | change) == (2, True)
    assert requests.file(shop.ledger, **FILED) == (1, False)
    assert requests.file(shop.ledger, **FILED | change) == (2, False)


def test_what_has_ended_or_was_erased_is_no_repetition(shop: Shop) -> None:
    assert requests.file(shop.ledger, **FILED) == (1, True)
    requests.reject(shop.ledger, "dmitri", 1)
    assert requests.file(shop.ledger, **FILED) == (2, True)
    assert requests.file(shop.ledger, **FILED) == (2, False)
    cases.redact(shop.ledger, "carla", 1, "asked for")
    assert requests.file(shop.ledger, **FILED) == (2, False)
    requests.withdraw(shop.ledger, "carla", 2, "no")
    cases.redact(shop.ledger, "carla", 2, "asked for")
    assert requests.file(shop.ledger, **FILED) == (3, True)


def key(byte: bytes) -> Cipher:
    return Cipher([base64.urlsafe_b64encode(byte * 32).decode()])


def test_encrypted_texts_are_held_against_the_new_ones(shop: Shop) -> None:
    shop.ledger.cipher = key(b"1")
    assert requests.file(shop.ledger, **FILED) == (1, True)
    assert requests.file(shop.ledger, **FILED) == (1, False)
    shop.ledger.cipher = key(b"2")  # the first one cannot be read with it
    assert requests.file(shop.ledger, **FILED) == (2, True)


def test_whoever_may_not_file_learns_nothing(shop: Shop) -> None:
    requests.file(shop.ledger, **FILED)
    actors.deactivate(shop.ledger, "ada", "carla", "left")
    with pytest.raises(RefusedError, match="deactivated"):
        requests.file(shop.ledger, **FILED)
