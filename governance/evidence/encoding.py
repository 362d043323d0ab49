"""Strict readers of base64 and JSON from outside: one value has one text, and every fault is one line."""

import base64
import binascii
import json
from typing import Any, NoReturn

from governance.errors import InvalidInputError


def to_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode()


def from_base64(what: str, text: object) -> bytes:
    """Bytes of standard base64 text in its one canonical form.

    Args:
        what: name of the value in the error, such as ``the root hash``.
        text: what was read; anything but text is refused.

    Raises:
        InvalidInputError: a character outside the alphabet, missing padding, or bits set behind the end.
    """
    if isinstance(text, str) and text.isascii():
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error:
            pass
        else:
            if to_base64(data) == text:
                return data
    raise InvalidInputError(f"{what} is not base64")


def read_object(what: str, text: str | bytes) -> dict[str, Any]:
    """The JSON object that `text` holds.

    Raises:
        InvalidInputError: not UTF-8, not JSON (NaN, numbers too large and lone surrogates included), another kind of
            value, or a name that stands twice in one object, which other readers may take for another value.
    """
    try:
        content = text.encode() if isinstance(text, str) else text
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) else "nested too deep"
        raise InvalidInputError(f"{what} cannot be read as JSON: {reason}") from error
    if not isinstance(value, dict):
        raise InvalidInputError(f"{what} is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
