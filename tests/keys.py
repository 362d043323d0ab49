"""Private keys of the people in the tests, in memory."""

from governance.evidence.keyring import MemoryKeyring

KEYS = MemoryKeyring()
"""Keys of everybody whom a test adds; copies of a ledger share them."""
