"""The ledger with cases in it."""

from tests.ledger.case import case_file, cases

__all__ = ["case_file", "cases"]
