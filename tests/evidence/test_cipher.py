"""Data keys: where they are found, what they encrypt, and what is noticed."""

import base64
import os
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from governance.errors import (
    GovernanceError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
)
from governance.evidence.cipher import DATA_KEY, DATA_KEY_FILE, Cipher, create_key, find_cipher

OLD, NEW = (base64.urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@given(st.binary(max_size=500))
def test_what_is_encrypted_is_read_again_and_not_seen(data: bytes) -> None:
    token = Cipher([OLD]).encrypt(data)
    assert Cipher([OLD]).decrypt(token) == data
    assert len(data) < 8 or data not in token


def test_it_is_the_fernet_of_the_specification() -> None:
    """The valid token of https://github.com/fernet/spec, file verify.json."""
    token = b"gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="
    assert Cipher(["cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="]).decrypt(token) == b"hello"


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    before, after = Cipher([OLD]), Cipher([NEW, OLD])
    assert after.decrypt(before.encrypt(b"kept")) == b"kept"
    assert Fernet(NEW).decrypt(after.encrypt(b"fresh")) == b"fresh"
    with pytest.raises(IntegrityError, match="another one"):
        before.decrypt(after.encrypt(b"fresh"))


def test_every_changed_byte_is_noticed() -> None:
    cipher = Cipher([OLD])
    token = cipher.encrypt(b"text")
    raw = base64.urlsafe_b64decode(token)
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(IntegrityError):
            cipher.decrypt(base64.urlsafe_b64encode(changed))


@given(st.text(max_size=80))
def test_whatever_a_key_text_holds_only_our_errors_come_out(text: str) -> None:
    with pytest.raises(GovernanceError, match=r"^the text: "):
        Cipher.from_text(text, "the text")


def test_keys_are_looked_for_in_the_environment_and_then_in_the_directory(tmp_path: Path) -> None:
    assert find_cipher(tmp_path, {}) is None
    assert find_cipher(None, {}) is None
    token = Cipher([NEW]).encrypt(b"x")
    path = create_key(tmp_path)
    own = find_cipher(tmp_path, {})
    assert own is not None
    assert own.decrypt(own.encrypt(b"x")) == b"x"
    with pytest.raises(IntegrityError):
        own.decrypt(token)
    given_key = find_cipher(tmp_path, {DATA_KEY: f"{NEW}\n{OLD}"})
    assert given_key is not None
    assert given_key.decrypt(token) == b"x"
    elsewhere = find_cipher(tmp_path / "no", {DATA_KEY_FILE: str(path)})
    assert elsewhere is not None
    assert elsewhere.decrypt(own.encrypt(b"x")) == b"x"


def test_a_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = create_key(tmp_path / "keys")
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_bytes()
    with pytest.raises(InvalidInputError, match="never overwritten"):
        create_key(path.parent)
    assert path.read_bytes() == content
    if os.name == "posix":
        path.chmod(0o644)
        with pytest.raises(RefusedError, match="chmod 600"):
            find_cipher(path.parent, {})


def test_what_cannot_be_used_is_explained(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no key file"):
        find_cipher(None, {DATA_KEY_FILE: str(tmp_path / "missing")})
    with pytest.raises(InvalidInputError, match="GOVERNANCE_DATA_KEY: a data key is 32 random"):
        find_cipher(None, {DATA_KEY: "short"})
    empty = tmp_path / "private-data.key"
    empty.touch(0o600)
    with pytest.raises(InvalidInputError, match="no data key"):
        find_cipher(tmp_path, {})
    empty.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match="holds no data keys"):
        find_cipher(tmp_path, {})
