"""Sending one message: what the network may do to it."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from governance.webhooks import Answer, Outcome, append_line, post
from tests.receiver import Receiver, receiving, status

TIMEOUT_S = 0.5


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that only who names its file trusts, and its key."""
    place = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (place / "cert.pem").write_bytes(made.public_bytes(pem))
    (place / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return place / "cert.pem", place / "key.pem"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def send(url: str, timeout_s: float = 10.0) -> Answer:
    return post(url, {"webhook-id": "msg_1"}, b"{}", timeout_s)


def test_over_tls_only_to_whom_it_trusts(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with receiving(context) as receiver:
        url = receiver.url().replace("http:", "https:")
        answer = send(url)
        assert answer.outcome is Outcome.UNREACHABLE
        assert "CERTIFICATE_VERIFY_FAILED" in answer.excerpt
        assert receiver.received == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert send(url).outcome is Outcome.DELIVERED
        (one,) = receiver.received
        assert (one.body, one.headers["host"]) == (b"{}", f"127.0.0.1:{receiver.port}")
        other = url.replace("127.0.0.1", "localhost")  # the certificate names the address only
        assert send(other).outcome is Outcome.UNREACHABLE


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_one_who_takes_the_connection_and_says_nothing(scheme: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        taken: list[socket.socket] = []
        thread = threading.Thread(target=lambda: taken.append(server.accept()[0]), daemon=True)
        thread.start()
        begun = time.monotonic()
        answer = send(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/", TIMEOUT_S)
        assert time.monotonic() - begun < 10
        assert answer.outcome is Outcome.TIMED_OUT
        assert (answer.status, answer.reached) == (None, False)
        thread.join(10)
        taken[0].close()


def test_nobody_there() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    answer = send(f"http://127.0.0.1:{port}/")
    assert (answer.outcome, answer.excerpt) == (Outcome.UNREACHABLE, "Connection refused")
    assert send("http://name.invalid/").outcome is Outcome.UNREACHABLE


def test_what_is_no_http(receiver: Receiver) -> None:
    receiver.reply = lambda handler, _: handler.wfile.write(b"220 mail.example ESMTP\r\n") and None
    assert send(receiver.url()).outcome is Outcome.UNREACHABLE


def test_the_query_is_sent_and_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.reply = status(307, Location=receiver.url("/elsewhere"))
    answer = send(receiver.url("/hook?token=1"))
    assert (answer.outcome, answer.status) == (Outcome.REFUSED, 307)
    assert [one.path for one in receiver.received] == ["/hook?token=1"]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120), ("0", 0), ("999999999999", 86_400), ("soon", None), ("-5", None), ("", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wed, 21 Oct 2099 07:28:00 GMT", 86_400)],
)  # fmt: skip
def test_how_long_a_receiver_wants_to_be_left_alone(
    receiver: Receiver, value: str, seconds: float | None
) -> None:
    receiver.reply = status(429, Retry_After=value)
    assert send(receiver.url()).retry_after_s == seconds


def test_no_line_is_lost_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"
    assert append_line(path, b"one").outcome is Outcome.DELIVERED
    monkeypatch.setattr("os.write", lambda descriptor, data: 1)
    answer = append_line(path, b"two")
    assert (answer.outcome, answer.reached) == (Outcome.UNREACHABLE, False)
    assert "only a part" in answer.excerpt
    monkeypatch.undo()
    with path.open("ab") as file:
        file.write(b"tw")
    assert append_line(path, b"two").outcome is Outcome.DELIVERED
    assert path.read_bytes() == b"one\ntw\ntwo\n"
