"""Where an actor's private keys are found: a directory of key files, the environment, or memory."""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from governance.errors import IntegrityError, InvalidInputError, NotFoundError
from governance.evidence.keys import (
    AskPassphrase,
    PublicKey,
    SigningKey,
    is_encrypted,
    read_key,
    short_id,
    write_key,
)

KEY = "GOVERNANCE_KEY"
KEY_FILE = "GOVERNANCE_KEY_FILE"
KEY_PASSPHRASE = "GOVERNANCE_KEY_PASSPHRASE"

_FILE_END = re.compile(r"-([0-9a-f]{12})\.pem")


def key_digits(path: Path) -> str | None:
    """First twelve hex digits of the key id in a key file's name, None if it is not named like one."""
    found = _FILE_END.search(path.name)
    return found[1] if found is not None and found.end() == len(path.name) else None


class Keys(Protocol):
    """Whatever can sign for actors."""

    def keys_of(self, actor: str) -> Iterator[SigningKey]:
        """All keys of an actor, read one by one as they are asked for."""

    def signer(self, actor: str, valid_key_ids: Collection[str]) -> SigningKey | None:
        """The actor's key that is among those valid in the ledger, or None."""

    def create(self, actor: str) -> SigningKey:
        """Make and keep a new key for an actor."""

    def discard(self, actor: str, key: SigningKey | PublicKey) -> None:
        """Let go of a key that the ledger does not know, or no longer accepts."""


class MemoryKeyring:
    """Keys held in memory, for tests and for embedding.

    Args:
        keys: actor → keys.
    """

    def __init__(self, keys: Mapping[str, Iterable[SigningKey]] | None = None) -> None:
        self._keys = {actor: list(held) for actor, held in (keys or {}).items()}

    def add(self, actor: str, key: SigningKey) -> None:
        """Let the actor sign with this key too."""
        self._keys.setdefault(actor, []).append(key)

    def create(self, actor: str) -> SigningKey:
        """Make and keep a new key for an actor."""
        key = SigningKey.generate()
        self.add(actor, key)
        return key

    def discard(self, actor: str, key: SigningKey | PublicKey) -> None:
        """Forget a key."""
        self._keys[actor] = [held for held in self.keys_of(actor) if held.key_id != key.key_id]

    def keys_of(self, actor: str) -> Iterator[SigningKey]:
        """All keys of an actor."""
        return iter(self._keys.get(actor, ()))

    def signer(self, actor: str, valid_key_ids: Collection[str]) -> SigningKey | None:
        """The actor's key that is among those valid in the ledger, or None."""
        return next((key for key in self.keys_of(actor) if key.key_id in valid_key_ids), None)


class Keyring:
    """Key files ``<actor>-<first 12 hex digits of the key id>.pem`` and the environment, which comes first.

    A key is read once, and only when it is needed: `signer` opens no file whose name speaks of another key.

    Args:
        directory: of the key files; it need not exist.
        acting: whose key the environment holds; None for whoever is asked about.
        ask: called for the passphrase of an encrypted key that ``GOVERNANCE_KEY_PASSPHRASE`` does not give.
        new_passphrase: with which `create` encrypts the keys it makes; None leaves them plain.
        environ: instead of the process's environment.
    """

    def __init__(
        self,
        directory: Path | None = None,
        acting: str | None = None,
        ask: AskPassphrase | None = None,
        new_passphrase: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self._acting = acting
        self._ask = ask
        self._new_passphrase = new_passphrase
        self._environ = os.environ if environ is None else environ
        self._read: dict[str, SigningKey] = {}

    def add(self, actor: str, key: SigningKey, passphrase: str | None = None) -> Path:
        """Write a key of the actor's to the directory, which is made (0700) if it is not there.

        Returns:
            The new file.

        Raises:
            InvalidInputError: the key is there already, or the actor cannot be part of a file name.
            NotFoundError: the keyring has no directory.
            OSError: the file cannot be written.
        """
        if self.directory is None:
            raise NotFoundError("there is no directory for keys")
        name = f"{actor}-{short_id(key)}.pem"
        if "\0" in name or Path(name).name != name:
            raise InvalidInputError(f"{actor!r} cannot be part of a file name")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.directory / name
        write_key(path, key, passphrase)
        return path

    def create(self, actor: str) -> SigningKey:
        """Make a new key for an actor and write it to the directory. Raises as `add`."""
        key = SigningKey.generate()
        path = self.add(actor, key, self._new_passphrase)
        self._read[str(path)] = key
        return key

    def discard(self, actor: str, key: SigningKey | PublicKey) -> None:
        """Remove the file of a key, if it is there."""
        for path, prefix in list(self._files(actor)):
            if prefix == short_id(key):
                path.unlink(missing_ok=True)

    def keys_of(self, actor: str) -> Iterator[SigningKey]:
        """All keys of an actor, read one by one as they are asked for.

        Raises:
            NotFoundError: the file that the environment names is missing.
            RefusedError: others can read a key file.
            InvalidInputError: a key cannot be read.
            IntegrityError: a file holds another key than its name says.
        """
        yield from self._from_environment(actor)
        for path, _ in self._files(actor):
            yield self._from_file(path)

    def signer(self, actor: str, valid_key_ids: Collection[str]) -> SigningKey | None:
        """The actor's key that is among those valid in the ledger, or None. Raises as `keys_of`."""
        for key in self._from_environment(actor):
            if key.key_id in valid_key_ids:
                return key
        wanted = {key_id.removeprefix("sha256:")[:12] for key_id in valid_key_ids}
        for path, prefix in self._files(actor):
            if prefix in wanted and (key := self._from_file(path)).key_id in valid_key_ids:
                return key
        return None

    def _from_environment(self, actor: str) -> Iterator[SigningKey]:
        if self._acting not in (None, actor):
            return
        if pem := self._environ.get(KEY):
            if pem not in self._read:
                passphrase = self._passphrase()
                if passphrase is None and self._ask is not None and is_encrypted(pem):
                    passphrase = self._ask(KEY)
                self._read[pem] = SigningKey.from_pem(pem, passphrase, KEY)
            yield self._read[pem]
        if file := self._environ.get(KEY_FILE):
            yield self._load(Path(file))

    def _files(self, actor: str) -> Iterator[tuple[Path, str]]:
        """Key files of the actor by name, and the digits in it."""
        if self.directory is None or not self.directory.is_dir():
            return
        for path in sorted(self.directory.iterdir()):
            if path.name.startswith(actor):
                found = _FILE_END.fullmatch(path.name, len(actor))
                if found is not None:
                    yield path, found[1]

    def _from_file(self, path: Path) -> SigningKey:
        key = self._load(path)
        if not path.stem.endswith(short_id(key)):
            raise IntegrityError(f"{path} holds key {short_id(key)}, not the one it is named after")
        return key

    def _load(self, path: Path) -> SigningKey:
        name = str(path)
        if name not in self._read:
            self._read[name] = read_key(path, self._passphrase(), self._ask)
        return self._read[name]

    def _passphrase(self) -> str | None:
        return self._environ.get(KEY_PASSPHRASE) or None
