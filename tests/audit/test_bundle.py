"""Bundles hold, are the same each time, and no byte of them can be changed unseen."""

import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from governance.audit import verify_bundle as verifier
from governance.audit.bundle import Signer, build
from governance.audit.bundle_contents import Scope
from governance.audit.verify import verify as verify_ledger
from governance.digests import load_json
from governance.errors import NotFoundError, RefusedError
from governance.evidence.cipher import Cipher
from governance.ledger.checkpoints import take
from governance.ledger.database import Ledger
from governance.workflow import actors, cases
from governance.workflow.bundles import export
from tests.audit.bundle_case import build as build_case
from tests.audit.bundle_case import bundle, members_of, write
from tests.audit.forgery import events_of
from tests.audit.hostile import key_of
from tests.workflow.helpers import actions

SCOPES = ("all", "request", "version", "texts")


@pytest.mark.parametrize("scope", SCOPES)
def test_an_untouched_bundle_holds(bundles: dict[str, Path], scope: str) -> None:
    outcome = verifier.verify(bundles[scope])
    assert outcome.first_bad is None
    assert [step.outcome for step in outcome.steps if step.number not in (6, 7)] == ["holds"] * 10
    assert [step.skipped for step in outcome.steps if step.number == 6] == [
        "no --checkpoint was given"
    ]


def test_break_glass_and_overrides_are_loud(bundles: dict[str, Path]) -> None:
    outcome = verifier.verify(bundles["all"])
    assert len(outcome.loud) == 2
    override = "OVERRIDE: ada let request 4 pass although guard drop was not measured"
    assert override in outcome.to_text()
    assert "BREAK-GLASS: ada approved request 4 without four eyes" in outcome.to_text()
    page = members_of(bundles["all"])["index.html"].decode()
    assert "BREAK-GLASS" in page
    assert override in page
    sheet = members_of(bundles["all"])["overrides.csv"].decode()
    assert "request:4,ada," in sheet
    assert "there are no other classes" in sheet
    assert "break-glass: without four eyes" in page
    assert verifier.verify(bundles["request"]).loud == []


def test_an_unpacked_bundle_holds(bundles: dict[str, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(bundles["all"]) as archive:
        archive.extractall(tmp_path / "case")
    assert verifier.verify(tmp_path / "case").ok
    (tmp_path / "case" / "more.txt").write_text("x")
    assert verifier.verify(tmp_path / "case").first_bad == "more.txt is not in the manifest"


def test_a_bundle_of_a_request_holds_only_what_concerns_it(bundles: dict[str, Path]) -> None:
    subjects = {entry["subject"] for entry in events_of(members_of(bundles["request"]))}
    assert {name for name in subjects if name.startswith(("request", "version"))} == {
        "request:1", "request:2", "version:shop/2", "version:shop/3",
    }  # fmt: skip
    assert len(events_of(members_of(bundles["version"]))) < len(
        events_of(members_of(bundles["all"]))
    )


def test_private_texts_stay_at_home_unless_asked_for(bundles: dict[str, Path]) -> None:
    for scope in ("all", "request", "version"):
        members = members_of(bundles[scope])
        assert "texts.json" not in members
        for name, content in members.items():
            for secret in (b"because", b"case 7", b"agreed", b"the court waits", b"no ground"):
                assert secret not in content, name
    texts = json.loads(members_of(bundles["texts"])["texts.json"])
    assert {text["words"] for text in texts} >= {"because", "case 7", "agreed", "the court waits"}
    unchecked = verifier.verify(bundles["all"]).unchecked
    assert any("private texts" in line for line in unchecked)


def test_no_digest_that_stays_in_the_log_lets_anybody_guess_an_erased_text(
    bundles: dict[str, Path],
) -> None:
    """The log keeps the digest of the manifest, which covers texts.json: each text is there beside its random salt."""
    members = members_of(bundles["texts"])
    texts = json.loads(members.pop("texts.json"))
    assert len({text["salt"] for text in texts}) == len(texts)
    assert all(len(bytes.fromhex(text["salt"])) == 32 for text in texts)
    for name, content in members.items():
        for text in texts:
            assert text["words"].encode() not in content, name
            assert text["salt"].encode() not in content, name


def test_encrypted_texts_leave_with_the_key_only(
    copy_ledger: Callable[[str], Ledger], migrated: str, tmp_path: Path
) -> None:
    ledger = copy_ledger(migrated)
    ledger.cipher = Cipher([base64.urlsafe_b64encode(b"1" * 32).decode()])
    build_case(ledger)
    cases.attach(ledger, "carla", 5, "writ.pdf", b"%PDF")
    path = bundle(ledger, Scope(), tmp_path / "texts.zip", texts=True)
    texts = json.loads(members_of(path)["texts.json"])
    assert {text["name"] for text in texts} == {None, "writ.pdf"}
    assert "because" in {text["words"] for text in texts}
    outcome = verifier.verify(path)
    assert outcome.ok
    assert outcome.steps[11].said == ["the log committed to 14 texts; the bundle opens 14"]
    ledger.cipher = None
    with pytest.raises(RefusedError, match="the data key is not here"):
        bundle(ledger, Scope(), tmp_path / "locked.zip", texts=True)
    assert verifier.verify(bundle(ledger, Scope(), tmp_path / "without.zip")).ok


def test_an_erased_text_is_named_as_not_checked(trail: Ledger, tmp_path: Path) -> None:
    before = members_of(bundle(trail, Scope(request=3), tmp_path / "one.zip", texts=True))
    assert b"no ground" in before["texts.json"]
    cases.redact(trail, "carla", 3, "over")
    path = bundle(trail, Scope(request=3), tmp_path / "one.zip", texts=True)
    outcome = verifier.verify(path)
    assert outcome.ok
    assert any(line.startswith("3 private texts") for line in outcome.unchecked)
    assert b"no ground" not in b"".join(members_of(path).values())
    requests = json.loads(members_of(path)["requests.json"])
    assert [row["redacted"] for row in requests] == [True]


@pytest.mark.parametrize(
    "scope", [Scope(), Scope(request=1), Scope(model="shop", version=3)], ids=str
)
def test_the_same_content_gives_the_same_bytes(trail: Ledger, scope: Scope, tmp_path: Path) -> None:
    signer = Signer("otto", key_of(trail, "otto"))
    made, size = [], export(trail, "otto", scope, tmp_path / "x.zip").size
    for _ in range(2):
        out = io.BytesIO()
        with trail.read() as session:
            build(session, scope, signer, size, texts=True).write(out)
        made.append(out.getvalue())
    assert made[0] == made[1]


def test_an_export_is_an_event_that_names_the_manifest(trail: Ledger, tmp_path: Path) -> None:
    before = actions(trail)
    done = export(trail, "otto", Scope(request=1), tmp_path / "new" / "one.zip")
    assert actions(trail) == [*before, "checkpoint.taken", "bundle.exported"]
    manifest = members_of(done.path)["manifest.json"]
    assert done.manifest == verifier.digest(manifest)
    later = bundle(trail, Scope(), tmp_path / "all.zip")
    entry = events_of(members_of(later))[-1]
    assert entry["subject"] == f"bundle:{done.manifest[7:23]}"
    assert entry["payload"]["manifest"] == done.manifest
    assert load_json(manifest.decode())["size"] == len(before)
    assert verify_ledger(trail).ok
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.zip"]


def test_exporting_needs_the_role_and_a_case(trail: Ledger, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"audit\.export needs"):
        export(trail, "mona", Scope(), tmp_path / "x.zip")
    assert actions(trail)[-1] == "bundle.refused"
    for scope in (Scope(request=99), Scope(version=99), Scope(model="nowhere", version=1)):
        with pytest.raises(NotFoundError):
            export(trail, "otto", scope, tmp_path / "x.zip")
    assert list(tmp_path.glob("*x.zip*")) == []
    actors.deactivate(trail, "ada", "otto", "left")
    assert verifier.verify(bundle_by(trail, "ada", tmp_path / "y.zip")).ok


def bundle_by(ledger: Ledger, actor: str, path: Path) -> Path:
    return export(ledger, actor, Scope(), path).path


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("scope", SCOPES)
def test_no_byte_of_any_member_can_be_flipped(
    bundles: dict[str, Path], scope: str, tmp_path: Path
) -> None:
    members = members_of(bundles[scope])
    assert len(members) > 20
    for name, content in members.items():
        for place in sorted({0, len(content) // 3, len(content) // 2, len(content) - 1}):
            if not content:
                continue
            changed = bytearray(content)
            changed[place] ^= 1
            path = write(tmp_path / "bad.zip", {**members, name: bytes(changed)})
            try:
                assert not verifier.verify(path).ok, (name, place)
            except verifier.Unreadable:
                assert name == "manifest.json"


@pytest.mark.only("sqlite")
def test_members_cannot_be_removed_added_or_renamed(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    members = members_of(bundles["all"])
    path = tmp_path / "bad.zip"
    for name in members:
        rest = {other: content for other, content in members.items() if other != name}
        if name == "manifest.json":
            with pytest.raises(verifier.Unreadable, match=r"holds no manifest\.json"):
                verifier.verify(write(path, rest))
            continue
        outcome = verifier.verify(write(path, rest))
        assert outcome.first_bad == f"{name} is missing"
        renamed = {**rest, f"{name}.old": members[name]}
        assert not verifier.verify(write(path, renamed)).ok
    outcome = verifier.verify(write(path, {**members, "arrays/00.bin": b""}))
    assert outcome.first_bad == "arrays/00.bin is not in the manifest"


def test_two_members_cannot_be_exchanged(bundles: dict[str, Path], tmp_path: Path) -> None:
    members = members_of(bundles["all"])
    one, other = [name for name in members if name.startswith("reports/")][:2]
    members[one], members[other] = members[other], members[one]
    outcome = verifier.verify(write(tmp_path / "bad.zip", members))
    assert outcome.first_bad is not None
    assert "was altered" in outcome.first_bad


@pytest.mark.only("sqlite")
def test_what_is_read_does_not_grow_with_unrelated_events(trail: Ledger) -> None:
    """A ledger of ten times as many events costs a few more hashes and not one more row of the log."""
    counts = [_queries(trail)]
    for _ in range(2000):
        try:
            export(trail, "mona", Scope(), Path("never.zip"))
        except RefusedError:
            continue
    counts.append(_queries(trail))
    (statements, selected), (more_statements, more_selected) = counts
    assert more_selected == selected + 1  # the first head
    assert more_statements <= statements + 30


def _signed(ledger: Ledger) -> int:
    """Size of a fresh head."""
    with ledger.write() as session:
        return take(session, "otto").size


def _queries(ledger: Ledger) -> tuple[int, int]:
    """Statements that a bundle of request 1 takes, and events in it."""
    seen = []

    def note(conn, cursor, statement, parameters, context, many):  # type: ignore[no-untyped-def]
        seen.append(statement)

    size, signer = _signed(ledger), Signer("otto", key_of(ledger, "otto"))
    with ledger.read() as session:
        event.listen(ledger.engine, "before_cursor_execute", note)
        try:
            made = build(session, Scope(request=1), signer, size)
        finally:
            event.remove(ledger.engine, "before_cursor_execute", note)
    content = made.members["events.jsonl"]
    assert not isinstance(content, bytes)
    whole = [s for s in seen if "FROM events" in s and "WHERE" not in s]
    assert whole == []
    return len(seen), sum(1 for _ in content())
