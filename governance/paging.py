"""Long lists are shown a page at a time."""

from dataclasses import dataclass

SIZE = 50
"""Entries of a page if nothing else is said."""


@dataclass(frozen=True)
class Page:
    """Which part of a list, whose entries are numbered, is wanted.

    Attributes:
        limit: entries at most; None for all.
        after: number of the last entry of the page before, None for the first page. What is added meanwhile neither
            hides nor repeats an entry.
        newest: highest number first.
    """

    limit: int | None = SIZE
    after: int | None = None
    newest: bool = False


ALL = Page(limit=None)
"""The whole list."""
