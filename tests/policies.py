"""Policies that tests begin with."""

from dataclasses import replace

from governance.policy import Gates

OPEN = Gates(1.0, 1.0, 1.0, max_forget_rise=1.0)
"""Limits that everything keeps, for edits whose figures do not matter."""

GUARDED = replace(OPEN, max_guard_drop=0.5)
"""Limits of which one is never kept without a data set of the guard role: its figure is measured nowhere."""
