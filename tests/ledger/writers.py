"""Writers in processes of their own, as several commands at once are; preloaded, so that starting them is quick."""

import threading
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from time import perf_counter

from governance.evidence.keyring import MemoryKeyring
from governance.evidence.keys import SigningKey
from governance.ledger.database import Ledger
from governance.ledger.events import append

PROCESSES, THREADS = 8, 2
_REOPEN = 20


@dataclass(frozen=True)
class Wrote:
    """What one writer did: how many events, its longest wait for the lock in seconds, what went wrong."""

    events: int
    waited: float
    problem: str | None


def write_together(url: str, actor: str, pem: bytes, events: int) -> list[Wrote]:
    """Let 16 writers, two in each of eight processes, append events all at the same time."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.ledger.writers"])
    start = context.Barrier(PROCESSES * THREADS)
    results = context.SimpleQueue()
    writers = PROCESSES * THREADS
    shares = [events // writers + (number < events % writers) for number in range(writers)]
    processes = [
        context.Process(
            target=_process,
            args=(url, actor, pem, n, shares[n * THREADS : (n + 1) * THREADS], start, results),
        )
        for n in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    found = [results.get() for _ in range(writers)]
    for process in processes:
        process.join()
    return found


def _process(
    url: str,
    actor: str,
    pem: bytes,
    number: int,
    shares: list[int],
    start: Barrier,
    results: "SimpleQueue[Wrote]",
) -> None:
    threads = [
        threading.Thread(
            target=_write,
            args=(url, actor, pem, number * THREADS + i, share, bool(i), start, results),
        )
        for i, share in enumerate(shares)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _write(
    url: str,
    actor: str,
    pem: bytes,
    writer: int,
    share: int,
    reopens: bool,
    start: Barrier,
    results: "SimpleQueue[Wrote]",
) -> None:
    """Append events one by one; every second writer opens the ledger again and again, as commands do."""
    keys = MemoryKeyring({actor: [SigningKey.from_pem(pem)]})
    ledger, done, waited, problem = Ledger(url, keys), 0, 0.0, None
    try:
        start.wait()
        for number in range(share):
            if reopens and number % _REOPEN == 0:
                ledger.dispose()
                ledger = Ledger(url, keys)
            began = perf_counter()
            with ledger.write() as session:
                waited = max(waited, perf_counter() - began)
                append(session, actor, "bundle.exported", f"writer:{writer}", {"number": number})
            done += 1
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
    finally:
        ledger.dispose()
        results.put(Wrote(done, waited, problem))
