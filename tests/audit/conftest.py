"""The ledgers with cases in them, and bundles of one."""

from tests.audit.bundle_case import bundles, exported_file, trail
from tests.ledger.case import case_template, cases
from tests.ledger.full_case import full, full_template

__all__ = [
    "bundles",
    "case_template",
    "cases",
    "exported_file",
    "full",
    "full_template",
    "trail",
]
