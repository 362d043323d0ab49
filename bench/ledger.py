"""What the evidence costs: appending, verifying and proving, against bare work in the same run.

Appends are measured as waiting time, because the disk and the lock are part of them; everything else as processor time.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path

from sqlalchemy import text

from bench.filling import lengthen
from bench.output import MISSING, Section, Settings, ratio, table
from bench.timing import peak_memory, timed
from governance.audit.bundle_contents import Scope
from governance.audit.log import Log, walk
from governance.audit.signatures import Signatures
from governance.audit.verify import verify
from governance.clip.encoder import Encoder
from governance.clip.source import parse_source
from governance.demo import LABELS_FILE
from governance.digests import canonical_json, load_json
from governance.evidence.keyring import MemoryKeyring
from governance.evidence.keys import SigningKey
from governance.evidence.merkle import leaf_hash, node_hash
from governance.ledger.database import Ledger
from governance.ledger.events import append, entries, entry_of
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
_SIGNED = 50_000
_CHECKS = 2000


def run(settings: Settings) -> Section:
    """The part."""
    appends, data = [], {}
    with _sqlite() as ledger:
        appends += _appends("SQLite", ledger, 1, 200 if settings.quick else 3000)
    url = os.environ.get(DATABASE)
    if url:
        ledger = Ledger(url, MemoryKeyring())
        upgrade(ledger)
        actors.found(ledger, "ada")
        appends += _appends("PostgreSQL", ledger, WRITERS, 160 if settings.quick else 4800)
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
    rates = []
    for work in (one, bare):
        rates.append(count / _together(work, writers, count))
    return [(name, writers, rates[0], rates[1])]


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


def _together(work: Callable[[int], None], writers: int, count: int) -> float:
    """Seconds for `count` pieces of work by some threads."""

    def some(writer: int) -> None:
        for number in range(count // writers):
            work(writer * count + number)

    threads = [threading.Thread(target=some, args=(writer,)) for writer in range(writers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


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
                inclusion, took = timed(partial(prove_inclusion, session, size // 3, size))
                consistency = prove_consistency(session, size // 2 + 1, size)
            scope, output = Scope(request=request), Path(place) / f"{size}.zip"
            memory = peak_memory(lambda: export(ledger, "ada", scope, output))  # noqa: B023
            _, bundle = timed(lambda: export(ledger, "ada", scope, output))  # noqa: B023
            proving.append((size, len(inclusion), len(consistency), took, bundle, memory))
        count = sizes[-1]
        with ledger.read() as session:
            _, bare = timed(lambda: sum(len(chunk) for chunk in entries(session)))
            _, chain = timed(lambda: sum(1 for _ in walk(session, Log())))
            some = [found for chunk in islice(entries(session), 40) for found in chunk]
        _, hashes = timed(partial(_hashes, [entry_of(found).encode() for found in some]))
        signed = min(count, _SIGNED)
        openssl = _openssl()
        _, alone = timed(lambda: openssl(_CHECKS))
        together = _waited(lambda: _on_every_processor(openssl, _CHECKS))
        signatures = _waited(lambda: _signatures(ledger, signed))
        whole = _waited(lambda: verify(ledger))
    row, rate = bare / count, 1 / count
    return [
        ("nothing: rows are read", 1 / row, 1.0),
        ("nothing: three hashes an event", len(some) / hashes, hashes / len(some) / row),
        ("nothing: one signature after the other", _CHECKS / alone, alone / _CHECKS / row),
        (
            "nothing: signatures on every processor, in waiting time",
            _CHECKS / together,
            together / _CHECKS / row,
        ),
        ("digests, links, times, tree", count / chain, chain * rate / row),
        ("and signatures, in waiting time", signed / signatures, signatures / signed / row),
        ("everything: `audit verify`, in waiting time", count / whole, whole * rate / row),
    ], proving


def _waited(work: Callable[[], object]) -> float:
    """Seconds of waiting for `work`, which uses more than one processor."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _signatures(ledger: Ledger, count: int) -> None:
    signatures = Signatures()
    with ledger.read() as session:
        found = islice(walk(session, Log()), count)
        while batch := [(event, load_json(event.payload)) for event in islice(found, 1024)]:
            signatures.read(batch)


def _hashes(texts: list[bytes]) -> None:
    """What no verification can leave out: the digest of each entry, its leaf, and one inner node."""
    for content in texts:
        found = leaf_hash(sha256(content).digest())
        node_hash(found, found)


def _openssl() -> Callable[[int], None]:
    """Checks one signature of an event's size so many times, one after the other."""
    key = SigningKey.generate()
    content = b"x" * 500
    signature = key.sign(content)

    def work(count: int) -> None:
        for _ in range(count):
            key.public.verify(content, signature)

    return work


def _on_every_processor(work: Callable[[int], None], count: int) -> None:
    workers = os.cpu_count() or 1
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
    """Lengthen the log to `size` events: signed ones first, then refusals, which need no signature."""
    lengthen(ledger, size, canonical_json(_PAYLOAD), _kind)


def _kind(seq: int) -> tuple[str, str, bool]:
    signed = seq <= _SIGNED
    action = "request.evaluated" if signed else "request.refused"
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
