"""One place for a workspace in which commands are disturbed, and how they must recover from it."""

import io
import json
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from governance.cli.main import run
from governance.clip import encode, fold, load
from governance.clip import encoder as encoders
from governance.clip.encoder import Encoder
from governance.demo.scenes import write_dataset
from governance.workflow import prepare, versions
from tests.workflow.commands import COMMANDS, REGISTER, REPAIR, SETUP, VERIFY, grow_old
from tests.zygote import inspect

_REPEATED = (0, 2, 3)
"""Of a command that may have been done although it failed: refused then, or its name is taken."""

_NEWS = re.compile(r"[0-9T:.-]+Z WARNING|Going to|Recognisable again|Nothing becomes")

_LOG = """
[notify.endpoints.log]
file = "notifications.jsonl"
kinds = ["request.filed", "version.promoted"]
"""


@dataclass(frozen=True)
class Done:
    """What a command line did.

    Attributes:
        code: exit code.
        out: standard output.
        err: lines of standard error, but for the log, what a rollback announces, and the empty line of ^C.
    """

    code: int
    out: str
    err: list[str]


class Mirror(Protocol):
    """MLflow, as it can be kept and put back."""

    def keep(self, to: Path) -> Any:
        """Keep what it holds; the path may be used for it."""

    def restore(self, kept: Any) -> None:
        """Let it hold that again."""


@dataclass
class Bench:
    """One place for a workspace; copies of it are put there and taken away.

    Attributes:
        home: the workspace.
        mirror: its MLflow.
        environ: what leads commands to it.
    """

    home: Path
    mirror: Mirror
    environ: Mapping[str, str] = field(default_factory=dict)

    def run(self, line: Sequence[str]) -> Done:
        """Run a command line; {home} is the workspace."""
        out, err = io.StringIO(), io.StringIO()
        with self.entered(), redirect_stdout(out), redirect_stderr(err):
            code = run([word.format(home=self.home) for word in line])
        said = [line for line in err.getvalue().splitlines() if line and not _NEWS.match(line)]
        return Done(code, out.getvalue(), said)

    def look(self) -> dict[str, Any]:
        """What it has come to, in the ledger, in MLflow and in files."""
        log = self.home / "notifications.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        told = {line["id"]: line["type"] for line in lines}
        with self.entered():
            found = inspect()
        return {**found, "told": sorted(Counter(told.values()).items())}

    def events(self) -> list[tuple[Any, ...]]:
        """The log of the ledger."""
        with closing(sqlite3.connect(self.home / "ledger.db")) as connection:
            return connection.execute("SELECT seq, digest FROM events ORDER BY seq").fetchall()

    def keep(self, place: Path) -> tuple[Path, Any]:
        """Keep everything in a directory."""
        shutil.copytree(self.home, place / "home")
        return place / "home", self.mirror.keep(place / "mlflow.db")

    def restore(self, kept: tuple[Path, Any]) -> None:
        """Let everything be as it was kept."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(kept[0], self.home)
        self.mirror.restore(kept[1])

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Commands find the workspace."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"GOVERNANCE_HOME": str(self.home), **self.environ}.items():
                patch.setenv(name, value)
            yield


@dataclass(frozen=True)
class Stage:
    """Just before a command, and what it comes to undisturbed.

    Attributes:
        kept: to be put back.
        line: the command.
        end: what `Bench.look` says after it.
    """

    kept: tuple[Path, Any]
    line: list[str]
    end: dict[str, Any]


def make_stages(
    bench: Bench,
    place: Path,
    branches: Mapping[str, list[str]],
    damage: Callable[[Bench], None] | None = None,
) -> dict[str, Stage]:
    """Take the whole way once, undisturbed.

    Args:
        bench: where.
        place: for what is kept.
        branches: commands that are tried before the last, and lead nowhere.
        damage: what is done before the branch ``repair``.
    """
    images = place / "images"
    write_dataset(images, per_pair=2, seed=99)
    for line in [*SETUP, ["dataset", "add", "eval", str(images), "--actor", "mona"]]:
        assert bench.run(line).code == 0
    with (bench.home / "governance.toml").open("a") as config:
        config.write(_LOG)
    assert bench.run(["notify", "run"]).code == 0  # an endpoint is told what comes after it
    stages = {}

    def step(name: str, line: list[str]) -> None:
        kept = bench.keep(place / name)
        done = bench.run(line)
        assert done.code == 0, done.err
        stages[name] = Stage(kept, line, bench.look())

    step("register", REGISTER)
    for name, line in COMMANDS.items():
        if name == "drop":
            there = bench.keep(place / "there")
            for branch, other in branches.items():
                if branch == "repair" and damage is not None:
                    damage(bench)
                step(branch, other)
                bench.restore(there)
        step(name, line)
    return stages


def recover(bench: Bench, stage: Stage, failed: Done, doctor_first: bool = False) -> str | None:
    """Repeat a command that failed; everything must be as if nothing had happened.

    Returns:
        What is not.
    """
    grow_old(bench.home)
    if doctor_first and (problem := _fails(bench, REPAIR, VERIFY)):
        return problem
    if failed.code != 0:
        again = bench.run(stage.line)
        if again.code not in _REPEATED:
            return f"the next try ended with {again.code}: {again.err}"
    if bench.run(["doctor"]).code != 0:
        bench.run(REPAIR)
    if problem := _fails(bench, ["doctor"], VERIFY):
        return problem
    end = bench.look()
    differences = {key: (end[key], stage.end[key]) for key in end if end[key] != stage.end[key]}
    return f"it came to {differences}" if differences else None


def _fails(bench: Bench, *lines: list[str]) -> str | None:
    for line in lines:
        if (done := bench.run(line)).code != 0:
            return f"{line} ended with {done.code}: {done.out} {done.err}"
    return None


@contextmanager
def loaded_once(encoder: Encoder) -> Iterator[None]:
    """Commands share a loaded model, and what was computed with it: always the same, and most of their time."""
    found: dict[Any, Any] = {}

    def once(compute: Callable[..., Any], key: Callable[..., Any]) -> Callable[..., Any]:
        def known(*args: Any, **kwargs: Any) -> Any:
            name = compute.__name__, key(*args, **kwargs)
            if name not in found:
                found[name] = compute(*args, **kwargs)
            return found[name]

        return known

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "Encoder", lambda *_: encoder)
        patch.setattr(load, "load_model", once(load.load_model, lambda *a, **kw: (a, *kw.items())))
        patch.setattr(encode, "encode_texts", once(encode.encode_texts, lambda _, texts: (*texts,)))
        patch.setattr(fold, "check_fold", once(fold.check_fold, lambda *_: None))
        patch.setattr(
            fold,
            "fold",
            once(fold.fold, lambda _, projector, text, *a: (projector.digest, text, a)),
        )
        patch.setattr(
            prepare,
            "measure_request",
            once(prepare.measure_request, lambda _, __, digest, *___: digest),
        )
        build = once(
            versions.build,
            lambda _, plan: (plan.number, *(m.projector_digest for m in plan.members)),
        )
        patch.setattr(versions, "build", lambda tools, plan: replace(build(tools, plan), plan=plan))
        yield
