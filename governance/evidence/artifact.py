"""Signed model directories, in the format of OpenSSF's model-signing 1.x but with Ed25519 keys.

The file ``governance.sig`` is a Sigstore bundle v0.3 around a DSSE envelope around an in-toto statement, whose
predicate ``https://model_signing/signature/v1.0`` lists the directory's files. Readers of that predicate ignore other
fields of it (model_signing/_signing/signing.py, `Payload`), so what we say of the version is in such a field.
"""

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from governance.digests import canonical_json, digest_bytes, load_json
from governance.errors import IntegrityError, InvalidInputError, NotFoundError
from governance.evidence import dsse
from governance.evidence.encoding import read_object
from governance.evidence.keys import PublicKey, SigningKey

SIGNATURE_NAME = "governance.sig"
"""Not model-signing's own ``model.sig``: that may be a publisher's, with a key that is none of ours."""

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SERIALIZATION = {
    "allow_symlinks": False,
    "hash_type": "sha256",
    "ignore_paths": [SIGNATURE_NAME],
    "method": "files",
}

MISSING = "is missing"
ADDED = "was not there when it was signed"
CHANGED = "was changed after it was signed"
"""What can be wrong with a file."""

_FACTS = "governance"
_SIGNER = "signer"
_MAX_SIGNATURE = 16 * 2**20


@dataclass(frozen=True)
class File:
    """A file of the directory: digest ``sha256:<64 hex digits>`` and size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class SignedModel:
    """What the signature file of a directory says; the signature holds.

    Attributes:
        name: of the model, and number of the version.
        files: by path inside the directory, with slashes.
        facts: what the signer said of the model, JSON values.
        key: of the signer, by their own account: compare its id with one that is trusted.
        statement_digest: digest of the signed statement.
    """

    name: str
    files: Mapping[str, File]
    facts: Mapping[str, Any]
    key: PublicKey
    statement_digest: str


def is_signed(directory: Path) -> bool:
    """Whether the directory has a signature file, or anything in its place."""
    return os.path.lexists(directory / SIGNATURE_NAME)


def sign_directory(directory: Path, name: str, facts: Mapping[str, Any], key: SigningKey) -> str:
    """Write the signature file of a directory that nobody else is writing to.

    Args:
        directory: with at least one file.
        name: of the model, and number of the version.
        facts: JSON values that are signed too; no personal data, for the directory leaves the house.
        key: the signer's.

    Returns:
        Digest of the statement. The same files, facts and key give the same bytes.

    Raises:
        IntegrityError: there is a symbolic link, or anything else that is no file.
        InvalidInputError: there is no file.
    """
    files = {name: _describe(path) for name, path in _walk(directory).items()}
    if not files:
        raise InvalidInputError(f"{directory} has no files to sign")
    signer = {"key_id": key.key_id, "public_key": key.public.to_base64()}
    predicate = {
        "serialization": SERIALIZATION,
        "resources": [
            {
                "algorithm": "sha256",
                "digest": file.digest.removeprefix("sha256:"),
                "name": name,
                "size": file.size,
            }
            for name, file in files.items()
        ],
        _FACTS: {**facts, _SIGNER: signer},
    }
    statement = dsse.statement({name: _root(files)}, PREDICATE_TYPE, predicate)
    payload = dsse.statement_bytes(statement)
    bundle = _bundle(dsse.sign(payload, [key]), key.public)
    (directory / SIGNATURE_NAME).write_text(bundle, encoding="utf-8")
    return digest_bytes(payload)


def verify_directory(
    directory: Path, trusted: str | None = None, besides: Collection[str] = ()
) -> SignedModel:
    """Check signature and files of a directory.

    Args:
        directory: with a signature file.
        trusted: id of the key that must have signed it. Without one the files are those that *somebody* signed:
            damage is found, a forger who signs with a key of their own is not.
        besides: names at the top of the directory, of files and folders that others put there; nobody reads them.

    Raises:
        NotFoundError: there is no such directory, or no signature file in it.
        IntegrityError: another key signed, the signature does not hold, or a file is changed, missing, not signed, or a
            symbolic link; the first such file is named.
    """
    # 1. The signature holds, and is that of the trusted key.
    signed = read_signature(directory)
    if trusted is not None and signed.key.key_id != trusted:
        raise IntegrityError(
            f"{directory / SIGNATURE_NAME} is signed with key {signed.key.key_id}, not with {trusted}"
        )
    # 2. The files that are there are those that were signed, no more and no fewer, and each is what it was.
    for name, problem in differences(directory, signed, besides):
        raise IntegrityError(f"{directory}: the file {name!r} {problem}")
    return signed


def differences(
    directory: Path, signed: SignedModel, besides: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """Files that are not as they were signed, by name: which, and what is wrong with it. Each file is read once.

    Args:
        directory: where the files should be; its signature file is not looked at.
        signed: what its signature should say.
        besides: as `verify_directory` takes them.

    Raises:
        IntegrityError: there is a symbolic link, or anything else that is no file.
        InvalidInputError: a file cannot be read.
    """
    found = {
        name: path
        for name, path in _walk(directory).items()
        if name in signed.files or name.partition("/")[0] not in besides
    }
    for name in sorted(found.keys() | signed.files.keys()):
        if name not in found:
            yield name, MISSING
        elif name not in signed.files:
            yield name, ADDED
        else:
            # The size alone tells most damage without reading the file.
            expected = signed.files[name]
            if found[name].lstat().st_size != expected.size or _describe(found[name]) != expected:
                yield name, CHANGED


def read_signature(directory: Path) -> SignedModel:
    """Read the signature file and check the signature with the key that it names; files are not looked at.

    Raises:
        NotFoundError: there is no such directory, or no signature file in it.
        IntegrityError: the file is damaged, or the signature does not hold.
    """
    path = directory / SIGNATURE_NAME
    if not directory.is_dir():
        raise NotFoundError(f"there is no directory {directory}")
    if not is_signed(directory):
        raise NotFoundError(f"{directory} is not signed: it has no {SIGNATURE_NAME}")
    if not stat.S_ISREG(path.lstat().st_mode):
        raise IntegrityError(f"{path} is not a file")
    if path.lstat().st_size > _MAX_SIGNATURE:
        raise IntegrityError(f"{path} is no signature: it is too large")
    try:
        return read_bundle(path.read_bytes())
    except (InvalidInputError, IntegrityError) as error:
        raise IntegrityError(f"{path} does not hold: {error}") from error
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error


def read_bundle(data: bytes) -> SignedModel:
    """Read the content of a signature file and check the signature with the key that it names.

    Raises:
        InvalidInputError: it is no signature file.
        IntegrityError: the signature does not hold.
    """
    bundle = read_object("the bundle", data)
    envelope = dsse.Envelope.from_json(json.dumps(bundle.get("dsseEnvelope")))
    statement = dsse.read_statement(envelope.payload)
    facts = statement.predicate.get(_FACTS)
    signer = facts.get(_SIGNER) if isinstance(facts, dict) else None
    if not isinstance(facts, dict) or not isinstance(signer, dict):
        raise InvalidInputError("the statement does not say who signed it")
    key = PublicKey.from_base64(signer.get("public_key"))
    if signer.get("key_id") != key.key_id:
        raise IntegrityError("the statement names a key by another one's id")
    dsse.verify(envelope, {key.key_id: key})
    keyids = [signature.keyid for signature in envelope.signatures]
    if keyids != [key.key_id] or data != _bundle(envelope, key).encode():
        raise IntegrityError("the bundle holds something else than one signed statement")
    files = _files(statement)
    name, *others = statement.subjects
    if others or statement.subjects[name] != _root(files):
        raise IntegrityError("the statement's subject is something else than its files")
    return SignedModel(name, files, facts, key, digest_bytes(envelope.payload))


def _files(statement: dsse.Statement) -> dict[str, File]:
    if statement.predicate_type != PREDICATE_TYPE:
        raise InvalidInputError(f"the statement's predicate is not {PREDICATE_TYPE}")
    if statement.predicate.get("serialization") != SERIALIZATION:
        raise InvalidInputError("the statement counts files in another way")
    listed = statement.predicate.get("resources")
    if not isinstance(listed, list) or not listed:
        raise InvalidInputError("the statement lists no files")
    files: dict[str, File] = {}
    for resource in listed:
        match resource:
            case {"algorithm": "sha256", "digest": str(digits), "name": str(name), "size": size}:
                if type(size) is not int or name in files:
                    raise InvalidInputError(f"the statement lists {name[:80]!r} wrongly or twice")
                files[name] = File(f"sha256:{digits}", size)
            case _:
                raise InvalidInputError("the statement lists a file without name, digest or size")
    return files


def _root(files: Mapping[str, File]) -> str:
    """Digest over all files, as model-signing has it: SHA-256 of their digests' bytes one after another."""
    try:
        digests = [bytes.fromhex(file.digest.removeprefix("sha256:")) for file in files.values()]
    except ValueError as error:
        raise InvalidInputError("the digest of a file is not hexadecimal") from error
    return digest_bytes(b"".join(digests))


def _bundle(envelope: dsse.Envelope, key: PublicKey) -> str:
    """Canonical JSON of the bundle; the hint is model-signing's: SHA-256 of the public key's PEM."""
    hint = hashlib.sha256(key.to_pem()).hexdigest()
    return canonical_json(
        {
            "dsseEnvelope": load_json(envelope.to_json()),
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        }
    )


def _walk(directory: Path) -> dict[str, Path]:
    """Every file but the signature's, by its path inside; sorted by it.

    Raises:
        IntegrityError: there is anything else than files and directories.
    """
    found: dict[str, Path] = {}
    for place, directories, names in os.walk(directory, onerror=_unreadable):
        for name in [*directories, *names]:
            path = Path(place, name)
            inside = path.relative_to(directory).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found[inside] = path
            elif not stat.S_ISDIR(mode):
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "no file"
                raise IntegrityError(f"{directory}: {inside!r} is {kind}")
    found.pop(SIGNATURE_NAME, None)
    return dict(sorted(found.items()))


def _describe(path: Path) -> File:
    try:
        with path.open("rb") as file:
            digits = hashlib.file_digest(file, "sha256").hexdigest()
            return File(f"sha256:{digits}", file.tell())
    except OSError as error:
        raise _unread(error) from error


def _unreadable(error: OSError) -> None:
    raise _unread(error) from error


def _unread(error: OSError) -> InvalidInputError:
    return InvalidInputError(f"{error.filename} cannot be read: {error.strerror}")
