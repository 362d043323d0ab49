"""Signatures that the libraries of Standard Webhooks verify."""

from base64 import b64encode
from pathlib import Path

import pytest

from governance.errors import InvalidInputError, NotFoundError, RefusedError
from governance.evidence.webhook import (
    PREFIX,
    new_secret,
    parse_secrets,
    read_secrets,
    sign,
    write_secret,
)

# From the tests of the specification's own libraries (libraries/go/webhook_test.go and others).
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("text", [SECRET, SECRET.removeprefix(PREFIX), f"  {SECRET}\n"])
def test_the_published_vector(text: str) -> None:
    assert sign(parse_secrets(text, "it"), MESSAGE, TIMESTAMP, BODY) == SIGNATURE


def test_id_time_and_body_are_signed() -> None:
    secrets = parse_secrets(SECRET, "it")
    others = {
        sign(secrets, "msg_other", TIMESTAMP, BODY),
        sign(secrets, MESSAGE, TIMESTAMP + 1, BODY),
        sign(secrets, MESSAGE, TIMESTAMP, BODY + b" "),
        sign(parse_secrets(new_secret(), "it"), MESSAGE, TIMESTAMP, BODY),
    }
    assert len(others | {SIGNATURE}) == 5


def test_while_a_secret_is_exchanged_there_is_a_signature_with_each() -> None:
    other = new_secret()
    both = sign(parse_secrets(f"{other}\n{SECRET}\n", "it"), MESSAGE, TIMESTAMP, BODY)
    assert both.split(" ") == [
        sign(parse_secrets(other, "it"), MESSAGE, TIMESTAMP, BODY), SIGNATURE,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", " \n", "whsec_", "whsec_!!!!", "whsec_ünïcode", "whsec_" + b64encode(b"x" * 23).decode(),
     "whsec_" + b64encode(b"x" * 65).decode(), SECRET + " nonsense"],
)  # fmt: skip
def test_what_is_no_secret_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_secrets(text, "the file")
    assert "the file" in str(caught.value)
    for word in text.split():
        assert word == PREFIX or word not in str(caught.value)


def test_a_secret_file_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "team.webhook"
    write_secret(path)
    assert path.stat().st_mode & 0o777 == 0o600
    (secret,) = read_secrets(path)
    assert len(secret) == 32
    with pytest.raises(InvalidInputError, match="never overwritten"):
        write_secret(path)
    assert read_secrets(path) == (secret,)
    path.chmod(0o640)
    with pytest.raises(RefusedError):
        read_secrets(path)
    with pytest.raises(NotFoundError):
        read_secrets(tmp_path / "other")
