"""What the evidence costs: appending, verifying and proving, against bare work in the same run.

Appends are measured as waiting time, because the disk and the lock are part of them, and so is what uses every
processor; everything else as processor time. What is compared is done by turns, and each takes its least time.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import islice, pairwise
from multiprocessing import get_context
from multiprocessing.pool import Pool as Processes
from pathlib import Path

from sqlalchemy import text

from bench.filling import lengthen
from bench.output import MISSING, Section, Settings, ratio, table
from bench.timing import peak_memory, seconds
from governance.audit.bundle_contents import Scope
from governance.audit.readers import processors, seldom_collected
from governance.audit.verify import Verification, verify
from governance.clip.encoder import Encoder
from governance.clip.source import parse_source
from governance.demo import LABELS_FILE
from governance.digests import canonical_json
from governance.evidence.keyring import MemoryKeyring
from governance.evidence.keys import SigningKey
from governance.evidence.merkle import leaf_hash, node_hash
from governance.ledger.database import Ledger
from governance.ledger.events import append, entries, entry_of, rows_between
from governance.ledger.migrate import upgrade
from governance.ledger.tree import prove_consistency, prove_inclusion
from governance.registry import Registry
from governance.states import Basis
from governance.unlearning.labels import parse_labels
from governance.unlearning.targets import Target
from governance.workflow import actors, models, requests
from governance.workflow.bundles import export
from governance.workflow.tools import Tools

DATABASE = "GOVERNANCE_BENCH_DATABASE_URL"
"""An empty PostgreSQL database that may be filled; without it the PostgreSQL rows are left out."""

Proving = tuple[int, int, int, float, float, int | None]
"""Events, hashes of two proofs, seconds of a proof and of a bundle, bytes that the bundle takes at most."""

WRITERS = 16
_PAYLOAD = {"from": "prepared", "to": "prepared", "report": {"digest": "sha256:" + "a" * 64}}
_SIGNED = 100_000
_CHECKS = 2000
_CONTENT = b"x" * 500
"""As long as an event's entry."""
_ROUNDS = 5


def run(settings: Settings) -> Section:
    """The part."""
    appends, data = [], {}
    with _sqlite() as ledger:
        appends += _appends("SQLite", ledger, 1, 240 if settings.quick else 3000)
    url = os.environ.get(DATABASE)
    if url:
        ledger = Ledger(url, MemoryKeyring())
        upgrade(ledger)
        actors.found(ledger, "ada")
        appends += _appends("PostgreSQL", ledger, WRITERS, 240 if settings.quick else 4800)
        ledger.dispose()
    sizes = [1000, 3000] if settings.quick else [1000, 10_000, 100_000, 1_000_000]
    reading, proving = _reading(sizes)
    data = {"appends": appends, "reading": reading, "proving": proving}
    return Section(
        "ledger",
        {
            "ledger: appending": table(
                [(n, w, round(r), ratio(b / r)) for n, w, r, b in appends],
                ["database", "writers", "events/s", "a bare insert is faster by"],
            ),
            "ledger: verifying": table(
                [(n, round(r), ratio(s)) for n, r, s in reading],
                ["what is checked", "events/s", "time, relative to reading the rows"],
            ),
            "ledger: proving": table(
                [
                    (
                        f"{n:,}",
                        i,
                        c,
                        ratio(t / proving[0][3]),
                        ratio(b / proving[0][4]),
                        MISSING if m is None else f"{m / 1e6:.0f} MB",
                    )
                    for n, i, c, t, b, m in proving
                ],
                [
                    "events",
                    "hashes of an inclusion proof",
                    "of a consistency proof",
                    "time of a proof",
                    "time of a bundle of one request",
                    "its extra memory",
                ],
            ),
        },
        data,
    )


def _appends(
    name: str, ledger: Ledger, writers: int, count: int
) -> list[tuple[str, int, float, float]]:
    """Database, writers, appends a second, bare inserts a second."""

    def one(number: int) -> None:
        with ledger.write() as session:
            append(session, "ada", "request.evaluated", f"request:{number}", _PAYLOAD)

    bare = _bare(ledger)
    some = count // _ROUNDS
    works = [
        _Work(kind, partial(_together, work, writers, some), some, True)
        for kind, work in (("appending", one), ("inserting", bare))
    ]
    appending, inserting = _by_turns(works)
    return [(name, writers, 1 / appending, 1 / inserting)]


def _bare(ledger: Ledger) -> Callable[[int], None]:
    """One row of the same size in one transaction, in a table without any guard."""
    engine = ledger.engine
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE bench_rows (id INTEGER PRIMARY KEY, data TEXT)"))
    filler = "x" * 900
    lock = threading.Lock()
    numbers = iter(range(1, 10**9))

    def one(_: int) -> None:
        with lock:
            number = next(numbers)
        with engine.begin() as connection:
            connection.execute(
                text("INSERT INTO bench_rows VALUES (:id, :data)"), {"id": number, "data": filler}
            )

    return one


def _together(work: Callable[[int], None], writers: int, count: int) -> None:
    """Do `count` pieces of work by some threads."""

    def some(writer: int) -> None:
        for number in range(count // writers):
            work(writer * count + number)

    threads = [threading.Thread(target=some, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _reading(
    sizes: list[int],
) -> tuple[list[tuple[str, float, float]], list[Proving]]:
    """Rates of checks on the largest log, and proofs at each size."""
    proving = []
    with _sqlite() as ledger, tempfile.TemporaryDirectory() as place:
        request = _file(ledger, Path(place))
        for size in sizes:
            _fill(ledger, size)
            with ledger.read() as session:
                inclusion = prove_inclusion(session, size // 3, size)
                took = seconds(partial(prove_inclusion, session, size // 3, size), _ROUNDS)
                consistency = prove_consistency(session, size // 2 + 1, size)
            output = Path(place) / f"{size}.zip"
            exporting = partial(export, ledger, "ada", Scope(request=request), output)
            memory = peak_memory(exporting)
            bundle = seconds(exporting, _ROUNDS)
            proving.append((size, len(inclusion), len(consistency), took, bundle, memory))
        every = min(sizes[-1], _SIGNED)
        with _sqlite() as signed, get_context("spawn").Pool(processors()) as pool:
            _fill(signed, every)
            found = _by_turns(works := _checks(pool, ledger, sizes[-1], signed, every))
    reading = [(work.name, 1 / one, one / found[0]) for work, one in zip(works, found, strict=True)]
    return reading, proving


@dataclass(frozen=True)
class _Work:
    """Something that is done to events, or that nothing done to events can leave out.

    Attributes:
        name: what it is.
        work: does it.
        count: of how many events.
        waits: whether the time is what somebody waits, because it uses every processor; else processor time.
    """

    name: str
    work: Callable[[], object]
    count: int
    waits: bool = False

    def once(self) -> float:
        """Seconds an event."""
        clock = time.perf_counter if self.waits else time.process_time
        began = clock()
        self.work()
        return (clock() - began) / self.count


def _by_turns(works: Sequence[_Work]) -> list[float]:
    """Least seconds an event of each: a machine that is slow for a while is so for all of them."""
    rounds = [[work.once() for work in works] for _ in range(_ROUNDS)]
    return [min(times) for times in zip(*rounds, strict=True)]


def _checks(pool: Processes, ledger: Ledger, count: int, signed: Ledger, every: int) -> list[_Work]:
    """What is measured on a log of `count` events, reading its rows first, and on one whose `every` event is signed."""
    signatures = _signatures()
    with ledger.read() as session:
        some = [entry_of(e).encode() for chunk in islice(entries(session), 40) for e in chunk]
    return [
        _Work("nothing: rows are read", lambda: _rows(ledger), count),
        _Work("nothing: three hashes an event", lambda: _hashes(some), len(some)),
        _Work(
            "nothing: rows and hashes on every processor, in waiting time",
            lambda: _rows_and_hashes(pool, ledger.url, count), count, True,
        ),
        _Work("nothing: one signature after the other", lambda: signatures(_CHECKS), _CHECKS),
        _Work(
            "nothing: signatures on every processor, in waiting time",
            lambda: _on_every_processor(signatures, _CHECKS), _CHECKS, True,
        ),
        _verification("`audit verify --log-only`", partial(verify, ledger, log_only=True), count),
        _verification("`audit verify --no-signatures`", partial(verify, ledger, signatures=False), count),
        _verification("`audit verify`", partial(verify, ledger), count),
        _verification("`audit verify`, each event signed", partial(verify, signed), every),
    ]  # fmt: skip


def _verification(name: str, check: Callable[..., Verification], count: int) -> _Work:
    """A verification, which must find nothing."""

    def work() -> None:
        with seldom_collected():  # as the command does
            found = check(processes=processors())
        if not found.ok:
            raise RuntimeError(f"the measured log does not hold: {found.faults[0]}")

    return _Work(f"{name}, in waiting time", work, count, True)


def _rows(ledger: Ledger) -> None:
    with ledger.read() as session:
        for _ in entries(session):
            pass


def _hashes(texts: list[bytes]) -> None:
    """What no verification can leave out: the digest of each entry, its leaf, and one inner node."""
    for content in texts:
        found = leaf_hash(sha256(content).digest())
        node_hash(found, found)


def _rows_and_hashes(pool: Processes, url: str, count: int) -> None:
    """The least that a verification does, by as many processes as there are processors, which run already."""
    parts = processors()
    ends = [count * part // parts for part in range(parts + 1)]
    pool.starmap(_part, [(url, first + 1, last) for first, last in pairwise(ends)], chunksize=1)


def _part(url: str, first: int, last: int) -> None:
    ledger = Ledger(url)
    with ledger.read() as session:
        for _ in rows_between(session, first, last, last):
            _hashes([_CONTENT])
    ledger.dispose()


def _signatures() -> Callable[[int], None]:
    """Checks one signature of an event's size so many times, one after the other."""
    key = SigningKey.generate()
    signature = key.sign(_CONTENT)

    def work(count: int) -> None:
        for _ in range(count):
            key.public.verify(_CONTENT, signature)

    return work


def _on_every_processor(work: Callable[[int], None], count: int) -> None:
    workers = processors()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, [count // workers] * workers))


def _file(ledger: Ledger, place: Path) -> int:
    """Number of a request on the embedded model."""
    registry = Registry(f"sqlite:///{place}/mlflow.db", place / "artifacts")
    tools = Tools(ledger, registry, Encoder(place / "cache"))
    labels = parse_labels(LABELS_FILE.read_text(encoding="utf-8"), toml=True)
    models.register(tools, "ada", "shop", parse_source("demo", None), labels)
    target = [Target(labels.classes[0], None)]
    return requests.file(ledger, "ada", "shop", target, Basis.BIAS, "a reason").number


def _fill(ledger: Ledger, size: int) -> None:
    """Lengthen the log to `size` events: signed ones first, then refusals, which need no signature.

    All may stand there without any record that they speak of, so that a verification finds nothing.
    """
    lengthen(ledger, size, canonical_json(_PAYLOAD), _kind)


def _kind(seq: int) -> tuple[str, str, bool]:
    signed = seq <= _SIGNED
    action = "report.exported" if signed else "request.refused"
    return action, f"request:{1000 + seq % 997}", signed


@contextmanager
def _sqlite() -> Iterator[Ledger]:
    """A new ledger with its first admin."""
    with tempfile.TemporaryDirectory() as place:
        ledger = Ledger(f"sqlite:///{place}/ledger.db", MemoryKeyring())
        upgrade(ledger)
        actors.found(ledger, "ada")
        yield ledger
        ledger.dispose()
