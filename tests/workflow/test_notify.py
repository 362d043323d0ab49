"""Messages reach their receivers, at least once and under one id, whatever receivers and processes do."""

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from governance.checks import AUDIT, make_check, write_check
from governance.errors import ConflictError, NotFoundError
from governance.evidence.webhook import new_secret
from governance.ledger import outbox
from governance.ledger.database import Ledger
from governance.ledger.events import append, stream
from governance.notifications import DUE_SOON, INTEGRITY, OVERDUE, Endpoint, Notifications
from governance.reports.records import delivery_record
from governance.workflow import notify, requests
from governance.workflow.notify import ATTEMPTS, Post
from tests.ledger.case import case_template, cases, file
from tests.ledger.tampering import raw
from tests.receiver import Receiver, drip, drop, hang, receiving, status

__all__ = ["case_template", "cases"]

SECRET = new_secret()
VARIABLE = "GOVERNANCE_WEBHOOK_TEST"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def hook(receiver: Receiver, name: str = "hook", **more: Any) -> Endpoint:
    return Endpoint(name, url=receiver.url(), secret_variable=VARIABLE, **more)


def place(ledger: Ledger, tmp_path: Path, *endpoints: Endpoint) -> Post:
    """Everything that is known before is told to nobody: the endpoints begin now."""
    found = Post(ledger, Notifications(endpoints), tmp_path / "checks.jsonl", wait=lambda _: 3600.0)
    notify.collect(found)
    return found


def deliveries(ledger: Ledger, **among: Any) -> list[dict[str, Any]]:
    with ledger.read() as session:
        return [delivery_record(row) for row in outbox.deliveries(session, **among)]


def hurry(ledger: Ledger) -> None:
    """Let everything that waits be due."""
    raw(ledger, "UPDATE deliveries SET due_at = added_at WHERE state = 'pending'")


def outcomes(delivery: dict[str, Any]) -> list[tuple[int, str, int | None]]:
    return [(a["number"], a["outcome"], a["status"]) for a in delivery["attempts"]]


def said(one: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(one.body)
    return found


def test_an_event_reaches_the_receiver_signed_as_the_standard_says(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    post = place(cases, tmp_path, hook(receiver))
    number = file(cases, "cat")
    tally = notify.run_once(post)
    assert (tally.delivered, tally.problems) == ({"hook": 1}, {})
    (one,) = receiver.received
    with cases.read() as session:
        event = list(stream(session))[-1]
    assert one.id == "msg_" + event.digest.removeprefix("sha256:")[:32]
    assert one.headers["content-type"] == "application/json"
    assert abs(int(one.headers["webhook-timestamp"]) - time.time()) < 60
    # An independent computation, from the bytes that came.
    key = b64decode(SECRET.removeprefix("whsec_"))
    content = b".".join([one.id.encode(), one.headers["webhook-timestamp"].encode(), one.body])
    digest = hmac.new(key, content, hashlib.sha256).digest()
    assert one.headers["webhook-signature"] == f"v1,{b64encode(digest).decode()}"
    message = said(one)
    assert message["type"] == "request.filed"
    at = datetime.fromisoformat(event.at).isoformat(timespec="microseconds")
    assert message["timestamp"] == at.replace("+00:00", "Z")
    assert message["data"].pop("due_at").startswith("20")
    assert message["data"] == {
        "subject": f"request:{number}",
        "request": number,
        "event": event.seq,
        "event_digest": event.digest,
    }


def test_messages_hold_no_names_reasons_or_classes(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    post = place(cases, tmp_path, hook(receiver))
    number = file(cases, "oak")
    requests.reject(cases, "dmitri", number, "a comment")
    requests.extend(cases, "carla", 3, datetime.now(UTC) + timedelta(days=90), "more time")
    requests.approve(cases, "dmitri", 3, "another comment")
    notify.run_once(post)
    kinds = [said(one)["type"] for one in receiver.received]
    assert kinds == ["request.filed", "request.rejected", "request.extended", "request.approved"]
    text = b"".join(one.body for one in receiver.received).decode()
    for private in ("carla", "dmitri", "comment", "because", "case 7", "oak", "more time", "bias"):
        assert private not in text
    assert said(receiver.received[-1])["data"]["to"] == "approved"


def test_what_is_served_is_told_without_the_reason(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    post = place(cases, tmp_path, hook(receiver))
    move = {"alias": "champion", "from": 2, "to": 1, "version_digest": "x", "reason": "a scandal"}
    with cases.write() as session:
        append(session, "mona", "version.promoted", "version:shop/1", {**move, "rollback": True})
        append(session, "mona", "version.promoted", "version:shop/1", move)
        append(session, "mona", "version.nominated", "version:shop/1", move)
    notify.run_once(post)
    back, forward = map(said, receiver.received)
    assert (back["type"], forward["type"]) == ("version.rolled_back", "version.promoted")
    for message in (back, forward):
        told = {name: message["data"][name] for name in ("model", "version", "from", "to")}
        assert told == {"model": "shop", "version": 1, "from": 2, "to": 1}
        assert message["data"].keys() - told.keys() == {"subject", "event", "event_digest"}


def test_an_endpoint_begins_when_it_is_new_and_gets_what_it_wants_in_the_order_of_the_log(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    post = place(cases, tmp_path, hook(receiver, kinds=("request.filed", "request.withdrawn")))
    numbers = [file(cases, "cat") for _ in range(5)]
    requests.reject(cases, "dmitri", numbers[0], None)
    requests.withdraw(cases, "carla", numbers[1], "over")
    notify.run_once(post)
    found = [(said(one)["type"], said(one)["data"]["request"]) for one in receiver.received]
    assert found == [
        *(("request.filed", number) for number in numbers),
        ("request.withdrawn", numbers[1]),
    ]
    notify.run_once(post)
    assert len(receiver.received) == 6


@pytest.mark.parametrize(
    ("reply", "outcome", "code"),
    [
        (status(500, b"<b>no\x00\n luck</b>" + b"x" * 9999), "refused", 500),
        (status(404), "refused", 404),
        (status(401), "refused", 401),
        (status(302, Location="http://127.0.0.1:1/other"), "refused", 302),
        (drop, "unreachable", None),
        (hang, "timed out", None),
        (drip, "timed out", None),
    ],
)
def test_what_fails_is_tried_again_under_the_same_id(
    cases: Ledger, receiver: Receiver, tmp_path: Path, reply: Any, outcome: str, code: int | None
) -> None:
    post = place(cases, tmp_path, hook(receiver, timeout_s=0.5))
    file(cases, "cat")
    receiver.script.append(reply)
    begun = time.monotonic()
    tally = notify.run_once(post)
    assert time.monotonic() - begun < 20
    assert tally.problems["hook"].startswith(outcome)
    (delivery,) = deliveries(cases)
    assert (delivery["state"], outcomes(delivery)) == ("pending", [(1, outcome, code)])
    assert len(delivery["attempts"][0]["excerpt"]) <= 200
    assert delivery["attempts"][0]["excerpt"].isprintable()
    due = datetime.fromisoformat(delivery["due_at"])
    assert due - datetime.now(UTC) > timedelta(minutes=59)
    assert notify.run_once(post).problems == {}  # it is not due
    assert len(receiver.received) == 1
    hurry(cases)
    assert notify.run_once(post).delivered == {"hook": 1}
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body)
    (delivery,) = deliveries(cases)
    assert delivery["state"] == "delivered"
    assert outcomes(delivery) == [(1, outcome, code), (2, "delivered", 200)]
    assert delivery["attempts"][1]["excerpt"] == ""


def test_a_receiver_that_asks_to_be_left_alone_is(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    post = replace(place(cases, tmp_path, hook(receiver)), wait=lambda _: 1.0)
    file(cases, "cat")
    receiver.script.append(status(429, Retry_After="7200"))
    notify.run_once(post)
    (delivery,) = deliveries(cases)
    due = datetime.fromisoformat(delivery["due_at"])
    assert timedelta(minutes=119) < due - datetime.now(UTC) < timedelta(minutes=121)


def test_it_is_given_up_in_the_end_and_can_be_begun_anew(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    post = replace(place(cases, tmp_path, hook(receiver)), wait=lambda _: 0.0)
    file(cases, "cat")
    receiver.reply = status(500)
    notify.run_once(post)
    (delivery,) = deliveries(cases, states=["failed"])
    assert delivery["tries"] == ATTEMPTS == len(delivery["attempts"])
    hurry(cases)
    notify.run_once(post)
    assert len(receiver.received) == ATTEMPTS
    receiver.reply = status(200)
    notify.redeliver(cases, delivery["id"])
    assert notify.run_once(post).delivered == {"hook": 1}
    notify.redeliver(cases, delivery["id"])
    assert notify.run_once(post).delivered == {"hook": 1}
    (delivery,) = deliveries(cases)
    assert delivery["state"] == "delivered"
    assert len(delivery["attempts"]) == ATTEMPTS + 2
    assert len(set(receiver.ids)) == 1
    with pytest.raises(NotFoundError, match="no delivery 99"):
        notify.redeliver(cases, 99)


def test_who_is_gone_is_left_alone_until_a_trial_arrives(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    endpoint = hook(receiver)
    post = place(cases, tmp_path, endpoint)
    first, second = file(cases, "cat"), file(cases, "oak")
    receiver.script.append(status(410))
    assert notify.run_once(post).problems["hook"] == "gone with 410"
    third = file(cases, "mug")
    assert notify.run_once(post).delivered == {}
    assert len(receiver.received) == 1
    assert [d["state"] for d in deliveries(cases)] == ["failed", "pending", "pending"]
    message, answer = notify.try_out(cases, endpoint)
    assert (answer.status, receiver.ids[-1]) == (200, message)
    assert said(receiver.received[-1])["type"] == "notify.test"
    assert notify.run_once(post).delivered == {"hook": 2}
    numbers = [said(one)["data"].get("request") for one in receiver.received]
    assert numbers == [first, None, second, third]


def test_one_that_hangs_holds_up_nobody_else_and_gets_one_attempt_a_round(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    with receiving() as stuck:
        stuck.reply = hang
        post = place(
            cases, tmp_path, hook(stuck, "stuck", timeout_s=3.0), hook(receiver, "well"),
            Endpoint("log", file=tmp_path / "log.jsonl"),
        )  # fmt: skip
        for _ in range(4):
            file(cases, "cat")
        round_ = threading.Thread(target=notify.run_once, args=(post,))
        begun = time.monotonic()
        round_.start()
        while len(receiver.received) < 4 and time.monotonic() - begun < 30:
            time.sleep(0.01)
        served = not stuck.released.is_set() and round_.is_alive()
        round_.join(60)
        assert len(receiver.received) == 4
        assert served
        assert len(stuck.received) == 1
        lines = (tmp_path / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in lines] == receiver.ids
        states = [(d["endpoint"], d["state"]) for d in deliveries(cases)]
        assert states.count(("stuck", "pending")) == 4
        assert (tmp_path / "log.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_message_that_is_refused_lets_the_later_ones_pass(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    post = place(cases, tmp_path, hook(receiver))
    numbers = [file(cases, "cat") for _ in range(3)]
    receiver.script.append(status(500))
    assert notify.run_once(post).delivered == {"hook": 2}
    hurry(cases)
    notify.run_once(post)
    found = [said(one)["data"]["request"] for one in receiver.received]
    assert found == [*numbers, numbers[0]]


def test_deadlines_are_told_once_each_and_again_when_they_were_moved(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    endpoint = hook(receiver, kinds=(DUE_SOON, OVERDUE))
    post = place(cases, tmp_path, endpoint)  # request 3 has 30 days
    assert notify.run_once(post).delivered == {}
    soon = datetime.now(UTC) + timedelta(days=3)
    raw(cases, f"UPDATE requests SET due_at = '{soon:%Y-%m-%d %H:%M:%S.%f}' WHERE id IN (1, 2, 3)")
    for _ in range(3):
        notify.run_once(post)
    (one,) = receiver.received  # 1 is released and 2 rejected: nobody waits for them
    assert said(one)["type"] == "request.due_soon"
    data = {"subject": "request:3", "request": 3, "state": "prepared"}
    assert said(one)["data"] == data | {"due_at": soon.isoformat()}
    past = datetime.now(UTC) - timedelta(days=1)
    raw(cases, f"UPDATE requests SET due_at = '{past:%Y-%m-%d %H:%M:%S.%f}' WHERE id = 3")
    for _ in range(3):
        notify.run_once(post)
    assert [said(one)["type"] for one in receiver.received[1:]] == ["request.overdue"]
    requests.extend(cases, "carla", 3, soon + timedelta(days=1), "more time")
    for _ in range(3):
        notify.run_once(post)
    assert [said(one)["type"] for one in receiver.received[2:]] == ["request.due_soon"]
    assert len(set(receiver.ids)) == 3


def test_a_failed_check_is_told_once_until_it_was_well_again(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    post = place(cases, tmp_path, hook(receiver))

    def check(*faults: tuple[str, str]) -> None:
        at = datetime.now(UTC).isoformat()
        write_check(post.checks, make_check(AUDIT, at, faults, 9, 0.1))
        notify.run_once(post)

    check()
    assert receiver.received == []
    check(("actor carla", "it is deactivated"))
    check(("actor carla", "it is deactivated"))
    assert len(receiver.received) == 1
    data = said(receiver.received[0])["data"]
    assert said(receiver.received[0])["type"] == INTEGRITY
    assert (data["found_by"], data["faults"]) == (AUDIT, 1)
    assert b"carla" not in receiver.received[0].body
    check(("event 7", "was altered"))
    check()
    check(("event 7", "was altered"))
    assert len(set(receiver.ids)) == len(receiver.received) == 3


def test_several_runners_at_once_deliver_once(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    endpoint = hook(receiver)
    post = place(cases, tmp_path, endpoint)
    for _ in range(12):
        file(cases, "cat")
    problems: list[BaseException] = []

    def work() -> None:
        try:
            notify.run_once(post)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert len(receiver.received) == len(set(receiver.ids)) == 12
    assert {d["state"] for d in deliveries(cases)} == {"delivered"}


def test_a_delivery_that_is_being_made_is_not_begun_anew(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    place(cases, tmp_path, hook(receiver))
    file(cases, "cat")
    with cases.write() as session:
        outbox.collect(session, {"hook": ("request.filed",)}, 2)
        claim = outbox.claim(session, "hook", timedelta(minutes=1))
        assert claim is not None
        assert outbox.claim(session, "hook", timedelta(minutes=1)) is None
    with pytest.raises(ConflictError, match="being made"):
        notify.redeliver(cases, claim.delivery)


def test_who_comes_back_late_changes_nothing_but_a_delivery(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    post = place(cases, tmp_path, hook(receiver))
    file(cases, "cat")
    lease = timedelta(minutes=1)
    with cases.write() as session:
        outbox.collect(session, {"hook": ("request.filed",)}, 3)
        slow = outbox.claim(session, "hook", lease)
    hurry(cases)
    with cases.write() as session:
        quick = outbox.claim(session, "hook", lease)
    assert slow is not None
    assert quick is not None
    failure = outbox.Ending("refused", 500, "", 1.0, gone=False, retry_in=timedelta())
    with cases.write() as session:
        outbox.record(session, slow, failure)
    (delivery,) = deliveries(cases)
    assert delivery["state"] == "pending"
    assert datetime.fromisoformat(delivery["due_at"]) > datetime.now(UTC) + timedelta(seconds=30)
    with cases.write() as session:
        outbox.record(session, slow, outbox.Ending("delivered", 200, "", 1.0, delivered=True))
        outbox.record(session, quick, failure)
    (delivery,) = deliveries(cases)
    assert delivery["state"] == "delivered"
    assert outcomes(delivery) == [
        (1, "interrupted", None), (1, "refused", 500), (1, "delivered", 200), (2, "refused", 500),
    ]  # fmt: skip
    assert notify.run_once(post).delivered == {}


RUN = """
import sys
from governance.ledger.database import Ledger
from governance.notifications import Endpoint, Notifications
from governance.workflow import notify
from pathlib import Path
url, hook, checks, moment = sys.argv[1:]
if moment == "recording":
    def die(*rest):
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    notify._record = die
endpoint = Endpoint("hook", url=hook, secret_variable="GOVERNANCE_WEBHOOK_TEST")
notify.run_once(notify.Post(Ledger(url), Notifications((endpoint,)), Path(checks)))
"""


def run_apart(ledger: Ledger, receiver: Receiver, tmp_path: Path, moment: str) -> Any:
    """A round in a process of its own."""
    url = ledger.engine.url.render_as_string(hide_password=False)
    line = [sys.executable, "-c", RUN, url, receiver.url(), str(tmp_path / "checks.jsonl"), moment]
    return subprocess.Popen(line, cwd=ROOT, env=os.environ | {VARIABLE: SECRET})


@pytest.mark.parametrize("moment", ["sending", "recording"])
def test_killed_between_sending_and_recording_it_is_delivered_again_under_the_same_id(
    cases: Ledger, receiver: Receiver, tmp_path: Path, moment: str
) -> None:
    post = place(cases, tmp_path, hook(receiver))
    file(cases, "cat")
    if moment == "sending":
        receiver.script.append(hang)
    process = run_apart(cases, receiver, tmp_path, moment)
    assert receiver.arrived.wait(60)
    if moment == "sending":
        process.kill()
    assert process.wait(60) == -signal.SIGKILL
    (delivery,) = deliveries(cases)
    assert (delivery["state"], delivery["tries"], delivery["attempts"]) == ("pending", 1, [])
    assert notify.run_once(post).delivered == {}  # the lease of the dead one still holds
    assert len(receiver.received) == 1
    hurry(cases)
    assert notify.run_once(post).delivered == {"hook": 1}
    assert len(receiver.received) == 2
    assert len(set(receiver.ids)) == 1
    (delivery,) = deliveries(cases)
    assert outcomes(delivery) == [(1, "interrupted", None), (2, "delivered", 200)]


def test_a_change_that_is_rolled_back_is_told_to_nobody(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    post = place(cases, tmp_path, hook(receiver))

    def change_and_fail() -> None:
        with cases.write() as session:
            append(session, "carla", "request.filed", "request:99", {"request": {"due_at": "x"}})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_and_fail()
    assert notify.run_once(post).delivered == {}
    assert deliveries(cases) == []


def test_collecting_that_is_rolled_back_is_collected_again_and_never_twice(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    post = place(cases, tmp_path, hook(receiver))
    numbers = [file(cases, "cat") for _ in range(2)]

    def collect_and_fail() -> None:
        with cases.write() as session:
            outbox.collect(session, {"hook": ("request.filed",)}, 3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        collect_and_fail()
    assert deliveries(cases) == []
    for _ in range(3):
        notify.collect(post)
    assert [d["subject"] for d in deliveries(cases)] == [f"request:{n}" for n in numbers]


def test_many_events_are_collected_a_chunk_at_a_time(
    cases: Ledger, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_CHUNK", 3)
    post = place(cases, tmp_path, hook(receiver, kinds=("request.filed",)))
    numbers = [file(cases, "cat") for _ in range(8)]
    requests.withdraw(cases, "carla", numbers[0], "over")
    notify.run_once(post)
    assert [said(one)["data"]["request"] for one in receiver.received] == numbers


def test_following_delivers_what_comes_and_ends_when_it_is_told_to(
    cases: Ledger, receiver: Receiver, tmp_path: Path
) -> None:
    post = place(cases, tmp_path, hook(receiver))
    stopping = threading.Event()
    runner = threading.Thread(target=notify.follow, args=(post, stopping, 0.02))
    runner.start()
    try:
        for number in range(1, 4):
            file(cases, "cat")
            deadline = time.monotonic() + 30
            while len(receiver.received) < number and time.monotonic() < deadline:
                time.sleep(0.01)
            assert len(receiver.received) == number
    finally:
        stopping.set()
        runner.join(30)
    assert not runner.is_alive()
    assert {d["state"] for d in deliveries(cases)} == {"delivered"}


def test_an_idle_round_writes_nothing(cases: Ledger, receiver: Receiver, tmp_path: Path) -> None:
    post = place(cases, tmp_path, hook(receiver))
    notify.run_once(post)

    def forbidden() -> None:
        pytest.fail("it wrote")

    write: Callable[..., Any] = forbidden
    cases.write = write  # type: ignore[method-assign]
    notify.run_once(post)


def test_waits_grow_with_jitter_up_to_a_day() -> None:
    for number, wait in ((1, 5), (2, 30), (3, 180), (7, 86_400), (10, 86_400)):
        found = {notify.wait_s(number) for _ in range(200)}
        assert min(found) >= 0.75 * wait
        assert max(found) <= 1.25 * wait
        assert max(found) - min(found) > 0.2 * wait
