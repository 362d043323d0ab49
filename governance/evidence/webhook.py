"""Signatures of webhooks by the Standard Webhooks specification 1.0.0 (https://www.standardwebhooks.com).

What is signed is ``{id}.{timestamp}.{body}`` with HMAC-SHA-256; the header ``webhook-signature`` holds one
``v1,<base64>`` for each secret, so that a secret can be exchanged while receivers still know the old one. The libraries
that the specification names verify it as it is.
"""

import binascii
import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path

from governance.errors import InvalidInputError
from governance.evidence.keys import private_bytes, write_private

PREFIX = "whsec_"
_BYTES = range(24, 65)
"""Length of a secret by the specification."""


def new_secret() -> str:
    """A random secret of 32 bytes, serialised as the specification says."""
    return PREFIX + b64encode(os.urandom(32)).decode()


def write_secret(path: Path) -> None:
    """Make a secret in a new file that only its owner can read.

    Raises:
        InvalidInputError: the file exists; it is never overwritten.
        OSError: it cannot be written.
    """
    write_private(path, new_secret().encode() + b"\n")


def parse_secrets(text: str, what: str) -> tuple[bytes, ...]:
    """Secrets separated by white space, the newest first.

    Args:
        text: each secret is 24 to 64 bytes in base64, with or without the prefix ``whsec_``.
        what: names the text in errors, which never hold the secret itself.

    Raises:
        InvalidInputError: there is none, or one is no secret.
    """
    secrets = tuple(_secret(word, what) for word in text.split())
    if not secrets:
        raise InvalidInputError(f"{what} holds no secret")
    return secrets


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """Secrets in a file that nobody but its owner may read.

    Raises:
        NotFoundError: there is no such file.
        RefusedError: others can read it.
        InvalidInputError: it holds no secrets.
    """
    return parse_secrets(private_bytes(path).decode("ascii", "replace"), str(path))


def sign(secrets: Sequence[bytes], message: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``.

    Args:
        secrets: a signature is made with each.
        message: id of the message; it holds no full stop.
        timestamp: seconds since 1970 at which the attempt is made.
        body: exactly what is sent.
    """
    said = f"{message}.{timestamp}.".encode() + body
    made = (b64encode(hmac.digest(secret, said, "sha256")).decode() for secret in secrets)
    return " ".join(f"v1,{signature}" for signature in made)


def _secret(word: str, what: str) -> bytes:
    try:
        secret = b64decode(word.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) not in _BYTES:
        raise InvalidInputError(
            f"{what} holds something that is no webhook secret: {PREFIX} and 24 to 64 bytes in base64"
        )
    return secret
