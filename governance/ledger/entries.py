"""The form of an event, and of its row.

An event's *entry* is the RFC 8785 canonical JSON of all its fields but the digest; the digest is the entry's. What is
signed is the same object without the signature, behind a line that keeps the signature from meaning anything else. It
holds the digest of the predecessor, so who signs vouches for the whole log up to there.
"""

from base64 import b64decode
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, NamedTuple

from governance.errors import IntegrityError

if TYPE_CHECKING:
    from governance.evidence.keys import PublicKey
    from governance.ledger.tables import Event

GENESIS = "sha256:" + "0" * 64
"""Previous digest of the first event."""

SIGNATURE_CONTEXT = b"governance.event.v1\n"
"""First line of what is signed."""


def entry(
    action: str,
    actor: str,
    at: str,
    key_id: str | None,
    payload: str,
    prev_digest: str,
    seq: int,
    signature: str | None,
    subject: str,
) -> str:
    """Canonical JSON of an event's fields; `payload` is canonical JSON already.

    Put together by hand because a verification does this for every event: it takes a tenth of the time of a
    general serialiser. A test holds the two against each other.
    """
    quoted = encode_basestring
    key = "null" if key_id is None else quoted(key_id)
    signed = "null" if signature is None else f'"{signature}"'
    return (
        f'{{"action":{quoted(action)},"actor":{quoted(actor)},"at":{quoted(at)},"key_id":{key},'
        f'"payload":{payload},"prev_digest":{quoted(prev_digest)},"seq":{seq},'
        f'"signature":{signed},"subject":{quoted(subject)}}}'
    )


def signed_bytes(
    action: str,
    actor: str,
    at: str,
    key_id: str | None,
    payload: str,
    prev_digest: str,
    seq: int,
    subject: str,
) -> bytes:
    """What the actor signs: the fields of `entry` without the signature."""
    whole = entry(action, actor, at, key_id, payload, prev_digest, seq, None, subject)
    end = f'"subject":{encode_basestring(subject)}}}'
    text = whole.removesuffix(f'"signature":null,{end}') + end
    return SIGNATURE_CONTEXT + text.encode()


class Entry(NamedTuple):
    """One event as it stands in the table; `payload` is text."""

    seq: int
    at: str
    actor: str
    action: str
    subject: str
    payload: str
    prev_digest: str
    key_id: str | None
    signature: str | None
    digest: str


def entry_of(event: "Entry | Event") -> str:
    """The entry of an event as it stands in the table."""
    return entry(
        event.action,
        event.actor,
        event.at,
        event.key_id,
        event.payload,
        event.prev_digest,
        event.seq,
        event.signature,
        event.subject,
    )


def check_signature(event: "Entry | Event", key: "PublicKey") -> None:
    """Check that an event's signature is by this key.

    Raises:
        IntegrityError: it is not, or there is none.
    """
    said = signed_bytes(
        event.action,
        event.actor,
        event.at,
        event.key_id,
        event.payload,
        event.prev_digest,
        event.seq,
        event.subject,
    )
    try:
        key.verify(said, b64decode(event.signature or "", validate=True))
    except ValueError as error:
        raise IntegrityError(f"the signature of event {event.seq} is not base64") from error


COLUMNS = ", ".join(Entry._fields)


def rows_query(first: int | None, last: int, limit: int) -> str:
    """SQL for the rows of some events in order; see `events.rows_between`."""
    start = "" if first is None else f"seq >= {first:d} AND "
    return f"SELECT {COLUMNS} FROM events WHERE {start}seq <= {last:d} ORDER BY seq LIMIT {limit:d}"
