"""The ledgers with cases in them, bundles of one, and long logs."""

from tests.audit.bundle_case import bundles, trail, trail_template
from tests.audit.long_case import long_ledger
from tests.ledger.case import case_template, cases
from tests.ledger.full_case import full, full_template

__all__ = [
    "bundles",
    "case_template",
    "cases",
    "full",
    "full_template",
    "long_ledger",
    "trail",
    "trail_template",
]
