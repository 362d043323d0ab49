"""What may be personal data: kept apart from the log, which holds only salted commitments, so that it can be erased.

With a data key (`governance.evidence.cipher`) salt, name and content are encrypted together, so that whoever has the
database alone can neither read a text nor try guesses against its commitment.
"""

import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session, object_session

from governance.digests import canonical_json, digest_bytes, digest_json, load_json
from governance.errors import IntegrityError, RefusedError
from governance.ledger.tables import PrivateText, Request
from governance.ledger.types import now

if TYPE_CHECKING:
    from governance.evidence.cipher import Cipher

REASON = "reason"
SUBJECT_REF = "subject_ref"
COMMENT = "comment"
"""Kinds of texts that are words."""

ATTACHMENT = "attachment"
"""Kind of a text that is the bytes of a file."""

PLAIN = "plain"
"""Scheme of a content that is stored as it is."""

FERNET = "fernet"
"""Scheme of a content that is a Fernet token of a line of JSON with name and salt, and of the content behind it."""

LOCKED = "(encrypted; the key is not here)"
"""What is shown of a text that cannot be read here."""

CIPHER = "cipher"
"""Where `Ledger` puts its cipher into a session's `info`."""


class Opened(NamedTuple):
    """A text as it was kept."""

    salt: str
    name: str | None
    content: bytes


def keep(
    session: Session, request: Request, kind: str, content: str | bytes, name: str | None = None
) -> PrivateText:
    """Store what somebody wrote or attached, with a fresh salt; encrypted if the ledger was opened with a data key.

    Args:
        session: a `Ledger.write` one.
        request: to which it belongs.
        kind: ``reason``, ``subject_ref``, ``comment``, ``attachment``.
        content: words, or the bytes of a file.
        name: of the file.

    Raises:
        RefusedError: the texts of this ledger are encrypted, and there is no data key here.
    """
    cipher: Cipher | None = session.info.get(CIPHER)
    if cipher is None:
        _check_plain(session)
    salt = secrets.token_hex(32)
    data = content.encode() if isinstance(content, str) else content
    text = PrivateText(
        kind=kind,
        scheme=PLAIN,
        salt=salt,
        name=name,
        content=data,
        commitment=commitment(salt, kind, data, name),
        added_at=now(),
    )
    if cipher is not None:
        head = canonical_json({"name": name, "salt": salt}).encode()
        text.scheme, text.salt, text.name = FERNET, None, None
        text.content = cipher.encrypt(head + b"\n" + data)
    request.texts.append(text)
    return text


def commitment(salt: str, kind: str, content: bytes, name: str | None) -> str:
    """Digest of the canonical JSON ``[salt, {"content", "kind", "name"}]``, the content by its own digest."""
    said: dict[str, Any] = {"kind": kind, "name": name, "content": digest_bytes(content)}
    return digest_json([salt, said])


def is_erased(text: PrivateText) -> bool:
    """Whether a text is gone; this does not load what is there."""
    return text.salt is None if text.scheme == PLAIN else text.content is None


def is_locked(text: PrivateText) -> bool:
    """Whether a text is there, but encrypted, and the ledger was opened without a data key."""
    return not is_erased(text) and text.scheme == FERNET and _cipher(text) is None


def opened(text: PrivateText) -> Opened | None:
    """A text as it was kept; None if it was erased or is locked.

    Raises:
        IntegrityError: it cannot be decrypted, or is no such text.
    """
    if text.content is None or is_locked(text):
        return None
    if text.scheme == PLAIN and text.salt is not None:
        return Opened(text.salt, text.name, text.content)
    cipher = _cipher(text)
    try:
        if cipher is None or text.scheme != FERNET:
            raise IntegrityError("it is not what a text is stored as")
        head, _, content = cipher.decrypt(text.content).partition(b"\n")
        said = load_json(head.decode())
        return Opened(said["salt"], said["name"], content)
    except (IntegrityError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"private text {text.id} of request {text.request_id}: {error}"
        ) from error


def words(text: PrivateText | None) -> str | None:
    """A text as people wrote it, `LOCKED` if it cannot be read here; None if there is none or it was erased."""
    if text is None or text.kind == ATTACHMENT or is_erased(text):
        return None
    found = opened(text)
    return LOCKED if found is None else found.content.decode(errors="replace")


def first(request: Request, kind: str) -> PrivateText | None:
    """The first text of a kind."""
    return next((text for text in request.texts if text.kind == kind), None)


def erase(text: PrivateText) -> None:
    """Forget a text; its commitment stays, and without the salt nobody can guess what it committed to."""
    text.salt = text.name = text.content = None


def _cipher(text: PrivateText) -> "Cipher | None":
    session = object_session(text)
    return None if session is None else session.info.get(CIPHER)


def _check_plain(session: Session) -> None:
    """Who lost the key must not go on in the clear without noticing."""
    newest = select(PrivateText.scheme).order_by(PrivateText.id.desc()).limit(1)
    if session.scalars(newest).first() == FERNET:
        raise RefusedError(
            "the private texts of this ledger are encrypted and the data key is not here; name it with "
            "GOVERNANCE_DATA_KEY_FILE, or put it into the workspace's keys directory"
        )
