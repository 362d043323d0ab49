"""Ed25519 keys (RFC 8032) and the files they lie in: PKCS#8 PEM, mode 0600, encrypted or not.

`cryptography` takes 20–50 ms to import, so that only the functions that need it do so.
"""

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from governance.digests import digest_bytes
from governance.errors import IntegrityError, InvalidInputError, NotFoundError, RefusedError
from governance.evidence.encoding import from_base64, to_base64

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from nacl.signing import VerifyKey

AskPassphrase = Callable[[str], str | None]
"""(what is locked) → its passphrase, or None if nobody can say it."""

_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_PLAIN = b"-----BEGIN PRIVATE KEY-----"
_PUBLIC = b"-----BEGIN PUBLIC KEY-----"
_MAX_FILE = 64 * 1024

_SPKI = bytes.fromhex("302a300506032b6570032100")
"""What stands before the raw key in a SubjectPublicKeyInfo (RFC 8410, section 4)."""

_KEY_ID = re.compile("sha256:[0-9a-f]{64}")

_FIELD = 2**255 - 19
_SMALL_ORDER = (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)
"""y of the eight points of small order, little-endian; with such a key anybody makes signatures that verify."""


@cache
def verify_key() -> "Callable[[bytes], VerifyKey] | None":
    """Makes keys of libsodium, if PyNaCl is installed."""
    try:
        from nacl.signing import VerifyKey
    except ImportError:
        return None
    return VerifyKey


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked with.

    Attributes:
        raw: the 32 bytes of RFC 8032, section 5.1.5.

    Raises:
        InvalidInputError: they are no key: another length, not canonical, or a point of small order.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise InvalidInputError(f"an Ed25519 public key has 32 bytes, not {len(self.raw)}")
        y = int.from_bytes(self.raw, "little") & (2**255 - 1)
        if y >= _FIELD:
            raise InvalidInputError("the public key is not in its canonical form")
        if y.to_bytes(32, "little").hex() in _SMALL_ORDER:
            raise InvalidInputError("with this public key anybody could sign; it has a small order")

    @classmethod
    def from_base64(cls, text: object) -> Self:
        """The key that `text` holds, in canonical base64.

        Raises:
            InvalidInputError: it holds none.
        """
        return cls(from_base64("the public key", text))

    @classmethod
    def from_pem(cls, pem: bytes, what: str = "the key") -> Self:
        """The key of a PEM text, as ``openssl pkey -pubout`` writes it.

        Raises:
            InvalidInputError: it is no PEM of an Ed25519 public key.
        """
        lines = pem.split()
        body = b"".join(lines[3:-3]).decode("ascii", "replace")
        if pem.strip().startswith(_PUBLIC):
            data = from_base64(what, body)
            if data.startswith(_SPKI):
                return cls(data.removeprefix(_SPKI))
        raise InvalidInputError(f"{what} is not an Ed25519 public key in PEM (BEGIN PUBLIC KEY)")

    def to_base64(self) -> str:
        """The raw key in base64, 44 characters."""
        return to_base64(self.raw)

    def to_pem(self) -> bytes:
        """SubjectPublicKeyInfo in PEM (RFC 8410, section 4; RFC 7468, section 13)."""
        return b"%b\n%b\n-----END PUBLIC KEY-----\n" % (
            _PUBLIC,
            to_base64(_SPKI + self.raw).encode(),
        )

    @cached_property
    def key_id(self) -> str:
        """``sha256:<64 hex digits>`` of the raw key."""
        return digest_bytes(self.raw)

    @cached_property
    def _backend(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        return Ed25519PublicKey.from_public_bytes(self.raw)

    @cached_property
    def _sodium(self) -> Any:
        """The key in libsodium; None where PyNaCl (the extra ``fast``) is not installed."""
        found = verify_key()
        return None if found is None else found(self.raw)

    def verify(self, data: bytes, signature: bytes) -> None:
        """Check a signature of 64 bytes over `data`.

        OpenSSL decides, with which everybody else checks. Where libsodium is installed it is asked first, as it takes
        half the time; it accepts nothing that OpenSSL does not, so that its yes is enough.

        Raises:
            IntegrityError: the key did not make it.
        """
        from cryptography.exceptions import InvalidSignature

        if self._sodium is not None:
            from nacl.exceptions import CryptoError

            try:
                self._sodium.verify(data, signature)
            except (CryptoError, ValueError):
                pass
            else:
                return
        try:
            self._backend.verify(signature, data)
        except InvalidSignature as error:
            raise IntegrityError(f"the signature is not one of key {short_id(self)}") from error


@dataclass(frozen=True)
class SigningKey:
    """A private key, made with one of the class methods; its repr shows the public half only."""

    _private: "Ed25519PrivateKey" = field(repr=False, compare=False)
    public: PublicKey

    @classmethod
    def generate(cls) -> Self:
        """A new key from the system's randomness."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls._of(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The key of a 32-byte seed (RFC 8032, section 5.1.5).

        Raises:
            InvalidInputError: the seed has another length.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if len(seed) != 32:
            raise InvalidInputError(f"an Ed25519 seed has 32 bytes, not {len(seed)}")
        return cls._of(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pem(
        cls, pem: str | bytes, passphrase: str | None = None, what: str = "the key"
    ) -> Self:
        """The key of a PKCS#8 PEM text; a passphrase for one that is not encrypted is left unused.

        Args:
            pem: ``BEGIN PRIVATE KEY`` or ``BEGIN ENCRYPTED PRIVATE KEY``.
            passphrase: of an encrypted key.
            what: name of the text in errors.

        Raises:
            InvalidInputError: it is no such PEM, of another kind of key, or the passphrase is missing or wrong.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        data = _bytes(what, pem).strip()
        if not data.startswith((_PLAIN, _ENCRYPTED)):
            raise InvalidInputError(
                f"{what} is not a private key in PKCS#8 PEM (BEGIN PRIVATE KEY, or BEGIN ENCRYPTED PRIVATE KEY)"
            )
        encrypted = data.startswith(_ENCRYPTED)
        if encrypted and not passphrase:
            raise InvalidInputError(f"{what} is encrypted: its passphrase is needed")
        secret = _bytes("the passphrase", passphrase or "") if encrypted else None
        try:
            private = load_pem_private_key(data, secret)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            problem = (
                "the passphrase is wrong, or the file damaged" if encrypted else "it is damaged"
            )
            raise InvalidInputError(f"{what} cannot be read: {problem}") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise InvalidInputError(f"{what} is not an Ed25519 key")
        return cls._of(private)

    @classmethod
    def _of(cls, private: "Ed25519PrivateKey") -> Self:
        return cls(private, PublicKey(private.public_key().public_bytes_raw()))

    @property
    def key_id(self) -> str:
        """That of the public key."""
        return self.public.key_id

    def sign(self, data: bytes) -> bytes:
        """Signature over `data`, 64 bytes; the same data gives the same signature (RFC 8032, section 5.1.6)."""
        return self._private.sign(data)

    def to_pem(self, passphrase: str | None = None) -> bytes:
        """PKCS#8 PEM, encrypted if there is a passphrase.

        Raises:
            InvalidInputError: the passphrase is empty, or longer than 1,023 bytes.
        """
        from cryptography.hazmat.primitives.serialization import (
            BestAvailableEncryption,
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        if passphrase is None:
            return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        secret = _bytes("the passphrase", passphrase)
        if not 0 < len(secret) < 1024:
            raise InvalidInputError("a passphrase has 1 to 1,023 bytes")
        encryption = BestAvailableEncryption(secret)
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def trusted_key_id(text: str) -> str:
    """Id of the public key that somebody names: by its id, in base64, or with a file of either or of PEM.

    Raises:
        InvalidInputError: it names none.
    """
    path = Path(text)
    try:
        data = path.read_bytes()[:_MAX_FILE] if path.is_file() else text.encode()
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{text} cannot be read: {error}") from error
    word = data.decode("ascii", "replace").strip()
    if _KEY_ID.fullmatch(word):
        return word
    if data.strip().startswith(_PUBLIC):
        return PublicKey.from_pem(data, text).key_id
    try:
        return PublicKey.from_base64(word).key_id
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{text!r} names no public key: give its id (sha256:…), the key in base64, or a file of one"
        ) from error


def short_id(key: PublicKey | SigningKey) -> str:
    """First twelve hex digits of the key id, as in file names."""
    return key.key_id.removeprefix("sha256:")[:12]


def is_encrypted(pem: str | bytes) -> bool:
    """Whether a PEM text needs a passphrase."""
    return _bytes("the key", pem).lstrip().startswith(_ENCRYPTED)


def write_key(path: Path, key: SigningKey, passphrase: str | None = None) -> None:
    """Write a key to a new file that only its owner can read, and see it through to the disk.

    Raises:
        InvalidInputError: the file exists (it is never overwritten), or the passphrase cannot be used.
        OSError: it cannot be written; nothing is left behind.
    """
    write_private(path, key.to_pem(passphrase))


def write_private(path: Path, data: bytes) -> None:
    """Write a secret to a new file that only its owner can read. Raises as `write_key`."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise InvalidInputError(f"{path} exists; a key is never overwritten") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(path.parent)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def read_key(
    path: Path, passphrase: str | None = None, ask: AskPassphrase | None = None
) -> SigningKey:
    """Read a key from a file that nobody but its owner may read.

    Args:
        path: a PKCS#8 PEM file.
        passphrase: of an encrypted key.
        ask: called for it when the key is encrypted and `passphrase` is None.

    Raises:
        NotFoundError: there is no such file.
        RefusedError: others than the owner can read or change it.
        InvalidInputError: it holds no Ed25519 key, or the passphrase is missing or wrong.
    """
    data = private_bytes(path)
    if passphrase is None and ask is not None and is_encrypted(data):
        passphrase = ask(str(path))
    return SigningKey.from_pem(data, passphrase, str(path))


def private_bytes(path: Path) -> bytes:
    """Content of a file that nobody but its owner may read, at most its first 64 KiB.

    Raises:
        NotFoundError: there is no such file.
        RefusedError: others than the owner can read or change it.
        InvalidInputError: it cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidInputError(f"{path} is not a file")
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & 0o077:
                raise RefusedError(
                    f"{path} is open to others (mode {mode:04o}); make it private: chmod 600 {path}"
                )
            return file.read(_MAX_FILE)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no key file {path}") from error
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _bytes(what: str, text: str | bytes) -> bytes:
    try:
        return text if isinstance(text, bytes) else text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{what} is not Unicode text") from error
