"""What may be personal data: kept apart from the log, which holds only salted commitments, so that it can be erased."""

import secrets
from typing import Any

from governance.digests import digest_bytes, digest_json
from governance.ledger.tables import PrivateText, Request
from governance.ledger.types import now

ATTACHMENT = "attachment"
"""Kind of a text that is the bytes of a file."""

PLAIN = "plain"
"""Scheme of a content that is stored as it is."""


def keep(request: Request, kind: str, content: str | bytes, name: str | None = None) -> PrivateText:
    """Store what somebody wrote or attached, with a fresh salt.

    Args:
        request: to which it belongs.
        kind: ``reason``, ``subject_ref``, ``comment``, ``attachment``.
        content: words, or the bytes of a file.
        name: of the file.
    """
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
    request.texts.append(text)
    return text


def commitment(salt: str, kind: str, content: bytes, name: str | None) -> str:
    """Digest of the canonical JSON ``[salt, {"content", "kind", "name"}]``, the content by its own digest."""
    said: dict[str, Any] = {"kind": kind, "name": name, "content": digest_bytes(content)}
    return digest_json([salt, said])


def words(text: PrivateText | None) -> str | None:
    """A text as people wrote it; None if there is none or it was erased."""
    if text is None or text.content is None or text.kind == ATTACHMENT:
        return None
    return text.content.decode()


def first(request: Request, kind: str) -> PrivateText | None:
    """The first text of a kind."""
    return next((text for text in request.texts if text.kind == kind), None)


def erase(text: PrivateText) -> None:
    """Forget a text; its commitment stays, and without the salt nobody can guess what it committed to."""
    text.salt = text.name = text.content = None
