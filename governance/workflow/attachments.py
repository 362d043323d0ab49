"""A file that belongs to a case: how large it may be and how it is called."""

import unicodedata
from dataclasses import dataclass
from typing import Self

from governance.errors import InvalidInputError

MAX_BYTES = 20 * 1024 * 1024
"""Largest file that can be attached."""

_MAX_NAME = 120
_NAMELESS = "attachment"
_HIDDEN = ("C", "Zl", "Zp")
"""Unicode categories of what cannot be seen, or turns what can be seen around."""


@dataclass(frozen=True)
class Attachment:
    """A file under a name that can be shown and written to any disk."""

    name: str
    content: bytes

    @classmethod
    def of(cls, name: str, content: bytes) -> Self:
        """The file, its name cleaned.

        Raises:
            InvalidInputError: it is empty or too large.
        """
        if not content:
            raise InvalidInputError("an attachment must not be empty")
        if len(content) > MAX_BYTES:
            raise InvalidInputError(
                f"an attachment may have {MAX_BYTES >> 20} MiB; keep larger files elsewhere and attach their digest"
            )
        return cls(clean_name(name), content)


def clean_name(name: str) -> str:
    """The last part of a path, without invisible characters, at most `_MAX_NAME` characters; never empty."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    seen = "".join(c for c in last if not unicodedata.category(c).startswith(_HIDDEN))
    seen = seen.strip(" .")
    stem, dot, end = seen.rpartition(".")
    if len(seen) > _MAX_NAME and dot and len(end) <= 16:
        seen = f"{stem[: _MAX_NAME - len(end) - 1]}.{end}"
    return seen[:_MAX_NAME].strip(" .") or _NAMELESS
