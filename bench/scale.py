"""Whether a ledger that has grown is as quick to work with: the same commands on 100 requests and on 10,000.

What is measured is the time in transactions, on the real path of each command; computing between them does not depend
on the ledger. Beside it stands what does not depend on the machine: statements, and steps of SQLite's virtual machine.
A list gives back as many entries on the large ledger as it could on the small one.
"""

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import Engine, create_engine, event, make_url

from bench.filling import MODEL, SOON_S, Clocked, Shelf, Sizes, fill
from bench.output import MISSING, Section, Settings, ratio, table
from bench.plans import Statements, accesses, plans, scans, watched
from bench.timing import one_thread, seconds
from governance.audit.verify import verify
from governance.clip.encoder import Encoder
from governance.evidence.keyring import MemoryKeyring
from governance.ledger.database import Ledger
from governance.ledger.events import stream
from governance.ledger.listing import Wanted, requests_page
from governance.ledger.lookup import find_model, find_request, find_version
from governance.ledger.migrate import upgrade
from governance.ledger.types import now
from governance.paging import SIZE, Page
from governance.reports.records import (
    event_record,
    listed_records,
    report_record,
    request_record,
    version_record,
    version_records,
)
from governance.states import Basis, State
from governance.unlearning.bank import PromptBank, unit
from governance.unlearning.capacity import capacity
from governance.unlearning.composition import Edit, compose
from governance.unlearning.labels import LabelSpace
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import prepare, release, requests, versions
from governance.workflow.tools import Tools

DATABASE = "GOVERNANCE_BENCH_SERVER_URL"
"""A PostgreSQL server on which databases may be made and dropped; without it the PostgreSQL rows are left out."""

SMALL = Sizes(100, 20, 10_000)
LARGE = Sizes(10_000, 2_000, 1_000_000)
_QUICK = (Sizes(40, 12, 900), Sizes(80, 16, 1_500))

COUNTS = (1, 10, 50, 100, 200, 350, 500)
WIDTH = 1024
CLASSES = 1200

_NUMBERS = itertools.count(1)

_EVERY = 100
"""Steps of SQLite's machine between two calls that count them."""

Work = Callable[[], int]
"""A command; it returns how many entries it shows."""


@dataclass
class Measured:
    """One command on one ledger.

    Attributes:
        seconds: least time in transactions.
        statements: that it asks.
        steps: of SQLite's virtual machine; None on PostgreSQL.
        entries: that it shows.
        asked: the statements themselves.
    """

    seconds: float
    statements: int
    steps: int | None
    entries: int
    asked: Statements

    def to_dict(self) -> dict[str, Any]:
        """Without the statements themselves."""
        return {
            "seconds": self.seconds,
            "statements": self.statements,
            "steps": self.steps,
            "entries": self.entries,
        }


def run(settings: Settings) -> Section:
    """The part."""
    sizes = _QUICK if settings.quick else (SMALL, LARGE)
    tables: dict[str, str] = {}
    data: dict[str, Any] = {"sizes": [vars(size) for size in sizes]}
    places: list[tuple[str, Callable[[], Any]]] = [("SQLite", _sqlite)]
    if server := os.environ.get(DATABASE):
        places.append(("PostgreSQL", partial(_postgresql, server)))
    for name, place in places:
        found = _both(place, sizes, settings)
        tables[f"scale: commands, {name}"] = _compared(found)
        tables[f"scale: query plans, {name}"] = _read(found[1]["plans"])
        data[name] = [
            {**one, "commands": {n: m.to_dict() for n, m in one["commands"].items()}}
            for one in found
        ]
    composing = _composing(settings.some(COUNTS))
    tables["scale: composing"] = table(
        [
            [str(n), *(f"{one:.2f}" for one in parts), f"{sum(parts):.2f}",
             ratio(sum(parts) / sum(composing[0][1]))]
            for n, parts in composing
        ],
        ["active requests", "solving, s", "capacity, s", "residuals, s", "together, s", "relative"],
    )  # fmt: skip
    data["composing"] = [{"requests": n, "seconds": parts} for n, parts in composing]
    return Section("scale", tables, data)


@dataclass(frozen=True)
class _World:
    """A filled ledger."""

    ledger: Clocked
    tools: Tools
    sizes: Sizes
    filled: float

    @classmethod
    def make(cls, reach: ExitStack, place: Callable[[], Any], sizes: Sizes) -> "_World":
        """Fill a new database that lives as long as `reach`."""
        keys, url = MemoryKeyring(), reach.enter_context(place())
        directory = Path(reach.enter_context(tempfile.TemporaryDirectory()))
        ledger = Clocked(url, keys)
        reach.callback(ledger.dispose)
        upgrade(ledger)
        began = time.perf_counter()
        fill(url, keys, directory, sizes)
        filled = time.perf_counter() - began
        if ledger.engine.dialect.name == "postgresql":
            with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as raw:
                raw.exec_driver_sql("VACUUM ANALYZE")  # as its own daemon does sooner or later
        tools = Tools(ledger, Shelf(), Encoder(directory / "cache"))  # type: ignore[arg-type]
        return cls(ledger, tools, sizes, filled)


def _both(
    place: Callable[[], Any], sizes: tuple[Sizes, Sizes], settings: Settings
) -> list[dict[str, Any]]:
    """Fill two ledgers, then measure each command on one and the other by turns, as other work comes and goes."""
    with ExitStack() as reach:
        worlds = [_World.make(reach, place, size) for size in sizes]
        time.sleep(SOON_S)  # the last of the short deadlines
        found: list[dict[str, Measured]] = [{}, {}]
        commands = [reading(world.ledger, world.sizes) for world in worlds]
        for name in commands[0]:
            limit = min(works[name](SIZE) for works in commands)
            works = [partial(each[name], max(1, limit)) for each in commands]
            _by_turns(name, worlds, works, found, 2 if settings.quick else 20)
        for _ in range(1 if settings.quick else 4):
            writing = [_writing(world) for world in worlds]
            for name in writing[0]:
                _by_turns(name, worlds, [works[name] for works in writing], found, 0)
        return [_summed(world, one) for world, one in zip(worlds, found, strict=True)]


def _by_turns(
    name: str,
    worlds: Sequence[_World],
    works: Sequence[Work],
    found: Sequence[dict[str, Measured]],
    repeats: int,
) -> None:
    """Measure a command once with everything counted, and then as often as said for the least time alone."""
    for turn in range(1 + repeats):
        for world, work, known in zip(worlds, works, found, strict=True):
            one = _counted(world.ledger, work) if turn == 0 else None
            took = one.seconds if one else _timed(world.ledger, work)[0]
            if one is not None and name not in known:
                known[name] = one
            known[name].seconds = min(known[name].seconds, took)


def _summed(world: _World, commands: dict[str, Measured]) -> dict[str, Any]:
    ledger = world.ledger
    asked = {name: plans(ledger.engine, one.asked) for name, one in commands.items()}
    began = time.perf_counter()
    checked = verify(ledger)
    verified = (time.perf_counter() - began) / checked.events
    if not checked.ok:
        raise AssertionError(checked.faults[:3])
    return {
        "filled": world.filled,
        "commands": commands,
        "verify": verified,
        "plans": asked,
        "scans": {n: [s for q, p in one.items() for s in scans(q, p)] for n, one in asked.items()},
    }


def reading(ledger: Ledger, sizes: Sizes) -> dict[str, Callable[[int], int]]:
    """What people look at, as the commands read it, up to some number of entries."""
    middle = sizes.requests // 2

    def listed(limit: int, after: int | None = None, newest: bool = False, **wanted: Any) -> int:
        with ledger.read() as session:
            of_model = find_model(session, MODEL) if wanted.pop("model", False) else None
            rows, _ = requests_page(
                session, Wanted(model=of_model, **wanted), Page(limit, after, newest)
            )
            return len(listed_records(session, rows))

    def show_request(_: int) -> int:
        with ledger.read() as session:
            row = find_request(session, middle)
            request_record(row)
            if row.projector is not None:
                report_record(row.projector.report)
            return 1

    def list_versions(limit: int) -> int:
        with ledger.read() as session:
            model = find_model(session, MODEL)
            return len(version_records(session, model, Page(limit, newest=True))[0])

    def show_version(_: int) -> int:
        with ledger.read() as session:
            version = find_version(session, find_model(session, MODEL), sizes.versions // 2)
            version_record(session, version)
            return len([report_record(report) for report in version.reports])

    def events(limit: int, **wanted: Any) -> int:
        with ledger.read() as session:
            return len([event_record(e) for e in stream(session, limit=limit, **wanted)])

    filed, rejected = frozenset({State.FILED}), frozenset({State.REJECTED})
    return {
        "request list": listed,
        "request list --newest": partial(listed, newest=True),
        "request list --state filed": partial(listed, states=filed),
        "request list --state rejected --after …": partial(listed, after=middle, states=rejected),
        "request list --model …": partial(listed, model=True),
        "request list --basis …": partial(listed, basis=Basis.BIAS.value),
        "request list --filed-by … --after …": partial(listed, after=middle, filed_by="carla"),
        "request list --forget … --after …": partial(listed, after=middle, label="boat"),
        "request list --overdue": lambda limit: listed(limit, due_before=now()),
        "request list --held": partial(listed, held=True),
        "request list --redactable": partial(listed, redactable=True),
        "request show": show_request,
        "version list --newest": list_versions,
        "version show": show_version,
        "audit log --subject …": partial(events, subject=f"request:{middle}"),
        "audit log --action …": partial(events, action="request.rejected"),
        "audit log --by …": partial(events, actor="dmitri"),
    }


def _writing(world: _World) -> dict[str, Work]:
    """One more request from filing to release, each step once."""
    ledger, tools, state = world.ledger, world.tools, dict[str, int]()

    def file() -> int:
        targets = [Target("boat", None)]
        filed = requests.file(ledger, "carla", MODEL, targets, Basis.BIAS, "one more reason")
        state["request"] = filed.number
        return 1

    def prepare_it() -> int:
        prepare.prepare(tools, "mona", state["request"], None, Recipe())
        return 1

    def approve() -> int:
        requests.approve(ledger, "dmitri", state["request"])
        return 1

    def apply() -> int:
        state["version"] = versions.apply(tools, "mona", [state["request"]])[1]
        return 1

    def promote() -> int:
        release.promote(ledger, tools.registry, "mona", MODEL, state["version"])
        return 1

    return {
        "request file": file,
        "request prepare": prepare_it,
        "request approve": approve,
        "request apply": apply,
        "version promote": promote,
    }


def _timed(ledger: Clocked, work: Work) -> tuple[float, int]:
    """Seconds in transactions, and what the work returns."""
    before = ledger.clock.seconds
    entries = work()
    return ledger.clock.seconds - before, entries


def _counted(ledger: Clocked, work: Work) -> Measured:
    with watched(ledger.engine) as asked, _stepped(ledger.engine) as steps:
        took, entries = _timed(ledger, work)
    sqlite = ledger.engine.dialect.name == "sqlite"
    return Measured(took, asked.count, steps[0] * _EVERY if sqlite else None, entries, asked)


@contextmanager
def _stepped(engine: Engine) -> Iterator[list[int]]:
    """Count the steps of SQLite's virtual machine, in units of `_EVERY`."""
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    def attach(connection: Any, *_: Any) -> None:
        connection.set_progress_handler(count, _EVERY)

    def detach(connection: Any, *_: Any) -> None:
        connection.set_progress_handler(None, 0)

    if engine.dialect.name != "sqlite":
        yield steps
        return
    event.listen(engine, "checkout", attach)
    event.listen(engine, "checkin", detach)
    try:
        yield steps
    finally:
        event.remove(engine, "checkout", attach)
        event.remove(engine, "checkin", detach)


def _compared(found: list[dict[str, Any]]) -> str:
    """Large beside small."""
    small, large = found
    rows = [
        [
            name,
            one.entries,
            f"{1000 * small['commands'][name].seconds:.1f}",
            f"{1000 * one.seconds:.1f}",
            ratio(one.seconds / small["commands"][name].seconds),
            f"{small['commands'][name].statements} / {one.statements}",
            MISSING
            if one.steps is None
            else ratio(one.steps / max(1, small["commands"][name].steps)),
            len(large["scans"][name]),
        ]
        for name, one in large["commands"].items()
    ]
    each = [1e6 * one["verify"] for one in found]
    rows.append(
        ["audit verify, µs an event", MISSING, f"{each[0]:.0f}", f"{each[1]:.0f}", ratio(each[1] / each[0]),
         MISSING, MISSING, MISSING]
    )  # fmt: skip
    headers = ["command", "entries", "small, ms", "large, ms", "time, relative", "statements",
               "steps, relative", "large tables read whole"]  # fmt: skip
    return table(rows, headers)


def _read(asked: dict[str, dict[str, list[str]]]) -> str:
    """How tables are read, and by how many of the commands."""
    users: dict[str, set[str]] = {}
    for command, statements in asked.items():
        for plan in statements.values():
            for line in accesses(plan):
                users.setdefault(line, set()).add(command)
    rows = [[f"`{line}`", len(users[line])] for line in sorted(users)]
    return table(rows, ["how a table is read", "commands"])


def _composing(counts: list[int]) -> list[tuple[int, list[float]]]:
    """Processor seconds of solving for some requests, of the capacity check, and of the guard against resurrection."""
    generator = torch.Generator().manual_seed(0)
    rows = unit(torch.randn(CLASSES, WIDTH, generator=generator))
    bank = PromptBank(LabelSpace(tuple(map(str, range(CLASSES)))), rows, rows)
    found = []
    with one_thread():
        for count in counts:
            edits = [Edit((Target(str(n), None),), Recipe()) for n in range(count)]
            targets = [target for edit in edits for target in edit.targets]
            composition = compose(bank, edits)

            def residuals() -> None:
                fresh = replace(composition)  # noqa: B023 — nothing of it is computed yet
                [fresh.residual(edit) for edit in edits]  # noqa: B023

            parts = (
                partial(compose, bank, edits),
                partial(capacity, bank, targets, composition.projector),
                residuals,
            )
            found.append((count, [seconds(part, 3) for part in parts]))
    return found


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        yield f"sqlite:///{directory}/ledger.db"


@contextmanager
def _postgresql(server: str) -> Iterator[str]:
    """URL of a new database on a server, dropped in the end."""
    name = f"governance_bench_{os.getpid()}_{next(_NUMBERS)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        engine.dispose()
