"""Bundles that a dishonest exporter could make: everything that their own key and plain arithmetic reach is redone."""

import io
from collections.abc import Callable, Iterator
from typing import Any

from governance.audit import verify_bundle as verifier
from governance.audit.bundle import Bundle, Signer
from governance.digests import canonical_json, digest_bytes, load_json
from governance.evidence.note import Checkpoint
from governance.ledger.checkpoints import key_name, origin_of
from governance.ledger.database import Ledger
from governance.ledger.events import Entry, entries, entry
from governance.ledger.lookup import every
from governance.ledger.tables import Report
from tests.audit.bundle_case import members_of_bytes
from tests.keys import KEYS

Members = dict[str, bytes]
Events = list[dict[str, Any]]
EXPORTER = "otto"


def signer(members: Members) -> Signer:
    """Who exported a bundle, with their key."""
    key = KEYS.signer(EXPORTER, [load_json(members["manifest.json"].decode())["key_id"]])
    assert key is not None
    return Signer(EXPORTER, key)


def events_of(members: Members) -> Events:
    """Entries of a bundle."""
    return [load_json(line) for line in members["events.jsonl"].decode().splitlines()]


def rewrite(members: Members, change: Callable[[Events], None]) -> Members:
    """A bundle of a whole ledger after `change`, with chain, tree, head and manifest made anew."""
    events = events_of(members)
    change(events)
    tree, before, lines = verifier.Tree(), verifier.GENESIS, []
    for event in events:
        event["prev_digest"] = before
        line = canonical_json(event).encode()
        before = digest_bytes(line)
        tree.append(verifier.leaf_hash(before))
        lines.append(line + b"\n")
    who, name = signer(members), origin_of(digest_bytes(lines[0][:-1]))
    note = Checkpoint(name, tree.size, tree.root(), events[-1]["at"])
    made = {**members}
    del made[max(name for name in members if name.startswith("checkpoints/"))]
    made["checkpoints/head.txt"] = note.sign(who.key, key_name(name, who.actor)).encode()
    made["events.jsonl"] = b"".join(lines)
    return remade(made, origin=name, size=tree.size, root=tree.root().hex(), head=before)


def remade(members: Members, **about: Any) -> Members:
    """The members with a manifest that fits them, signed by the exporter."""
    manifest = load_json(members["manifest.json"].decode())
    del manifest["members"]
    rest = {
        name: content
        for name, content in members.items()
        if name not in (verifier.MANIFEST, verifier.SIGNATURE)
    }
    out = io.BytesIO()
    Bundle({**manifest, **about}, rest, signer(members)).write(out)
    return members_of_bytes(out.getvalue())


def told(ledger: Ledger, complete: bool = True) -> list[tuple[int, str]]:
    """Event and problem of whatever the stand-alone verifier says of a log."""
    keys, replay, found = verifier.Keys(), verifier.Replay(complete, _reports(ledger).get), []
    for event in _read(ledger):
        try:
            problem = keys.read(event)
        except verifier.MALFORMED as error:
            problem = str(error)
        found += [(event.seq, said) for said in (problem, *replay.read(event)) if said]
    return found


def _reports(ledger: Ledger) -> dict[str, Any]:
    with ledger.read() as session:
        return {row.digest: load_json(row.content) for row in every(session, Report)}


def _read(ledger: Ledger) -> Iterator[verifier.Event]:
    with ledger.read() as session:
        for chunk in entries(session):
            for event in chunk:
                fields = Entry._asdict(event)
                del fields["digest"]
                yield verifier.read_event(entry(**fields).encode())
