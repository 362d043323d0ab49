"""Checking the record."""
