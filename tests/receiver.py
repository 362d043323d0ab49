"""A real HTTP receiver on loopback, that does to its senders whatever a test wants."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from typing import Any


@dataclass(frozen=True)
class Received:
    """One message as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Id of the message."""
        return self.headers["webhook-id"]


Reply = Callable[["Handler", Received], None]


@dataclass
class Receiver:
    """What came, in order, and how the next ones are answered: by `script` first, then always by `reply`."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    script: list[Reply] = field(default_factory=list)
    reply: Reply = field(default=lambda handler, _: handler.answer(200))
    released: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/hook") -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def ids(self) -> list[str]:
        """Ids of the messages, in the order of their coming."""
        return [one.id for one in self.received]


class Server(ThreadingHTTPServer):
    """Keeps quiet about senders that hang up."""

    daemon_threads = True

    def handle_error(self, *args: Any) -> None:
        """Say nothing."""


class Handler(BaseHTTPRequestHandler):
    """Hands every POST to the receiver."""

    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        one = Received(self.path, headers, body)
        self.receiver.received.append(one)
        self.receiver.arrived.set()
        reply = self.receiver.script.pop(0) if self.receiver.script else self.receiver.reply
        reply(self, one)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Answer with a status, a body and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def status(code: int, body: bytes = b"", **headers: str) -> Reply:
    """Answer so."""
    return lambda handler, _: handler.answer(code, body, **headers)


def drop(handler: Handler, _: Received) -> None:
    """Close the connection without an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def hang(handler: Handler, _: Received) -> None:
    """Do not answer before the test is over."""
    handler.receiver.released.wait(60)
    handler.close_connection = True


def drip(handler: Handler, _: Received) -> None:
    """Answer so slowly that every read gets something and none ever gets all."""
    try:
        for byte in b"HTTP/1.1 200 " + b"O" * 600:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            if handler.receiver.released.wait(0.05):
                return
    except OSError:
        return
    finally:
        handler.close_connection = True


def late(seconds: float) -> Reply:
    """Answer well, after a while."""

    def reply(handler: Handler, _: Received) -> None:
        sleep(seconds)
        handler.answer(200)

    return reply


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver that is there for a while."""
    receiver = Receiver()
    handler = type("Own", (Handler,), {"receiver": receiver})
    server = Server(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
