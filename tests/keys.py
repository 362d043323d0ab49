"""Private keys of the people in the tests, in memory."""

from governance.evidence.keyring import MemoryKeyring
from governance.evidence.keys import PublicKey, SigningKey


class SharedKeyring(MemoryKeyring):
    """Keeps what it was given: another copy of a ledger may still know a key that this one retired."""

    def discard(self, actor: str, key: SigningKey | PublicKey) -> None:
        pass


KEYS = SharedKeyring()
"""Keys of everybody whom a test adds; copies of a ledger share them."""
