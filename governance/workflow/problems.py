"""What the doctor works with: a place to look at, what was looked at, and what is wrong there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from governance.ledger.database import Ledger
from governance.progress import Meter, silent
from governance.registry import Registry
from governance.settings import Settings

if TYPE_CHECKING:
    from governance.clip.encoder import Encoder


@dataclass(frozen=True)
class Problem:
    """Something that is not as the ledger says.

    Attributes:
        where: subject, place in MLflow, or file of the workspace.
        problem: one sentence.
        remedy: what `repair` does about it, None if it can do nothing.
        apply: does it, given who acts.
        advice: what a person can do instead.
        failure: why the remedy did not help.
        private: a path in the sentence, which stays out of the log.
    """

    where: str
    problem: str
    remedy: str | None = None
    apply: Callable[[str], object] | None = field(default=None, compare=False, repr=False)
    advice: str | None = None
    failure: str | None = field(default=None, compare=False)
    private: str | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, str | None]:
        """The problem as plain JSON values."""
        return {
            "where": self.where,
            "problem": self.problem,
            "remedy": self.remedy,
            "advice": self.advice,
            "failure": self.failure,
        }

    def facts(self) -> dict[str, str | None]:
        """What the log says of it."""
        problem = self.problem
        if self.private is not None:
            problem = problem.replace(self.private, "a directory")
        return {"where": self.where, "problem": problem, "remedy": self.remedy}


@dataclass
class Looked:
    """What was looked at, so that nothing unknown passes for well.

    Attributes:
        versions: in MLflow, whose files were read.
        files: of those versions.
        exports: directories, of which every file was read.
        unchecked: what was not looked at, and why.
    """

    versions: int = 0
    files: int = 0
    exports: int = 0
    unchecked: list[str] = field(default_factory=list)

    def forget(self) -> None:
        """Begin anew."""
        self.versions = self.files = self.exports = 0
        self.unchecked.clear()


@dataclass(frozen=True)
class Workplace:
    """What is examined: the ledger, MLflow, and where the files are.

    Attributes:
        quick: leave out the contents of files in MLflow and of exports.
        meter: shows the progress.
        looked: what an examination has looked at.
    """

    ledger: Ledger
    registry: Registry
    settings: Settings
    quick: bool = False
    meter: Meter = silent
    looked: Looked = field(default_factory=Looked, compare=False)

    def encoder(self) -> "Encoder":
        """Models, for what has to be made again; importing them takes seconds."""
        from governance.clip.encoder import Encoder

        return Encoder(self.settings.cache_dir)
