"""SIGKILL at every write of a command: then the doctor makes it clean, the audit holds, and repeating completes it."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from governance.demo.scenes import write_dataset
from tests.databases import PostgresDatabases
from tests.postgres import Server
from tests.workflow.commands import COMMANDS, REGISTER, REPAIR, SETUP, VERIFY, grow_old
from tests.zygote import Outcome, Zygote

pytestmark = pytest.mark.slow

HOME = "GOVERNANCE_HOME"


@dataclass(frozen=True)
class Place:
    """A workspace; its ledger is a file in it, or a database on a server."""

    home: Path
    databases: PostgresDatabases | None = None
    url: str | None = None

    @property
    def environ(self) -> dict[str, str]:
        """What leads the commands to it."""
        database = {} if self.url is None else {"GOVERNANCE_DATABASE_URL": self.url}
        return {HOME: str(self.home), **database}

    def line(self, line: list[str]) -> list[str]:
        """A command as it is given there."""
        return [word.format(home=self.home) for word in line]

    def copy(self, to: Path) -> "Place":
        """The same again, elsewhere."""
        shutil.copytree(self.home, to)
        if self.databases is None or self.url is None:
            return Place(to)
        return Place(to, self.databases, self.databases.copy(self.url))


@dataclass(frozen=True)
class Stage:
    """A workspace just before a command, and what the command makes of it undisturbed."""

    place: Place
    line: list[str]
    points: list[str] = field(default_factory=list)
    end: Any = None


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote(tmp_path_factory.mktemp("zygote")) as process:
        yield process


@pytest.fixture(scope="module")
def stages(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stage]:
    return make_stages(zygote, Place(tmp_path_factory.mktemp("stages") / "setup"))


@pytest.fixture(scope="module")
def stages_on_postgresql(
    zygote: Zygote, tmp_path_factory: pytest.TempPathFactory, postgresql: Server
) -> dict[str, Stage]:
    databases = PostgresDatabases(postgresql)
    home = tmp_path_factory.mktemp("stages") / "setup"
    return make_stages(zygote, Place(home, databases, databases.new()))


def make_stages(zygote: Zygote, place: Place) -> dict[str, Stage]:
    """Take the whole way once, undisturbed."""
    images = place.home.parent / "images"
    write_dataset(images, per_pair=2, seed=99)
    done = zygote.run([*SETUP, REGISTER, ["dataset", "add", "eval", str(images)]], place.environ)
    assert set(done.codes) == {0}, done.err
    stages = {}
    for name, line in COMMANDS.items():
        before = place.copy(place.home.with_name(f"before-{name}"))
        done = zygote.run([place.line(line)], place.environ)
        after = zygote.run([VERIFY, ["doctor"], ["inspect"]], place.environ)
        assert done.codes + after.codes == [0, 0, 0, 0], done.err + after.err
        stages[name] = Stage(before, line, done.points, json.loads(after.out[-1]))
    return stages


def test_every_kind_of_write_is_a_point(stages: dict[str, Stage]) -> None:
    for name, stage in stages.items():
        assert stage.points[-1].startswith("after"), name
    points = {point.rpartition(" ")[0] for stage in stages.values() for point in stage.points}
    assert points >= {
        "before a commit of the", "after a commit of the", "after a commit of",
        "after copying", "before moving", "after moving",
    }  # fmt: skip
    assert len(stages["apply"].points) > 10


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_write(
    name: str, stages: dict[str, Stage], zygote: Zygote, tmp_path: Path
) -> None:
    _kill_everywhere(zygote, stages[name], tmp_path)


@pytest.mark.parametrize("name", ["approve", "promote"])
def test_killed_at_any_write_on_postgresql(
    name: str, stages_on_postgresql: dict[str, Stage], zygote: Zygote, tmp_path: Path
) -> None:
    _kill_everywhere(zygote, stages_on_postgresql[name], tmp_path)


def _kill_everywhere(zygote: Zygote, stage: Stage, tmp_path: Path) -> None:
    numbers = range(1, len(stage.points) + 1)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda n: _kill(zygote, stage, n, tmp_path / f"{n}"), numbers))
    assert [problem for problem, _ in found if problem] == []
    # Commands that write to both stores leave something to repair, so that the doctor was not idle.
    assert any(repaired for _, repaired in found) == (stage.line[1] not in ("file", "approve"))


def _kill(zygote: Zygote, stage: Stage, number: int, home: Path) -> tuple[str | None, bool]:
    """Kill the command at one write, and see both ways out of it: with the doctor, and by repeating it only.

    Returns:
        What went wrong, and whether there was anything to repair.
    """
    place = stage.place.copy(home)
    line = place.line(stage.line)
    killed = zygote.run([line], place.environ, die_at=number)
    assert killed.killed
    assert killed.points == stage.points[:number]
    grow_old(home)
    untreated = place.copy(home.with_name(f"{number}-untreated"))
    treated = zygote.run([REPAIR, VERIFY, line, ["doctor"], VERIFY, ["inspect"]], place.environ)
    problem = _problem(stage, treated, ["doctor --repair", "audit verify"])
    if problem is None and "REPAIRED" in treated.out[0]:
        shutil.rmtree(home)
        untreated.home.rename(home)  # where something was going is written in it
        alone = zygote.run(
            [line, VERIFY, REPAIR, ["inspect"]], untreated.environ | {HOME: f"{home}"}
        )
        problem = _problem(stage, alone, [])
    explained = problem and f"{number} ({stage.points[number - 1]}): {problem}"
    return explained, "REPAIRED" in treated.out[0]


def _problem(stage: Stage, done: Outcome, first: list[str]) -> str | None:
    """What is not as after an undisturbed run."""
    codes = list(done.codes)
    if codes[len(first)] == 3:
        codes[len(first)] = 0  # it was done already
    if any(codes):
        return f"exit codes {done.codes}: {[err for err in done.err if err]}"
    end = json.loads(done.out[-1])
    differences = {key: end[key] for key in stage.end if end[key] != stage.end[key]}
    return f"it came to {differences}" if differences else None


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_processes_filing_the_same_request(
    kind: str, zygote: Zygote, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = "stages" if kind == "sqlite" else "stages_on_postgresql"
    stage = request.getfixturevalue(name)["file"]
    place = stage.place.copy(tmp_path / "home")
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: zygote.run([stage.line], place.environ), range(2)))
    assert [outcome.codes for outcome in done] == [[0], [0]]
    first, second = sorted(outcome.out[0] for outcome in done)
    assert first.startswith("Filed request 1: forget mug everywhere")
    assert second.startswith("Nothing filed: you filed this as request 1 on ")
    assert second.endswith("(filed); --again files another.\n")
    after = zygote.run([VERIFY, ["inspect"]], place.environ)
    assert after.codes == [0, 0]
    assert json.loads(after.out[-1]) == stage.end


@pytest.mark.parametrize("limit", [1 << 9, 1 << 12, 1 << 13, 1 << 15])
@pytest.mark.parametrize("name", ["file", "approve"])
def test_a_full_disk_is_one_line_and_loses_nothing(
    name: str, limit: int, stages: dict[str, Stage], zygote: Zygote, tmp_path: Path
) -> None:
    stage = stages[name]
    place = stage.place.copy(tmp_path / "home")
    before = zygote.run([["inspect"]], place.environ).out
    full = zygote.run([stage.line], place.environ, file_limit=limit)
    if full.codes != [0]:  # it may fit into what the files have room for already
        assert full.codes == [7]
        (line,) = full.err[0].splitlines()
        assert line.startswith("Error: the ledger ")
        assert full.out == [""]
        assert zygote.run([["inspect"]], place.environ).out == before
    else:
        assert limit > 1 << 12
    again = [stage.line] if full.codes == [7] else []
    done = zygote.run([VERIFY, *again, VERIFY, ["doctor"], ["inspect"]], place.environ)
    assert set(done.codes) == {0}, done.err
    assert json.loads(done.out[-1]) == stage.end
