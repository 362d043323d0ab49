"""The ledgers with cases in them."""

from tests.ledger.case import case_file, cases
from tests.ledger.full_case import full, full_file

__all__ = ["case_file", "cases", "full", "full_file"]
