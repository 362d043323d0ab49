"""Notes and checkpoints: the vectors of Go's sumdb/note, every malformed note, every changed byte."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.errors import GovernanceError, IntegrityError, InvalidInputError
from governance.evidence.keys import PublicKey, SigningKey
from governance.evidence.merkle import EMPTY_ROOT
from governance.evidence.note import (
    Checkpoint,
    Note,
    NoteSignature,
    key_hash,
    parse,
    parse_note,
    sign_note,
    verify,
    verify_note,
)
from tests.evidence.outside import accepted
from tests.evidence.vectors import (
    ENOCH,
    ENOCH_LINE,
    NOTE_TEXT,
    PETER,
    PETER_LINE,
    PETER_PRIVATE,
    ROOTS,
)


def verifier(line: str) -> tuple[str, bytes, PublicKey]:
    """Name, hash and key of Go's ``name+hash+base64(type ‖ key)``."""
    name, digits, data = line.split("+", 2)
    raw = base64.b64decode(data)
    assert raw[0] == 1
    return name, bytes.fromhex(digits), PublicKey(raw[1:])


PETER_NAME, PETER_HASH, PETER_KEY = verifier(PETER)
ENOCH_NAME, ENOCH_HASH, ENOCH_KEY = verifier(ENOCH)
PETER_SIGNS = SigningKey.from_seed(base64.b64decode(PETER_PRIVATE.split("+", 4)[4])[1:])
BOTH = {PETER_NAME: PETER_KEY, ENOCH_NAME: ENOCH_KEY}

ORIGIN = "clip-governance/ledger/0123456789abcdef"
NAME = f"{ORIGIN}/ada"
KEY = SigningKey.from_seed(bytes(range(32)))
HEAD = Checkpoint(ORIGIN, 8, ROOTS[7], "2026-03-01T12:00:00.000001+00:00")
SIGNED = HEAD.sign(KEY, NAME)


def test_key_hashes_and_signature_of_the_reference_note() -> None:
    assert key_hash(PETER_NAME, PETER_KEY) == PETER_HASH
    assert key_hash(ENOCH_NAME, ENOCH_KEY) == ENOCH_HASH
    assert PETER_SIGNS.public == PETER_KEY
    assert str(sign_note(NOTE_TEXT, PETER_SIGNS, PETER_NAME)) == f"{NOTE_TEXT}\n{PETER_LINE}"


def test_the_reference_note_verifies_with_either_key_and_with_both() -> None:
    note = parse_note(f"{NOTE_TEXT}\n{PETER_LINE}{ENOCH_LINE}")
    assert note.text == NOTE_TEXT
    peter, enoch = note.signatures
    assert verify_note(note, BOTH) == (peter, enoch)
    assert verify_note(note, {PETER_NAME: PETER_KEY}) == (peter,)
    assert verify_note(note, {ENOCH_NAME: [PETER_KEY, ENOCH_KEY]}) == (enoch,)
    for unknown in ({}, {PETER_NAME: ENOCH_KEY}, {"Peter": PETER_KEY}, {PETER_NAME: []}):
        with pytest.raises(
            IntegrityError, match=r"^no known key signed the note, only PeterNeumann, EnochRoot$"
        ):
            verify_note(note, unknown)


def test_a_known_key_whose_signature_fails_spoils_the_note() -> None:
    peter, enoch = parse_note(f"{NOTE_TEXT}\n{PETER_LINE}{ENOCH_LINE}").signatures
    broken = replace(peter, signature=peter.signature[:-1] + b"\0")
    for lines in ((broken, enoch), (enoch, broken), (peter, broken)):
        with pytest.raises(IntegrityError, match=r"^the signature of PeterNeumann on the note"):
            verify_note(Note(NOTE_TEXT, lines), BOTH)
    assert verify_note(Note(NOTE_TEXT, (broken, enoch)), {ENOCH_NAME: ENOCH_KEY}) == (enoch,)


def test_text_with_blank_lines_ends_at_the_last_one() -> None:
    text = "a\n\nb\n\n"
    note = sign_note(text, KEY, "me")
    assert parse_note(str(note)) == note
    assert verify_note(parse_note(str(note)), {"me": KEY.public}) == note.signatures


MALFORMED = {
    "no signature": (NOTE_TEXT, "no blank line"),
    "no signature line": (f"{NOTE_TEXT}\n", "no signature line"),
    "no newline at the end": (f"{NOTE_TEXT}\n{PETER_LINE[:-1]}", "does not end with a newline"),
    "control character": (f"\x01{NOTE_TEXT}\n{PETER_LINE}", "control character"),
    "carriage return": (f"{NOTE_TEXT}\n{PETER_LINE}".replace("\n", "\r\n"), "control character"),
    "tabulator": (f"\t{NOTE_TEXT}\n{PETER_LINE}", "control character"),
    "space in the name": (f"{NOTE_TEXT}\n{PETER_LINE.replace('Neu', ' ')}", "line 4 of the note"),
    "other space in the name": (
        NOTE_TEXT + "\n" + PETER_LINE.replace("Neu", "\u00a0"),
        "line 4 of the note",
    ),
    "plus in the name": (f"{NOTE_TEXT}\n{PETER_LINE.replace('Neu', '+')}", "line 4 of the note"),
    "line that is none": (f"{NOTE_TEXT}\n{PETER_LINE}Unexpected line.\n", "line 5 of the note"),
    "hyphen": (f"{NOTE_TEXT}\n{PETER_LINE.replace('—', '-')}", "line 4 of the note"),
    "not base64": (f"{NOTE_TEXT}\n{PETER_LINE[:60]}*{PETER_LINE[61:]}", "in line 4 of the note is"),
    "no padding": (f"{NOTE_TEXT}\n{PETER_LINE.replace('=', '')}", "in line 4 of the note is"),
    "key hash only": (f"{NOTE_TEXT}\n— PeterNeumann x08goA==\n", "in line 4 of the note is too"),
    "space behind": (f"{NOTE_TEXT}\n{PETER_LINE[:-1]} \n", "line 4 of the note"),
    "101 signatures": (f"{NOTE_TEXT}\n{PETER_LINE * 101}", "more than 100"),
    "surrogate": (f"\ud800{NOTE_TEXT}\n{PETER_LINE}", "not Unicode"),
    "not UTF-8": (b"\xff" + f"{NOTE_TEXT}\n{PETER_LINE}".encode(), "not UTF-8"),
    "empty": ("", "no blank line"),
}


@pytest.mark.parametrize(("note", "problem"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_notes_are_refused_with_one_line(note: str | bytes, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem) as caught:
        parse_note(note)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_signed() -> None:
    for name in ("", "a b", "a+b", "a\nb", "a\u2003b", "a\x00", "\ud800"):
        with pytest.raises(InvalidInputError, match="cannot name a key"):
            sign_note(NOTE_TEXT, KEY, name)
    for text in ("abc", "", "a\tb\n", "\ud800\n"):
        with pytest.raises(InvalidInputError, match="note"):
            sign_note(text, KEY, "me")


def test_a_checkpoint_has_four_lines_and_a_signature() -> None:
    text, _, line = SIGNED.partition("\n\n")
    assert text.split("\n") == [
        ORIGIN,
        "8",
        base64.b64encode(ROOTS[7]).decode(),
        "time 2026-03-01T12:00:00.000001+00:00",
    ]
    assert line.startswith(f"— {NAME} ")
    data = base64.b64decode(line.split(" ")[2])
    assert data[:4] == key_hash(NAME, KEY.public)
    KEY.public.verify(f"{text}\n".encode(), data[4:])


def test_a_checkpoint_reads_back_and_verifies() -> None:
    head, signatures = parse(SIGNED)
    assert head == HEAD
    assert signatures == (NoteSignature(NAME, key_hash(NAME, KEY.public), signatures[0].signature),)
    assert verify(SIGNED, {NAME: KEY.public}) == (head, signatures)
    assert verify(SIGNED.encode(), {NAME: [SigningKey.generate().public, KEY.public]})[0] == HEAD
    with pytest.raises(IntegrityError):
        verify(SIGNED, {NAME: SigningKey.generate().public})


def test_the_checkpoint_of_an_empty_tree() -> None:
    head = Checkpoint("log", 0, EMPTY_ROOT, "2026-03-01T12:00:00Z")
    assert verify(head.sign(KEY, "log"), {"log": KEY.public})[0] == head


def test_no_byte_of_a_checkpoint_can_change() -> None:
    content = SIGNED.encode()
    for place in range(len(content)):
        for change in (1, 0x20, 0x80):
            altered = bytearray(content)
            altered[place] ^= change
            with pytest.raises((IntegrityError, InvalidInputError)):
                verify(bytes(altered), {NAME: KEY.public})
    for altered_text in (SIGNED + "\n", "\n" + SIGNED, SIGNED[:-1], SIGNED + " "):
        with pytest.raises((IntegrityError, InvalidInputError)):
            verify(altered_text, {NAME: KEY.public})


LINES = HEAD.text().split("\n")


@pytest.mark.parametrize(
    ("place", "line", "problem"),
    [
        (0, "", "origin"),
        (0, "two words", "origin"),
        (1, "", "line 2"),
        (1, "08", "line 2"),
        (1, "-8", "line 2"),
        (1, "+8", "line 2"),
        (1, "8 ", "line 2"),
        (1, "٨", "line 2"),
        (1, "9" * 20, "line 2"),
        (2, "", "root hash"),
        (2, "AAAA", "root hash"),
        (2, "x", "root hash in line 3"),
        (3, "2026-03-01T12:00:00Z", "line 4"),
        (3, "time 2026-03-01T12:00:00+01:00", "not a time in UTC"),
        (3, "time 2026-03-01 12:00:00Z", "not a time in UTC"),
        (3, "time 2026-02-30T12:00:00Z", "not a time in UTC"),
        (3, "time 2026-03-01T12:00:00", "not a time in UTC"),
        (3, "time ٢026-03-01T12:00:00Z", "not a time in UTC"),
        (4, "extension", "four lines"),
        (4, "\n", "four lines"),
    ],
)
def test_malformed_checkpoints_are_refused_even_if_signed(
    place: int, line: str, problem: str
) -> None:
    lines = [*LINES[:place], line, *LINES[place + 1 :]]
    text = "\n".join(lines) + ("\n" if place == 4 else "")
    note = str(sign_note(text, KEY, NAME))
    for read in (parse, lambda content: verify(content, {NAME: KEY.public})):
        with pytest.raises(InvalidInputError, match=problem) as caught:
            read(note)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_cannot_be_made_of_nonsense() -> None:
    for field, value in (
        ("origin", "a+b"),
        ("size", -1),
        ("size", 10**19),
        ("root", b""),
        ("time", "now"),
        ("time", "2026-03-01T12:00:00+00:00\n"),
    ):
        with pytest.raises(InvalidInputError):
            replace(HEAD, **{field: value})


PIECES = st.sampled_from(
    ["\n", "\n\n", "— ", "—", " ", NAME, ORIGIN, "time ", "8", PETER_LINE, NOTE_TEXT, *LINES]
)


@given(st.text() | st.binary() | st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join))
@settings(max_examples=500, deadline=None)
def test_arbitrary_notes_give_our_errors_or_read_back(note: str | bytes) -> None:
    read = accepted(parse_note, note)
    if read is not None:
        assert str(read) == (note.decode() if isinstance(note, bytes) else note)
    accepted(parse, note)
    accepted(verify, note, BOTH | {NAME: KEY.public})


@given(st.integers(0, len(SIGNED)), st.text(max_size=4), st.integers(0, 4))
@settings(max_examples=300, deadline=None)
def test_a_spliced_checkpoint_gives_our_errors(place: int, text: str, cut: int) -> None:
    altered = SIGNED[:place] + text + SIGNED[place + cut :]
    if altered != SIGNED:
        with pytest.raises(GovernanceError):
            verify(altered, {NAME: KEY.public})
