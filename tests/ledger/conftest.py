"""The ledgers with cases in them."""

from tests.ledger.case import case_template, cases
from tests.ledger.full_case import full, full_template

__all__ = ["case_template", "cases", "full", "full_template"]
