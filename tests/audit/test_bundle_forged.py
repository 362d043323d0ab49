"""A dishonest exporter redoes everything that plain arithmetic and their own key reach; it is found all the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance.audit import verify_bundle as verifier
from governance.audit.bundle_contents import Scope
from governance.digests import canonical_json, load_json
from governance.evidence.note import Checkpoint
from governance.ledger.checkpoints import key_name, origin, take
from governance.ledger.database import Ledger
from governance.ledger.events import head
from governance.ledger.tree import root
from governance.policy import Policy, Quorum
from governance.states import Basis, Role
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import actors, policies, prepare, requests
from governance.workflow.tools import Tools
from tests.audit.bundle_case import bundle, members_of, write
from tests.audit.forgery import Events, Members, events_of, remade, rewrite, signer
from tests.audit.hostile import key_of
from tests.fakes import FakeRegistry
from tests.ledger.case import RandomEncoder
from tests.policies import OPEN


def first(events: Events, action: str) -> dict[str, Any]:
    return next(event for event in events if event["action"] == action)


def another_approver(events: Events) -> None:
    event = first(events, "request.approved")
    event["actor"] = event["payload"]["decision"]["actor"] = "otto"


def another_projector(events: Events) -> None:
    first(events, "request.approved")["payload"]["decision"]["projector_digest"] = verifier.GENESIS


def exchanged_signatures(events: Events) -> None:
    one, other = [e for e in events if e["actor"] == "mona" and e["action"] == "request.prepared"][
        :2
    ]
    one["signature"], other["signature"] = other["signature"], one["signature"]


def backdated(events: Events) -> None:
    first(events, "request.approved")["at"] = first(events, "request.prepared")["at"]


def without_break_glass(events: Events) -> None:
    for event in events:
        if event["payload"].get("decision", {}).get("break_glass"):
            event["payload"]["decision"]["break_glass"] = False


def unsigned(events: Events) -> None:
    event = first(events, "request.filed")
    event["key_id"] = event["signature"] = None


@pytest.mark.parametrize(
    "change",
    [
        another_approver,
        another_projector,
        exchanged_signatures,
        backdated,
        without_break_glass,
        unsigned,
    ],
)
def test_a_changed_event_is_found_by_its_signature(
    bundles: dict[str, Path], tmp_path: Path, change: Callable[[Events], None]
) -> None:
    forged = rewrite(members_of(bundles["all"]), change)
    outcome = verifier.verify(write(tmp_path / "bad.zip", forged))
    assert [step.outcome for step in outcome.steps][:2] == ["holds", "holds"]
    assert outcome.steps[2].problems


def test_rewriting_nothing_is_no_forgery(bundles: dict[str, Path], tmp_path: Path) -> None:
    forged = rewrite(members_of(bundles["all"]), lambda _: None)
    assert verifier.verify(write(tmp_path / "same.zip", forged)).ok


def test_a_cut_event_is_found(bundles: dict[str, Path], tmp_path: Path) -> None:
    def cut(events: Events) -> None:
        del events[12]

    outcome = verifier.verify(write(tmp_path / "bad.zip", rewrite(members_of(bundles["all"]), cut)))
    assert outcome.first_bad is not None
    assert "event before event 14 is missing" in outcome.first_bad


def altered(members: Members, name: str, change: Callable[[Any], None]) -> Members:
    value = load_json(members[name].decode())
    change(value)
    return remade({**members, name: (canonical_json(value) + "\n").encode()})


def test_a_text_that_reads_otherwise_is_found(bundles: dict[str, Path], tmp_path: Path) -> None:
    for change in (
        lambda rows: rows[0].update(words="something else"),
        lambda rows: rows[0].update(salt=rows[1]["salt"]),
        lambda rows: rows[0].update(request=2),
    ):
        forged = altered(members_of(bundles["texts"]), "texts.json", change)
        outcome = verifier.verify(write(tmp_path / "bad.zip", forged))
        assert len(outcome.steps[11].problems) == 1


TABLES: dict[str, Callable[[Any], None]] = {
    "requests.json": lambda rows: rows[0].update(state="filed"),
    "decisions.json": lambda rows: rows[0]["facts"].update(actor="otto"),
    "projectors.json": lambda rows: rows[0]["recipe"]["hyperparameters"].update(mu=2.0),
    "versions.json": lambda rows: rows[1]["recipe"].update(format=3),
    "models.json": lambda rows: rows[0]["labels"]["classes"].reverse(),
    "datasets.json": lambda rows: rows[0]["facts"].update(images=1),
    "policy.json": lambda value: value["policies"].clear(),
    "keys.json": lambda rows: rows[0].update(valid_until=3),
    "arrays.json": lambda table: table.popitem(),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("scope", ["all", "request"])
def test_a_changed_table_contradicts_the_events(
    bundles: dict[str, Path], tmp_path: Path, scope: str, name: str
) -> None:
    forged = altered(members_of(bundles[scope]), name, TABLES[name])
    outcome = verifier.verify(write(tmp_path / "bad.zip", forged))
    assert not outcome.ok
    assert outcome.steps[0].outcome == "holds"


def test_a_proof_of_another_event_is_found(bundles: dict[str, Path], tmp_path: Path) -> None:
    def swap(value: Any) -> None:
        proofs = value["inclusion"]
        one, other = sorted(proofs)[:2]
        proofs[one], proofs[other] = proofs[other], proofs[one]

    forged = altered(members_of(bundles["request"]), "proofs.json", swap)
    outcome = verifier.verify(write(tmp_path / "bad.zip", forged))
    assert outcome.first_bad is not None
    assert "is not proven to be in the log" in outcome.first_bad


def test_a_statement_about_something_else_is_found(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    members = members_of(bundles["all"])
    one, other = "attestations/shop-2-approval.dsse.json", "attestations/shop-3-approval.dsse.json"
    forged = remade({**members, one: members[other], other: members[one]})
    assert verifier.verify(write(tmp_path / "same.zip", forged)).ok  # only names were exchanged
    outcome = verifier.verify(write(tmp_path / "bad.zip", remade({**members, one: members[other]})))
    assert outcome.steps[10].problems == [
        "version 2 of shop has no statement urn:clip-governance:approval:v1"
    ]


def test_somebody_elses_manifest_is_found(bundles: dict[str, Path], tmp_path: Path) -> None:
    forged = remade(members_of(bundles["all"]), exported_by="carla")
    outcome = verifier.verify(write(tmp_path / "bad.zip", forged))
    assert outcome.steps[4].problems


def note_of(ledger: Ledger) -> bytes:
    """A checkpoint of the ledger as it is, taken by ada and kept elsewhere."""
    with ledger.write() as session:
        return take(session, "ada").note.encode()


def test_a_rewritten_log_is_found_by_a_checkpoint_from_elsewhere(
    copy_ledger: Callable[[str], Ledger], trail_template: str, tmp_path: Path
) -> None:
    """Whoever has all the keys can make another history; only what they gave away before shows it."""
    trail, other = copy_ledger(trail_template), copy_ledger(trail_template)
    kept = tmp_path / "kept.txt"
    requests.withdraw(trail, "carla", 5, "one history")
    kept.write_bytes(note_of(trail))
    requests.withdraw(other, "carla", 5, "another history")
    requests.file(other, "carla", "shop", [Target("mug", None)], Basis.BIAS, "more")
    forged = bundle(other, Scope(), tmp_path / "forged.zip")
    assert verifier.verify(forged).ok
    outcome = verifier.verify(forged, kept)
    assert outcome.first_bad is not None
    assert "are others than those the checkpoint vouches for" in outcome.first_bad
    honest = bundle(trail, Scope(), tmp_path / "honest.zip")
    found = verifier.verify(honest, kept)
    assert found.ok
    assert found.steps[5].outcome == "holds"


def test_a_cut_tail_is_found_by_a_checkpoint_from_elsewhere(
    trail: Ledger, bundles: dict[str, Path], tmp_path: Path
) -> None:
    bundle(trail, Scope(), tmp_path / "x.zip")
    kept = tmp_path / "kept.txt"
    kept.write_bytes(note_of(trail))
    outcome = verifier.verify(bundles["all"], kept)
    assert outcome.first_bad is not None
    assert "the tail was cut, or the bundle is older" in outcome.first_bad


def test_every_head_that_the_ledger_signed_can_be_held_against_a_later_bundle(
    trail: Ledger, tmp_path: Path
) -> None:
    kept = [note_of(trail), note_of(trail)]
    kept += [head_of(bundle(trail, Scope(request=1), tmp_path / "earlier.zip"))]
    for scope in (Scope(), Scope(request=1), Scope(version=2)):
        path = bundle(trail, scope, tmp_path / "linked.zip")
        members = members_of(path)
        assert verifier.verify(path).ok
        for note in kept:
            (tmp_path / "note.txt").write_bytes(note)
            assert verifier.verify(path, tmp_path / "note.txt").steps[5].outcome == "holds"

        def cut(value: Any) -> None:
            value["consistency"][0]["proof"].pop()

        outcome = verifier.verify(write(tmp_path / "bad.zip", altered(members, "proofs.json", cut)))
        assert "is not proven to begin with that" in str(outcome.first_bad)
        first = min(name for name in members if name.startswith("checkpoints/"))
        rest = {name: content for name, content in members.items() if name != first}
        outcome = verifier.verify(write(tmp_path / "bad.zip", remade(rest)))
        size = int(members[first].split(b"\n")[1])
        assert outcome.first_bad == f"the head of {size} events is missing"


def head_of(path: Path) -> bytes:
    """The newest checkpoint in a bundle."""
    members = members_of(path)
    return members[max(name for name in members if name.startswith("checkpoints/"))]


def test_a_selection_needs_a_proof_to_the_checkpoint(trail: Ledger, tmp_path: Path) -> None:
    """One that was signed with a key of the ledger, but never put into it."""
    with trail.read() as session:
        size, _, at = head(session)
        name = origin(session)
        note = Checkpoint(name, size, root(session, size), at)
    kept = tmp_path / "kept.txt"
    kept.write_text(note.sign(key_of(trail, "ada"), key_name(name, "ada")))
    actors.add(trail, "ada", "zoe", [Role.AUDITOR])
    outcome = verifier.verify(bundle(trail, Scope(request=1), tmp_path / "one.zip"), kept)
    assert outcome.first_bad is not None
    assert "has no proof from a head of" in outcome.first_bad
    assert verifier.verify(bundle(trail, Scope(), tmp_path / "all.zip"), kept).ok


def test_a_checkpoint_of_another_log_or_by_nobody_is_refused(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    note = next(c for n, c in members_of(bundles["all"]).items() if n.startswith("checkpoints/"))
    kept = tmp_path / "kept.txt"
    kept.write_bytes(note.replace(b"clip-governance/ledger/", b"clip-governance/other/", 1))
    assert "of another log" in str(verifier.verify(bundles["all"], kept).first_bad)
    kept.write_bytes(b"nonsense")
    assert "cannot be read" in str(verifier.verify(bundles["all"], kept).first_bad)
    lines = note.decode().splitlines()
    who = Checkpoint(lines[0], int(lines[1]), verifier.unbase64(lines[2]), lines[3][5:])
    kept.write_text(who.sign(signer(members_of(bundles["all"])).key, "somebody"))
    assert "no key of this ledger signed" in str(verifier.verify(bundles["all"], kept).first_bad)


def test_trusted_keys_say_how_far_they_vouch(bundles: dict[str, Path], tmp_path: Path) -> None:
    path = bundles["all"]
    keys = load_json(members_of(path)["keys.json"].decode())
    ada = next(row["key_id"] for row in keys if row["actor"] == "ada")
    outcome = verifier.verify(path, trusted=[ada])
    assert outcome.ok
    assert any("ada" in line and "vouches for the first" in line for line in outcome.steps[6].said)
    assert any("no key that you trust signed after it" in line for line in outcome.unchecked)
    outcome = verifier.verify(path, trusted=[signer(members_of(path)).key.key_id])
    assert not any("no key that you trust" in line for line in outcome.unchecked)
    stranger = Ed25519PrivateKey.generate().public_key()
    pem = tmp_path / "stranger.pem"
    pem.write_bytes(
        stranger.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    assert "does not know the key" in str(verifier.verify(path, trusted=[str(pem)]).first_bad)
    pem.write_text("nonsense")
    with pytest.raises(verifier.Unreadable, match="holds no Ed25519"):
        verifier.verify(path, trusted=[str(pem)])


def test_the_quorum_of_that_time_counts(trail: Ledger, tmp_path: Path) -> None:
    """Whoever could slip a single approval past a quorum of two would be found by the replay."""
    policies.adopt(trail, "ada", Policy(OPEN, Quorum(default=2)), "two of us")
    number, _ = requests.file(trail, "carla", "shop", [Target("oak", None)], Basis.BIAS, "because")
    tools = Tools(trail, FakeRegistry(), RandomEncoder())  # type: ignore[arg-type]
    prepare.prepare(tools, "mona", number, "eval", Recipe.of("redirect"))
    requests.approve(trail, "dmitri", number)
    requests.approve(trail, "ada", number)
    path = bundle(trail, Scope(request=number), tmp_path / "two.zip")
    assert verifier.verify(path).ok
    replay = verifier.Replay(False)
    problems: list[str] = []
    for entry in events_of(members_of(path)):
        line = canonical_json(entry).encode()
        event = verifier.read_event(line)
        if event.action == "request.endorsed":
            continue
        problems += replay.read(event)
    assert problems == [
        "it counts 2 of 2 approvals, not 1 of 2",
        "1 approved, but the policy demanded 2",
    ]
