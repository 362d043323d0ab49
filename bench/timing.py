"""Time and memory of a piece of work, in the running process."""

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, so that processor time is wall time and ratios do not depend on other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def seconds(work: Callable[[], Any], repeats: int = 5) -> float:
    """Least processor time of `repeats` runs, seconds."""
    return min(_once(work) for _ in range(repeats))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and its processor time in seconds."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def _once(work: Callable[[], Any]) -> float:
    return timed(work)[1]


def peak_memory(work: Callable[[], Any]) -> int | None:
    """Bytes by which the resident set grows at most while `work` runs; None where the kernel cannot tell."""
    gc.collect()
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        # Memory that was freed but not given back would be used again unseen.
        ctypes.CDLL(None).malloc_trim(0)
        clear.write_text("5", encoding="ascii")  # the kernel forgets the peak so far
        before = _field(status, "VmRSS:")
        result = work()
        after = _field(status, "VmHWM:")
    except (OSError, AttributeError):
        return None
    del result
    return max(0, after - before)


def _field(status: Path, name: str) -> int:
    for line in status.read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0
