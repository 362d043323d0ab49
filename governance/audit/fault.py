"""What a verification finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A place where the record contradicts itself."""

    where: str
    problem: str

    def to_dict(self) -> dict[str, str]:
        """The fault as plain JSON values."""
        return {"where": self.where, "problem": self.problem}
