"""Personal data of a case: attached, held, erased for good, while the log holds as before."""

import base64
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from governance.audit.verify import verify
from governance.digests import load_json
from governance.errors import IntegrityError, InvalidInputError, NotFoundError, RefusedError
from governance.evidence.cipher import Cipher
from governance.ledger.database import Ledger
from governance.ledger.lookup import find_request
from governance.ledger.private import LOCKED
from governance.ledger.retention import due, ended_at
from governance.ledger.types import now
from governance.policy import Retention
from governance.reports.document import request_document
from governance.reports.records import request_record
from governance.states import Basis, Role
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import actors, cases, policies, prepare, requests
from governance.workflow.attachments import MAX_BYTES, Attachment, clean_name
from governance.workflow.tools import Tools
from tests.databases import Databases, make_template
from tests.keys import KEYS
from tests.ledger import case
from tests.ledger.tampering import raw, tamper
from tests.workflow.helpers import actions, dump

SECRETS = ("Xaver-Reason", "Xaver-Subject", "Xaver-Comment", "Xaver-File", "Xaver-Content")
CIPHER = Cipher([base64.urlsafe_b64encode(b"1" * 32).decode()])
OTHER = Cipher([base64.urlsafe_b64encode(b"2" * 32).decode()])


@pytest.fixture(scope="session")
def peopled(databases: Databases, migrated: str) -> str:
    """A template with people, a model that is only a prompt bank, and a data set."""

    def furnish(ledger: Ledger) -> None:
        case.add_people(ledger)
        actors.add(ledger, "ada", "otto", [Role.AUDITOR])
        case.add_model(ledger)
        case.add_dataset(ledger)

    return make_template(databases, furnish, migrated)


@pytest.fixture
def make(copy_ledger: Callable[[str], Ledger], peopled: str) -> Callable[..., Ledger]:
    """Fresh ledgers, with or without a data key."""

    def new(cipher: Cipher | None = None) -> Ledger:
        ledger = copy_ledger(peopled)
        ledger.cipher = cipher
        return ledger

    return new


@pytest.fixture
def small(make: Callable[..., Ledger]) -> Ledger:
    return make()


def file(ledger: Ledger, retention: str | None = None) -> int:
    """A request with a text of each kind but a comment."""
    return requests.file(
        ledger, "carla", "shop", [Target("mug", None)], Basis.BIAS, "Xaver-Reason",
        "Xaver-Subject", retention=retention,
        attachments=[Attachment.of("Xaver-File.bin", b"\0Xaver-Content" * 3_000)],
        again=True,
    ).number  # fmt: skip


def rejected(ledger: Ledger, retention: str | None = None) -> int:
    number = file(ledger, retention)
    requests.reject(ledger, "dmitri", number, "Xaver-Comment")
    return number


ON_DISK = pytest.mark.only("sqlite")
"""PostgreSQL's files belong to its server; what stays in them is tested by `test_postgresql_…`."""


def on_disk(ledger: Ledger) -> set[str]:
    """Which secrets stand in the database's files."""
    path = Path(ledger.url.removeprefix("sqlite:///"))
    files = [found for found in path.parent.iterdir() if found.name.startswith(path.name)]
    return {secret for secret in SECRETS if any(secret.encode() in f.read_bytes() for f in files)}


def payload(ledger: Ledger, action: str) -> dict[str, object]:
    """Payload of the newest event of a kind."""
    query = text("SELECT payload FROM events WHERE action = :action ORDER BY seq DESC LIMIT 1")
    with ledger.connect() as connection:
        found = load_json(connection.execute(query, {"action": action}).scalar_one())
    assert isinstance(found, dict)
    return found


# Attachments.


def test_attachments_come_back_as_they_were_and_the_log_knows_who_took_them(small: Ledger) -> None:
    number = file(small)
    assert cases.attach(small, "carla", number, "letters/two words.pdf", b"%PDF") == 2
    assert cases.read_attachment(small, "otto", number, 2) == ("two words.pdf", b"%PDF")
    assert actions(small)[-2:] == ["request.attached", "attachment.exported"]
    assert set(payload(small, "attachment.exported")) == {"attachment", "commitment"}
    for wrong in (0, 3):
        with pytest.raises(NotFoundError, match=f"no attachment {wrong}"):
            cases.read_attachment(small, "carla", number, wrong)
    with pytest.raises(RefusedError, match=r"attachment\.export needs"):
        cases.read_attachment(small, "mona", number, 1)
    assert verify(small).ok


def test_several_files_are_attached_together_or_not_at_all(small: Ledger) -> None:
    number = file(small)
    files = [Attachment.of("a", b"a"), Attachment.of("b", b"b")]
    assert cases.attach_all(small, "carla", number, files) == 3
    assert len(payload(small, "request.attached")["texts"]) == 2  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match=r"request\.attach needs"):
        cases.attach_all(small, "mona", number, files)


def test_empty_and_huge_files_are_not_taken(small: Ledger) -> None:
    number = file(small)
    before = dump(small)
    with pytest.raises(InvalidInputError, match="must not be empty"):
        cases.attach(small, "carla", number, "x", b"")
    with pytest.raises(InvalidInputError, match="20 MiB"):
        cases.attach(small, "carla", number, "x", bytes(MAX_BYTES + 1))
    assert dump(small) == before
    cases.attach(small, "carla", number, "x", bytes(MAX_BYTES))


@given(st.text(max_size=300))
def test_a_cleaned_name_can_be_shown_and_written(name: str) -> None:
    cleaned = clean_name(name)
    assert clean_name(cleaned) == cleaned
    assert 0 < len(cleaned) <= 120
    assert not set(cleaned) & set("/\\\n\r\t\0")
    assert all(unicodedata.category(c)[0] != "C" for c in cleaned)
    assert cleaned not in (".", "..")
    cleaned.encode()


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("../../etc/passwd", "passwd"), ("C:\\Users\\x\\scan.pdf", "scan.pdf"), ("a\nb", "ab"),
        ("evil\u202efdp.exe", "evilfdp.exe"), ("..", "attachment"), ("", "attachment"),
        ("ü" * 200 + ".pdf", "ü" * 116 + ".pdf"),
    ],
)  # fmt: skip
def test_names_are_cleaned(given_name: str, kept: str) -> None:
    assert clean_name(given_name) == kept


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    files=st.lists(st.tuples(st.text(max_size=50), st.binary(min_size=1, max_size=9_000)), max_size=4),
    reason=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip),
    encrypted=st.booleans(),
)  # fmt: skip
def test_whatever_is_attached_is_committed_to_read_and_erased(
    make: Callable[..., Ledger],
    files: list[tuple[str, bytes]],
    reason: str,
    encrypted: bool,
) -> None:
    ledger = make(CIPHER if encrypted else None)
    attached = [Attachment.of(name, content) for name, content in files]
    number, _ = requests.file(
        ledger, "carla", "shop", [Target("mug", None)], Basis.BIAS, reason, attachments=attached
    )
    for position, what in enumerate(attached, start=1):
        found = cases.read_attachment(ledger, "carla", number, position)
        assert found == (what.name, what.content)
    with ledger.read() as session:
        assert request_record(find_request(session, number))["reason"] == reason
    requests.withdraw(ledger, "carla", number, reason)
    assert verify(ledger).ok
    cases.redact(ledger, "carla", number, "asked for")
    assert verify(ledger).faults == ()
    with ledger.read() as session:
        record = request_record(find_request(session, number))
        assert record["reason"] is None
        assert all(a["erased"] and a["name"] is a["bytes"] is None for a in record["attachments"])


# Legal hold.


@ON_DISK
def test_a_hold_stops_redaction_until_it_is_lifted_and_the_refusal_is_an_event(
    small: Ledger,
) -> None:
    number = rejected(small)
    with pytest.raises(RefusedError, match="not on hold"):
        cases.lift(small, "carla", number, "x")
    cases.hold(small, "carla", number, "suit 12/26")
    with pytest.raises(RefusedError, match="on hold already"):
        cases.hold(small, "carla", number, "again")
    with pytest.raises(RefusedError, match="on legal hold") as caught:
        cases.redact(small, "carla", number, "asked for")
    assert caught.value.exit_code == 3
    assert actions(small)[-1] == "request.refused"
    assert payload(small, "request.refused")["attempt"] == "redact"
    assert on_disk(small) == set(SECRETS)
    cases.lift(small, "carla", number, "suit settled")
    cases.redact(small, "carla", number, "asked for")
    assert payload(small, "request.held") == {
        "from": "rejected", "to": "rejected", "reason": "suit 12/26"
    }  # fmt: skip
    assert verify(small).ok


@pytest.mark.parametrize("verb", [cases.hold, cases.lift, cases.redact])
def test_each_needs_a_reason_and_a_role(
    small: Ledger, verb: Callable[[Ledger, str, int, str], object]
) -> None:
    number = rejected(small)
    with pytest.raises(InvalidInputError, match="reason is needed"):
        verb(small, "carla", number, " ")
    with pytest.raises(RefusedError, match="needs admin or compliance"):
        verb(small, "mona", number, "x")


# Redaction.


@ON_DISK
def test_redaction_erases_every_text_from_the_files_and_nothing_from_the_proofs(
    small: Ledger,
) -> None:
    number, other = rejected(small), file(small)
    events = dump(small)["events"]
    assert on_disk(small) == set(SECRETS)
    cases.redact(small, "carla", number, "asked for")
    assert on_disk(small) == set(SECRETS) - {"Xaver-Comment"}  # the other request has the rest
    requests.withdraw(small, "carla", other, "Xaver-Reason two")
    cases.redact(small, "carla", other, "asked for")
    assert on_disk(small) == set()
    assert dump(small)["events"][: len(events)] == events
    assert verify(small).faults == ()
    assert payload(small, "request.redacted") == {
        "from": "withdrawn", "to": "withdrawn", "reason": "asked for", "erased": 4
    }  # fmt: skip


@ON_DISK
@pytest.mark.parametrize("size", [1, 900, 4_000, 5_000, 70_000, 2_000_000])
def test_erased_bytes_are_gone_whatever_their_size(small: Ledger, size: int) -> None:
    content = (b"Xaver-Content" * (size // 13 + 1))[: max(size, 13)]
    numbers = [file(small) for _ in range(4)]
    for number in numbers:
        cases.attach(small, "carla", number, "Xaver-File", content)
        requests.withdraw(small, "carla", number, "Xaver-Comment")
    assert on_disk(small) == set(SECRETS)
    for number in numbers:
        cases.redact(small, "carla", number, "asked for")
    assert on_disk(small) == set()


@ON_DISK
def test_a_reader_that_stays_keeps_the_write_ahead_log_and_somebody_is_told(
    small: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("governance.ledger.database._LOCK_TIMEOUT_S", 1)
    small = Ledger(small.url, KEYS)
    number = rejected(small)
    with small.read():
        left = cases.redact(small, "carla", number, "asked for")
        assert left is not None
        assert "governance db scrub" in left
        assert on_disk(small) == set(SECRETS)
    assert small.scrub() is None
    assert on_disk(small) == set()
    small.dispose()


def test_only_what_has_ended_is_redacted_and_only_once(small: Ledger) -> None:
    number = file(small)
    with pytest.raises(RefusedError, match=r"is filed; only what has ended \(closed, rejected"):
        cases.redact(small, "carla", number, "asked for")
    requests.reject(small, "dmitri", number)
    cases.redact(small, "carla", number, "asked for")
    for verb in (cases.redact, cases.hold):
        with pytest.raises(RefusedError, match="is redacted"):
            verb(small, "carla", number, "again")
    with pytest.raises(RefusedError, match="nothing is added"):
        cases.attach(small, "carla", number, "late", b"late")
    with pytest.raises(NotFoundError, match="was erased"):
        cases.read_attachment(small, "carla", number, 1)
    assert verify(small).ok


def test_an_erasure_that_the_log_does_not_know_is_found(small: Ledger) -> None:
    number = rejected(small)
    query = "UPDATE private_texts SET salt = NULL, name = NULL, content = NULL WHERE id = 2"
    raw(small, query)  # the guard allows what erases
    found = verify(small)
    assert [(f.where, f.problem) for f in found.faults] == [
        (
            f"private text 2 of request {number}",
            "it is erased, but the log says otherwise",
        )
    ]


def test_a_text_that_was_only_said_to_be_erased_is_found(
    small: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = rejected(small)
    monkeypatch.setattr(cases, "erase", lambda _: None)
    cases.redact(small, "carla", number, "asked for")
    assert {f.problem for f in verify(small).faults} == {
        "it is still there, but the log says otherwise"
    }


# PostgreSQL.


@pytest.mark.only("postgresql")
def test_postgresql_writes_the_table_anew_for_its_owner_and_tells_others(
    small: Ledger, as_owner: Callable[[Ledger], Ledger]
) -> None:
    number = rejected(small)
    left = cases.redact(small, "carla", number, "asked for")
    assert left is not None
    assert "VACUUM FULL private_texts" in left
    owner = as_owner(small)
    pages = "SELECT pg_relation_filepath('private_texts')"
    with owner.connect() as connection:
        before = connection.execute(text(pages)).scalar_one()
    assert owner.scrub() is None
    with owner.connect() as connection:
        assert connection.execute(text(pages)).scalar_one() != before
    assert verify(small).ok


@pytest.mark.only("postgresql")
def test_postgresql_does_not_wait_for_ever(
    small: Ledger, as_owner: Callable[[Ledger], Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("governance.ledger.database._LOCK_TIMEOUT_S", 1)
    file(small)
    with small.read() as session:
        assert find_request(session, 1).texts
        left = as_owner(small).scrub()
    assert left is not None
    assert "others use the table" in left


# Retention.


def test_what_is_due_follows_the_policy_the_end_and_holds(small: Ledger) -> None:
    short, standard, held, open_ = (
        rejected(small, "short"), rejected(small), rejected(small, "short"), file(small, "short")
    )  # fmt: skip
    cases.hold(small, "carla", held, "suit")
    rules = Retention()

    def found(days: int) -> list[int]:
        with small.read() as session:
            return [r.id for r, _ in due(session, rules, now() + timedelta(days=days))]

    assert found(29) == []
    assert found(31) == [short]
    assert found(3 * 365 + 1) == [short, standard]
    with small.read() as session:
        assert ended_at(session, [find_request(session, open_)]) == {}
        record = request_record(find_request(session, short))
        assert record["keep_until"] is not None
        assert request_record(find_request(session, open_))["keep_until"] is None


def test_redacting_what_is_due_says_why(small: Ledger) -> None:
    now_, later = rejected(small, "short"), rejected(small)
    assert cases.redact_due(small, "carla") == ([], None)
    with small.read() as session:
        rules, _ = policies.current(session)
    days = dict(rules.retention.days) | {"short": 0}
    policies.adopt(small, "ada", replace(rules, retention=Retention("standard", days)), "test")
    assert cases.redact_due(small, "carla")[0] == [now_]
    assert "retention period of the class short ended on" in str(
        payload(small, "request.redacted")["reason"]
    )
    with small.read() as session:
        assert not find_request(session, later).redacted
    with pytest.raises(RefusedError, match=r"request\.redact needs"):
        cases.redact_due(small, "mona")
    assert verify(small).ok


def test_a_class_that_the_policy_forgot_is_kept(small: Ledger) -> None:
    number = rejected(small, "litigation")
    with small.read() as session:
        rules, _ = policies.current(session)
    policies.adopt(small, "ada", replace(rules, retention=Retention("short", {"short": 0})), "test")
    assert cases.redact_due(small, "carla") == ([], None)
    with small.read() as session:
        assert request_record(find_request(session, number))["keep_until"] is None


# Encryption at rest.


@ON_DISK
def test_encrypted_texts_are_not_in_the_files_and_read_as_before(
    make: Callable[..., Ledger],
) -> None:
    ledger = make(CIPHER)
    number = rejected(ledger)
    assert on_disk(ledger) == set()
    with ledger.connect() as connection:
        rows = connection.execute(text("SELECT DISTINCT scheme, salt, name FROM private_texts"))
        assert [tuple(row) for row in rows] == [("fernet", None, None)]
    with ledger.read() as session:
        record = request_record(find_request(session, number))
    assert (record["reason"], record["subject_ref"]) == ("Xaver-Reason", "Xaver-Subject")
    assert record["attachments"][0]["name"] == "Xaver-File.bin"
    assert record["decisions"][0]["comment"] == "Xaver-Comment"
    assert verify(ledger).ok
    assert "private texts" not in verify(ledger).unchecked


def test_without_the_key_texts_are_locked_and_the_audit_says_so(
    make: Callable[..., Ledger],
) -> None:
    number = rejected(ledger := make(CIPHER))
    ledger.cipher = None
    with ledger.read() as session:
        record = request_record(find_request(session, number))
    assert record["reason"] == record["attachments"][0]["name"] == LOCKED
    found = verify(ledger)
    assert found.ok
    assert found.unchecked["private texts"].startswith("4 are encrypted")
    with pytest.raises(RefusedError, match="data key is not here"):
        cases.read_attachment(ledger, "carla", number, 1)
    with pytest.raises(RefusedError, match="texts of this ledger are encrypted"):
        file(ledger)
    cases.redact(ledger, "carla", number, "erasing needs no key")
    assert "private texts" not in verify(ledger).unchecked


def test_another_key_and_a_changed_byte_are_faults(make: Callable[..., Ledger]) -> None:
    rejected(ledger := make(CIPHER))
    ledger.cipher = OTHER
    found = verify(ledger)
    assert len(found.faults) == 4
    assert "it cannot be decrypted" in found.faults[0].problem
    with (
        ledger.read() as session,
        pytest.raises(IntegrityError, match="private text 1 of request 1: it cannot be decrypted"),
    ):
        request_record(find_request(session, 1))
    ledger.cipher = CIPHER
    tamper(ledger, "UPDATE private_texts SET content = substr(content, 1, 99) WHERE id = 2")
    assert "private text 2 of request 1" in [fault.where for fault in verify(ledger).faults]


def test_an_older_key_still_reads_and_plain_texts_stay_readable(
    make: Callable[..., Ledger],
) -> None:
    plain = file(ledger := make())
    ledger.cipher = CIPHER
    old = file(ledger)
    both = Cipher([base64.urlsafe_b64encode(byte * 32).decode() for byte in (b"2", b"1")])
    ledger.cipher = both
    new = file(ledger)
    with ledger.read() as session:
        for number in (plain, old, new):
            assert request_record(find_request(session, number))["reason"] == "Xaver-Reason"
    ledger.cipher = OTHER
    with ledger.read() as session:
        assert request_record(find_request(session, new))["reason"] == "Xaver-Reason"


# Nowhere else.


@pytest.mark.parametrize("cipher", [None, CIPHER], ids=["plain", "encrypted"])
def test_no_text_ever_reaches_the_log_or_mlflow(
    make: Callable[..., Ledger], tmp_path: Path, cipher: Cipher | None
) -> None:
    from governance.registry import Registry

    ledger = make(cipher)
    store = tmp_path / "mlflow"
    store.mkdir()
    registry = Registry(f"sqlite:///{store}/mlflow.db", store / "artifacts")
    tools = Tools(ledger, registry, case.RandomEncoder())  # type: ignore[arg-type]
    number = file(ledger)
    prepare.prepare(tools, "mona", number, "eval", Recipe.of("redirect"))
    requests.approve(ledger, "dmitri", number, "Xaver-Comment")
    with pytest.raises(RefusedError):
        requests.reject(ledger, "dmitri", number, "Xaver-Comment")
    requests.withdraw(ledger, "carla", number, "Xaver-Reason")
    with pytest.raises(RefusedError):
        requests.withdraw(ledger, "carla", number, "Xaver-Reason")
    with pytest.raises(RefusedError):
        cases.attach(ledger, "mona", number, "Xaver-File", b"Xaver-Content")
    with ledger.read() as session:
        shown = str(request_document(session, find_request(session, number)))
    assert "Xaver-Reason" in shown  # the report shows what the log does not hold
    tables = {name: str(rows) for name, rows in dump(ledger).items() if name != "private_texts"}
    found = [(s, name) for s in SECRETS for name, rows in tables.items() if s in rows]
    assert found == []
    files = [path for path in store.rglob("*") if path.is_file()]
    assert any(path.name == "recipe.json" for path in files)
    assert [path for path in files if b"Xaver" in path.read_bytes()] == []
