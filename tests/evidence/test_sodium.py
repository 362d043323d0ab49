"""libsodium, where it is installed, makes verification faster and never changes what comes of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha512
from unittest.mock import patch

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.bindings import crypto_core_ed25519_add, crypto_scalarmult_ed25519_base_noclamp
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from governance.errors import IntegrityError
from governance.evidence.keys import PublicKey, SigningKey, verify_key

ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19
IDENTITY = (1).to_bytes(32, "little")
TORSION = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
"""A point of order 8."""

SECRET = 1234567890123456789
MESSAGE = b"an event"


def times_base(scalar: int) -> bytes:
    return crypto_scalarmult_ed25519_base_noclamp((scalar % ORDER).to_bytes(32, "little"))


def challenge(point: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(sha512(point + key + message).digest(), "little")


def made(point: bytes, nonce: int, key: bytes, message: bytes = MESSAGE) -> bytes:
    """A signature by `SECRET` with this point, whatever point that is."""
    answer = (nonce + challenge(point, key, message) * SECRET) % ORDER
    return point + answer.to_bytes(32, "little")


def mixed(even: bool) -> tuple[bytes, bytes, bytes]:
    """A signature by a key with a part of small order, which falls out of the equation or does not."""
    key, nonce = crypto_core_ed25519_add(times_base(SECRET), TORSION), 99
    for number in range(256):
        message = MESSAGE + bytes([number])
        if (challenge(times_base(nonce), key, message) % ORDER % 8 == 0) == even:
            return key, message, made(times_base(nonce), nonce, key, message)
    raise AssertionError


KEY = times_base(SECRET)
HONEST = made(times_base(7), 7, KEY)
SCALAR = int.from_bytes(HONEST[32:], "little")

CASES = {
    "honest": (KEY, MESSAGE, HONEST),
    "another message": (KEY, b"another event", HONEST),
    "another point": (KEY, MESSAGE, times_base(8) + HONEST[32:]),
    "a scalar that was not reduced": (
        KEY, MESSAGE, HONEST[:32] + (SCALAR + ORDER).to_bytes(32, "little"),
    ),
    "a point with a part of small order": (
        KEY, MESSAGE, made(crypto_core_ed25519_add(times_base(7), TORSION), 7, KEY),
    ),
    "a point of small order": (KEY, MESSAGE, made(IDENTITY, 0, KEY)),
    "a point that is not canonical": (
        KEY, MESSAGE, made((PRIME + 1).to_bytes(32, "little"), 0, KEY),
    ),
    "a key with a part of small order that falls out": mixed(even=True),
    "a key with a part of small order that stays": mixed(even=False),
    "63 bytes": (KEY, MESSAGE, HONEST[:63]),
    "65 bytes": (KEY, MESSAGE, HONEST + b"\0"),
    "nothing": (KEY, MESSAGE, b""),
}  # fmt: skip


def in_openssl(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def in_sodium(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(key).verify(message, signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def here(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        PublicKey(key).verify(message, signature)
    except IntegrityError:
        return False
    return True


@contextmanager
def without_sodium() -> Iterator[None]:
    verify_key.cache_clear()
    with patch.dict(sys.modules, {"nacl.signing": None}):
        yield
    verify_key.cache_clear()


@pytest.mark.parametrize("case", CASES)
def test_what_comes_of_it_is_what_openssl_says(case: str) -> None:
    said = in_openssl(*CASES[case])
    assert here(*CASES[case]) == said
    with without_sodium():
        assert here(*CASES[case]) == said
    assert said or not in_sodium(*CASES[case])  # so that its yes is enough


def test_the_cases_are_of_both_kinds() -> None:
    found = {case: (in_openssl(*CASES[case]), in_sodium(*CASES[case])) for case in CASES}
    assert found["honest"] == (True, True)
    assert found["a point of small order"] == (True, False)  # stricter: its no is not enough
    assert found["a point with a part of small order"] == (False, False)


def test_openssl_is_not_asked_after_a_yes() -> None:
    key = SigningKey.generate()
    signature = key.sign(MESSAGE)
    public = PublicKey(key.public.raw)
    with patch.object(PublicKey, "_backend", None):
        public.verify(MESSAGE, signature)
