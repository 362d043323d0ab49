"""Reading the log in several processes at once, since the interpreter's lock lets threads do little of that.

This process takes part: whoever is free reads the next segment. A process is told what to read over its standard input,
where no process list shows the password of a database, and answers over its standard output. The values are those of
`marshal`, which carries them three times as fast as `pickle`; both ends are one program on one interpreter.
`multiprocessing` is not used because it would run the caller's main module again in each process.
"""

import gc
import marshal
import os
import struct
import subprocess
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import astuple
from queue import Queue
from threading import Lock
from typing import IO, Any

from governance.audit.segments import LENGTH, Plan, Position, Segment
from governance.errors import GovernanceError, UnavailableError
from governance.ledger.direct import Access, Rows, opened

LONG = 16 * LENGTH
"""Events up to which a log is read before another process would have begun."""

_OBJECTS = 100_000
"""About as many as the segments hold that are in memory at a time."""

_AT_ONCE = 2
"""Segments that a process is asked for at once: it has the next one while this process is too busy to ask."""

_ALONE = "let this one do it all with --processes 1"
_SIZE = struct.Struct("<Q")


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Let the garbage collector run seldom: what is read of a log goes away without it, but would set it off.

    That is about a fifth of the time of a verification. It holds for the whole process, so it is for whoever owns it.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def segments(
    source: Rows, access: Access, plan: Plan, processes: int
) -> Generator[Segment, None, None]:
    """All segments, in order; to be closed by who stops early.

    Args:
        source: what is read, as this process reads it.
        access: the same for other processes.
        plan: what of it.
        processes: how many read a long log at the same time, this one among them.

    Raises:
        UnavailableError: the database cannot be read, or a process was killed.
    """
    if processes <= 1 or plan.until <= LONG:
        for number in range(plan.count):
            yield plan.read(source, number)
        return
    with _Team(access, plan, processes - 1) as team:
        for number in range(plan.count):
            yield team.read(source, number)


class _Team:
    """Others that read segments beside this process, each with a thread that waits for it."""

    def __init__(self, access: Access, plan: Plan, others: int) -> None:
        self._plan = plan
        self._task = tuple(access), astuple(plan)
        self._others = others
        self._ahead = (_AT_ONCE + 1) * others + 2  # so many segments are in memory at most
        self._asked: dict[int, Future[Segment]] = {}
        self._read: dict[int, Segment] = {}
        self._next = 0
        self._pool = ThreadPoolExecutor(_AT_ONCE * others)
        self._readers: list[_Reader] = []
        self._idle: Queue[_Reader] = Queue()

    def __enter__(self) -> "_Team":
        """Begin them.

        Raises:
            UnavailableError: the system lets no further process begin.
        """
        try:
            for _ in range(self._others):
                self._readers.append(_Reader(self._task))
            # Before any segment, so that no thread takes on one that nobody could read yet.
            begun = [self._pool.submit(reader.begin) for reader in self._readers]
            for reader, beginning in zip(self._readers, begun, strict=True):
                for _ in range(_AT_ONCE):
                    self._pool.submit(self._ready, reader, beginning)
        except OSError as error:
            self.__exit__()
            raise UnavailableError(
                f"no process can be begun to read the ledger: {error.strerror}; {_ALONE}"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:  # whoever waits for it waits no more
            reader.kill()
        self._pool.shutdown(cancel_futures=True)
        for reader in self._readers:
            reader.close()

    def read(self, source: Rows, number: int) -> Segment:
        """A segment; to be asked for in order.

        Whoever is free has read it, and what nobody has begun when this process would wait, it reads itself.
        """
        while self._next < min(number + self._ahead, self._plan.count):
            self._asked[self._next] = self._pool.submit(self._by_another, self._next)
            self._next += 1
        while (future := self._asked.get(number)) is not None:
            mine = None if future.done() else self._taken_back()
            if mine is None:
                self._read[number] = self._asked.pop(number).result()
            else:
                self._read[mine] = self._plan.read(source, mine)
        return self._read.pop(number)

    def _taken_back(self) -> int | None:
        """The first segment that nobody has begun to read."""
        for number, future in self._asked.items():
            if future.cancel():
                del self._asked[number]
                return number
        return None

    def _ready(self, reader: "_Reader", begun: Future[None]) -> None:
        wait([begun])
        self._idle.put(reader)

    def _by_another(self, number: int) -> Segment:
        reader = self._idle.get()
        try:
            return reader.read(number)
        finally:
            self._idle.put(reader)


class _Reader:
    """Another process that reads segments."""

    def __init__(self, task: tuple[Any, ...]) -> None:
        self._task = task
        self._failure: Any = None
        self._asking = Lock()
        self._answering = Lock()
        # It finds the program where this process finds it, and is spared what a terminal sends to this one.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )

    def begin(self) -> None:
        """Say what is read, and wait until it can be; why not is for `read` to say."""
        self._failure = self._ask(self._task)

    def read(self, number: int) -> Segment:
        """A segment.

        Raises:
            UnavailableError: it cannot read the ledger, or was killed.
        """
        answer = self._failure or self._ask(number)
        if answer is None:
            raise UnavailableError(
                f"a process that read the ledger ended with {self._process.wait()}; {_ALONE}"
            )
        segment, problem = answer
        if problem is not None:
            raise UnavailableError(problem)
        before, end, *rest = segment
        return Segment(before and Position(*before), Position(*end), *rest)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()

    def close(self) -> None:
        """Leave nothing of it."""
        self._process.communicate()

    def _ask(self, question: Any) -> Any:
        """Its answer, None if it gives none; who asks while it is busy has asked before it is done."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with self._asking:
            try:
                _write(process.stdin, question)
            except BrokenPipeError:
                return None
            self._answering.acquire()  # in the order of the questions, since nobody else asks meanwhile
        try:
            return _take(process.stdout)
        finally:
            self._answering.release()


def _write(pipe: IO[bytes], value: Any) -> None:
    data = marshal.dumps(value)
    pipe.write(_SIZE.pack(len(data)) + data)
    pipe.flush()


def _take(pipe: IO[bytes]) -> Any:
    """The next value, None if there is none."""
    header = pipe.read(_SIZE.size)
    if len(header) < _SIZE.size:
        return None
    (size,) = _SIZE.unpack(header)
    data = pipe.read(size)
    return marshal.loads(data) if len(data) == size else None


def main() -> None:
    """What another process does: it reads the segments that it is asked for, until nobody asks."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    access, fields = _take(questions)
    plan = Plan(*fields)
    try:
        with seldom_collected(), opened(Access(*access)) as source:
            _write(answers, None)
            while (number := _take(questions)) is not None:
                before, end, *rest = plan.read(source, number)
                _write(answers, ((before and tuple(before), tuple(end), *rest), None))
    except GovernanceError as error:
        _write(answers, (None, str(error)))
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more


if __name__ == "__main__":
    main()
