"""Governed unlearning for CLIP models: requests, approvals, versions and an audit trail."""

__version__ = "0.1.0"
