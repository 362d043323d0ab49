"""A real MLflow server on loopback, which keeps runs, versions and artifacts, and somebody in between who loses things.

The server takes ten seconds to start, so there is one for all tests of a process; each puts it back to where it wants.
"""

import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

START_S = 120
"""Within which the server must answer."""

_HOP_HEADERS = ("connection", "keep-alive", "transfer-encoding", "content-length", "host")


@dataclass(frozen=True)
class Server:
    """The process; its store can be kept and put back while it runs."""

    port: int
    place: Path
    pid: int

    @property
    def url(self) -> str:
        """Tracking URI."""
        return f"http://127.0.0.1:{self.port}"

    def keep(self, to: Path) -> Path:
        """Copy what the server holds now, but for artifacts, which no test takes away from another."""
        with (
            closing(sqlite3.connect(self.place / "mlflow.db")) as live,
            closing(sqlite3.connect(to)) as kept,
        ):
            live.backup(kept)
        return to

    def restore(self, kept: Path) -> None:
        """Let the server hold what it held: row by row, for it would not notice that it has another file."""
        with closing(sqlite3.connect(self.place / "mlflow.db", isolation_level=None)) as live:
            live.execute("ATTACH ? AS kept", (str(kept),))
            live.execute("BEGIN IMMEDIATE")
            query = "SELECT name FROM main.sqlite_master WHERE type = 'table'"
            for (name,) in live.execute(query).fetchall():
                places = (f'main."{name}"', f'kept."{name}"')
                if not any(live.execute(f"SELECT 1 FROM {p} LIMIT 1").fetchone() for p in places):
                    continue
                live.execute(f'DELETE FROM main."{name}"')
                live.execute(f'INSERT INTO main."{name}" SELECT * FROM kept."{name}"')
            live.execute("COMMIT")

    @contextmanager
    def full_disk(self, size: int) -> Iterator[None]:
        """No file of the server may grow beyond so many bytes."""
        limits = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def serve(place: Path, empty: Path) -> Iterator[Server]:
    """Run a server.

    Args:
        place: directory for its database and its artifacts.
        empty: database of a store without anything, so that it has no tables to make.
    """
    shutil.copy(empty, place / "mlflow.db")
    port = free_port()
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", f"{port}",
                "--workers", "1", "--backend-store-uri", f"sqlite:///{place}/mlflow.db",
                "--serve-artifacts", "--artifacts-destination", f"{place}/artifacts",
            ],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        _wait(process, port, place / "log")
        yield Server(port, place, _worker(process.pid))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with suppress(OSError, HTTPException), closing(HTTPConnection("127.0.0.1", port)) as asking:
            asking.request("GET", "/health")
            if asking.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def _worker(parent: int) -> int:
    """The process that answers: the only child of the one that was started."""
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)


@dataclass(frozen=True)
class Fault:
    """What befalls a request.

    Attributes:
        kind: ``down`` (the connection breaks before the server has heard of it), ``silent`` (nobody ever answers),
            ``lost`` (the server has done it, and the answer is lost), ``error`` (answered with status 503), ``cut``
            (the answer breaks off half-way) or ``twice`` (somebody in between sends it a second time).
        at: number of the request, from 1.
        lasting: whether the server is down for all that follow.
        always: whether the same befalls all that follow.
    """

    kind: str
    at: int
    lasting: bool = False
    always: bool = False


@dataclass
class Line:
    """Between client and server.

    Attributes:
        port: to be called instead of the server's.
        target: the server's.
        fault: what befalls which request.
        requests: method and path of each that came since `begin`.
    """

    target: int
    port: int = 0
    fault: Fault | None = None
    requests: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Tracking URI."""
        return f"http://127.0.0.1:{self.port}"

    def begin(self, fault: Fault | None = None) -> None:
        """Count from here on."""
        with self._lock:
            self.fault, self.requests = fault, []

    def meet(self, request: str) -> str | None:
        """What befalls a request that has just come."""
        with self._lock:
            self.requests.append(request)
            if self.fault is None or len(self.requests) < self.fault.at:
                return None
            if len(self.requests) == self.fault.at or self.fault.always:
                return self.fault.kind
            return "down" if self.fault.lasting else None


def first_of_each_kind(requests: list[str]) -> dict[int, str]:
    """Requests by their numbers, from 1; those to one end, for one file or another, are of a kind."""
    found: dict[str, int] = {}
    for number, request in enumerate(requests, 1):
        kind = re.sub(r"[?].*|/[0-9a-f]{32}/.*", "", request)
        found.setdefault(kind, number)
    return {number: kind for kind, number in found.items()}


@contextmanager
def lay_line(server: Server) -> Iterator[Line]:
    """A line to the server, on a port of its own."""
    line = Line(server.port)
    handler = type("Handler", (_Handler,), {"line": line})
    with _Listener(("127.0.0.1", 0), handler) as listener:
        line.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield line
        finally:
            line.ended.set()
            listener.shutdown()
            thread.join()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: Any) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    line: Line

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        body = self._body()
        fault = self.line.meet(f"{self.command} {self.path}")
        if fault == "silent":
            self.line.ended.wait()
        if fault in ("down", "silent"):
            self.close_connection = True
            return
        if fault == "error":
            self._reply(503, {}, b"")
            return
        for _ in range(2 if fault == "twice" else 1):
            status, headers, answer = self._forward(body)
        if fault == "lost":
            self.close_connection = True
            return
        self._reply(status, headers, answer, cut=fault == "cut")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        kept = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_HEADERS}
        with closing(HTTPConnection("127.0.0.1", self.line.target)) as asking:
            asking.request(self.command, self.path, body, kept | {"Accept-Encoding": "identity"})
            found = asking.getresponse()
            return found.status, dict(found.getheaders()), found.read()

    def _reply(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in (*_HOP_HEADERS, "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut
