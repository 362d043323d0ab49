"""Who can sign here: keys that the ledger knows as an actor's, and whose private half is at hand."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from governance.errors import RefusedError
from governance.ledger.driver import driver_rows
from governance.ledger.tables import ActorKey

if TYPE_CHECKING:
    from governance.evidence.keyring import Keys
    from governance.evidence.keys import PublicKey, SigningKey

KEYS = "keys"
"""Where `Ledger` puts its keyring into a session's `info`."""

_SIGNERS = "signers"
VALID = (
    "SELECT actor_keys.key_id FROM actor_keys JOIN actors ON actors.id = actor_keys.actor_id "
    "WHERE actors.name = ? AND actors.active AND actor_keys.retired_at IS NULL"
)
"""Key ids with which an actor may sign now, where a statement asks for them beside other things."""

_PUBLIC = select(ActorKey.key_id, ActorKey.public_key)


def valid_key_ids(session: Session, actor: str) -> list[str]:
    """Keys with which an actor may sign now."""
    return [key_id for (key_id,) in driver_rows(session.connection(), VALID, actor)]


def public_keys(session: Session) -> dict[str, str]:
    """All that the table holds as key id → public key in base64, valid or not; nothing of it is checked."""
    return dict(session.connection().execute(_PUBLIC).all())


def signer_of(
    session: Session, actor: str, valid: Collection[str] | None = None
) -> "SigningKey | None":
    """The key with which an actor's events in this transaction are signed; None if there is none at hand.

    Args:
        session: the transaction.
        actor: whose key.
        valid: what `valid_key_ids` gives, where it is known already.
    """
    known: dict[str, SigningKey | None] = session.info.setdefault(_SIGNERS, {})
    if actor not in known:
        keys = session.info.get(KEYS)
        valid = valid_key_ids(session, actor) if valid is None else valid
        known[actor] = keys and keys.signer(actor, valid)
    return known[actor]


def signing_key(session: Session, actor: str, valid: Collection[str] | None = None) -> "SigningKey":
    """The key of `signer_of`, where there must be one.

    Raises:
        RefusedError: there is none.
    """
    key = signer_of(session, actor, valid)
    if key is None:
        raise RefusedError(
            f"actor {actor!r} has no signing key here that the ledger knows and that is valid; put the "
            "key file into the workspace's keys directory, name it with GOVERNANCE_KEY_FILE, or get a "
            "new one with `governance actor rotate-key`"
        )
    return key


class KeyMaker:
    """Makes a key pair for somebody, and takes it back if the ledger does not accept it.

    Used as a context manager around the transaction that records the public key: the private key is on disk before,
    so that a crash leaves at worst a key that nobody knows, never a known key that nobody has.
    """

    def __init__(self, keys: "Keys | None", actor: str, public: "PublicKey | None" = None) -> None:
        self._keys = keys
        self._actor = actor
        self._public = public
        self._made: SigningKey | None = None

    def __enter__(self) -> "PublicKey":
        """The public key: the given one, or that of a new pair in the keyring.

        Raises:
            RefusedError: the ledger was opened without a keyring.
        """
        if self._public is not None:
            return self._public
        if self._keys is None:
            raise RefusedError("the ledger was opened for reading, without a place for keys")
        self._made = self._keys.create(self._actor)
        return self._made.public

    def __exit__(self, kind: object, *rest: object) -> None:
        """Remove the new pair if the transaction failed."""
        if kind is not None and self._made is not None and self._keys is not None:
            self._keys.discard(self._actor, self._made)
