"""Sending one message: an HTTP POST that ends by a deadline whatever the other side does, or a line in a file.

Redirects are not followed and proxies not asked: a message goes to the configured place or nowhere.
"""

import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

from governance import __version__

EXCERPT = 200
"""Characters of an answer that are kept; none of one that says yes."""

_MAX_RETRY_AFTER_S = 86_400


class Outcome(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    GONE = "gone"
    TIMED_OUT = "timed out"
    UNREACHABLE = "unreachable"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Answer:
    """What came of an attempt.

    Attributes:
        outcome: how it ended.
        status: of the HTTP answer, None if there was none.
        excerpt: beginning of an answer that does not say yes, or what went wrong on the way.
        seconds: how long it took.
        retry_after_s: for how long the receiver asked to be left alone.
    """

    outcome: Outcome
    status: int | None = None
    excerpt: str = ""
    seconds: float = 0.0
    retry_after_s: float | None = None

    @property
    def reached(self) -> bool:
        """Whether somebody answered at all."""
        return self.status is not None or self.outcome is Outcome.DELIVERED


def post(url: str, headers: dict[str, str], body: bytes, timeout_s: float) -> Answer:
    """Send a message and wait for the answer, all of it within `timeout_s` of having connected.

    2xx is a delivery and 410 says that nobody is there any more. Everything else is a refusal, a redirect too.
    """
    begun = monotonic()
    deadline = _Deadline()
    try:
        with deadline.within(timeout_s):
            response = _exchange(url, headers, body, timeout_s, deadline)
    except TimeoutError:
        return Answer(Outcome.TIMED_OUT, None, "no answer in time", monotonic() - begun)
    except (OSError, HTTPException, ValueError) as error:
        took = monotonic() - begun
        if deadline.passed:
            return Answer(Outcome.TIMED_OUT, None, "no answer in time", took)
        return Answer(Outcome.UNREACHABLE, None, _printable(_words(error)), took)
    status, excerpt, retry_after = response
    took = monotonic() - begun
    if 200 <= status < 300:
        return Answer(Outcome.DELIVERED, status, "", took)
    outcome = Outcome.GONE if status == 410 else Outcome.REFUSED
    return Answer(outcome, status, excerpt, took, retry_after)


def append_line(path: Path, line: bytes) -> Answer:
    """Add a line to a file, which is made (0600) if it is not there, and see it through to the disk."""
    begun = monotonic()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            # A line that an interruption cut short stays alone.
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            data = (b"\n" if torn else b"") + line + b"\n"
            if os.write(descriptor, data) != len(data):
                raise OSError("the disk took only a part of it")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return Answer(Outcome.UNREACHABLE, None, _printable(_words(error)), monotonic() - begun)
    return Answer(Outcome.DELIVERED, None, "", monotonic() - begun)


@dataclass
class _Deadline:
    """Cuts a connection when time is up; time limits of a socket only hold for each read."""

    passed: bool = False
    _socket: socket.socket | None = None
    _timer: threading.Timer | None = field(default=None, repr=False)

    def within(self, seconds: float) -> "_Deadline":
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        return self

    def watch(self, connection: socket.socket) -> None:
        self._socket = connection
        if self.passed:
            raise TimeoutError

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.start()

    def __exit__(self, *rest: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _cut(self) -> None:
        self.passed = True
        if self._socket is not None:
            with suppress(OSError):  # past the TLS layer, which another thread is in
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def _exchange(
    url: str, headers: dict[str, str], body: bytes, timeout_s: float, deadline: _Deadline
) -> tuple[int, str, float | None]:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host = parts.hostname or ""
    port = parts.port or (443 if secure else 80)
    plain = socket.create_connection((host, port), timeout_s)
    connection = HTTPConnection(host, port, timeout=timeout_s)
    connection.sock = plain
    try:
        if secure:
            import ssl

            context = ssl.create_default_context()
            wrapped = context.wrap_socket(
                plain, server_hostname=host, do_handshake_on_connect=False
            )
            connection.sock = wrapped
            deadline.watch(wrapped)
            wrapped.do_handshake()
        else:
            deadline.watch(plain)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        fixed = {"Host": parts.netloc, "User-Agent": f"clip-governance/{__version__}"}
        connection.request("POST", target, body, fixed | headers)
        response = connection.getresponse()
        if 200 <= response.status < 300:
            return response.status, "", None
        return response.status, _excerpt(response), _retry_after(response)
    finally:
        connection.close()


def _excerpt(response: HTTPResponse) -> str:
    """The beginning of an answer, as far as it comes."""
    try:
        return _printable(response.read(4 * EXCERPT).decode("utf-8", "replace"))
    except (OSError, HTTPException, ValueError):
        return ""


def _printable(text: str) -> str:
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return " ".join(words)[:EXCERPT]


def _retry_after(response: HTTPResponse) -> float | None:
    """Seconds or a date, RFC 9110, section 10.2.3."""
    value = response.getheader("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:9]), _MAX_RETRY_AFTER_S))
    try:
        at = parsedate_to_datetime(value)
        wait = (at - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, 0.0), float(_MAX_RETRY_AFTER_S))


def _words(error: Exception) -> str:
    """What went wrong, without the URL."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
