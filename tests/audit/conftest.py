"""The ledger with cases in it, and bundles of one."""

from tests.audit.bundle_case import bundles, exported_file, trail
from tests.ledger.case import case_file, cases

__all__ = ["bundles", "case_file", "cases", "exported_file", "trail"]
