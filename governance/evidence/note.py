"""Signed notes and checkpoints of transparency logs (C2SP signed-note v1.0, tlog-checkpoint v1.0).

A note is text, a blank line and signature lines ``— <key name> <base64(4-byte key hash ‖ signature)>``. A checkpoint
is a note on a Merkle tree: origin, size, root, and here the time as its one extension line.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Self

from governance.errors import IntegrityError, InvalidInputError
from governance.evidence.encoding import from_base64, to_base64
from governance.evidence.keys import PublicKey, SigningKey

MAX_SIGNATURES = 100
"""More of them on one note are refused, as the reference code does."""

TrustedKeys = Mapping[str, PublicKey | Sequence[PublicKey]]
"""Key name → the key, or the keys that followed one another under that name."""

_ED25519 = b"\x01"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIGNATURE = re.compile("— ([^ ]+) ([^ ]+)")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)", re.ASCII)


@dataclass(frozen=True)
class NoteSignature:
    """One signature line.

    Attributes:
        name: of the key.
        key_hash: 4 bytes that tell keys of one name apart.
        signature: the bytes behind them, at least one.
    """

    name: str
    key_hash: bytes
    signature: bytes


@dataclass(frozen=True)
class Note:
    """A text, ending in a newline, and who signed it."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __str__(self) -> str:
        lines = (
            f"— {line.name} {to_base64(line.key_hash + line.signature)}\n"
            for line in self.signatures
        )
        return f"{self.text}\n{''.join(lines)}"


def key_hash(name: str, key: PublicKey) -> bytes:
    """The 4 bytes that identify an Ed25519 key under a name (signed-note, "Ed25519 signatures").

    Raises:
        InvalidInputError: the name is empty, or has a space, a plus or a control character.
    """
    if not _is_key_name(name):
        raise InvalidInputError(f"{name!r} cannot name a key: use no spaces and no plus")
    return sha256(name.encode() + b"\n" + _ED25519 + key.raw).digest()[:4]


def sign_note(text: str, key: SigningKey, name: str) -> Note:
    """A note on `text` with one signature.

    Raises:
        InvalidInputError: the text does not end in a newline or holds control characters, or the name is no key name.
    """
    _check_text(text)
    if not text.endswith("\n"):
        raise InvalidInputError("the text of a note ends with a newline")
    line = NoteSignature(name, key_hash(name, key.public), key.sign(text.encode()))
    return Note(text, (line,))


def parse_note(note: str | bytes) -> Note:
    """Read a note without checking its signatures; the only text that gives this note is `note` itself.

    Raises:
        InvalidInputError: it is not of the form, naming the line.
    """
    try:
        content = note.decode("utf-8") if isinstance(note, bytes) else note
    except UnicodeDecodeError as error:
        raise InvalidInputError("the note is not UTF-8") from error
    _check_text(content)
    text, blank, tail = content.rpartition("\n\n")
    if not blank:
        raise InvalidInputError("the note has no blank line before its signatures")
    if not tail:
        raise InvalidInputError("the note has no signature line")
    if not tail.endswith("\n"):
        raise InvalidInputError("the note does not end with a newline")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise InvalidInputError(f"the note has more than {MAX_SIGNATURES} signatures")
    first = text.count("\n") + 3
    return Note(text + "\n", tuple(_signature(first + i, line) for i, line in enumerate(lines)))


def verify_note(note: Note, keys: TrustedKeys) -> tuple[NoteSignature, ...]:
    """Check every signature by a known key; those by unknown keys count for nothing.

    Returns:
        The signatures that hold, at least one.

    Raises:
        IntegrityError: one by a known key does not hold, or none is by a known key.
    """
    data, verified = note.text.encode(), []
    for line in note.signatures:
        known = keys.get(line.name, ())
        for key in (known,) if isinstance(known, PublicKey) else known:
            if key_hash(line.name, key) != line.key_hash:
                continue
            try:
                key.verify(data, line.signature)
            except IntegrityError as error:
                raise IntegrityError(
                    f"the signature of {line.name} on the note does not hold"
                ) from error
            verified.append(line)
    if not verified:
        names = ", ".join(dict.fromkeys(line.name for line in note.signatures))
        raise IntegrityError(f"no known key signed the note, only {names}")
    return tuple(verified)


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log's tree at one time.

    Attributes:
        origin: identity of the log.
        size: number of leaves.
        root: hash of the tree, 32 bytes.
        time: RFC 3339, in UTC (``Z`` or ``+00:00``), at most microseconds.

    Raises:
        InvalidInputError: a field is not of that form.
    """

    origin: str
    size: int
    root: bytes
    time: str

    def __post_init__(self) -> None:
        if not _is_key_name(self.origin):
            raise InvalidInputError(f"{self.origin!r} cannot be the origin of a checkpoint")
        if not 0 <= self.size < 10**19:
            raise InvalidInputError(f"{self.size} cannot be the size of a tree")
        if len(self.root) != 32:
            raise InvalidInputError(f"the root hash has 32 bytes, not {len(self.root)}")
        _check_time(self.time)

    def text(self) -> str:
        """The four lines that are signed."""
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\ntime {self.time}\n"

    def sign(self, key: SigningKey, name: str) -> str:
        """The signed note, by the key of that name."""
        return str(sign_note(self.text(), key, name))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the four lines.

        Raises:
            InvalidInputError: they are not of the form.
        """
        lines = text.split("\n")
        if len(lines) != 5 or lines[4]:
            raise InvalidInputError(
                "a checkpoint has the four lines origin, size, root hash and time"
            )
        origin, size, root, time = lines[:4]
        if _SIZE.fullmatch(size) is None:
            raise InvalidInputError(f"line 2 of the checkpoint is not a tree size: {size[:40]!r}")
        if not time.startswith("time "):
            raise InvalidInputError(
                f"line 4 of the checkpoint does not say the time: {time[:40]!r}"
            )
        data = from_base64("the root hash in line 3 of the checkpoint", root)
        return cls(origin, int(size), data, time.removeprefix("time "))


def parse(note: str | bytes) -> tuple[Checkpoint, tuple[NoteSignature, ...]]:
    """Read a checkpoint without checking its signatures.

    Raises:
        InvalidInputError: it is not of the form.
    """
    read = parse_note(note)
    return Checkpoint.from_text(read.text), read.signatures


def verify(note: str | bytes, keys: TrustedKeys) -> tuple[Checkpoint, tuple[NoteSignature, ...]]:
    """Read a checkpoint and check its signatures.

    Returns:
        The checkpoint, and the signatures by known keys, which all hold.

    Raises:
        InvalidInputError: it is not of the form.
        IntegrityError: a signature by a known key does not hold, or none is by a known key.
    """
    read = parse_note(note)
    signatures = verify_note(read, keys)
    return Checkpoint.from_text(read.text), signatures


def _signature(number: int, line: str) -> NoteSignature:
    found = _SIGNATURE.fullmatch(line)
    if found is None or not _is_key_name(found[1]):
        raise InvalidInputError(f"line {number} of the note is not a signature: {line[:40]!r}")
    data = from_base64(f"the signature in line {number} of the note", found[2])
    if len(data) < 5:
        raise InvalidInputError(f"the signature in line {number} of the note is too short")
    return NoteSignature(found[1], data[:4], data[4:])


def _is_key_name(name: str) -> bool:
    return (
        bool(name)
        and "+" not in name
        and not any(char.isspace() for char in name)
        and _CONTROL.search(name) is None
        and not any("\ud800" <= char <= "\udfff" for char in name)
    )


def _check_text(text: str) -> None:
    if _CONTROL.search(text) is not None:
        raise InvalidInputError("the note holds a control character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError("the note is not Unicode text") from error


def _check_time(time: str) -> None:
    if _TIME.fullmatch(time) is not None:
        try:
            datetime.fromisoformat(time)
        except ValueError:
            pass
        else:
            return
    raise InvalidInputError(f"not a time in UTC as in RFC 3339: {time[:40]!r}")
