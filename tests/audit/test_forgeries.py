"""Forged events and rewritten logs: by the database's owner alone, and together with the key of one actor."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from governance.audit.verify import verify
from governance.digests import load_json
from governance.evidence.keys import SigningKey
from governance.ledger.database import Ledger
from governance.ledger.guards import missing
from governance.ledger.judgement import judge_request, judge_version
from governance.ledger.lookup import find_model, find_request, find_version
from governance.policy import Policy
from governance.states import Role
from tests.audit.forgery import told
from tests.audit.hostile import Values, attack, change, forge, key_of, peek, remove, rewrite
from tests.ledger.full_case import take_checkpoint
from tests.ledger.tampering import dump, raw

STRANGER = SigningKey.generate()
LATER = "2099-01-01T00:00:00.000000+00:00"


def faults(ledger: Ledger) -> list[tuple[str, str]]:
    return [(fault.where, fault.problem) for fault in verify(ledger).faults]


def payload_of(ledger: Ledger, action: str, subject: str | None = None) -> Any:
    """Payload of the newest event of that action."""
    found = [
        e
        for e in peek(ledger, "events")
        if e["action"] == action and subject in (None, e["subject"])
    ]
    return load_json(found[-1]["payload"])


def decision(ledger: Ledger, actor: str, **different: Any) -> Values:
    """An approval of request 3, which is prepared, as the workflow would record it."""
    prepared = payload_of(ledger, "request.prepared", "request:3")
    facts = {
        "ruling": "approval",
        "actor": actor,
        "decided_at": peek(ledger, "events")[-1]["at"],
        "projector_digest": prepared["projector"]["digest"],
        "report_digest": prepared["report"]["digest"],
        "policy_digest": peek(ledger, "policies")[-1]["digest"],
        "break_glass": False,
        "comment": None,
    } | different
    return {
        "from": "prepared",
        "to": "prepared",
        "decision": facts,
        "texts": [],
        "approvals": 1,
        "quorum": 2,
        **judged(ledger, 3),
    }


def judged(ledger: Ledger, request: int) -> Values:
    """Gates of a request as the workflow would record them."""
    with ledger.read() as session:
        return judge_request(session, find_request(session, request)).to_dict()


def promoted_again(ledger: Ledger) -> Values:
    """Version 3 promoted once more, under the policy in force now."""
    with ledger.read() as session:
        version = find_version(session, find_model(session, "shop"), 3)
        judgement = judge_version(session, version)
    said = payload_of(ledger, "version.promoted") | judgement.to_dict()
    del said["override"]
    return said | {"from": 3, "to": 3, "policy_digest": judgement.policy}


def spite(ledger: Ledger, actor: str, about: str, gates: list[Values]) -> Values:
    """An override as the workflow would record it."""
    at = peek(ledger, "events")[-1]["at"]
    return {"actor": actor, "about": about, "gates": gates, "reason": "x", "overridden_at": at}


def failing(said: Values) -> Values:
    """The same with the first gate failed."""
    first, *others = said["gates"]
    return said | {"gates": [first | {"value": 2.0, "passed": False}, *others]}


@pytest.mark.parametrize(
    ("who", "key", "problem"),
    [
        ("eva", None, "is not signed"),
        ("eva", STRANGER, "is signed with a key that was not eva's at that point"),
        ("eva", "mona", "is signed with a key that was not eva's at that point"),
        ("mona", "mona", "mona had no role for request.decide"),
        ("ada", "ada", "it counts 1 of 1 approvals, not 1 of 2"),
        ("gone", STRANGER, "is signed with a key that was not gone's at that point"),
    ],
)
def test_a_forged_decision_is_found(
    full: Ledger, who: str, key: SigningKey | str | None, problem: str
) -> None:
    signer = key_of(full, key) if isinstance(key, str) else key
    said = decision(full, who) | ({"quorum": 1} if who == "ada" else {})
    attack(full, lambda c: forge(c, who, "request.endorsed", "request:3", said, signer))
    last = len(peek(full, "events"))
    assert faults(full)[0] == (f"event {last}", problem)


def test_a_decision_by_the_person_who_filed_is_found(full: Ledger) -> None:
    """An admin may file and approve, but not the same request."""
    admin = key_of(full, "ada")
    filed = payload_of(full, "request.filed", "request:3")
    filed["request"] |= {"filed_by": "ada"}
    filed["texts"] = []
    prepared = payload_of(full, "request.prepared", "request:3")
    prepared["projector"]["prepared_by"] = "ada"
    said = decision(full, "ada")  # reads the ledger, and would wait for the locks of the attack

    def forge_all(connection: Connection) -> int:
        forge(connection, "ada", "request.filed", "request:99", filed, admin)
        forge(connection, "ada", "request.prepared", "request:99", prepared, admin)
        return forge(connection, "ada", "request.endorsed", "request:99", said, admin)

    last = attack(full, forge_all)
    problem = "four eyes: ada filed or prepared the request that they approved"
    assert (f"event {last}", problem) in faults(full)


def lie(ledger: Ledger, name: str) -> tuple[str, str, str, Values, str]:
    """Actor, action, subject, payload and what verification says of it."""
    version = payload_of(ledger, "version.registered")
    promoted = payload_of(ledger, "version.promoted")
    digest = version["version"]["digest"]
    match name:
        case "quorum not reached":
            said = decision(ledger, "eva") | {"to": "approved"}
            return (
                "eva",
                "request.approved",
                "request:3",
                said,
                "1 approved, but the policy demanded 2",
            )
        case "approvals miscounted":
            said = decision(ledger, "eva") | {"approvals": 2}
            return "eva", "request.endorsed", "request:3", said, "it counts 2 of 2 approvals"
        case "a rejection called approval":
            said = decision(ledger, "eva") | {"to": "rejected"}
            return "eva", "request.rejected", "request:3", said, "is recorded as approval"
        case "an older policy":
            said = decision(ledger, "eva", policy_digest=peek(ledger, "policies")[0]["digest"])
            return "eva", "request.endorsed", "request:3", said, "another actor or policy"
        case "another projector":
            said = decision(ledger, "eva", projector_digest=peek(ledger, "projectors")[0]["digest"])
            return "eva", "request.endorsed", "request:3", said, "another projector or report"
        case "an emergency by an approver":
            said = decision(ledger, "eva", break_glass=True)
            return "eva", "request.endorsed", "request:3", said, "no role for request.break-glass"
        case "an emergency without a word":
            said = decision(ledger, "ada", break_glass=True) | {"to": "approved"}
            return "ada", "request.approved", "request:3", said, "needs a comment"
        case "a backdated decision":
            said = decision(ledger, "eva", decided_at=LATER)
            return "eva", "request.endorsed", "request:3", said, "another time than the event's"
        case "other states":
            said = decision(ledger, "eva") | {"to": "approved"}
            return "eva", "request.endorsed", "request:3", said, "other states than those"
        case "a shorter deadline":
            due = peek(ledger, "requests")[2]["due_at"].isoformat()
            said = {
                "from": "prepared",
                "to": "prepared",
                "was_due_at": due + "+00:00",
                "due_at": "2026-01-01T00:00:00+00:00",
            }
            return "carla", "request.extended", "request:3", said, "to a later day"
        case "prepared for somebody else":
            said = payload_of(ledger, "request.prepared", "request:3")
            said["projector"]["prepared_by"] = "gone"
            return (
                "mona",
                "request.prepared",
                "request:3",
                said,
                "it was prepared by mona, not gone",
            )
        case "a report on another projector":
            said = payload_of(ledger, "request.evaluated") | {"from": "prepared", "to": "prepared"}
            return (
                "mona",
                "request.evaluated",
                "request:3",
                said,
                "another projector than the newest",
            )
        case "applied in a version that lacks it":
            said = {"from": "approved", "to": "applied", "version": 3, "version_digest": digest}
            return "mona", "request.applied", "request:5", said, "that version lacks the request"
        case "released by an approver":
            said = {"from": "applied", "to": "released", "version": 3, "version_digest": digest}
            return (
                "eva",
                "request.released",
                "request:4",
                said,
                "eva had no role for version.promote",
            )
        case "reinstated from a version that holds it":
            said = {"from": "released", "to": "reinstated", "version": 3, "version_digest": digest}
            return "mona", "request.reinstated", "request:4", said, "that version holds the request"
        case "a version of what is not approved":
            said = version["version"] | {
                "number": 4, "parent": 3, "active_requests": [3],
                "projectors": [payload_of(ledger, "request.prepared", "request:3")["projector"]["digest"]],
            }  # fmt: skip
            return (
                "mona",
                "version.registered",
                "version:shop/4",
                {"version": said, "reports": []},
                "was not approved",
            )
        case "a version that skips a number":
            said = {"version": version["version"] | {"number": 9}, "reports": []}
            return "mona", "version.registered", "version:shop/9", said, "does not follow version 3"
        case "a promotion without gates":
            said = {"alias": "champion", "from": 3, "to": 2}
            return "mona", "version.promoted", "version:shop/2", said, "without its gates"
        case "a promotion that brings back":
            said = {"alias": "champion", "from": 3, "to": 2, "rollback": True}
            return "mona", "version.promoted", "version:shop/2", said, "it brings request 4 back"
        case "invented gate values":
            said = promoted_again(ledger)
            said["gates"] = [gate | {"value": -0.5} for gate in said["gates"]]
            return "mona", "version.promoted", "version:shop/3", said, INVENTED
        case "a limit that is not the policy's":
            said = promoted_again(ledger)
            said["gates"][0]["limit"] = 0.001
            return "mona", "version.promoted", "version:shop/3", said, INVENTED
        case "a gate left out":
            said = promoted_again(ledger)
            return (
                "mona", "version.promoted", "version:shop/3", said | {"gates": said["gates"][1:]},
                INVENTED,
            )  # fmt: skip
        case "gates of an older policy":
            said = promoted_again(ledger) | {"policy_digest": peek(ledger, "policies")[0]["digest"]}
            return "mona", "version.promoted", "version:shop/3", said, "those of another policy"
        case "a failed gate":
            said = failing(promoted_again(ledger))
            return "mona", "version.promoted", "version:shop/3", said, "and nobody overrode it"
        case "invented gate values of an approval":
            said = decision(ledger, "eva")
            said["gates"] = [gate | {"value": -0.5} for gate in said["gates"]]
            return "eva", "request.endorsed", "request:3", said, INVENTED
        case "an approval on other reports":
            said = decision(ledger, "eva") | {"report_digests": []}
            return "eva", "request.endorsed", "request:3", said, "other reports than its own"
        case "an approval of what failed":
            said = failing(decision(ledger, "eva"))
            return "eva", "request.endorsed", "request:3", said, "and nobody overrode it"
        case "an override of other gates":
            said = failing(promoted_again(ledger))
            said["override"] = spite(ledger, "mona", said["version_digest"], said["gates"][1:])
            return "mona", "version.promoted", "version:shop/3", said, "other gates than those that"
        case "an override in another's name":
            said = failing(decision(ledger, "eva"))
            about = said["decision"]["projector_digest"]
            said["override"] = spite(ledger, "ada", about, said["gates"][:1])
            return "eva", "request.endorsed", "request:3", said, "somebody else's"
        case "an override of nothing":
            said = decision(ledger, "eva")
            said["override"] = spite(ledger, "eva", said["decision"]["projector_digest"], [])
            return "eva", "request.endorsed", "request:3", said, "other gates than those that"
        case "an override without a reason":
            said = failing(decision(ledger, "eva"))
            about = said["decision"]["projector_digest"]
            said["override"] = spite(ledger, "eva", about, said["gates"][:1]) | {"reason": " "}
            return "eva", "request.endorsed", "request:3", said, "an override needs a reason"
        case "a policy that locks everybody out":
            said = policy(ledger, Policy(roles={"request.decide": frozenset()}))
            return "ada", "policy.adopted", "policy:ledger", said, "makes no sense"
        case "another production alias":
            said = policy(ledger, Policy(production="live"))
            return "ada", "policy.adopted", "policy:ledger", said, "another production alias"
        case "gates on other reports":
            said = promoted | {"from": 3, "to": 3, "report_digests": []}
            return "mona", "version.promoted", "version:shop/3", said, "other reports than its own"
        case "a rollback to what was never served":
            said = {"alias": "champion", "from": 1, "to": 7, "rollback": True}
            return "mona", "version.promoted", "version:shop/7", said, "makes no sense"
        case "an actor added again":
            said = payload_of(ledger, "actor.added", "actor:zoe")
            said["actor"]["roles"] = ["admin"]
            return "ada", "actor.added", "actor:zoe", said, "makes no sense"
        case "a key that two share":
            said = payload_of(ledger, "actor.added", "actor:zoe")
            said["actor"] |= {"name": "twin"}
            return "ada", "actor.added", "actor:twin", said, "a key that was announced before"
        case "somebody else's key retired":
            public = STRANGER.public
            keys = {
                row["key_id"] for row in peek(ledger, "actor_keys") if row["retired_at"] is None
            }
            new = {
                "key_id": public.key_id,
                "public_key": public.to_base64(),
                "added_at": peek(ledger, "events")[-1]["at"],
            }
            return (
                "mona",
                "actor.key_rotated",
                "actor:mona",
                {"key": new, "retired": sorted(keys)},
                "other keys than those of mona",
            )
        case "somebody who deactivates themselves":
            return (
                "ada",
                "actor.deactivated",
                "actor:ada",
                {"reason": "x"},
                "nobody deactivates themselves",
            )
        case "a policy by an approver":
            said = payload_of(ledger, "policy.adopted")
            return (
                "eva",
                "policy.adopted",
                "policy:ledger",
                said,
                "eva had no role for policy.adopt",
            )
        case "a policy in another's name":
            said = payload_of(ledger, "policy.adopted")
            said["policy"]["adopted_by"] = "carla"
            return "ada", "policy.adopted", "policy:ledger", said, "makes no sense"
        case "a model registered again":
            return (
                "mona",
                "model.registered",
                "model:shop",
                payload_of(ledger, "model.registered"),
                "makes no sense",
            )
        case "a checkpoint of the future":
            said = payload_of(ledger, "checkpoint.taken")
            said["checkpoint"]["size"] = 5000
            return (
                "zoe",
                "checkpoint.taken",
                "checkpoint:5000",
                said,
                "events that were not there yet",
            )
        case "a checkpoint with another's key":
            said = payload_of(ledger, "checkpoint.taken")
            said["checkpoint"]["key_id"] = STRANGER.key_id
            return "zoe", "checkpoint.taken", "checkpoint:5", said, "signed with another key"
        case "a request on another number":
            return "carla", "request.withdrawn", "request:03", {}, "makes no sense"
        case "an action on something else":
            return "ada", "actor.deactivated", "request:3", {}, "makes no sense"
        case "a redaction on hold":
            said = {"from": "approved", "to": "approved", "reason": "x"}
            return "carla", "request.redacted", "request:5", said, "a legal hold forbids"
        case _:
            raise AssertionError(name)


INVENTED = "its gates are not those that its reports and the policy give"


def policy(ledger: Ledger, rules: Policy) -> Values:
    """A policy as the workflow would record it."""
    adopted = {
        "digest": rules.digest,
        "adopted_by": "ada",
        "adopted_at": peek(ledger, "events")[-1]["at"],
    }
    return {"policy": adopted, "content": rules.to_dict(), "reason": "x"}


LIES = [
    "invented gate values", "a limit that is not the policy's", "a gate left out", "gates of an older policy",
    "invented gate values of an approval", "an approval on other reports", "an approval of what failed",
    "an override of other gates", "an override in another's name", "an override of nothing",
    "an override without a reason", "a policy that locks everybody out",
    "another production alias",
    "quorum not reached", "approvals miscounted", "a rejection called approval", "an older policy",
    "another projector", "an emergency by an approver", "an emergency without a word",
    "a backdated decision", "other states", "a shorter deadline", "prepared for somebody else",
    "a report on another projector", "applied in a version that lacks it", "released by an approver",
    "reinstated from a version that holds it", "a version of what is not approved",
    "a version that skips a number", "a promotion without gates", "a promotion that brings back",
    "a failed gate", "gates on other reports", "a rollback to what was never served",
    "an actor added again", "a key that two share", "somebody else's key retired",
    "somebody who deactivates themselves", "a policy by an approver", "a policy in another's name",
    "a model registered again", "a checkpoint of the future", "a checkpoint with another's key",
    "a request on another number", "an action on something else", "a redaction on hold",
]  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_what_a_valid_key_signs_must_be_true(full: Ledger, name: str) -> None:
    actor, action, subject, payload, problem = lie(full, name)
    key = key_of(full, actor)
    last = attack(full, lambda c: forge(c, actor, action, subject, payload, key))
    found = [said for where, said in faults(full) if where == f"event {last}"]
    assert any(problem in said for said in found), found


def test_a_ledger_that_nobody_could_repair_is_found(full: Ledger) -> None:
    """By the policy itself, or by deactivating the last person whom it names."""
    rules = Policy(roles={"policy.adopt": frozenset({Role.AUDITOR})})
    key, said = key_of(full, "ada"), policy(full, rules)
    reason = {"reason": "left"}

    def lock(connection: Connection) -> int:
        forge(connection, "ada", "policy.adopted", "policy:ledger", said, key)
        forge(connection, "ada", "actor.deactivated", "actor:zoe", reason, key)
        return forge(connection, "ada", "policy.adopted", "policy:ledger", said, key)

    last = attack(full, lock)
    problem = "nobody who was active could do policy.adopt any more"
    expected = {(f"event {last - 1}", problem), (f"event {last}", problem)}
    assert expected <= set(faults(full))
    assert {(last - 1, problem), (last, problem)} <= set(told(full))


def test_an_event_before_its_predecessor_is_found(full: Ledger) -> None:
    at, key = peek(full, "events")[0]["at"], key_of(full, "dmitri")
    said = {"attempt": "approve", "problem": "x"}
    last = attack(full, lambda c: forge(c, "dmitri", "request.refused", "request:3", said, key, at))
    where, problem = faults(full)[0]
    assert where == f"event {last}"
    assert "before its predecessor" in problem


@pytest.mark.parametrize("column", ["actor", "action", "subject", "payload", "at"])
def test_an_altered_event_with_new_digests_has_no_signature(full: Ledger, column: str) -> None:
    """Everybody's signatures after it break as well, for each is also over its predecessor's digest."""
    other = {"actor": "carla", "action": "request.refused", "subject": "request:2", "payload": "{}"}

    def edit(event: Values) -> None:
        if event["seq"] == 40:
            event[column] = other.get(column) or peek(full, "events")[38]["at"]

    attack(full, lambda c: rewrite(c, edit))
    found = [where for where, _ in faults(full)]
    assert found[0] == "event 40"
    assert "event 41" in found


def test_exchanged_signatures_are_found(full: Ledger) -> None:
    one, two = (event for event in peek(full, "events") if event["seq"] in (100, 200))
    given = {100: two["signature"], 200: one["signature"]}
    attack(full, lambda c: change(c, "events", one, signature=two["signature"]))
    assert faults(full)[0][0] == "event 100"
    attack(full, lambda c: change(c, "events", one, signature=one["signature"]))
    attack(
        full,
        lambda c: rewrite(c, lambda e: e.update(signature=given.get(e["seq"], e["signature"]))),
    )
    assert faults(full)[0] == ("event 100", "has a signature that is not dmitri's")


def test_exchanged_notes_of_checkpoints_are_found(full: Ledger) -> None:
    one, two, *_ = peek(full, "checkpoints")

    def exchange(connection: Connection) -> None:
        change(connection, "checkpoints", one, note=two["note"])
        change(connection, "checkpoints", two, note=one["note"])

    attack(full, exchange)
    assert ("checkpoint 1", "its note speaks of another size or root") in faults(full)


def test_a_log_rewritten_with_own_keys_is_found_by_its_signatures(full: Ledger) -> None:
    attack(full, lambda c: rewrite(c, lambda event: None, lambda event: STRANGER))
    assert faults(full)[0] == ("event 1", "is signed with a key that was not ada's at that point")


def test_a_log_rewritten_with_all_keys_replaced_is_found_by_a_checkpoint_kept_outside(
    full: Ledger,
) -> None:
    """Within itself it holds: that is why heads are kept elsewhere."""
    kept = peek(full, "checkpoints")[0]["note"]
    events = peek(full, "events")
    rotation = next(e["seq"] for e in events if e["action"] == "actor.key_rotated")
    own: dict[tuple[str, bool], SigningKey] = {}

    def keys(event: Values) -> SigningKey:
        name = event["actor"]
        rotated = name == "mona" and event["seq"] > rotation
        return own.setdefault((name, rotated), SigningKey.generate())

    everybody = [row["name"] for row in peek(full, "actors")]
    attack(full, lambda c: rewrite(c, lambda event: None, keys, everybody))
    assert verify(full).ok
    found = verify(full, notes={"the safe": kept}).faults
    assert found[-1].where == "the safe"
    assert "another log" in found[-1].problem


def test_a_tail_cut_with_everything_that_belongs_to_it_is_found_by_a_checkpoint_kept_outside(
    full: Ledger,
) -> None:
    def cut(connection: Connection) -> None:
        for row in events:
            remove(connection, "events", row)
        remove(connection, "checkpoints", newest)

    take_checkpoint(full)
    events, newest = peek(full, "events")[-1:], peek(full, "checkpoints")[-1]
    attack(full, cut)
    assert verify(full).ok  # nothing within it can tell
    take = newest["note"]
    found = verify(full, notes={"the safe": take}).faults
    assert found == ()  # the cut event is the checkpoint's own, behind what it vouches for
    before = peek(full, "events")[-1:]
    row = peek(full, "checkpoints")[-1]

    def further(connection: Connection) -> None:
        for event in before:
            remove(connection, "events", event)
        remove(connection, "checkpoints", row)

    attack(full, further)
    assert verify(full).ok
    (fault,) = verify(full, notes={"the safe": take}).faults
    assert fault.where == "the safe"
    assert "the tail was cut" in fault.problem


def test_one_flipped_byte_of_any_array_is_found(full: Ledger) -> None:
    for row in peek(full, "arrays"):
        for place in {0, len(row["data"]) // 2, len(row["data"]) - 1} if row["data"] else ():
            data = bytearray(row["data"])
            data[place] ^= 1
            attack(full, lambda c, row=row, data=data: change(c, "arrays", row, data=bytes(data)))
            found = verify(full, signatures=False).faults
            assert [fault.where for fault in found] == [f"array {row['digest']}"]
            attack(full, lambda c, row=row: change(c, "arrays", row, data=row["data"]))


def test_a_text_that_is_erased_without_an_event_is_found(full: Ledger) -> None:
    row = peek(full, "private_texts")[0]
    attack(full, lambda c: change(c, "private_texts", row, salt=None, name=None, content=None))
    name = "private text 1 of request 1"
    assert faults(full) == [(name, "it is erased, but the log says otherwise")]


@pytest.mark.only("sqlite")
@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("actors SET added_at = 'never'", "table actors"),
        ("actors SET roles = 'no JSON'", "table actors"),
        ("decisions SET actor = CAST(x'ff' AS TEXT)", "table decisions"),
        ("projectors SET recipe = '{}' WHERE id = 1", "projector 1 of request 1"),
        ("projectors SET recipe = 'no JSON' WHERE id = 1", "table projectors"),
        ("checkpoints SET taken_at = 'never'", "table checkpoints"),
        ("evaluation_reports SET content = '{}' WHERE id = 1", "report 1"),
        ("events SET actor = CAST(x'ff' AS TEXT) WHERE seq = 5", "event 5"),
        ("events SET payload = x'00' WHERE seq = 5", "event 5"),
    ],
)
def test_a_value_of_another_form_is_a_fault_and_no_crash(
    full: Ledger, change: str, where: str
) -> None:
    """SQLite takes anything in any column."""
    attack(full, lambda c: c.execute(text(f"UPDATE {change}")))
    assert where in [fault.where for fault in verify(full, signatures=False).faults]


@pytest.mark.only("sqlite")
def test_triggers_that_are_gone_or_do_nothing_are_found(full: Ledger) -> None:
    found = text("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'")
    with full.engine.connect() as connection:
        triggers = connection.execute(found).fetchall()
    assert len(triggers) > 40
    for name, table, sql in triggers:
        when = sql.split(f"{name} ")[1].split(" ON ")[0]
        for instead in (None, f"CREATE TRIGGER {name} {when} ON {table} BEGIN SELECT 1; END"):
            with full.engine.begin() as connection:
                connection.execute(text(f"DROP TRIGGER {name}"))
                if instead is not None:
                    connection.exec_driver_sql(instead)
            with full.engine.connect() as connection:
                assert missing(connection) == [f"the trigger {name} is missing or was altered"]
            with full.engine.begin() as connection:
                connection.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
                connection.exec_driver_sql(sql)
    with full.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER events_no_delete"))
    assert faults(full) == [
        ("the schema", "the trigger events_no_delete is missing or was altered")
    ]


@pytest.mark.only("sqlite")
def test_insert_or_replace_is_stopped_by_triggers_and_found_without_them(full: Ledger) -> None:
    before = dump(full)
    other = "SELECT 5, at, 'eve', action, subject, payload, prev_digest, key_id, signature, digest"
    replace = text(f"INSERT OR REPLACE INTO events {other} FROM events WHERE seq = 5")
    with pytest.raises(Exception, match=r"append-only|follow the head"), full.engine.begin() as c:
        c.execute(replace)
    assert dump(full) == before
    attack(full, lambda c: c.execute(replace))
    assert faults(full) == [("event 5", "was altered: its content has another digest")]


@pytest.mark.only("postgresql")
@pytest.mark.parametrize(
    "change",
    [
        "DROP TRIGGER events_append ON events",
        "ALTER TABLE events DISABLE TRIGGER events_no_change",
        "CREATE OR REPLACE FUNCTION governance_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN NEW; END $$",
        "ALTER TABLE decisions DISABLE TRIGGER ALL",
    ],
)
def test_guards_of_postgresql_that_are_gone_or_do_nothing_are_found(
    cases: Ledger, change: str
) -> None:
    raw(cases, change)
    faults = verify(cases).faults
    assert faults
    assert {fault.where for fault in faults} == {"the schema"}
