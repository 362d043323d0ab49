"""A fault before and after every step of a command: it says so, nothing is lost, and repeating it converges.

What is where, as step × fault; steps are discovered by an undisturbed run, so that a new one is covered by itself:

| step | exception | SIGKILL | MLflow down | timeout after success | disk full |
|---|---|---|---|---|---|
| transaction of the ledger | here | `test_kill` | – | here, at the commit | here; `tests/ledger/test_disk` |
| call to MLflow | here | `test_kill` | here | here | `test_server` |
| request to MLflow's server | – | – | `test_server` | `test_server` | `test_server` |
| file: export, departure, checkpoint, notification | here | `test_kill` | – | – | here, half-written |

Exhaustive, in this process with a stand-in for MLflow: every verb that writes × every transaction, call and file × what
can befall it, which lasts until the command has ended; then repeating alone must do. At every third step an exception,
too, an interruption or an unexpected one in turn, and the doctor goes first; `test_kill` takes both ways everywhere.

Sampled, against a real server (`test_server`): apply, promote and rollback × each kind of HTTP request × a fault that
lasts. What befalls one request only is in `tests/test_outages.py`, at each kind of request, too.
"""

import copy
import errno
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from governance import registry as adapter
from governance.cli.main import INTERRUPTED
from governance.clip.encoder import Encoder
from governance.errors import UnavailableError
from governance.workflow import notify
from tests.fakes import FakeRegistry
from tests.points import watch
from tests.workflow.bench import Bench, Done, Stage, loaded_once, make_stages, recover
from tests.workflow.commands import COMMANDS, REPAIR

BRANCHES = {
    "rollback": ["version", "rollback", "--to", "1", "--reason", "r", "--actor", "mona"],
    "repair": REPAIR,
    "notify": ["notify", "run"],
}

VERBS = ["register", *(name for name in COMMANDS if name != "drop"), *BRANCHES, "drop"]


@dataclass
class Step:
    """Where a run is, and what is to happen where.

    Attributes:
        names: of the points that it came by.
        at: number of the one at which something happens, from 1.
        exception: whether it is an exception, or what can befall the point.
    """

    names: list[str] = field(default_factory=list)
    at: int | None = None
    exception: bool = False

    def __call__(self, name: str, path: Path | None = None) -> None:
        self.names.append(name)
        number = len(self.names)
        if self.at is None or number < self.at:
            return
        store = _store(name)
        lasts = (
            not self.exception and store is not None and store == _store(self.names[self.at - 1])
        )
        if number > self.at and not lasts:
            return
        if self.exception:
            raise self.wanted("a test wants it")
        if store == "the ledger":
            raise sqlite3.OperationalError("database or disk is full")
        if store == "MLflow":
            raise UnavailableError("MLflow cannot be reached")
        if path is not None:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    @property
    def wanted(self) -> type[BaseException]:
        """The exception."""
        return KeyboardInterrupt if self.at is not None and self.at % 2 else RuntimeError

    def explained_by(self, done: Done) -> bool:
        """Whether what a command said is what people should be told."""
        if (
            done.code == 0
        ):  # what comes after the outcome may fail; the doctor and the next release see to it
            return all(said.startswith("Warning: ") for said in done.err)
        if not self.exception:
            code, words = 7, "Error: .*(MLflow cannot be reached|is full|No space left on device).*"
        elif self.wanted is RuntimeError:
            code, words = 1, "Error: unexpected RuntimeError: a test wants it .*"
        else:
            code, words = INTERRUPTED, "Interrupted; nothing was half-written, .*"
        return done.code == code and len(done.err) == 1 and bool(re.fullmatch(words, done.err[0]))


def _store(name: str) -> str | None:
    return next((store for store in ("the ledger", "MLflow") if name.endswith(store)), None)


class Watched(FakeRegistry):
    """Its calls are points, too."""

    step: Callable[[str], None]

    def _meet(self, when: str, method: str) -> None:
        super()._meet(when, method)
        self.step(f"{when} {method} of MLflow")


@dataclass
class Memory:
    """A stand-in for MLflow in this process."""

    registry: FakeRegistry

    def keep(self, to: Path) -> FakeRegistry:
        return copy.deepcopy(self.registry)

    def restore(self, kept: FakeRegistry) -> None:
        self.registry = copy.deepcopy(kept)


@pytest.fixture(scope="module")
def bench(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    memory = Memory(Watched())
    with pytest.MonkeyPatch.context() as patch, loaded_once(encoder):
        patch.setattr(Watched, "step", staticmethod(lambda _: None), raising=False)
        patch.setattr(adapter, "Registry", lambda *_: memory.registry)
        # Nobody waits to see whether who died is only slow, nor before a delivery is tried again.
        patch.setattr(notify, "MARGIN", -timedelta(seconds=15))
        patch.setattr(notify, "FIRST_WAIT_S", 0.0)
        yield Bench(tmp_path_factory.mktemp("faults") / "home", memory)


@pytest.fixture(scope="module")
def stages(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stage]:
    return make_stages(bench, tmp_path_factory.mktemp("stages"), BRANCHES, _damage)


def _damage(bench: Bench) -> None:
    """An apply that came to nothing, and somebody's hand in MLflow."""
    for line in (
        ["request", "file", "--forget", "cat", "--basis", "bias", "--reason", "r",
         "--actor", "carla"],
        ["request", "prepare", "2", "--actor", "mona"],
        ["request", "approve", "2", "--actor", "dmitri"],
    ):  # fmt: skip
        assert bench.run(line).code == 0
    assert isinstance(bench.mirror, Memory)
    registry = bench.mirror.registry
    registry.fail("after", "register", UnavailableError("MLflow is down"))
    assert bench.run(["request", "apply", "2", "--actor", "mona"]).code == 7
    registry.set_alias("shop", "champion", "1")
    registry.tag_version("shop", "2", "governance.digest", "forged")


def watched(bench: Bench, line: list[str], step: Step) -> Done:
    """Run a command with its steps watched."""
    with pytest.MonkeyPatch.context() as patch, watch(step):
        patch.setattr(Watched, "step", staticmethod(step))
        return bench.run(line)


@pytest.mark.parametrize("name", VERBS)
def test_whatever_befalls_a_step_repeating_converges(
    name: str, stages: dict[str, Stage], bench: Bench, known_attacks: None
) -> None:
    stage = stages[name]
    bench.restore(stage.kept)
    undisturbed = Step()
    assert watched(bench, stage.line, undisturbed).code == 0
    assert len(undisturbed.names) > 1
    problems = []
    for number, point in enumerate(undisturbed.names, 1):
        for exception in (False, True)[: 1 if number % 3 else 2]:
            step = Step(at=number, exception=exception)
            bench.restore(stage.kept)
            problem = _disturb(bench, stage, step)
            if step.names[:number] != undisturbed.names[:number]:
                problem = f"the steps are others: {step.names[:number]}"
            if problem:
                what = "exception" if exception else "fault"
                problems.append(f"{what} {point} ({number}): {problem}")
    assert problems == []


def _disturb(bench: Bench, stage: Stage, step: Step) -> str | None:
    """What went wrong, but for what was made to."""
    before = bench.events()
    failed = watched(bench, stage.line, step)
    if not step.explained_by(failed):
        return f"it ended with {failed.code} and said {failed.err}"
    if bench.events()[: len(before)] != before:
        return "events are lost"
    return recover(bench, stage, failed, doctor_first=step.exception)
