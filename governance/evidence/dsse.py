"""Signed statements: DSSE v1 envelopes around in-toto Statements v1.

The protocol is secure-systems-lab/dsse, protocol.md and envelope.md, version 1.0; the statement is in-toto attestation
spec/v1/statement.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from governance.digests import canonical_json
from governance.errors import IntegrityError, InvalidInputError
from governance.evidence.encoding import from_base64, read_object, to_base64
from governance.evidence.keys import PublicKey, SigningKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"

_URL_SAFE = str.maketrans("-_", "+/")
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Signature:
    """A signature of an envelope.

    Attributes:
        keyid: id of the key, a hint that nothing vouches for; empty if there is none.
        sig: the signature's bytes.
    """

    keyid: str
    sig: bytes


@dataclass(frozen=True)
class Envelope:
    """A payload and its signatures.

    Attributes:
        payload: the bytes that are signed, together with their type.
        payload_type: media type or URI of the payload.
        signatures: at least one.
    """

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    def to_json(self) -> str:
        """The JSON envelope, canonical (RFC 8785)."""
        return canonical_json(
            {
                "payload": to_base64(self.payload),
                "payloadType": self.payload_type,
                "signatures": [
                    {"keyid": signature.keyid, "sig": to_base64(signature.sig)}
                    for signature in self.signatures
                ],
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a JSON envelope without checking its signatures; fields that the specification lacks are ignored.

        Raises:
            InvalidInputError: it is not of the form.
        """
        value = read_object("the envelope", text)
        payload_type, signatures = value.get("payloadType"), value.get("signatures")
        if not isinstance(payload_type, str):
            raise InvalidInputError("the envelope does not say the type of its payload")
        if not isinstance(signatures, list) or not signatures:
            raise InvalidInputError("the envelope has no signatures")
        return cls(
            _either_base64("the payload of the envelope", value.get("payload")),
            payload_type,
            tuple(_signature(signature) for signature in signatures),
        )


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding (protocol.md, "Signature Definition").

    Raises:
        InvalidInputError: the type is not Unicode text.
    """
    try:
        kind = payload_type.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError("the type of a payload is not Unicode text") from error
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, keys: Sequence[SigningKey], payload_type: str = PAYLOAD_TYPE) -> Envelope:
    """An envelope signed with each key, whose ids it names.

    Raises:
        InvalidInputError: there is no key, or the type is not Unicode text.
    """
    if not keys:
        raise InvalidInputError("an envelope is signed with at least one key")
    data = pae(payload_type, payload)
    signatures = tuple(Signature(key.key_id, key.sign(data)) for key in keys)
    return Envelope(payload, payload_type, signatures)


def verify(
    envelope: Envelope,
    keys: Mapping[str, PublicKey],
    threshold: int = 1,
    payload_type: str = PAYLOAD_TYPE,
) -> tuple[str, ...]:
    """Check an envelope's signatures; its payload may be read only afterwards.

    Stricter than the protocol in one thing: a signature that names a trusted key and does not hold is a fault of
    the envelope, where the protocol skips it. One without a key id, or with an unknown one, is tried with every key.

    Args:
        envelope: what was read.
        keys: trusted keys by the id that envelopes name them with.
        threshold: how many different keys must have signed, at least 1.
        payload_type: the one that is expected.

    Returns:
        Ids of the keys that signed, in the order of `keys`.

    Raises:
        IntegrityError: a signature does not hold, too few keys signed, or the payload is of another type.
    """
    if threshold < 1:
        raise ValueError(f"threshold {threshold} would accept anything")
    if envelope.payload_type != payload_type:
        raise IntegrityError(
            f"the envelope holds {envelope.payload_type[:80]!r} instead of {payload_type!r}"
        )
    data = pae(envelope.payload_type, envelope.payload)
    accepted = set()
    for signature in envelope.signatures:
        if signature.keyid in keys:
            keys[signature.keyid].verify(data, signature.sig)
            accepted.add(keys[signature.keyid].raw)
        else:
            accepted |= {key.raw for key in keys.values() if _holds(key, data, signature.sig)}
    if len(accepted) < threshold:
        raise IntegrityError(
            f"{len(accepted)} of the trusted keys signed the envelope; {threshold} are needed"
        )
    return tuple(keyid for keyid, key in keys.items() if key.raw in accepted)


def statement(
    subjects: Mapping[str, str], predicate_type: str, predicate: Mapping[str, Any]
) -> dict[str, Any]:
    """An in-toto statement.

    Args:
        subjects: name → digest ``sha256:<64 hex digits>`` of what the statement is about; at least one.
        predicate_type: URI that says how to read the predicate.
        predicate: what is stated, JSON values.

    Raises:
        InvalidInputError: there is no subject, or a digest is not of that form.
    """
    if not subjects:
        raise InvalidInputError("a statement is about at least one subject")
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": _digits(name, subjects[name])}}
            for name in sorted(subjects)
        ],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }


def statement_bytes(value: Mapping[str, Any]) -> bytes:
    """Payload of an envelope for a statement: its canonical JSON (RFC 8785)."""
    return canonical_json(dict(value)).encode()


@dataclass(frozen=True)
class Statement:
    """An in-toto statement that was read.

    Attributes:
        subjects: name → ``sha256:<64 hex digits>``.
        predicate_type: URI that says how to read the predicate.
        predicate: what is stated.
    """

    subjects: dict[str, str]
    predicate_type: str
    predicate: dict[str, Any]


def read_statement(payload: bytes) -> Statement:
    """Read the statement in a verified payload.

    Raises:
        InvalidInputError: it is no statement of version 1 about SHA-256 digests, or names a subject twice.
    """
    value = read_object("the statement", payload)
    if value.get("_type") != STATEMENT_TYPE:
        raise InvalidInputError(f"the statement is not of type {STATEMENT_TYPE}")
    predicate_type, predicate = value.get("predicateType"), value.get("predicate", {})
    if not isinstance(predicate_type, str) or not isinstance(predicate, dict):
        raise InvalidInputError("the statement has no predicate with a type")
    listed = value.get("subject")
    if not isinstance(listed, list) or not listed:
        raise InvalidInputError("the statement has no subject")
    subjects: dict[str, str] = {}
    for subject in listed:
        name, digest = _subject(subject)
        if name in subjects:
            raise InvalidInputError(f"the statement names {name[:80]!r} twice")
        subjects[name] = digest
    return Statement(subjects, predicate_type, predicate)


def _subject(subject: object) -> tuple[str, str]:
    if isinstance(subject, dict) and isinstance(subject.get("digest"), dict):
        name, digits = subject.get("name"), subject["digest"].get("sha256")
        if isinstance(name, str) and isinstance(digits, str):
            digest = f"sha256:{digits}"
            _digits(name, digest)
            return name, digest
    raise InvalidInputError("a subject of the statement has no name or no SHA-256 digest")


def _digits(name: str, digest: str) -> str:
    kind, _, digits = digest.partition(":")
    if kind != "sha256" or len(digits) != 64 or not _HEX.issuperset(digits):
        raise InvalidInputError(f"the digest of {name[:80]!r} is not sha256:<64 hex digits>")
    return digits


def _signature(value: object) -> Signature:
    if not isinstance(value, dict):
        raise InvalidInputError("a signature of the envelope is not a JSON object")
    keyid = value.get("keyid", "")
    if not isinstance(keyid, str):
        raise InvalidInputError("the key id of a signature is not text")
    return Signature(keyid, _either_base64("a signature of the envelope", value.get("sig")))


def _either_base64(what: str, text: object) -> bytes:
    """The protocol lets signers use either alphabet, and both must be read."""
    return from_base64(what, text.translate(_URL_SAFE) if isinstance(text, str) else text)


def _holds(key: PublicKey, data: bytes, signature: bytes) -> bool:
    try:
        key.verify(data, signature)
    except IntegrityError:
        return False
    return True
