"""Envelopes and statements: the specification's example and vectors, every changed byte, arbitrary JSON."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.digests import canonical_json, digest_bytes
from governance.errors import GovernanceError, IntegrityError, InvalidInputError
from governance.evidence.dsse import (
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
    Envelope,
    Signature,
    Statement,
    pae,
    read_statement,
    sign,
    statement,
    statement_bytes,
    verify,
)
from governance.evidence.keys import PublicKey, SigningKey
from tests.evidence.outside import accepted
from tests.evidence.vectors import ENVELOPES, RFC_8032

ADA, BOB = SigningKey.from_seed(bytes(range(32))), SigningKey.from_seed(bytes(32))
KEYS = {key.key_id: key.public for key in (ADA, BOB)}
NAMED = {
    name: PublicKey(bytes.fromhex(public))
    for name, (_, public, _, _) in zip("AB", RFC_8032, strict=True)
}
DIGEST = digest_bytes(b"model")
PREDICATE = {"decision": "approve", "figures": [0.5, None, True]}
STATEMENT = statement({"weights": DIGEST}, "https://example.com/approval/v1", PREDICATE)
ENVELOPE = sign(statement_bytes(STATEMENT), [ADA])


def test_the_example_of_the_specification() -> None:
    encoded = pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_lengths_are_those_of_bytes() -> None:
    assert pae("ä", "é".encode()) == "DSSEv1 2 ä 2 é".encode()
    assert pae("", b"") == b"DSSEv1 0  0 "
    with pytest.raises(InvalidInputError):
        pae("\ud800", b"")


@pytest.mark.parametrize(
    ("envelope", "trusted", "threshold", "accepted"), ENVELOPES.values(), ids=ENVELOPES
)
def test_the_vectors_of_the_specification(
    envelope: dict[str, Any], trusted: str, threshold: int, accepted: bool
) -> None:
    read = Envelope.from_json(json.dumps(envelope))
    keys = {name: NAMED[name] for name in trusted}
    if accepted:
        assert verify(read, keys, threshold, envelope["payloadType"]) == tuple(trusted)
        return
    with pytest.raises(IntegrityError):
        verify(read, keys, threshold, envelope["payloadType"])


def test_an_envelope_reads_back_and_verifies() -> None:
    text = ENVELOPE.to_json()
    assert set(json.loads(text)) == {"payload", "payloadType", "signatures"}
    assert canonical_json(json.loads(text)) == text
    read = Envelope.from_json(text.encode())
    assert read == ENVELOPE
    assert verify(read, KEYS) == (ADA.key_id,)
    both = sign(ENVELOPE.payload, [BOB, ADA])
    assert verify(both, KEYS, threshold=2) == (ADA.key_id, BOB.key_id)


def test_too_few_or_unknown_signers_are_refused() -> None:
    with pytest.raises(IntegrityError, match=r"^1 of the trusted keys signed .* 2 are needed$"):
        verify(ENVELOPE, KEYS, threshold=2)
    with pytest.raises(IntegrityError, match=r"^0 of the trusted keys signed"):
        verify(ENVELOPE, {BOB.key_id: BOB.public})
    with pytest.raises(IntegrityError, match=r"^0 of the trusted keys signed"):
        verify(ENVELOPE, {})
    with pytest.raises(ValueError, match="threshold"):
        verify(ENVELOPE, KEYS, threshold=0)
    with pytest.raises(InvalidInputError, match="at least one key"):
        sign(b"", [])


def test_one_key_under_two_names_counts_once() -> None:
    twice = Envelope(b"x", "t", tuple(Signature(name, ADA.sign(pae("t", b"x"))) for name in "ab"))
    keys = {"a": ADA.public, "b": ADA.public}
    assert verify(twice, keys, 1, "t") == ("a", "b")
    with pytest.raises(IntegrityError, match=r"^1 of the trusted keys"):
        verify(twice, keys, 2, "t")


def test_a_signature_that_names_a_trusted_key_must_hold() -> None:
    wrong = Signature(BOB.key_id, ENVELOPE.signatures[0].sig)
    spoiled = Envelope(ENVELOPE.payload, PAYLOAD_TYPE, (*ENVELOPE.signatures, wrong))
    with pytest.raises(IntegrityError, match=r"^the signature is not one of key"):
        verify(spoiled, KEYS)
    unknown = Signature("somebody", ENVELOPE.signatures[0].sig)
    assert verify(Envelope(ENVELOPE.payload, PAYLOAD_TYPE, (unknown,)), KEYS) == (ADA.key_id,)


def test_another_type_of_payload_is_refused() -> None:
    other = sign(ENVELOPE.payload, [ADA], "text/plain")
    with pytest.raises(IntegrityError, match=r"'text/plain' instead of 'application/vnd.in-toto"):
        verify(other, KEYS)


def test_no_byte_of_an_envelope_can_change() -> None:
    content = ENVELOPE.to_json().encode()
    hint = content.index(ADA.key_id.encode())
    for place in range(len(content)):
        for change in (1, 0x20, 0x80):
            altered = bytearray(content)
            altered[place] ^= change
            try:
                read = Envelope.from_json(bytes(altered))
                verify(read, KEYS)
            except GovernanceError:
                continue
            # Nothing vouches for the key id and its name, which only narrow the search.
            assert hint - len('"keyid":"') <= place < hint + len(ADA.key_id)
            assert (read.payload, read.signatures[0].sig) == (
                ENVELOPE.payload,
                ENVELOPE.signatures[0].sig,
            )


def test_a_statement_names_subjects_in_order() -> None:
    value = statement({"b": DIGEST, "a": digest_bytes(b"")}, "https://example.com/p", {})
    assert value["_type"] == STATEMENT_TYPE == "https://in-toto.io/Statement/v1"
    assert value["subject"] == [
        {"name": "a", "digest": {"sha256": digest_bytes(b"").removeprefix("sha256:")}},
        {"name": "b", "digest": {"sha256": DIGEST.removeprefix("sha256:")}},
    ]
    assert value["predicateType"] == "https://example.com/p"
    assert value["predicate"] == {}


def test_a_statement_reads_back() -> None:
    assert read_statement(ENVELOPE.payload) == Statement(
        {"weights": DIGEST}, "https://example.com/approval/v1", PREDICATE
    )


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", "sha256:00", DIGEST.upper(), DIGEST[7:], DIGEST + "0", "sha512:" + DIGEST[7:]],
)
def test_digests_of_subjects_are_sha256(digest: str) -> None:
    with pytest.raises(InvalidInputError, match=r"is not sha256:<64 hex digits>$"):
        statement({"weights": digest}, "p", {})
    with pytest.raises(InvalidInputError, match="at least one subject"):
        statement({}, "p", {})


SUBJECT = STATEMENT["subject"][0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "is not of type"),
        ({"_type": None}, "is not of type"),
        ({"subject": []}, "has no subject"),
        ({"subject": {}}, "has no subject"),
        ({"subject": [SUBJECT, SUBJECT]}, "names 'weights' twice"),
        ({"subject": ["weights"]}, "no name or no SHA-256"),
        ({"subject": [{"name": "weights", "digest": {"sha512": "0"}}]}, "no name or no SHA-256"),
        ({"subject": [{"name": 1, "digest": SUBJECT["digest"]}]}, "no name or no SHA-256"),
        ({"subject": [{"name": "w", "digest": {"sha256": "0"}}]}, "is not sha256"),
        ({"predicateType": None}, "no predicate with a type"),
        ({"predicate": []}, "no predicate with a type"),
    ],
)
def test_malformed_statements_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        read_statement(json.dumps(STATEMENT | changes).encode())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"payload": None}, "payload of the envelope is not base64"),
        ({"payload": "e30"}, "payload of the envelope is not base64"),
        ({"payload": "e30= "}, "payload of the envelope is not base64"),
        ({"payloadType": None}, "type of its payload"),
        ({"signatures": []}, "no signatures"),
        ({"signatures": None}, "no signatures"),
        ({"signatures": ["x"]}, "not a JSON object"),
        ({"signatures": [{}]}, "a signature of the envelope is not base64"),
        ({"signatures": [{"sig": "AAAA", "keyid": 1}]}, "key id of a signature is not text"),
    ],
)
def test_malformed_envelopes_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        Envelope.from_json(json.dumps(json.loads(ENVELOPE.to_json()) | changes))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from([STATEMENT_TYPE, PAYLOAD_TYPE, ADA.key_id, DIGEST, "e30=", "AAAA"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.fixed_dictionaries({"keyid": inner, "sig": inner})
        | st.fixed_dictionaries({"name": inner, "digest": st.fixed_dictionaries({"sha256": inner})})
    ),
    max_leaves=6,
)
ENVELOPE_LIKE = st.fixed_dictionaries(
    {},
    optional={
        "payload": JSON,
        "payloadType": JSON,
        "signatures": st.lists(JSON, max_size=2) | JSON,
    },
)
STATEMENT_LIKE = st.fixed_dictionaries(
    {"_type": st.just(STATEMENT_TYPE) | JSON},
    optional={
        "subject": st.lists(JSON, max_size=2) | JSON,
        "predicateType": JSON,
        "predicate": JSON,
    },
)


@given(st.text() | st.binary() | st.one_of(JSON, ENVELOPE_LIKE, STATEMENT_LIKE).map(json.dumps))
@settings(max_examples=600, deadline=None)
def test_arbitrary_envelopes_and_statements_give_our_errors(text: str | bytes) -> None:
    envelope = accepted(Envelope.from_json, text)
    if envelope is not None:
        assert accepted(verify, envelope, KEYS) is None
    accepted(read_statement, text.encode(errors="surrogatepass") if isinstance(text, str) else text)
