"""The ledger with cases in it."""

from tests.ledger.case import case_template, cases

__all__ = ["case_template", "cases"]
