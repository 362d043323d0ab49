"""What a verification finds."""

from collections.abc import Iterator
from dataclasses import dataclass

UNREADABLE = (ValueError, TypeError, AttributeError, KeyError, IndexError)
"""What goes wrong with a value that is not of the form it must have; a database may hold anything in any column."""


@dataclass(frozen=True)
class Fault:
    """A place where the record contradicts itself."""

    where: str
    problem: str

    def to_dict(self) -> dict[str, str]:
        """The fault as plain JSON values."""
        return {"where": self.where, "problem": self.problem}


def readable(where: str, faults: Iterator[Fault]) -> Iterator[Fault]:
    """The faults, and one more if something there cannot even be read."""
    try:
        yield from faults
    except UNREADABLE as error:
        yield unreadable(where, error)


def unreadable(where: str, error: Exception) -> Fault:
    """The fault of a place that cannot be read."""
    return Fault(where, cannot_be_read(error))


def cannot_be_read(error: Exception) -> str:
    """What is wrong with something that cannot be read."""
    return f"it cannot be read: {repr(error).splitlines()[0][:200]}"
