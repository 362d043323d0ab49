"""Encryption of private texts with a key that is not in the database: Fernet (AES-128-CBC and HMAC-SHA-256).

The format is that of https://github.com/fernet/spec. `cryptography` takes 20–50 ms to import, so that only the
functions that need it do so.
"""

import binascii
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from governance.errors import IntegrityError, InvalidInputError
from governance.evidence.keys import private_bytes, write_private

DATA_KEY = "GOVERNANCE_DATA_KEY"
DATA_KEY_FILE = "GOVERNANCE_DATA_KEY_FILE"
FILE_NAME = "private-data.key"
"""Name of the key file in a workspace's directory of keys."""

_KEY_BYTES = 32


class Cipher:
    """Encrypts with the first of its keys and decrypts with any of them, so that a key can be changed.

    Args:
        keys: each 32 bytes in URL-safe base64, the newest first.

    Raises:
        InvalidInputError: there is none, or one is no such key.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [_checked(key) for key in keys]
        if not self._keys:
            raise InvalidInputError("there is no data key in it")

    @classmethod
    def from_text(cls, text: str, what: str) -> Self:
        """Keys separated by white space, the newest first.

        Raises:
            InvalidInputError: there is none, or one is no key; `what` names the text.
        """
        try:
            return cls(text.split())
        except InvalidInputError as error:
            raise InvalidInputError(f"{what}: {error}") from None

    def encrypt(self, data: bytes) -> bytes:
        """A token that only a holder of the first key can read or make; longer than `data` by a third."""
        token: bytes = self._fernet.encrypt(data)
        return token

    def decrypt(self, token: bytes) -> bytes:
        """What was encrypted.

        Raises:
            IntegrityError: no key here made the token, or it was altered.
        """
        from cryptography.fernet import InvalidToken

        try:
            data: bytes = self._fernet.decrypt(token)
        except InvalidToken as error:
            raise IntegrityError(
                "it cannot be decrypted: the data key here is another one, or it was altered"
            ) from error
        return data

    @cached_property
    def _fernet(self) -> Any:
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(key) for key in self._keys])


def find_cipher(directory: Path | None, environ: Mapping[str, str] | None = None) -> Cipher | None:
    """The cipher whose keys are in ``GOVERNANCE_DATA_KEY``, in the file that ``GOVERNANCE_DATA_KEY_FILE`` names, or in
    ``private-data.key`` in a directory, looked for in this order; None if there are none.

    Raises:
        NotFoundError: the file that the environment names is missing.
        RefusedError: others than the owner can read the file.
        InvalidInputError: it holds no keys.
    """
    given = os.environ if environ is None else environ
    if text := given.get(DATA_KEY):
        return Cipher.from_text(text, DATA_KEY)
    if file := given.get(DATA_KEY_FILE):
        return _read(Path(file))
    if directory is not None and (directory / FILE_NAME).is_file():
        return _read(directory / FILE_NAME)
    return None


def create_key(directory: Path) -> Path:
    """Make a key in a new file ``private-data.key`` (0600) of a directory, which is made (0700) if it is not there.

    Raises:
        InvalidInputError: the file exists; it is never overwritten.
        OSError: it cannot be written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / FILE_NAME
    write_private(path, urlsafe_b64encode(os.urandom(_KEY_BYTES)) + b"\n")
    return path


def _read(path: Path) -> Cipher:
    try:
        return Cipher.from_text(private_bytes(path).decode("ascii"), str(path))
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} holds no data keys") from error


def _checked(key: str) -> str:
    try:
        raw = urlsafe_b64decode(key)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise InvalidInputError("a data key is 32 random bytes in URL-safe base64, 44 characters")
    return key
