"""How long steps report their progress, without knowing how it is shown."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Meter = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""(what, how many) → a context in which to say how many more are done."""


@contextmanager
def silent(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A meter that shows nothing."""
    yield lambda done: None
