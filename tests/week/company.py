"""The people of a company at their command lines, each command a process of its own."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from tests.zygote import Outcome, Zygote


@dataclass
class Company:
    """A workspace, and whoever works in it.

    Attributes:
        zygote: where processes come from.
        home: the workspace.
        environ: what leads commands to the ledger and to MLflow, besides the workspace.
        say: gets what happens, line by line.
        commands: how many command lines were run.
    """

    zygote: Zygote
    home: Path
    environ: Mapping[str, str]
    say: Callable[[str], None] = print
    commands: int = 0

    def run(self, actor: str, line: str, code: int = 0, says: str = "") -> str:
        """Somebody runs a command.

        Args:
            actor: who.
            line: what follows ``governance``; ``{home}`` is the workspace.
            code: exit code that must come of it.
            says: words that must be on standard error.

        Returns:
            Standard output.
        """
        done = self._run([self._words(actor, line)], None)
        self._show(actor, line, done.codes[0], done.out[0], done.err[0])
        assert done.codes == [code], f"{line}: {done.codes}\n{done.out[0]}\n{done.err[0]}"
        assert says in done.err[0], f"{line}: {done.err[0]!r} does not say {says!r}"
        return done.out[0]

    def record(self, actor: str, line: str) -> Any:
        """What a command says with ``--json``."""
        return json.loads(self.run(actor, f"{line} --json"))

    def refused(self, actor: str, line: str, says: str, code: int = 3) -> None:
        """Somebody tries what is refused, by the workflow if no other exit code is given."""
        self.run(actor, line, code, says)

    def together(self, *lines: tuple[str, str]) -> None:
        """Commands that follow each other, all of which succeed."""
        done = self._run([self._words(actor, line) for actor, line in lines], None)
        for (actor, line), code, out, err in zip(
            lines, done.codes, done.out, done.err, strict=True
        ):
            self._show(actor, line, code, out, err)
        assert set(done.codes) == {0}, done.err

    def crash(self, actor: str, line: str, write: int) -> list[str]:
        """A command is killed (SIGKILL) at one of its writes.

        Returns:
            Names of the writes that it came by.
        """
        done = self._run([self._words(actor, line)], write)
        assert done.killed, f"{line} ended before its write {write}"
        self.say(f"{actor}$ governance {line}\n    (killed {done.points[-1]})")
        return done.points

    @property
    def mlflow(self) -> MlflowClient:
        """For an operator who goes past the program."""
        uri = self.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{self.home}/mlflow.db")
        return MlflowClient(tracking_uri=uri, registry_uri=uri)

    def _words(self, actor: str, line: str) -> list[str]:
        words = shlex.split(line.format(home=shlex.quote(str(self.home))))
        return words if words[0] == "init" else [*words, "--actor", actor]

    def _run(self, lines: list[list[str]], die_at: int | None) -> Outcome:
        self.commands += len(lines)
        return self.zygote.run(
            lines, {"GOVERNANCE_HOME": str(self.home), **self.environ}, die_at=die_at
        )

    def _show(self, actor: str, line: str, code: int, out: str, err: str) -> None:
        shown = "" if line.endswith("--json") else out
        self.say(f"{actor}$ governance {line}" + (f"    (exit code {code})" if code else ""))
        for text in [*err.splitlines(), *shown.splitlines()]:
            self.say(f"    {text}")
