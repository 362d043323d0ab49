"""The ledgers with cases in them, and bundles of one."""

from tests.audit.bundle_case import bundles, trail, trail_template
from tests.ledger.case import case_template, cases
from tests.ledger.full_case import full, full_template

__all__ = [
    "bundles",
    "case_template",
    "cases",
    "full",
    "full_template",
    "trail",
    "trail_template",
]
