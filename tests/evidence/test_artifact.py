"""Signed directories: whatever is changed after signing is found and named."""

import hashlib
import json
import os
import shutil
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.digests import digest_bytes
from governance.errors import GovernanceError, IntegrityError, InvalidInputError, NotFoundError
from governance.evidence import dsse
from governance.evidence.artifact import (
    PREDICATE_TYPE,
    SIGNATURE_NAME,
    is_signed,
    read_signature,
    sign_directory,
    verify_directory,
)
from governance.evidence.keys import PublicKey, SigningKey, trusted_key_id

KEY = SigningKey.from_seed(b"k" * 32)
OTHER = SigningKey.from_seed(b"o" * 32)
FILES = {"config.json": b'{"a": 1}\n', "model.safetensors": b"\0\1" * 40, "text/config.json": b""}
FACTS = {"model": "shop", "version": 2, "active_requests": [1, 2]}


def write(place: Path) -> Path:
    for name, content in FILES.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return place


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    place = write(tmp_path / "model")
    sign_directory(place, "shop/2", FACTS, KEY)
    return place


def bundle(place: Path) -> Any:
    return json.loads((place / SIGNATURE_NAME).read_text())


def payload(place: Path) -> bytes:
    return b64decode(bundle(place)["dsseEnvelope"]["payload"])


def resign(place: Path, edit: Callable[[Any], None], key: SigningKey = KEY) -> None:
    """Sign an edited statement, in the very form in which it would have been written."""
    statement = json.loads(payload(place))
    edit(statement)
    envelope = dsse.sign(dsse.statement_bytes(statement), [key])
    whole = bundle(place) | {"dsseEnvelope": json.loads(envelope.to_json())}
    text = json.dumps(whole, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    (place / SIGNATURE_NAME).write_text(text)


def test_what_was_signed_is_read_again(signed: Path) -> None:
    found = verify_directory(signed, KEY.key_id)
    assert found.name == "shop/2"
    assert {name: (f.digest, f.size) for name, f in found.files.items()} == {
        name: (digest_bytes(content), len(content)) for name, content in FILES.items()
    }
    assert {**found.facts, "signer": None} == {**FACTS, "signer": None}
    assert found.key == KEY.public
    assert found.statement_digest == digest_bytes(payload(signed))


def test_the_statement_is_one_of_model_signing(signed: Path) -> None:
    statement = json.loads(payload(signed))
    resources = statement["predicate"]["resources"]
    root = hashlib.sha256(b"".join(bytes.fromhex(r["digest"]) for r in resources)).hexdigest()
    assert statement["subject"] == [{"name": "shop/2", "digest": {"sha256": root}}]
    assert statement["predicateType"] == PREDICATE_TYPE == "https://model_signing/signature/v1.0"
    assert statement["predicate"]["serialization"]["ignore_paths"] == [SIGNATURE_NAME]
    assert [r["name"] for r in resources] == sorted(FILES)
    whole = bundle(signed)
    assert whole["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    pem = KEY.public._backend.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    hint = whole["verificationMaterial"]["publicKey"]["hint"]
    assert hint == hashlib.sha256(pem).hexdigest()


def test_the_same_content_gives_the_same_bytes(signed: Path, tmp_path: Path) -> None:
    again = write(tmp_path / "again")
    digest = sign_directory(again, "shop/2", dict(reversed(FACTS.items())), KEY)
    assert (again / SIGNATURE_NAME).read_bytes() == (signed / SIGNATURE_NAME).read_bytes()
    assert digest == read_signature(signed).statement_digest


def test_a_moved_or_linked_directory_still_verifies(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(signed)
    verify_directory(tmp_path / "current", KEY.key_id)
    verify_directory(signed.rename(tmp_path / "moved"), KEY.key_id)


@pytest.mark.parametrize("name", [name for name, content in FILES.items() if content])
def test_one_byte_of_a_file(signed: Path, name: str) -> None:
    path = signed / name
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(IntegrityError, match=f"'{name}' was changed"):
            verify_directory(signed)
    path.write_bytes(content + b"\n")
    with pytest.raises(IntegrityError, match=f"'{name}' was changed"):
        verify_directory(signed)


def test_one_byte_of_the_signature_file(signed: Path) -> None:
    path = signed / SIGNATURE_NAME
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(IntegrityError, match=SIGNATURE_NAME):
            read_signature(signed)
    for other in (content[:-1], content + b"\n", b" " + content, b"", content * 2):
        path.write_bytes(other)
        with pytest.raises(IntegrityError, match=SIGNATURE_NAME):
            read_signature(signed)


def extra(place: Path) -> None:
    (place / "text" / "more.bin").write_bytes(b"")


def hidden(place: Path) -> None:
    (place / ".hidden").write_bytes(b"")


def second_signature(place: Path) -> None:
    (place / "text" / SIGNATURE_NAME).write_bytes((place / SIGNATURE_NAME).read_bytes())


def renamed(place: Path) -> None:
    (place / "config.json").rename(place / "renamed.json")


def swapped(place: Path) -> None:
    (place / "config.json").rename(place / "x")
    (place / "model.safetensors").rename(place / "config.json")
    (place / "x").rename(place / "model.safetensors")


def link(place: Path) -> None:
    content = place.parent / "content"
    shutil.move(place / "config.json", content)
    (place / "config.json").symlink_to(content)


def linked_directory(place: Path) -> None:
    shutil.move(place / "text", place.parent / "text")
    (place / "text").symlink_to(place.parent / "text")


def dangling(place: Path) -> None:
    (place / "more").symlink_to("nowhere")


def pipe(place: Path) -> None:
    (place / "text" / "config.json").unlink()
    os.mkfifo(place / "text" / "config.json")


def directory(place: Path) -> None:
    (place / "config.json").unlink()
    (place / "config.json").mkdir()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda place: (place / "config.json").unlink(), "'config.json' is missing"),
        (extra, "'text/more.bin' was not there"),
        (hidden, "'.hidden' was not there"),
        (second_signature, "'text/governance.sig' was not there"),
        (renamed, "'config.json' is missing"),
        (swapped, "'config.json' was changed"),
        (link, "'config.json' is a symbolic link"),
        (linked_directory, "'text' is a symbolic link"),
        (dangling, "'more' is a symbolic link"),
        (pipe, "'text/config.json' is no file"),
        (directory, "'config.json' is missing"),
    ],
)
def test_other_files_than_were_signed(
    signed: Path, change: Callable[[Path], None], problem: str
) -> None:
    change(signed)
    with pytest.raises(IntegrityError, match=problem):
        verify_directory(signed, KEY.key_id)


def test_nothing_unusual_is_signed(tmp_path: Path) -> None:
    place = write(tmp_path / "model")
    dangling(place)
    with pytest.raises(IntegrityError, match="'more' is a symbolic link"):
        sign_directory(place, "shop/2", FACTS, KEY)
    assert not is_signed(place)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match="no files"):
        sign_directory(tmp_path / "empty", "shop/2", FACTS, KEY)


def test_signed_by_somebody_else(signed: Path) -> None:
    sign_directory(signed, "shop/2", FACTS, OTHER)
    verify_directory(signed, OTHER.key_id)
    with pytest.raises(IntegrityError, match=f"signed with key {OTHER.key_id}, not with"):
        verify_directory(signed, KEY.key_id)


def test_a_statement_that_claims_another_key(signed: Path) -> None:
    resign(signed, lambda statement: None, OTHER)  # the statement still names KEY
    with pytest.raises(IntegrityError, match="trusted keys signed"):
        read_signature(signed)

    def lie(statement: Any) -> None:
        signer = statement["predicate"]["governance"]["signer"]
        signer["public_key"] = OTHER.public.to_base64()

    resign(signed, lie, OTHER)
    with pytest.raises(IntegrityError, match="another one's id"):
        read_signature(signed)


def test_resigning_changes_nothing_by_itself(signed: Path) -> None:
    before = (signed / SIGNATURE_NAME).read_bytes()
    resign(signed, lambda statement: None)
    assert (signed / SIGNATURE_NAME).read_bytes() == before


def put(value: Any, *where: Any) -> Callable[[Any], None]:
    def edit(statement: Any) -> None:
        for step in where[:-1]:
            statement = statement[step]
        statement[where[-1]] = value

    return edit


def twice(statement: Any) -> None:
    statement["predicate"]["resources"] *= 2


@pytest.mark.parametrize(
    "edit",
    [
        twice,
        put([], "predicate", "resources"),
        put({}, "predicate", "resources"),
        put([7], "predicate", "resources"),
        put(None, "predicate", "governance"),
        put({}, "predicate", "governance"),
        put({}, "predicate", "governance", "signer"),
        put({}, "predicate", "serialization"),
        put([SIGNATURE_NAME, "config.json"], "predicate", "serialization", "ignore_paths"),
        put(True, "predicate", "serialization", "allow_symlinks"),
        put(True, "predicate", "resources", 0, "size"),
        put("md5", "predicate", "resources", 0, "algorithm"),
        put("zz", "predicate", "resources", 0, "digest"),
        put("00" * 32, "predicate", "resources", 0, "digest"),
        put(7, "predicate", "resources", 0, "name"),
        put("00" * 32, "subject", 0, "digest", "sha256"),
        put([], "subject"),
        put("https://example.org/other", "predicateType"),
        put("https://in-toto.io/Statement/v0.1", "_type"),
    ],
)
def test_a_properly_signed_statement_of_another_form(
    signed: Path, edit: Callable[[Any], None]
) -> None:
    resign(signed, edit)
    with pytest.raises(IntegrityError, match="does not hold"):
        read_signature(signed)


def test_two_signatures_or_unknown_fields_are_not_the_form(signed: Path) -> None:
    whole = bundle(signed)
    envelope = whole["dsseEnvelope"]
    for changed in (
        whole | {"more": 1},
        whole | {"mediaType": "text/plain"},
        whole | {"dsseEnvelope": envelope | {"signatures": envelope["signatures"] * 2}},
        whole
        | {
            "dsseEnvelope": envelope
            | {"signatures": [envelope["signatures"][0] | {"keyid": OTHER.key_id}]}
        },
    ):
        text = json.dumps(changed, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
        (signed / SIGNATURE_NAME).write_text(text)
        with pytest.raises(IntegrityError, match="something else than one signed statement"):
            read_signature(signed)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no directory"):
        verify_directory(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="not signed"):
        verify_directory(tmp_path)


def test_a_signature_that_is_no_file(signed: Path, tmp_path: Path) -> None:
    path = signed / SIGNATURE_NAME
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="is not a file"):
        verify_directory(signed)
    path.unlink()
    path.mkdir()
    with pytest.raises(IntegrityError, match="is not a file"):
        verify_directory(signed)
    path.rmdir()
    with path.open("wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(IntegrityError, match="too large"):
        verify_directory(signed)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(data=st.data())
def test_no_content_of_the_file_gives_a_traceback(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("fuzz")
    write(place)
    sign_directory(place, "shop/2", FACTS, KEY)
    kind = data.draw(st.sampled_from(["bytes", "json", "bundle", "statement"]))
    path = place / SIGNATURE_NAME
    if kind == "bytes":
        path.write_bytes(data.draw(st.binary(max_size=200)))
    elif kind == "json":
        path.write_text(json.dumps(data.draw(_JSON)))
    elif kind == "bundle":
        whole = bundle(place)
        name = data.draw(st.sampled_from(["payload", "payloadType", "signatures"]))
        whole["dsseEnvelope"][name] = data.draw(_JSON)
        path.write_text(json.dumps(whole))
    else:
        statement = json.loads(payload(place))
        part = data.draw(st.sampled_from(["subject", "predicate", "predicateType", "resources"]))
        target = statement["predicate"] if part == "resources" else statement
        target[part] = data.draw(_JSON)
        text = json.dumps(statement).encode()
        envelope = bundle(place)["dsseEnvelope"]
        signature = KEY.sign(dsse.pae(dsse.PAYLOAD_TYPE, text))
        envelope["payload"] = b64encode(text).decode()
        envelope["signatures"][0]["sig"] = b64encode(signature).decode()
        path.write_text(json.dumps(bundle(place) | {"dsseEnvelope": envelope}))
    with pytest.raises(GovernanceError) as found:
        verify_directory(place)
    assert "\n" not in str(found.value)
    shutil.rmtree(place)


def test_a_key_is_named_in_any_of_its_forms(tmp_path: Path) -> None:
    key = KEY.public
    pem = key._backend.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert key.to_pem() == pem
    assert PublicKey.from_pem(pem) == key
    for number, content in enumerate([key.key_id, key.to_base64(), pem.decode()]):
        path = tmp_path / f"key-{number}"
        path.write_text(f"{content}\n")
        assert trusted_key_id(str(path)) == key.key_id
    assert trusted_key_id(key.key_id) == trusted_key_id(key.to_base64()) == key.key_id


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"sha256:00",
        b"-----BEGIN PUBLIC KEY-----",
        b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n",
        KEY.to_pem(),
        b64encode(b"\0" * 32),
    ],
)
def test_what_names_no_key(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError):
        trusted_key_id(str(path))
