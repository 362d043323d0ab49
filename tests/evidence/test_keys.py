"""Keys: the vectors of RFC 8032, what is no key, and files that only their owner can read."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.digests import digest_bytes
from governance.errors import IntegrityError, InvalidInputError, NotFoundError, RefusedError
from governance.evidence.encoding import from_base64, read_object
from governance.evidence.keys import (
    PublicKey,
    SigningKey,
    is_encrypted,
    read_key,
    short_id,
    write_key,
)
from tests.evidence.outside import accepted
from tests.evidence.vectors import RFC_8032

KEY = SigningKey.from_seed(bytes(range(32)))
PEM = KEY.to_pem()
LOCKED = KEY.to_pem("correct horse")


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_signatures_are_those_of_rfc_8032(
    seed: str, public: str, message: str, signature: str
) -> None:
    key = SigningKey.from_seed(bytes.fromhex(seed))
    assert key.public.raw.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    key.public.verify(bytes.fromhex(message), bytes.fromhex(signature))


def test_every_changed_bit_and_every_other_length_is_refused() -> None:
    data, signature = b"event", KEY.sign(b"event")
    KEY.public.verify(data, signature)
    wrong = [
        (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(64, "big") for bit in range(512)
    ]
    for other in (*wrong, b"", signature[:-1], signature + b"\0"):
        with pytest.raises(
            IntegrityError, match=f"^the signature is not one of key {short_id(KEY)}$"
        ):
            KEY.public.verify(data, other)
    for public, text in ((KEY.public, b"evenT"), (SigningKey.generate().public, data)):
        with pytest.raises(IntegrityError):
            public.verify(text, signature)


def test_the_key_id_is_the_digest_of_the_raw_key() -> None:
    assert KEY.key_id == KEY.public.key_id == digest_bytes(KEY.public.raw)
    assert KEY.key_id.startswith(f"sha256:{short_id(KEY)}")
    assert PublicKey.from_base64(KEY.public.to_base64()) == KEY.public


def test_a_signing_key_does_not_show_itself() -> None:
    assert "Private" not in repr(KEY)
    assert "_private" not in repr(KEY)


@pytest.mark.parametrize("text", ["", "AAAA", "not base64", None, 7, b"bytes", "é" * 44])
def test_what_is_no_public_key_is_refused(text: object) -> None:
    with pytest.raises(InvalidInputError, match="public key"):
        PublicKey.from_base64(text)


def test_base64_has_one_form() -> None:
    text = KEY.public.to_base64()
    assert text.endswith("=")
    last = text[-2]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    padded = text[:-2] + alphabet[alphabet.index(last) ^ 1] + "="
    for other in (text[:-1], text + "\n", " " + text, text + "=", padded):
        with pytest.raises(InvalidInputError, match=r"^the public key is not base64$"):
            PublicKey.from_base64(other)


SMALL_ORDER = [
    bytes(32),
    bytes([1, *bytes(31)]),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    (2**255 - 20).to_bytes(32, "little"),
]


def test_a_key_of_small_order_would_verify_what_nobody_signed() -> None:
    """First that the danger is real, then that no such key gets in."""
    forged = SMALL_ORDER[1] + bytes(32)
    for text in (b"I approve", b"I reject"):
        Ed25519PublicKey.from_public_bytes(SMALL_ORDER[1]).verify(forged, text)
    for raw in SMALL_ORDER:
        for sign in (0, 0x80):
            with pytest.raises(InvalidInputError, match="small order"):
                PublicKey(bytes([*raw[:31], raw[31] | sign]))


@pytest.mark.parametrize("y", [2**255 - 19, 2**255 - 18, 2**255 - 1])
def test_a_key_has_one_form(y: int) -> None:
    with pytest.raises(InvalidInputError, match="not in its canonical form"):
        PublicKey(y.to_bytes(32, "little"))


def test_pem_reads_back() -> None:
    assert SigningKey.from_pem(PEM) == SigningKey.from_pem(PEM.decode()) == KEY
    assert SigningKey.from_pem(b"\n" + PEM + b"\n") == KEY
    assert SigningKey.from_pem(LOCKED, "correct horse") == KEY
    assert SigningKey.from_pem(PEM, "not needed") == KEY
    assert SigningKey.from_pem(PEM).sign(b"x") == KEY.sign(b"x")
    assert (is_encrypted(PEM), is_encrypted(LOCKED)) == (False, True)


@pytest.mark.parametrize(
    ("pem", "passphrase", "line"),
    [
        (LOCKED, None, "ada.pem is encrypted: its passphrase is needed"),
        (LOCKED, "", "ada.pem is encrypted: its passphrase is needed"),
        (LOCKED, "wrong", "ada.pem cannot be read: the passphrase is wrong, or the file damaged"),
        (LOCKED, "\ud800", "the passphrase is not Unicode text"),
        (PEM[:60], None, "ada.pem cannot be read: it is damaged"),
        (b"", None, "ada.pem is not a private key in PKCS#8 PEM"),
        ("\ud800", None, "ada.pem is not Unicode text"),
        (
            b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
            None,
            "ada.pem is not a private key in PKCS#8 PEM",
        ),
    ],
)
def test_pem_that_cannot_be_used(pem: str | bytes, passphrase: str | None, line: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        SigningKey.from_pem(pem, passphrase, "ada.pem")
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "other",
    [
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(65537, 2048),
        x25519.X25519PrivateKey.generate(),
    ],
    ids=["P-256", "RSA", "X25519"],
)
def test_other_kinds_of_keys_are_refused(
    other: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | x25519.X25519PrivateKey,
) -> None:
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(InvalidInputError, match=r"^the key is not an Ed25519 key$"):
        SigningKey.from_pem(pem)


@pytest.mark.parametrize("passphrase", ["", "x" * 1024, "\ud800"])
def test_passphrases_that_cannot_lock_a_key(passphrase: str) -> None:
    with pytest.raises(InvalidInputError, match="passphrase"):
        KEY.to_pem(passphrase)
    with pytest.raises(InvalidInputError, match="seed"):
        SigningKey.from_seed(bytes(31))


def test_a_key_file_is_private_and_reads_back(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_key(tmp_path / "open.pem", KEY)
    finally:
        os.umask(before)
    write_key(tmp_path / "locked.pem", KEY, "correct horse")
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(tmp_path / "open.pem") == KEY
    assert read_key(tmp_path / "locked.pem", "correct horse") == KEY


def test_the_passphrase_is_asked_for_only_when_it_is_needed(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(what: str) -> str:
        asked.append(what)
        return "correct horse"

    write_key(tmp_path / "open.pem", KEY)
    write_key(tmp_path / "locked.pem", KEY, "correct horse")
    read_key(tmp_path / "open.pem", ask=ask)
    read_key(tmp_path / "locked.pem", "correct horse", ask)
    assert asked == []
    assert read_key(tmp_path / "locked.pem", ask=ask) == KEY
    assert asked == [str(tmp_path / "locked.pem")]
    with pytest.raises(InvalidInputError, match=r"its passphrase is needed$"):
        read_key(tmp_path / "locked.pem", ask=lambda what: None)


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "ada.pem"
    write_key(path, KEY)
    (tmp_path / "link.pem").symlink_to(tmp_path / "elsewhere.pem")
    for taken in (path, tmp_path / "link.pem"):
        with pytest.raises(InvalidInputError, match=r"exists; a key is never overwritten$"):
            write_key(taken, SigningKey.generate())
    assert read_key(path) == KEY
    assert not (tmp_path / "elsewhere.pem").exists()


def test_a_key_is_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(stat.S_ISDIR(os.fstat(file).st_mode))
    )
    write_key(tmp_path / "ada.pem", KEY)
    assert synced == [False, True]


def test_a_write_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_key(tmp_path / "ada.pem", KEY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o610])
def test_a_key_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "ada.pem"
    write_key(path, KEY)
    path.chmod(mode)
    with pytest.raises(RefusedError) as caught:
        read_key(path)
    assert str(caught.value) == (
        f"{path} is open to others (mode {mode:04o}); make it private: chmod 600 {path}"
    )
    path.chmod(0o400)
    assert read_key(path) == KEY


def test_what_is_no_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"^there is no key file .*ada\.pem$"):
        read_key(tmp_path / "ada.pem")
    with pytest.raises(InvalidInputError, match=r"is not a file$"):
        read_key(tmp_path)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_key(Path("nul\0"))


@given(st.binary(max_size=200) | st.text(max_size=200), st.none() | st.text(max_size=5))
@settings(max_examples=200, deadline=None)
def test_arbitrary_keys_give_our_errors(content: bytes | str, passphrase: str | None) -> None:
    body = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    for pem in (content, PEM[:28] + body, LOCKED[:40] + body, PEM[:50] + body + PEM[50:]):
        accepted(SigningKey.from_pem, pem, passphrase)
    accepted(PublicKey.from_base64, content)
    accepted(PublicKey.from_base64, body.decode("latin-1"))
    public = accepted(PublicKey, body[:32])
    if public is not None:
        with pytest.raises(IntegrityError):
            public.verify(b"x", body)


@given(st.integers(0, len(PEM) - 1), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_changed_key_file_gives_our_error_or_a_key(place: int, byte: int) -> None:
    for pem in (PEM, LOCKED):
        altered = pem[:place] + bytes([byte]) + pem[place + 1 :]
        accepted(SigningKey.from_pem, altered, "correct horse")


@given(st.text() | st.binary() | st.integers() | st.none())
@settings(max_examples=200, deadline=None)
def test_arbitrary_base64_and_json_give_our_errors(value: object) -> None:
    accepted(from_base64, "the value", value)
    if isinstance(value, str | bytes):
        accepted(read_object, "the value", value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a":1,"a":2}', "a name stands twice"),
        ('{"a":NaN}', "NaN is no JSON number"),
        ('{"a":1e999}', "cannot be read as JSON"),
        ('{"a":"\\ud800"}', "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ('{"a":' + "9" * 5000 + "}", "cannot be read as JSON"),
        (b"\xff", "cannot be read as JSON"),
        (b"\xef\xbb\xbf{}", "cannot be read as JSON"),
        ("[]", "is not a JSON object"),
    ],
    ids=["twice", "NaN", "infinite", "surrogate", "deep", "long", "UTF-8", "BOM", "list"],
)
def test_json_that_two_readers_could_take_differently_is_refused(
    text: str | bytes, problem: str
) -> None:
    with pytest.raises(InvalidInputError, match=problem) as caught:
        read_object("the value", text)
    assert "\n" not in str(caught.value)


def test_reading_the_package_does_not_wait_for_cryptography() -> None:
    code = (
        "import sys; from governance.evidence import dsse, keyring, merkle, note; "
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
