#!/usr/bin/env python3
"""Verify an evidence bundle of the governance ledger, trusting neither who made it nor where it came from.

    python verify_bundle.py [FILE.zip | DIRECTORY] [--checkpoint FILE] [--trust-key KEY] [--json]

Without an argument it verifies the directory it lies in. It needs Python 3.9 or newer and the package `cryptography`,
no database, no network and none of the software that made the bundle. It executes nothing that the bundle holds, but
a bundle can bring a verifier that lies: take this file from somewhere you trust, or read it.

Exit code 0: everything that could be checked holds. 6: something does not. 2: this is no bundle. 4: no such file.

docs/audit.md describes the steps and the formats; the sections below follow it:
  1 JSON and digests · 2 the package · 3 the Merkle tree · 4 keys and signatures · 5 replaying the events
  6 the records · 7 the matrix · 8 the steps
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import math
import os
import re
import stat
import sys
import zipfile
from array import array
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from operator import mul
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

FORMAT = 1
KIND = "clip-governance-bundle"
HOLDS, BROKEN, UNREADABLE, MISSING = 0, 6, 2, 4

BUNDLE_PREDICATE = "urn:clip-governance:bundle:v1"
RECIPE_PREDICATE = "urn:clip-governance:edit-recipe:v1"
APPROVAL_PREDICATE = "urn:clip-governance:approval:v1"
TEST_PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"

# What can go wrong in reading values of the wrong shape; every reader below turns these into a finding.
MALFORMED = (
    KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError, RecursionError, UnicodeError,
)  # fmt: skip


class Unreadable(Exception):
    """The file is no bundle; exit code 2."""


class Missing(Exception):
    """There is no such file; exit code 4."""


class Broken(Exception):
    """Something in the bundle does not hold; exit code 6."""


# ── 1 JSON and digests ────────────────────────────────────────────────────────────────────────────────────────────


def parse(data: bytes) -> Any:
    """JSON value of UTF-8 text; a name that stands twice in one object, NaN and lone surrogates are refused."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except RecursionError:
        raise ValueError("JSON nested too deep") from None
    return value


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice in one JSON object")
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def canonical(value: Any) -> str:
    """RFC 8785 canonical JSON."""
    if value is None or value is True or value is False or isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        # Numbers are doubles: one of 2^53 or more was a float that happens to be written without a point.
        return str(value) if abs(value) < 2**53 else _number(float(value))
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list):
        return f"[{','.join(map(canonical, value))}]"
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return f"{{{','.join(f'{canonical(name)}:{canonical(value[name])}' for name in names)}}}"
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _number(value: float) -> str:
    """A float as ECMAScript writes it (ECMA-262, Number::toString), which RFC 8785 demands."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number")
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text, point = "".join(map(str, digits)), len(digits) + int(exponent)
    if len(text) <= point <= 21:
        out = text + "0" * (point - len(text))
    elif 0 < point <= 21:
        out = f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        out = f"0.{'0' * -point}{text}"
    else:
        rest = f".{text[1:]}" if len(text) > 1 else ""
        out = f"{text[0]}{rest}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return f"-{out}" if sign else out


def digest(data: bytes) -> str:
    """``sha256:<64 hex digits>``."""
    return f"sha256:{sha256(data).hexdigest()}"


def digest_json(value: Any) -> str:
    """Digest of the canonical JSON of a value."""
    return digest(canonical(value).encode("utf-8"))


def digest_array(dtype: str, shape: List[int], data: bytes) -> str:
    """Digest of an array: a line of canonical JSON with dtype and shape, then the little-endian bytes."""
    return digest(canonical({"dtype": dtype, "shape": shape}).encode("utf-8") + b"\n" + data)


def raw_digest(text: Any) -> bytes:
    """The 32 bytes behind ``sha256:``."""
    if not isinstance(text, str) or re.fullmatch("sha256:[0-9a-f]{64}", text) is None:
        raise ValueError(f"{text!r:.80} is no SHA-256 digest")
    return bytes.fromhex(text[7:])


def unbase64(text: Any) -> bytes:
    """Bytes of standard base64 in its one canonical form."""
    if isinstance(text, str):
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if base64.b64encode(data).decode("ascii") == text:
            return data
    raise ValueError("not base64")


# ── 2 The package ─────────────────────────────────────────────────────────────────────────────────────────────────

MANIFEST, SIGNATURE = "manifest.json", "manifest.dsse.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*(/[A-Za-z0-9_][A-Za-z0-9_.@+-]*)*")
_CHUNK = 1 << 20


class Package:
    """The members of a bundle, a ZIP file or the directory into which somebody unpacked one.

    Nothing is unpacked here. Members are stored without compression, so that nothing can be larger than the file.
    """

    def __init__(self, path: Path) -> None:
        self._zip: Optional[zipfile.ZipFile] = None
        self._root = path
        self.sizes: Dict[str, int] = {}
        if path.is_dir():
            self._scan(path)
        elif path.exists():
            self._open(path)
        else:
            raise Missing(f"there is no file {path}")
        if MANIFEST not in self.sizes:
            raise Unreadable(f"{path} is no bundle: it holds no {MANIFEST}")

    def _scan(self, root: Path) -> None:
        for folder, folders, files in os.walk(str(root)):
            for name in folders + files:
                place = Path(folder, name)
                inside = place.relative_to(root).as_posix()
                mode = place.lstat().st_mode
                if stat.S_ISREG(mode):
                    self._add(inside, place.stat().st_size)
                elif not stat.S_ISDIR(mode):
                    raise Unreadable(f"{inside[:200]!r} is a link or no plain file")

    def _open(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(str(path))
            infos = self._zip.infolist()
        except (zipfile.BadZipFile, OSError, NotImplementedError, *MALFORMED) as error:
            raise Unreadable(f"{path} is no ZIP file: {error}") from None
        for info in infos:
            if info.flag_bits & 0x1:
                raise Unreadable(f"{info.filename[:200]!r} is encrypted")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise Unreadable(
                    f"{info.filename[:200]!r} is compressed, which bundles never are; unpack the file yourself and "
                    "give the directory, if you trust it not to fill your disk"
                )
            self._add(info.filename, info.file_size)
        if sum(self.sizes.values()) > path.stat().st_size:
            raise Unreadable(f"the members of {path} are larger than the file: they overlap")

    def _add(self, name: str, size: int) -> None:
        if _NAME.fullmatch(name) is None or len(name) > 300:
            raise Unreadable(f"{name[:200]!r} cannot be the name of a member")
        if name in self.sizes:
            raise Unreadable(f"{name!r} is there twice")
        self.sizes[name] = size

    def stream(self, name: str) -> Iterator[bytes]:
        """Pieces of a member."""
        if name not in self.sizes:
            raise Broken(f"{name} is missing")
        try:
            source: Any = self._zip.open(name) if self._zip else (self._root / name).open("rb")
            with source:
                while True:
                    piece = source.read(_CHUNK)
                    if not piece:
                        return
                    yield piece
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
            raise Broken(f"{name} cannot be read: {error}") from None

    def read(self, name: str) -> bytes:
        """A whole member."""
        return b"".join(self.stream(name))

    def lines(self, name: str) -> Iterator[bytes]:
        """Lines of a member, each of which must end in a newline."""
        rest = b""
        for piece in self.stream(name):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            raise Broken(f"the last line of {name} is cut off")

    def json(self, name: str) -> Any:
        """A member as JSON."""
        try:
            return parse(self.read(name))
        except ValueError as error:
            raise Broken(f"{name} cannot be read as JSON: {error}") from None

    def digest_of(self, name: str) -> str:
        """Digest of a member."""
        state = sha256()
        for piece in self.stream(name):
            state.update(piece)
        return f"sha256:{state.hexdigest()}"

    def close(self) -> None:
        """Close the file."""
        if self._zip is not None:
            self._zip.close()


# ── 3 The Merkle tree (RFC 6962 and RFC 9162, section 2.1) ────────────────────────────────────────────────────────


def leaf_hash(event_digest: str) -> bytes:
    """The leaf of an event is the 32 bytes of its digest."""
    return sha256(b"\x00" + raw_digest(event_digest)).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that grows leaf by leaf."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: List[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        place, node = self.size, leaf
        while place & 1:
            node = node_hash(self._peaks.pop(), node)
            place >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Hash of the whole tree."""
        if not self._peaks:
            return sha256().digest()
        node = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            node = node_hash(peak, node)
        return node


def included(index: int, size: int, leaf: bytes, proof: List[bytes], root: bytes) -> bool:
    """Whether the proof shows that the tree holds the leaf there (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size or any(len(value) != 32 for value in proof):
        return False
    place, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = node_hash(sibling, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and node == root


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: List[bytes]) -> bool:
    """Whether the proof shows that the new tree begins with the old one (RFC 9162, section 2.1.4.2)."""
    if not 0 <= old <= new or any(len(value) != 32 for value in proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == sha256().digest()
    path = ([old_root] if old & (old - 1) == 0 else []) + proof
    if not path:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new_node = node_hash(new_node, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and old_node == old_root and new_node == new_root


# ── 4 Keys and signatures ─────────────────────────────────────────────────────────────────────────────────────────

_FIELD = 2**255 - 19
# y of the points of small order, little-endian: with such a key anybody makes signatures that verify.
_SMALL_ORDER = (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)


class Key:
    """An Ed25519 public key of an actor, and the events between which it is valid."""

    def __init__(self, raw: bytes, actor: str = "", since: int = 0) -> None:
        y = int.from_bytes(raw, "little") & (2**255 - 1)
        if len(raw) != 32 or y >= _FIELD or y.to_bytes(32, "little").hex() in _SMALL_ORDER:
            raise ValueError("not an Ed25519 public key")
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        self.raw, self.actor, self.since = raw, actor, since
        self.until: Optional[int] = None
        self.key_id = digest(raw)
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Whether the key made this signature."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


class Keys:
    """Follows the public keys through the events.

    A key is valid from the event that announces it to the one that retires it, which are `actor.added`,
    `actor.key_rotated` and `actor.deactivated`. The first event is signed with the key that it announces.
    """

    def __init__(self) -> None:
        self.all: Dict[str, Key] = {}
        self.signed = 0
        self.last_signed: Dict[str, int] = {}
        self._valid: Dict[str, Dict[str, Key]] = {}

    def read(self, event: Event) -> Optional[str]:
        """Take an event; why its signature does not hold, or None."""
        if event.seq == 1 and event.action == "actor.added":
            self._announce(event, event.payload["actor"]["key"])
        return self._problem(event) or self._follow(event)

    def valid(self, actor: str) -> Dict[str, Key]:
        """Keys of an actor that are valid after the last event."""
        return self._valid.get(actor, {})

    def note_keys(self, origin: str) -> Dict[str, List[Key]]:
        """Keys by the names under which notes are signed."""
        found: Dict[str, List[Key]] = {}
        for key in self.all.values():
            found.setdefault(f"{origin}/{key.actor.replace('+', '%2B')}", []).append(key)
        return found

    def table(self) -> List[Dict[str, Any]]:
        """What keys.json must say."""
        return [
            {
                "actor": key.actor,
                "key_id": key.key_id,
                "public_key": base64.b64encode(key.raw).decode("ascii"),
                "valid_from": key.since,
                "valid_until": key.until,
            }
            for key in self.all.values()
        ]

    def _problem(self, event: Event) -> Optional[str]:
        if event.key_id is None and event.signature is None and event.action.endswith(".refused"):
            return None  # a refusal is recorded even if its actor has no valid key
        if event.key_id is None or event.signature is None:
            return "is not signed"
        key = self._valid.get(event.actor, {}).get(event.key_id)
        if key is None:
            return f"is signed with a key that was not {event.actor}'s at that point"
        if not key.signed(event.signed_bytes, unbase64(event.signature)):
            return f"has a signature that is not {event.actor}'s"
        self.signed += 1
        self.last_signed[key.key_id] = event.seq
        return None

    def _follow(self, event: Event) -> Optional[str]:
        name = event.subject.partition(":")[2]
        if event.action == "actor.added" and event.seq > 1:
            return self._announce(event, event.payload["actor"]["key"])
        if event.action == "actor.key_rotated":
            valid = self._valid.get(name, {})
            if sorted(event.payload["retired"]) != sorted(valid):
                return f"retires other keys than those of {name}"
            for key in valid.values():
                key.until = event.seq
            valid.clear()
            return self._announce(event, event.payload["key"])
        if event.action == "actor.deactivated":
            for key in self._valid.pop(name, {}).values():
                key.until = event.seq
        return None

    def _announce(self, event: Event, facts: Any) -> Optional[str]:
        name = event.subject.partition(":")[2]
        key = Key(unbase64(facts["public_key"]), name, event.seq)
        if key.key_id != facts["key_id"]:
            return "announces a key under another id"
        if key.key_id in self.all:
            return "announces a key that was announced before"
        self.all[key.key_id] = key
        self._valid.setdefault(name, {})[key.key_id] = key
        return None


class Head(NamedTuple):
    """A signed tree head (C2SP signed-note and tlog-checkpoint)."""

    origin: str
    size: int
    root: bytes
    time: str
    text: str
    signatures: List[Tuple[str, bytes, bytes]]


def read_note(data: bytes) -> Head:
    """Read a checkpoint without checking its signatures."""
    note = data.decode("utf-8")
    text, blank, tail = note.rpartition("\n\n")
    lines = text.split("\n")
    if (
        not blank
        or not tail.endswith("\n")
        or len(lines) != 4
        or re.search("[\x00-\x09\x0b-\x1f]", note)
    ):
        raise ValueError("it is no checkpoint")
    if re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]) is None or not lines[3].startswith("time "):
        raise ValueError("it is no checkpoint")
    root, signatures = unbase64(lines[2]), []
    for line in tail[:-1].split("\n"):
        found = re.fullmatch("— ([^ ]+) ([^ ]+)", line)
        if found is None:
            raise ValueError("a signature line of the checkpoint cannot be read")
        value = unbase64(found[2])
        signatures.append((found[1], value[:4], value[4:]))
    if len(root) != 32 or len(signatures) > 100:
        raise ValueError("it is no checkpoint")
    return Head(lines[0], int(lines[1]), root, lines[3][5:], text + "\n", signatures)


def note_signers(head: Head, keys: Dict[str, List[Key]], pinned: Sequence[Key] = ()) -> List[Key]:
    """The known keys that signed a checkpoint; a false signature under a known name is a finding."""
    found = []
    for name, key_hash, signature in head.signatures:
        for key in [*keys.get(name, []), *pinned]:
            if sha256(name.encode("utf-8") + b"\n\x01" + key.raw).digest()[:4] == key_hash:
                if not key.signed(head.text.encode("utf-8"), signature):
                    raise Broken(f"the signature of {name} on the checkpoint does not hold")
                found.append(key)
    if not found:
        raise Broken("no key of this ledger signed the checkpoint")
    return found


def open_envelope(value: Any, keys: Dict[str, Key]) -> Tuple[Dict[str, Any], Key]:
    """The in-toto statement in a DSSE envelope, and the key of `keys` that signed it."""
    kind, payload = value["payloadType"], unbase64(value["payload"])
    if kind != "application/vnd.in-toto+json" or len(value["signatures"]) != 1:
        raise Broken("it is not an in-toto statement with one signature")
    signature = value["signatures"][0]
    key = keys.get(signature["keyid"])
    if key is None:
        raise Broken("it is not signed with a key that was valid when the bundle was made")
    name = kind.encode("utf-8")
    if not key.signed(
        b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload), unbase64(signature["sig"])
    ):
        raise Broken(f"the signature on it is not that of key {short(key.key_id)}")
    statement = parse(payload)
    if statement["_type"] != "https://in-toto.io/Statement/v1":
        raise Broken("it is not an in-toto statement of version 1")
    return statement, key


def short(text: str) -> str:
    """The first twelve hex digits, for people."""
    return text[7:19]


# ── 5 Replaying the events ────────────────────────────────────────────────────────────────────────────────────────

GENESIS = f"sha256:{'0' * 64}"
_FIELDS = {
    "action",
    "actor",
    "at",
    "key_id",
    "payload",
    "prev_digest",
    "seq",
    "signature",
    "subject",
}


class Event(NamedTuple):
    """An entry of the ledger."""

    action: str
    actor: str
    at: str
    key_id: Optional[str]
    payload: Any
    prev_digest: str
    seq: int
    signature: Optional[str]
    subject: str
    digest: str
    signed_bytes: bytes


def read_event(line: bytes) -> Event:
    """Read an entry, which must be written in the one canonical way."""
    fields = parse(line)
    if (
        not isinstance(fields, dict)
        or set(fields) != _FIELDS
        or canonical(fields).encode("utf-8") != line
    ):
        raise ValueError("it is not an entry in canonical JSON")
    for name in ("action", "actor", "at", "prev_digest", "subject"):
        if not isinstance(fields[name], str):
            raise ValueError(f"{name} is no text")
    for name in ("key_id", "signature"):
        if not isinstance(fields[name], (str, type(None))):
            raise ValueError(f"{name} is no text")
    if (
        type(fields["seq"]) is not int
        or fields["seq"] < 1
        or not isinstance(fields["payload"], dict)
    ):
        raise ValueError("it has no number or no payload")
    unsigned = {name: value for name, value in fields.items() if name != "signature"}
    signed = b"governance.event.v1\n" + canonical(unsigned).encode("utf-8")
    return Event(**fields, digest=digest(line), signed_bytes=signed)


# state → what can be done in it → the state afterwards
TRANSITIONS = {
    "filed": {"prepared": "prepared", "rejected": "rejected", "withdrawn": "withdrawn", "extended": "filed"},
    "prepared": {
        "prepared": "prepared", "evaluated": "prepared", "endorsed": "prepared", "approved": "approved",
        "rejected": "rejected", "withdrawn": "withdrawn", "extended": "prepared",
    },
    "approved": {
        "prepared": "prepared", "evaluated": "approved", "withdrawn": "withdrawn", "extended": "approved",
        "applied": "applied",
    },
    "applied": {
        "evaluated": "applied", "extended": "applied", "released": "released", "reinstated": "reinstated",
    },
    "released": {"evaluated": "released", "reinstated": "reinstated", "closed": "closed"},
    "reinstated": {
        "prepared": "prepared", "evaluated": "reinstated", "withdrawn": "withdrawn", "extended": "reinstated",
        "applied": "applied",
    },
    "rejected": {},
    "withdrawn": {},
    "closed": {"reinstated": "reinstated"},
}  # fmt: skip
# What concerns the file of a case and not the case itself; possible in every state.
ALWAYS = ("attached", "held", "hold_lifted", "redacted")

# permission → roles that have it, where a policy does not name others
PERMISSIONS = {
    "actor.manage": {"admin"},
    "actor.rotate-own-key": {"admin", "approver", "auditor", "compliance", "mlops"},
    "policy.adopt": {"admin"},
    "checkpoint.take": {"admin", "auditor", "compliance", "mlops"},
    "doctor.repair": {"admin", "mlops"},
    "audit.export": {"admin", "auditor", "compliance"},
    "request.attach": {"admin", "compliance"},
    "request.hold": {"admin", "compliance"},
    "request.redact": {"admin", "compliance"},
    "attachment.export": {"admin", "approver", "auditor", "compliance"},
    "report.export": {"admin", "approver", "auditor", "compliance", "mlops"},
    "request.break-glass": {"admin"},
    "request.override": {"admin"},
    "version.override": {"admin"},
    "model.register": {"admin", "mlops"},
    "dataset.add": {"admin", "compliance", "mlops"},
    "request.file": {"admin", "compliance"},
    "request.prepare": {"admin", "mlops"},
    "request.evaluate": {"admin", "auditor", "mlops"},
    "request.decide": {"admin", "approver"},
    "request.withdraw": {"admin", "compliance"},
    "request.extend": {"admin", "approver", "compliance"},
    "request.close": {"admin", "compliance"},
    "version.apply": {"admin", "mlops"},
    "version.evaluate": {"admin", "auditor", "mlops"},
    "version.promote": {"admin", "mlops"},
    "version.rollback": {"admin", "mlops"},
    "version.export": {"admin", "auditor", "mlops"},
}

# action → what its actor had to be allowed, where one permission decides
PERMISSION_OF = {
    "policy.adopted": "policy.adopt",
    "checkpoint.taken": "checkpoint.take",
    "bundle.exported": "audit.export",
    "report.exported": "report.export",
    "attachment.exported": "attachment.export",
    "actor.added": "actor.manage",
    "actor.deactivated": "actor.manage",
    "dataset.added": "dataset.add",
    "model.registered": "model.register",
    "version.intended": "version.apply",
    "version.registered": "version.apply",
    "version.nominated": "version.apply",
    "version.alias_intended": "version.promote",
    "version.evaluated": "version.evaluate",
    "version.export_intended": "version.export",
    "version.exported": "version.export",
    "version.restored": "doctor.repair",
    "doctor.repair_intended": "doctor.repair",
    "doctor.repaired": "doctor.repair",
    "request.filed": "request.file",
    "request.prepared": "request.prepare",
    "request.evaluated": "request.evaluate",
    "request.rejected": "request.decide",
    "request.withdrawn": "request.withdraw",
    "request.extended": "request.extend",
    "request.applied": "version.apply",
    "request.released": "version.promote",
    "request.reinstated": "version.rollback",
    "request.closed": "request.close",
    "request.attached": "request.attach",
    "request.held": "request.hold",
    "request.hold_lifted": "request.hold",
    "request.redacted": "request.redact",
}

# States in which a version holds a request; those of what a new version may hold; those in which texts may be erased.
ACTIVE = {"applied", "released", "closed"}
CAN_JOIN = ACTIVE | {"approved", "reinstated"}
ENDED = {"rejected", "withdrawn", "closed"}

# What somebody must always be able to do.
ESSENTIAL = ("policy.adopt", "actor.manage", "request.decide")
# First words of actions whose subjects are something else: what was read out of them.
_ELSEWHERE = {"attachment", "bundle", "report"}
# Events that change nothing that is followed here.
_SILENT = {
    "attachment.exported",
    "bundle.exported",
    "doctor.repair_intended",
    "doctor.repaired",
    "report.exported",
}
_SKEW = timedelta(days=1)  # how far the clock of who wrote a record may be from that of the log


class Case:
    """What the events say of a request."""

    def __init__(self, facts: Dict[str, Any]) -> None:
        self.facts = facts
        self.model: str = facts["model"]
        self.state = "filed"
        self.due_at: str = facts["due_at"]
        self.prepared_by: Optional[str] = None
        self.projector: Optional[str] = None
        self.report: Optional[str] = None
        self.reports: List[str] = []
        self.approvers: List[str] = []
        self.approved: Optional[str] = None
        self.held = False
        self.redacted = False

    def scopes(self) -> List[str]:
        """What each target forgets: a class, a class in one domain, a whole domain."""
        found = []
        for target in self.facts["targets"]:
            everywhere = "class" if target["domain"] is None else "class-in-domain"
            found.append("domain" if target["class"] is None else everywhere)
        return found


class Version:
    """What the events say of a version."""

    def __init__(self, facts: Dict[str, Any]) -> None:
        self.digest: str = facts["digest"]
        self.members: Set[int] = set(facts["active_requests"])
        self.reports: List[str] = []
        self.served = False


class Replay:
    """States, roles and rules as the events make them, and every record that they announce.

    A selection shows everything that happened to its requests and versions, but not to others; checks that need the
    others are made in a whole ledger only.

    Attributes:
        cases: by request.
        said: records that the events announce, by kind, each with its owner, in order.
        loud: what everybody who reads the bundle must know.
        content_of: content of a report by its digest; None if it cannot be read, which step 9 says.
    """

    KINDS = (
        "decisions",
        "overrides",
        "projectors",
        "reports",
        "versions",
        "models",
        "datasets",
        "policies",
        "checkpoints",
        "texts",
    )

    def __init__(self, complete: bool, content_of: Callable[[str], Any] = lambda _: None) -> None:
        self.content_of = content_of
        self.cases: Dict[int, Case] = {}
        self.roles: Dict[str, Set[str]] = {}
        self.rules: Dict[str, Any] = {}
        self.policy: Optional[str] = None
        self.said: Dict[str, List[Tuple[Any, Any]]] = {kind: [] for kind in self.KINDS}
        self.loud: List[str] = []
        self.unknown: Set[str] = set()
        self._complete = complete
        self._inactive: Set[str] = set()
        self._datasets: Set[str] = set()
        self._versions: Dict[Tuple[str, int], Version] = {}
        self._newest: Dict[str, int] = {}
        self._active: Dict[str, Set[int]] = {}
        self._aliases: Dict[Tuple[str, str], int] = {}
        self._intents: Dict[str, Tuple[str, str]] = {}  # subject and who had it
        self._at = ""

    def read(self, event: Event) -> Iterator[str]:
        """Take the next event: what is wrong with it."""
        try:
            yield from self._forbidden(event)
            yield from self._apply(event)
        except MALFORMED as error:
            yield f"{event.action} makes no sense there ({type(error).__name__}: {str(error)[:80]})"
        self._at = event.at

    def _forbidden(self, event: Event) -> Iterator[str]:
        if event.seq == 1 or event.action.endswith(".refused"):
            return
        roles, permission = self.roles.get(event.actor, set()), self._permission(event)
        if permission is None and not roles:
            yield f"{event.actor} had no role"
        elif permission is not None and not self.may(permission) & roles:
            yield f"{event.actor} had no role for {permission}"

    def may(self, permission: str) -> Set[str]:
        """Roles that have a permission under the policy in force."""
        named = self.rules.get("roles", {}).get(permission)
        return PERMISSIONS[permission] if named is None else set(named)

    def _helpless(self) -> Iterator[str]:
        held = set().union(*self.roles.values())
        for permission in ESSENTIAL:
            if not self.may(permission) & held:
                yield f"nobody who was active could do {permission} any more"
                return

    def _permission(self, event: Event) -> Optional[str]:
        if event.action == "actor.key_rotated":
            own = event.subject == f"actor:{event.actor}"
            return "actor.rotate-own-key" if own else "actor.manage"
        if event.action in ("request.endorsed", "request.approved"):
            alone = event.payload["decision"]["break_glass"]
            return "request.break-glass" if alone else "request.decide"
        if event.action == "version.abandoned":
            _, who = self._intents.get(event.payload["intent"], (None, None))
            return None if who == event.actor else "doctor.repair"
        if event.action == "version.promoted":
            return "version.rollback" if event.payload.get("rollback") else "version.promote"
        return PERMISSION_OF.get(event.action)

    def _apply(self, event: Event) -> Iterator[str]:
        kind, _, name = event.subject.partition(":")
        action, payload = event.action, event.payload
        first = action.partition(".")[0]
        if action == f"{kind}.refused":
            return
        if first != kind and first not in _ELSEWHERE:
            raise ValueError("another kind of subject")
        if action in ("actor.added", "actor.key_rotated", "actor.deactivated"):
            yield from self._actor(event, name)
        elif action == "policy.adopted":
            yield from self._adopt(event)
        elif action == "checkpoint.taken":
            facts = payload["checkpoint"]
            if facts["size"] >= event.seq:
                yield "it vouches for events that were not there yet"
            if facts["key_id"] != event.key_id:
                yield "the checkpoint was signed with another key than the event"
            yield from self._say(event, "checkpoints", "ledger", facts)
        elif action == "dataset.added":
            if name in self._datasets or payload["dataset"]["name"] != name:
                raise ValueError("added twice, or under another name")
            self._datasets.add(name)
            yield from self._say(event, "datasets", name, payload["dataset"])
        elif action == "model.registered":
            yield from self._model(event, name)
        elif action == "request.filed":
            yield from self._file(event, number_of(name))
        elif first == "request":
            yield from self._move(event, number_of(name))
        elif action in ("version.intended", "version.alias_intended"):
            self._intents[event.digest] = (event.subject, event.actor)
        elif first == "version":
            yield from self._release(event, name)
        elif action not in _SILENT:
            self.unknown.add(action)

    def _say(self, event: Event, kind: str, owner: Any, facts: Dict[str, Any]) -> Iterator[str]:
        """Note a record that the event announces; its own times must be about that of the event."""
        self.said[kind].append((owner, facts))
        at = datetime.fromisoformat(event.at)
        for name in ("adopted_at", "taken_at", "added_at", "registered_at", "filed_at", "prepared_at", "created_at",
                     "decided_at"):  # fmt: skip
            if name not in facts:
                continue
            ahead = datetime.fromisoformat(facts[name]) - at
            # The log's time stands still while a clock that was ahead is waited for.
            behind = self._complete and ahead < -_SKEW and event.at != self._at
            if ahead > _SKEW or behind:
                yield f"the record's {name}, {facts[name]}, is another time than the event's"

    def _actor(self, event: Event, name: str) -> Iterator[str]:
        if event.action == "actor.added":
            facts = event.payload["actor"]
            if name in self.roles or facts["name"] != name:
                raise ValueError("added twice, or under another name")
            self.roles[name] = set(facts["roles"])
            if event.seq == 1 and "admin" not in self.roles[name]:
                yield "a log begins with an admin"
            return
        if name not in self.roles or name in self._inactive:
            raise ValueError("nobody who is active")
        if event.action == "actor.deactivated":
            if name == event.actor:
                yield "nobody deactivates themselves"
            self.roles[name] = set()
            self._inactive.add(name)
            yield from self._helpless()

    def _adopt(self, event: Event) -> Iterator[str]:
        facts, content = event.payload["policy"], event.payload["content"]
        if digest_json(content) != facts["digest"]:
            yield "the policy has another digest than the event says"
        if facts["adopted_by"] != event.actor:
            yield f"it was adopted by {event.actor}, not {facts['adopted_by']}"
        check_policy(content)
        if content["release"]["production"] != self.production and self._newest:
            yield "it names another production alias, although models are served already"
        self.rules, self.policy = content, facts["digest"]
        self.said["policies"].append((self.policy, content))
        yield from self._helpless()

    @property
    def production(self) -> str:
        """Alias of the version that is served."""
        return str(self.rules["release"]["production"]) if self.rules else "champion"

    # Models and versions

    def _model(self, event: Event, name: str) -> Iterator[str]:
        facts = event.payload["model"]
        if name in self._newest or facts["name"] != name:
            raise ValueError("registered twice, or under another name")
        yield from self._say(event, "models", name, facts)
        yield from self._register(event, name, event.payload["version"])
        number = event.payload["version"]["number"]
        self._aliases[name, self.production] = number
        self._versions[name, number].served = True

    def _release(self, event: Event, name: str) -> Iterator[str]:
        """What happens to a version."""
        payload, action = event.payload, event.action
        model, _, text = name.rpartition("/")
        number = number_of(text)
        if "intent" in payload:
            subject, _ = self._intents.pop(payload["intent"], (None, None))
            if subject != event.subject:
                raise ValueError("no such intent is open")
        if action == "version.registered":
            if payload["version"]["number"] != number or model not in self._newest:
                raise ValueError("another number, or no such model")
            yield from self._register(event, model, payload["version"])
            for report in payload["reports"]:
                yield from self._report(event, self._versions[model, number], report)
        elif action == "version.evaluated":
            version = self._named(model, number, payload)
            if version is not None:
                yield from self._report(event, version, payload["report"])
        elif action in ("version.promoted", "version.nominated"):
            yield from self._alias(event, model, number)
        elif action == "version.export_intended":
            self._named(model, number, payload)
            self._intents[event.digest] = (event.subject, event.actor)
        elif action == "version.exported":
            self._named(model, number, payload)
            payload["intent"]  # which has ended above
        elif action == "version.abandoned":
            payload["intent"]  # which has ended above
        elif action == "version.restored":
            self._named(model, number, payload)
            if not all(isinstance(payload[field], str) for field in ("run_id", "registry_version")):
                raise ValueError("no place in MLflow")
        else:
            self.unknown.add(action)

    def _register(self, event: Event, model: str, facts: Dict[str, Any]) -> Iterator[str]:
        """A version holds for each request the projector that was approved last."""
        number, newest = facts["number"], self._newest.get(model, 0)
        if facts["parent"] != (number - 1 or None) or number <= newest or (
            self._complete and number != newest + 1
        ):  # fmt: skip
            yield f"version {number} does not follow version {newest}"
        if facts["created_by"] != event.actor:
            yield f"it was made by {event.actor}, not {facts['created_by']}"
        if len(facts["active_requests"]) != len(facts["projectors"]):
            raise ValueError("not one projector for each request")
        for request, projector in zip(facts["active_requests"], facts["projectors"]):
            case = self.cases.get(request)
            if case is None or case.approved != projector or case.model != model:
                yield f"version {number} holds an edit of request {request} that was not approved"
            elif case.state not in CAN_JOIN:
                yield f"version {number} holds request {request}, which is {case.state}"
        self._newest[model] = number
        self._versions[model, number] = Version(facts)
        yield from self._say(event, "versions", model, facts)

    def _report(self, event: Event, version: Version, report: Dict[str, Any]) -> Iterator[str]:
        if report["purpose"] != "version":
            yield f"the report is of the kind {report['purpose']}"
        version.reports.append(report["digest"])
        yield from self._say(event, "reports", event.subject, report)

    def _named(self, model: str, number: int, payload: Dict[str, Any]) -> Optional[Version]:
        """The version that a payload names by its digest; None if the selection lacks it."""
        version = self._versions.get((model, number))
        if version is None and not self._complete:
            return None
        if version is None or version.digest != payload["version_digest"]:
            raise ValueError("no such version, or another digest")
        return version

    def _alias(self, event: Event, model: str, number: int) -> Iterator[str]:
        """An alias that goes from one version to another: nothing that is forgotten may come back with it."""
        payload = event.payload
        alias = self.production if event.action == "version.promoted" else "candidate"
        version, before = self._versions[model, number], self._aliases.get((model, alias))
        if (payload["alias"], payload["to"]) != (alias, number):
            raise ValueError("another alias or version")
        if self._complete and payload["from"] != before:
            yield f"the alias came from version {before}, not {payload['from']}"
        if payload.get("version_digest", version.digest) != version.digest:
            yield "the version had another digest"
        active = self._active.get(model, set())
        if not version.members <= active:
            yield f"it holds request {min(version.members - active)}, which was not active"
        if alias == "candidate" and active - version.members:
            yield f"it lacks request {min(active - version.members)}, which was active"
        if alias != "candidate":
            if self._complete and before is not None:
                lost = self._versions[model, before].members & active - version.members
                if lost:
                    yield f"it brings request {min(lost)} back, which was not reinstated"
            yield from self._admitted(event, number, version, before is None or before < number)
            version.served = True
        self._aliases[model, alias] = number

    def _admitted(
        self, event: Event, number: int, version: Version, forward: bool
    ) -> Iterator[str]:
        """A version is served after its gates, or by going back to it."""
        payload = event.payload
        if payload.get("rollback"):
            if not version.served:
                yield "it was never served, so nobody could go back to it"
            return
        if self._complete and not forward:
            yield "it is older than the version that was served"
        if "gates" not in payload:
            yield "it was promoted without its gates"
            return
        if payload["policy_digest"] != self.policy:
            yield "its gates are those of another policy than that of that time"
        kinds = {
            n: (self.cases[n].scopes(), self.cases[n].facts["basis"])
            for n in sorted(version.members)
        }
        yield from self._judged(
            event, f"version {number}", version.reports, version.digest, "version.override",
            lambda contents: version_gates(contents, self.rules["gates"], kinds),
        )  # fmt: skip

    # Requests

    def _file(self, event: Event, number: int) -> Iterator[str]:
        facts = event.payload["request"]
        if number in self.cases:
            raise ValueError("filed twice")
        if facts["filed_by"] != event.actor:
            yield f"it was filed by {event.actor}, not {facts['filed_by']}"
        if facts["model"] not in self._newest:
            yield f"there was no model {facts['model']}"
        if facts["retention"] not in self.rules["retention"]["days"]:
            yield f"the policy had no retention class {facts['retention']}"
        if not later(facts["due_at"], facts["filed_at"]):
            yield "it was due before it was filed"
        self.cases[number] = Case(facts)
        self._texts(event)

    def _move(self, event: Event, number: int) -> Iterator[str]:
        """A step of a request along the transition table."""
        action, payload = event.action[len("request.") :], event.payload
        case = self.cases[number]
        before = case.state
        after = before if action in ALWAYS else TRANSITIONS[before].get(action)
        if after is None:
            yield f"request {number} was {before} and could not be {action}"
            after = before
        elif (payload["from"], payload["to"]) != (before, after):
            yield f"it says {payload['from']} → {payload['to']}, but the events before it lead to {before} → {after}"
        case.state = after
        active = self._active.setdefault(case.model, set())
        (active.add if after in ACTIVE else active.discard)(number)
        if action in ("prepared", "evaluated"):
            yield from self._measured(event, number, action, case)
        elif action in ("endorsed", "approved", "rejected"):
            yield from self._decision(event, number, action, case)
        elif action in ("applied", "released", "reinstated"):
            yield from self._served(event, number, action, case)
        elif action == "extended":
            if payload["was_due_at"] != case.due_at or not later(payload["due_at"], case.due_at):
                yield "an extension must move the deadline that there was to a later day"
            case.due_at = payload["due_at"]
        elif action in ("held", "hold_lifted"):
            case.held = action == "held"
        elif action == "redacted":
            if case.held:
                yield "a legal hold forbids to redact it"
            if case.state not in ENDED:
                yield "what has not ended cannot be redacted"
            case.redacted = True
        self._texts(event)

    def _measured(self, event: Event, number: int, action: str, case: Case) -> Iterator[str]:
        payload, report = event.payload, event.payload["report"]
        if action == "prepared":
            facts = payload["projector"]
            if facts["prepared_by"] != event.actor:
                yield f"it was prepared by {event.actor}, not {facts['prepared_by']}"
            case.prepared_by, case.projector = event.actor, facts["digest"]
            case.report, case.reports = report["digest"], []
            case.approvers, case.approved = [], None
            yield from self._say(event, "projectors", number, facts)
        elif payload["projector_digest"] != case.projector:
            yield "the report is about another projector than the newest"
        case.reports.append(report["digest"])
        if report["purpose"] != ("prepare" if action == "prepared" else "evaluate"):
            yield f"the report is of the kind {report['purpose']}"
        yield from self._say(event, "reports", event.subject, report)

    def _served(self, event: Event, number: int, action: str, case: Case) -> Iterator[str]:
        """A version must hold what it applies and releases, and lack what it reinstates."""
        named = event.payload["version"]
        version = self._named(case.model, named, event.payload)
        if version is None:
            return
        if (number in version.members) is (action == "reinstated"):
            yield f"that version {'holds' if action == 'reinstated' else 'lacks'} the request"
        if action == "released" and self._aliases.get((case.model, self.production)) != named:
            yield "that version was not served"

    def _decision(self, event: Event, number: int, action: str, case: Case) -> Iterator[str]:
        """Bound to what was measured, by the policy of that time, four eyes, quorum."""
        payload, facts = event.payload, event.payload["decision"]
        yield from self._say(event, "decisions", number, facts)
        if (facts["projector_digest"], facts["report_digest"]) != (case.projector, case.report):
            yield "the decision is about another projector or report than the newest"
        if facts["actor"] != event.actor or facts["policy_digest"] != self.policy:
            yield "the decision names another actor or policy than those of that time"
        ruling = "rejection" if action == "rejected" else "approval"
        if facts["ruling"] != ruling:
            yield f"the decision says {facts['ruling']}, the event {action}"
        written = [text["commitment"] for text in payload["texts"]]
        if written != ([] if facts["comment"] is None else [facts["comment"]]):
            yield "the decision has another comment than the one that was written"
        if action == "rejected":
            if facts["break_glass"]:
                yield "no emergency is needed to reject"
            return
        if facts["break_glass"]:
            if facts["comment"] is None:
                yield "an approval in an emergency needs a comment"
            self.loud.append(
                f"BREAK-GLASS: {event.actor} approved request {number} without four eyes and quorum (event "
                f"{event.seq}, {event.at[:10]})"
            )
        else:
            if event.actor in (case.facts["filed_by"], case.prepared_by):
                yield f"four eyes: {event.actor} filed or prepared request {number} and approved it too"
            if event.actor in case.approvers:
                yield f"{event.actor} approved the same preparation twice"
        case.approvers.append(event.actor)
        given, needed = len(set(case.approvers)), quorum(self.rules, case)
        if (payload["approvals"], payload["quorum"]) != (given, needed):
            yield f"it counts {payload['approvals']} of {payload['quorum']} approvals, not {given} of {needed}"
        if action == "approved":
            case.approved = case.projector
            if given < needed and not facts["break_glass"]:
                yield f"{given} approved, but the policy demanded {needed}"
        kind = (case.scopes(), case.facts["basis"])
        yield from self._judged(
            event, f"request {number}", case.reports, case.projector, "request.override",
            lambda contents: request_gates(contents, self.rules["gates"], kind),
        )  # fmt: skip

    def _judged(
        self,
        event: Event,
        name: str,
        reports: List[str],
        about: Optional[str],
        permission: str,
        compute: Callable[[List[Any]], List[Dict[str, Any]]],
    ) -> Iterator[str]:
        """The gates are those that the reports and the policy give; what failed was overridden by who may."""
        payload = event.payload
        if payload["report_digests"] != reports:
            yield "its gates were held against other reports than its own"
            return
        contents = [self.content_of(value) for value in reports]
        if None not in contents and payload["gates"] != compute(contents):
            yield "its gates are not those that its reports and the policy give"
        failing = [gate for gate in payload["gates"] if gate["passed"] is not True]
        if "override" not in payload:
            if failing:
                yield f"the gate {failing[0]['name']} was not passed, and nobody overrode it"
            return
        override = payload["override"]
        self.said["overrides"].append((event.subject, override))
        if (override["actor"], override["about"]) != (event.actor, about):
            yield "the override is somebody else's, or of something else"
        if override["gates"] != failing or not failing:
            yield "the override is of other gates than those that failed"
        if not override["reason"].strip():
            yield "an override needs a reason"
        if not self.may(permission) & self.roles.get(event.actor, set()):
            yield f"{event.actor} had no role for {permission}"
        gates = "; ".join(describe_gate(gate) for gate in failing)
        self.loud.append(
            f"OVERRIDE: {event.actor} let {name} pass although {gates} (event {event.seq}, {event.at[:10]}): "
            f"{override['reason']}"
        )

    def _texts(self, event: Event) -> None:
        for text in event.payload.get("texts", ()):
            self.said["texts"].append((event.subject, (text["kind"], text["commitment"])))


def quorum(rules: Dict[str, Any], case: Case) -> int:
    """How many must approve a request; the largest number that applies counts."""
    table = rules["quorum"]
    numbers = [table["default"], table["basis"].get(case.facts["basis"], 0)]
    return int(max(numbers + [table["scope"].get(scope, 0) for scope in case.scopes()]))


# Limits of a policy and the names of their gates: on what is left of one request, and on what an edit costs.
OWN = {
    "max_forget_accuracy": "forget accuracy",
    "max_paraphrase": "paraphrase",
    "max_relearning": "relearning",
    "max_probe_auc": "probe AUC",
    "max_inversion": "inversion",
    "max_excess": "excess over the anchor",
    "max_forget_rise": "forget accuracy gained since approval",
}
IN_VERSIONS = ("max_forget_rise",)
WHOLE = {
    "max_retain_drop": "retain drop",
    "max_class_drop": "worst class drop",
    "max_guard_drop": "guard drop",
    "max_prompts_lost": "prompts lost",
    "max_turning": "turning",
    "max_retained_change": "change of retained prompts",
}
SCOPES = ("class", "class-in-domain", "domain")
Kind = Tuple[List[str], str]
"""Scopes of a request's targets, and its legal basis."""


def check_policy(rules: Any) -> None:
    """Raise ValueError unless the content of a policy has the form that this verifier reads."""
    if set(rules) != {"format", "gates", "quorum", "roles", "release", "retention"}:
        raise ValueError("a policy with other parts")
    gates = rules["gates"]
    tables = [gates, *gates["scope"].values(), *gates["basis"].values()]
    if not set(gates["scope"]) <= set(SCOPES):
        raise ValueError("limits for an unknown scope")
    for number, table in enumerate(tables):
        for name, value in table.items():
            if number == 0 and name in ("scope", "basis"):
                continue
            if (
                (name not in OWN and name not in WHOLE)
                or type(value) not in (int, float)
                or not 0 <= value <= 1
            ):
                raise ValueError(f"the limit {name!r:.40} is none")
    for name, roles in rules["roles"].items():
        if name not in PERMISSIONS or not isinstance(roles, list) or not roles:
            raise ValueError(f"the roles of {name!r:.40} are none")
    if not isinstance(rules["release"]["production"], str):
        raise ValueError("the production alias is no text")


def limit_of(gates: Dict[str, Any], key: str, kind: Optional[Kind]) -> Optional[Tuple[float, str]]:
    """Limit and the rule that sets it: of each target its special rules, or the general one; the strictest counts."""
    general = [(gates[key], "gates")] if key in gates else []
    if kind is None:
        return general[0] if general else None
    scopes, basis = kind
    found: List[Tuple[float, str]] = []
    for scope in scopes:
        rules = [("scope", scope), ("basis", basis)]
        special = [(part, name) for part, name in rules if key in gates[part].get(name, {})]
        found += [
            (gates[part][name][key], f"gates.{part}.{name}") for part, name in special
        ] or general
    return min(found or general, default=None)


def request_gates(contents: List[Any], gates: Dict[str, Any], kind: Kind) -> List[Dict[str, Any]]:
    """Every report on a preparation, held against the limits of its request."""
    partial = any(content["strength"] < 1 for content in contents)
    own = {key: name for key, name in OWN.items() if key not in IN_VERSIONS}
    names = WHOLE if partial else {**own, **WHOLE}
    limits = {key: limit_of(gates, key, kind) for key in names}
    measured = []
    for content in contents:
        after = content["after"]["forget_accuracy"]
        rest = {
            "max_forget_accuracy": after,
            "max_excess": worst(content, "forgotten", "excess"),
            **attacks(content["assessment"]["after"]),
        }
        measured.append((content["dataset"]["name"], {**costs(content), **rest}))
    return held(limits, names, measured, None)


def version_gates(
    contents: List[Any], gates: Dict[str, Any], kinds: Dict[int, Kind]
) -> List[Dict[str, Any]]:
    """Every report on a version: what is left of each request by its limits, what is lost by the most generous."""
    made: List[Dict[str, Any]] = []
    for request, kind in kinds.items():
        entries = [
            (content["dataset"]["name"], entry) for content in contents for entry in content["requests"]
            if entry["active"] and entry["request"] == request
        ]  # fmt: skip
        if any(entry["strength"] != 1 for _, entry in entries):
            continue
        limits = {key: limit_of(gates, key, kind) for key in OWN}
        measured = [
            (
                place,
                {
                    "max_forget_accuracy": entry["after"],
                    "max_forget_rise": None
                    if entry.get("approved") is None
                    else entry["after"] - entry["approved"],
                    "max_excess": entry.get("excess"),
                    **attacks(entry.get("attacks") or {}),
                },
            )
            for place, entry in entries
        ]
        made += held(limits, OWN, measured, request)
    whole = {}
    for key in WHOLE:
        of = [limit_of(gates, key, kind) for kind in kinds.values()] or [limit_of(gates, key, None)]
        whole[key] = max((limit for limit in of if limit is not None), default=None)
    return made + held(whole, WHOLE, [(c["dataset"]["name"], costs(c)) for c in contents], None)


def held(
    limits: Dict[str, Optional[Tuple[float, str]]],
    names: Dict[str, str],
    measured: List[Tuple[str, Dict[str, Any]]],
    request: Optional[int],
) -> List[Dict[str, Any]]:
    """A gate for each figure that was measured, and one for each limit whose figure was measured nowhere."""
    made = []
    for key, name in names.items():
        limit = limits[key]
        if limit is None:
            continue
        found: List[Tuple[Optional[str], Any]] = [
            (place, figures[key]) for place, figures in measured if figures.get(key) is not None
        ]
        nowhere: List[Tuple[Optional[str], Any]] = [(None, None)]
        for place, value in found or nowhere:
            made.append(
                {
                    "name": name,
                    "value": value,
                    "limit": limit[0],
                    "rule": limit[1],
                    "dataset": place,
                    "request": request,
                    "passed": value is not None and value <= limit[0] + 1e-9,
                }
            )
    return made


def costs(content: Any) -> Dict[str, Any]:
    """What an edit costs, from a report."""
    before, after = content["before"], content["after"]
    was, now = before["retain_accuracy"], after["retain_accuracy"]
    kept, keeps = before.get("retain_per_class") or {}, after.get("retain_per_class") or {}
    guards = [g["before"]["value"] - g["after"]["value"] for g in content.get("guard", [])]
    return {
        "max_retain_drop": None if was is None or now is None else was - now,
        "max_class_drop": max((kept[label] - keeps[label] for label in kept), default=None),
        "max_guard_drop": max(guards, default=None),
        "max_prompts_lost": content["capacity"]["lost"],
        "max_turning": content.get("turning"),
        "max_retained_change": worst(content, "retained", "change"),
    }


def worst(content: Any, part: str, figure: str) -> Optional[float]:
    """The worst value of a figure of a report's certificate, if there is one."""
    found = (content.get("certificate") or {}).get(part)
    return None if found is None else float(found[figure]["worst"])


def attacks(view: Any) -> Dict[str, Any]:
    """What attacks find; of those with five labelled images the strongest counts, less its false alarms."""
    words, probe, inverted = (view.get(name) for name in ("paraphrase", "probe_auc", "inversion"))
    gains = [
        a["recovered"] - a["false_alarms"] for a in view.get("relearning") or [] if a["shots"] == 5
    ]
    return {
        "max_paraphrase": None if words is None else words["max"]["value"],
        "max_relearning": max(gains, default=None),
        "max_probe_auc": None if probe is None else probe["value"],
        "max_inversion": None
        if inverted is None
        else max(inverted["plain"]["value"], inverted["informed"]["value"]),
    }


def describe_gate(gate: Dict[str, Any]) -> str:
    """Words on a gate that failed."""
    name = (
        gate["name"] if gate["request"] is None else f"{gate['name']} of request {gate['request']}"
    )
    if gate["value"] is None:
        return f"{name} was not measured"
    return f"{name} was {gate['value']:.3f}, more than {gate['limit']:.3f}"


def number_of(name: str) -> int:
    """A number as subjects write it."""
    if re.fullmatch("[1-9][0-9]{0,17}", name) is None:
        raise ValueError(f"{name!r:.40} is no number")
    return int(name)


def later(one: str, other: str) -> bool:
    """Whether one ISO 8601 time is later than another."""
    return datetime.fromisoformat(one) > datetime.fromisoformat(other)


# ── 6 The records ─────────────────────────────────────────────────────────────────────────────────────────────────


class Arrays:
    """The matrices of the bundle, by digest."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self.table: Dict[str, Any] = package.json("arrays.json")
        self.used: Set[str] = set()

    def check(self) -> Iterator[str]:
        """What is wrong with their bytes."""
        for name, entry in self.table.items():
            file = f"arrays/{name[7:]}.bin"
            if file not in self._package.sizes:
                yield f"{file} is missing"
            elif digest_array(entry["dtype"], entry["shape"], self._package.read(file)) != name:
                yield f"{file} has other bytes than its digest says"

    def use(self, name: str) -> bool:
        """Whether the bundle has this array; remembers that something refers to it."""
        self.used.add(name)
        return name in self.table

    def rows(self, name: str) -> List[List[float]]:
        """The rows of a float64 matrix; a vector is one row."""
        entry = self.table[name]
        *many, width = entry["shape"]
        count = many[0] if many else 1
        values = array("d")
        values.frombytes(self._package.read(f"arrays/{name[7:]}.bin"))
        if sys.byteorder == "big":
            values.byteswap()
        if (
            entry["dtype"] != "float64"
            or len(many) > 1
            or len(values) != count * width
            or not all(map(math.isfinite, values))
        ):
            raise Broken(f"array {short(name)} is no matrix of finite float64 numbers")
        return [list(values[start * width : (start + 1) * width]) for start in range(count)]


def factors_digest(row: Dict[str, Any]) -> str:
    """Digest of P − I = A B from the digests of A and B."""
    return digest_json({"a": row["factor_a"], "b": row["factor_b"]})


def fit_arrays(recipe: Dict[str, Any]) -> List[str]:
    """Arrays that a projector's recipe refers to: prototypes with their scatter, mean and moment of a reference."""
    parts = [*recipe["prototypes"], recipe.get("reference") or {}]
    names = ("rows", "scatter", "mean", "moment")
    return [part[name] for part in parts for name in names if name in part]


def synonyms_moved(recipes: Iterable[Dict[str, Any]]) -> bool:
    """Whether a projector's recipe moves synonyms, which are rows of the bank's paraphrases."""
    return any(recipe["hyperparameters"].get("synonyms") for recipe in recipes)


def text_factors(recipe: Dict[str, Any]) -> List[str]:
    """Factors of the edit of the text tower, if there is one."""
    factors = recipe.get("text_factors")
    return [] if factors is None else [factors["a"], factors["b"]]


class Records:
    """The tables of the bundle, each held against what the events announce."""

    def __init__(self, package: Package, replay: Replay) -> None:
        self._package, self._said = package, replay.said
        self._cases = replay.cases
        self._replay = replay
        self.arrays = Arrays(package)
        self.requests = package.json("requests.json")
        self.decisions = package.json("decisions.json")
        self.overrides = package.json("overrides.json")
        self.projectors = package.json("projectors.json")
        self.versions = package.json("versions.json")
        self.models = package.json("models.json")
        self.datasets = package.json("datasets.json")
        self.policy = package.json("policy.json")

    def check(self) -> Iterator[str]:
        """Everything that does not have the digest it claims, or of which the events say something else."""
        yield from self._tables()
        yield from self.arrays.check()
        for model in self.models:
            facts = model["facts"]
            if digest_json(model["labels"]) != facts["labels_digest"]:
                yield f"the label space of model {facts['name']} has another digest"
            bank = [facts["bank_rows"], facts["bank_scores"]]
            if synonyms_moved(row["recipe"] for row in self.projectors):
                bank.append(facts["bank_paraphrases"])
            yield from self._missing(f"model {facts['name']}", *bank)
        for row in self.projectors:
            name = f"the projector of request {row['request']}"
            made = digest_json({"recipe": row["recipe"], "factors": factors_digest(row)})
            if made != row["facts"]["digest"]:
                yield f"{name}: recipe or factors have another digest"
            made_of = [*fit_arrays(row["recipe"]), *text_factors(row["recipe"])]
            yield from self._missing(name, row["factor_a"], row["factor_b"], *made_of)
        for row in self.versions:
            yield from self._version(row)
        if set(self.arrays.table) != self.arrays.used:
            yield "arrays.json lists an array that nothing refers to"
        yield from self._reports()

    def _tables(self) -> Iterator[str]:
        said = self._said
        tables = {
            "decisions.json": (
                said["decisions"],
                [(row["request"], row["facts"]) for row in self.decisions],
            ),
            "overrides.json": (
                said["overrides"],
                [(row["subject"], row["facts"]) for row in self.overrides],
            ),
            "projectors.json": (
                said["projectors"],
                [(row["request"], row["facts"]) for row in self.projectors],
            ),
            "versions.json": (
                said["versions"],
                [(row["model"], row["facts"]) for row in self.versions],
            ),
            "models.json": (
                said["models"],
                [(row["facts"]["name"], row["facts"]) for row in self.models],
            ),
            "datasets.json": (
                said["datasets"],
                [(row["facts"]["name"], row["facts"]) for row in self.datasets],
            ),
        }
        for name, (announced, listed) in tables.items():
            if announced != listed:
                yield f"{name} holds other records than the events announce"
        states = [
            (number, {**case.facts, "due_at": case.due_at}, case.state, case.held, case.redacted)
            for number, case in sorted(self._cases.items())
        ]
        if states != [
            (r["id"], r["facts"], r["state"], r["held"], r["redacted"]) for r in self.requests
        ]:
            yield "requests.json says other things of the requests than their events"
        policies = dict(said["policies"])
        if self.policy != {"in_force": self._replay.policy, "policies": policies}:
            yield "policy.json holds other policies than were adopted, or names another in force"

    def _version(self, row: Dict[str, Any]) -> Iterator[str]:
        facts = row["facts"]
        name = f"version {facts['number']} of {row['model']}"
        model = next((m["facts"] for m in self.models if m["facts"]["name"] == row["model"]), None)
        if model is None:
            yield f"{name}: its model is missing"
            return
        if digest_json(row["recipe"]) != facts["recipe"]:
            yield f"{name}: its recipe has another digest than its event says"
        identity = {
            "base_weights": model["weights_digest"],
            "labels": model["labels_digest"],
            "factors": factors_digest(row),
            "text_factors": text_factors(row["recipe"]),
            "projectors": sorted(facts["projectors"]),
        }
        if digest_json(identity) != facts["digest"]:
            yield f"{name}: active set or factors have another digest"
        yield from self._missing(
            name, row["factor_a"], row["factor_b"], *text_factors(row["recipe"])
        )

    def _missing(self, name: str, *digests: str) -> Iterator[str]:
        for value in digests:
            if not self.arrays.use(value):
                yield f"{name}: the array {short(value)} is missing"

    def _reports(self) -> Iterator[str]:
        wanted = {
            f"reports/{facts['digest'][7:]}.json": facts["digest"]
            for _, facts in self._said["reports"]
        }
        for name in self._package.sizes:
            if name.startswith("reports/") and name not in wanted:
                yield f"{name}: no event speaks of this report"
        for name, value in wanted.items():
            if name not in self._package.sizes:
                yield f"{name}: this report is missing"
            elif self._package.digest_of(name) != value:
                yield f"{name}: the report has another digest than the event says"

    def reports(self) -> List[Any]:
        """Contents of all reports."""
        names = [f"reports/{facts['digest'][7:]}.json" for _, facts in self._said["reports"]]
        return [self._package.json(name) for name in names if name in self._package.sizes]

    def texts(self) -> Tuple[int, int, List[str]]:
        """Open the commitments to private texts: how many were committed to, how many opened, what is wrong."""
        commitments = {
            commitment: (owner, kind) for owner, (kind, commitment) in self._said["texts"]
        }
        if "texts.json" not in self._package.sizes:
            return len(commitments), 0, []
        problems = []
        opened = self._package.json("texts.json")
        if not isinstance(opened, list):
            raise ValueError("texts.json is no list")
        for text in opened:
            what, data = f"a {text['kind']} of request {text['request']}", unbase64(text["content"])
            content = {"content": digest(data), "kind": text["kind"], "name": text["name"]}
            if digest_json([text["salt"], content]) != text["commitment"]:
                problems.append(f"{what} is not what the log committed to")
            elif commitments.get(text["commitment"]) != (
                f"request:{text['request']}",
                text["kind"],
            ):
                problems.append(f"{what} is in no event of that request")
            elif text["words"] is not None and text["words"].encode("utf-8") != data:
                problems.append(f"{what} reads otherwise than its content")
        return len(commitments), len(opened), problems


# ── 7 The matrix ──────────────────────────────────────────────────────────────────────────────────────────────────
#
# A version multiplies image features by P = I + A B, with A d × k and B k × d; column i of A and row i of B are a
# block, and each block belongs to the requests whose targets cover its (class, domain). So P − I is the sum over the
# requests of the blocks A_r B_r. Which blocks there are follows from the prompt bank and the approved recipes alone, so
# does what each must be. What has a closed form is computed again; what solves equations is inserted into them.
#
# The recipe of a version says by its format which equations these are: 7a is format 1, 7b is format 2.

Pair = Tuple[str, Optional[str]]
CLOSE = 1e-9
MOST = 400_000_000
"""Multiplications that a check of format 1 may need; plain Python does some 40 million a second."""


def dot(left: Sequence[float], right: Sequence[float]) -> float:
    """Inner product."""
    return float(sum(map(mul, left, right)))


def length(vector: Sequence[float]) -> float:
    """Euclidean norm."""
    return math.sqrt(dot(vector, vector))


def add(left: Sequence[float], right: Sequence[float], factor: float = 1.0) -> List[float]:
    """Sum of `left` and `factor` times `right`."""
    return [x + factor * y for x, y in zip(left, right)]


def mean(rows: Sequence[Sequence[float]]) -> List[float]:
    """Mean of rows."""
    return [sum(column) / len(rows) for column in zip(*rows)]


def times(vector: Sequence[float], factor: float) -> List[float]:
    """`factor` times a vector."""
    return [factor * value for value in vector]


def product(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> List[float]:
    """Inner product of each row with a vector."""
    return [dot(row, vector) for row in matrix]


def cholesky(lower_half: List[List[float]]) -> List[List[float]]:
    """L of a positive definite matrix M = L Lᵀ, given by its lower half."""
    lower: List[List[float]] = []
    for i, line in enumerate(lower_half):
        made: List[float] = []
        for j in range(i):
            made.append((line[j] - dot(made, lower[j][:j])) / lower[j][j])
        made.append(math.sqrt(line[i] - dot(made, made)))
        lower.append(made)
    return lower


class Bank:
    """The prompt bank of a model: a unit row for each (class, domain), first those without a domain."""

    def __init__(
        self,
        labels: Dict[str, Any],
        rows: List[List[float]],
        scores: List[List[float]],
        paraphrases: Sequence[List[float]] = (),
    ) -> None:
        self.labels = labels
        self.classes: List[str] = labels["classes"]
        self.domains: List[str] = labels["domains"]
        self.pairs: List[Pair] = [(c, d) for d in [None, *self.domains] for c in self.classes]
        self.rows, self.scores, self.paraphrases = rows, scores, paraphrases
        if not len(rows) == len(scores) == len(self.pairs):
            raise Broken("the prompt bank has another number of rows than its label space")

    def synonyms(self, label: str) -> List[Tuple[str, List[float]]]:
        """Prompt and row of each synonym of a class; in the bank they come before its held-out templates."""
        labels = self.labels
        named = [t for domain in self.domains for t in labels["domain_templates"][domain]]
        used = {*labels["templates"], labels["score_template"], *named}
        held_out = len({template for template in labels["eval_templates"] if template not in used})
        counts = [len(labels["synonyms"].get(c, ())) + held_out for c in self.classes]
        if sum(counts) != len(self.paraphrases):
            raise Broken("the bank has another number of paraphrases than its label space")
        start = sum(counts[: self.classes.index(label)])
        return [
            (labels["score_template"].replace(PLACEHOLDER, word), self.paraphrases[start + n])
            for n, word in enumerate(labels["synonyms"].get(label, ()))
        ]


class Prototypes(NamedTuple):
    """Rows that stand for images of some (class, domain) pairs, and the scatter of the images around them."""

    pairs: List[Pair]
    rows: List[List[float]]
    scatter: Optional[List[List[float]]]


class Edit:
    """One request's part of a version."""

    def __init__(self, request: int, recipe: Dict[str, Any], arrays: Arrays) -> None:
        self.request = request
        self.targets: List[Tuple[Optional[str], Optional[str]]] = [
            (target["class"], target["domain"]) for target in recipe["targets"]
        ]
        self._named = set(self.targets)
        self.recipe: Dict[str, Any] = recipe["hyperparameters"]
        self.prototypes: Dict[str, Prototypes] = {}
        for chosen in recipe["prototypes"]:
            if "rows" in chosen:
                source = digest_json({"pairs": chosen["pairs"], "rows": chosen["rows"]})
                pairs = [(label, domain) for label, domain in chosen["pairs"]]
                scatter = arrays.rows(chosen["scatter"]) if "scatter" in chosen else None
                self.prototypes[source] = Prototypes(pairs, arrays.rows(chosen["rows"]), scatter)
        self.reference: Optional[Tuple[str, List[float], List[List[float]]]] = None
        said = recipe.get("reference")
        if said is not None:
            source = digest_json([said["mean"], said["moment"]])
            self.reference = (source, arrays.rows(said["mean"])[0], arrays.rows(said["moment"]))

    def covers(self, pair: Pair) -> bool:
        """Whether a target of the request covers the (class, domain)."""
        return not self._named.isdisjoint(covering(pair))


def covering(pair: Pair) -> Tuple[Tuple[Optional[str], Optional[str]], ...]:
    """Class and domain of every target that covers the pair."""
    label, domain = pair
    return (label, domain), (label, None), (None, domain)


_STRENGTH = ("nullspace", "multimodal", "ccup", "redirect")


def not_orthogonal(
    columns: List[List[float]], rows: List[List[float]], chosen: Sequence[int]
) -> Optional[str]:
    """Why A F is not the orthogonal projection on the rows F, which it is without retained rows and with μ = 0."""
    across = list(zip(*rows))
    for row in (rows[number] for number in chosen):
        shares = product(columns, row)
        if length(add(product(across, shares), row, -1.0)) > 1e-5 * max(length(row), 1e-30):
            return "A does not reach all of the forgotten rows"
    # A F is symmetric: x A F y = y A F x for some x and y that nobody could prepare for.
    state = sha256(b"".join(array("d", row).tobytes() for row in rows)).digest()
    for _ in range(8):
        x: List[float] = []
        y: List[float] = []
        for vector in (x, y):
            for _ in rows[0]:
                state = sha256(state).digest()
                vector.append(int.from_bytes(state[:6], "big") / 2**48 - 0.5)
        one, other = (dot(product(columns, v), product(rows, w)) for v, w in ((x, y), (y, x)))
        if abs(one - other) > 1e-6 * length(x) * length(y):
            return "A does not project orthogonally, so it does more than remove the forgotten rows"
    return None


# ── 7a The matrix, format 1 ───────────────────────────────────────────────────────────────────────────────────────
#
# Row i of B is where a forgotten row f_i of the bank is sent, less f_i, and column i of A says how much of it a feature
# has. A solves (Fᵀ W F + Rᵀ V R + μ I) A = Fᵀ W with F the forgotten and R the retained rows, W and V diagonal weights,
# which is checked by inserting A; μ is positive, so A is unique.


def _priority(recipe: Dict[str, Any]) -> Tuple[float, ...]:
    """Of several requests that cover a row the strongest decides."""
    names = ("lambda_forget", "overshoot", "contraction", "shift")
    return (
        recipe["strength"],
        _STRENGTH.index(recipe["method"]),
        *(recipe[name] for name in names),
    )


def for_text(edit: Edit) -> Edit:
    """The same request for the text tower: text rows only, towards the plain mean of the retained rows."""
    other: Edit = object.__new__(Edit)
    other.__dict__.update(edit.__dict__)
    kept = edit.recipe if edit.recipe["lambda_retain"] > 0 else {"lambda_retain": 10.0, "mu": 0.1}
    plain = {"overshoot": 1.0, "sibling_weight": 1.0, "contraction": 1.0, "shift": 0.0}
    plain = {**plain, "lambda_retain": kept["lambda_retain"], "mu": kept["mu"]}
    other.prototypes, other.recipe = {}, {**edit.recipe, **plain, "method": "redirect"}
    return other


class Problem:
    """What a version had to solve, from the prompt bank and the recipes of its requests."""

    def __init__(self, bank: Bank, edits: List[Edit]) -> None:
        self.bank, self.edits = bank, edits
        self.owners: Dict[int, Dict[str, Any]] = {}
        for place, pair in enumerate(bank.pairs):
            recipes = [edit.recipe for edit in edits if edit.covers(pair)]
            if recipes:
                self.owners[place] = max(recipes, key=_priority)
        places = {pair: place for place, pair in enumerate(bank.pairs)}
        stacked = {source: chosen for edit in edits for source, chosen in edit.prototypes.items()}
        rows: List[Tuple[Pair, Optional[str], List[float]]] = [
            (pair, None, row) for pair, row in zip(bank.pairs, bank.rows)
        ]
        for source in sorted(stacked):
            rows += [
                (p, source, row) for p, row in zip(stacked[source].pairs, stacked[source].rows)
            ]
        self.lost = [row for row in rows if places[row[0]] in self.owners]
        self.kept = [(n, row) for n, row in enumerate(rows) if places[row[0]] not in self.owners]
        decided = [self.owners[places[pair]] for pair, _, _ in self.lost]
        self.weights: List[float] = [recipe["lambda_forget"] for recipe in decided]
        self.mu: float = min((e.recipe["mu"] for e in edits if e.recipe["mu"] > 0), default=0.0)
        self._fates()
        self.moves = [
            [recipe["strength"] * value for value in self._move(places[pair], recipe, row)]
            for (pair, _, row), recipe in zip(self.lost, decided)
        ]
        self._hold()

    def requests_of(self, pair: Pair) -> List[int]:
        """Whose rows those of a pair are."""
        return [edit.request for edit in self.edits if edit.covers(pair)]

    def _fates(self) -> None:
        retained = [pair for n, pair in enumerate(self.bank.pairs) if n not in self.owners]
        self._classes, self._domains = (
            {pair[0] for pair in retained},
            {pair[1] for pair in retained},
        )
        self._anchors: Dict[Optional[str], List[float]] = {}
        self._sink: Optional[List[float]] = None

    def _move(self, place: int, recipe: Dict[str, Any], row: List[float]) -> List[float]:
        """Where a row is sent at full strength, less the row."""
        if recipe["method"] != "redirect":
            return [-value for value in row]
        label, domain = self.bank.pairs[place]
        way = add(self._anchor(domain), self.bank.rows[place], -1.0)
        if domain not in self._domains:  # nothing is retained in its domain
            sink = [recipe["shift"] * value for value in self._direction()]
            lost = self._classes and label not in self._classes  # in every domain
            return add(sink, way, 1.0 if lost else recipe["contraction"])
        if label in self._classes:  # its class is retained in other domains
            return [recipe["overshoot"] * value for value in way]
        return way

    def _anchor(self, domain: Optional[str]) -> List[float]:
        if domain not in self._anchors:
            rows = [n for n, pair in enumerate(self.bank.pairs) if pair[1] == domain]
            kept = [n for n in rows if n not in self.owners]
            chosen = kept or [n for n in rows if self.bank.pairs[n][0] in self._classes] or rows
            self._anchors[domain] = mean([self.bank.rows[n] for n in chosen])
        return self._anchors[domain]

    def _direction(self) -> List[float]:
        """Direction of the retained class that the shortest vector reaches: E = Yᵀ (R Rᵀ + I)⁻¹ R."""
        if self._sink is None:
            rows, classes = self.bank.rows, len(self.bank.classes)
            candidates = [n for n in range(classes) if n not in self.owners]
            lower = cholesky(
                [
                    [dot(x, y) + (i == j) for j, y in enumerate(rows[: i + 1])]
                    for i, x in enumerate(rows)
                ]
            )
            columns = list(zip(*rows))
            best: Tuple[float, List[float]] = (math.inf, [0.0] * len(rows[0]))
            for number in candidates:
                label = [float(n % classes == number) - 1 / classes for n in range(len(rows))]
                weights = solve(lower, label)
                direction = [dot(weights, column) for column in columns]
                best = min(best, (length(direction), direction))
            self._sink = best[1]
        return self._sink

    def _hold(self) -> None:
        """Weights of the retained rows before any is raised; none if no request holds what it retains."""
        holding = [edit.recipe for edit in self.edits if edit.recipe["lambda_retain"] > 0]
        self.margin: float = max((recipe["margin"] for recipe in holding), default=0.0)
        if not holding:
            self.kept = []
        siblings = {
            self.bank.pairs[n][0] for n in self.owners
            if self.bank.pairs[n][1] in self._domains and self.bank.pairs[n][0] in self._classes
        }  # fmt: skip
        weight = max((recipe["lambda_retain"] for recipe in holding), default=0.0)
        factor = max((recipe["sibling_weight"] for recipe in holding), default=1.0)
        self.held = [weight * (factor if row[0][0] in siblings else 1.0) for _, row in self.kept]


def solve(lower: List[List[float]], right: List[float]) -> List[float]:
    """X of L Lᵀ x = right."""
    half: List[float] = []
    for line, value in zip(lower, right):
        half.append((value - dot(line[:-1], half)) / line[-1])
    for i in reversed(range(len(lower))):
        half[i] = half[i] / lower[i][i]
        for j in range(i):
            half[j] -= lower[i][j] * half[i]
    return half


class Matrix:
    """The factors of one side of a version, held against its problem."""

    def __init__(self, problem: Problem, a: List[List[float]], b: List[List[float]]) -> None:
        self.problem, self.edits, self.b = problem, problem.edits, b
        self.columns = [list(column) for column in zip(*a)]
        self.unchecked: List[str] = []

    def check(self, stated: Optional[Dict[str, Any]]) -> Iterator[str]:
        """Why it is not the sum of exactly these requests; `stated` is what the recipe says of the problem."""
        problem = self.problem
        if not len(self.columns) == len(self.b) == len(problem.lost):
            yield (
                f"it has {len(self.b)} blocks of one row, but the rows of its requests are {len(problem.lost)}: "
                "something is left over or missing"
            )
            return
        blocks: List[Dict[str, Any]] = [
            {
                "class": pair[0],
                "domain": pair[1],
                "prototypes": source,
                "requests": problem.requests_of(pair),
            }
            for pair, source, _ in problem.lost
        ]
        if stated is not None and stated["forgotten"] != blocks:
            yield "its recipe gives the rows to other requests than their targets do"
        for edit in problem.edits:
            if not any(edit.request in block["requests"] for block in blocks):
                yield f"request {edit.request} has no block in it"
        for block, row, move in zip(blocks, self.b, problem.moves):
            if max(map(abs, add(row, move, -1.0))) > CLOSE:
                where = f"{block['class']}, {block['domain'] or 'no domain'}"
                yield f"the block of request {block['requests']} ({where}) sends its row elsewhere than the recipe says"
                return
        held = problem.held if stated is None else stated["held"]
        yield from self._weights(held, stated is not None)
        yield from self._limit() if problem.mu == 0 else self._solution(held, stated is not None)

    def _weights(self, held: List[float], stated: bool) -> Iterator[str]:
        """Weights of retained rows start from those of the recipes; endangered ones are raised threefold, ten times."""
        if len(held) != len(self.problem.held):
            yield "its recipe names weights for another number of retained rows"
            return
        for now, base, (place, _) in zip(held, self.problem.held, self.problem.kept):
            times = round(math.log(now / base, 3))
            raised = times > 0 and self.problem.margin > 0 and place < len(self.problem.bank.rows)
            if abs(now - base * 3.0**times) > CLOSE * now or not (
                times == 0 or (raised and times <= 10)
            ):
                yield f"a retained row has the weight {now}, which the recipes do not lead to"
                return

    def _solution(self, held: List[float], stated: bool) -> Iterator[str]:
        """Insert A into its normal equations."""
        problem = self.problem
        forgotten = [row for _, _, row in problem.lost]
        stack = forgotten + [row for _, (_, _, row) in problem.kept]
        if 2 * len(stack) * len(forgotten) * len(stack[0]) > MOST:
            self.unchecked.append(
                "whether A solves the recorded problem: it is too large for plain Python"
            )
            return
        weights = problem.weights + held
        across = list(zip(*stack))
        for number, column in enumerate(self.columns):
            shares = [weight * dot(row, column) for weight, row in zip(weights, stack)]
            weight, row = problem.weights[number], forgotten[number]
            left = [
                dot(line, shares) + problem.mu * value - weight * wanted
                for line, value, wanted in zip(across, column, row)
            ]
            if length(left) > CLOSE * weight:
                if not stated:
                    self.unchecked.append(
                        "whether A solves the problem: the recipe does not say how its rows were held"
                    )
                    return
                yield "A does not solve the problem that the recipes pose"
                return
        yield from self._margins(held, forgotten)

    def _margins(self, held: List[float], forgotten: List[List[float]]) -> Iterator[str]:
        """Weights were raised as long as a retained text row would lose too much of its zero-shot margin."""
        bank, share = self.problem.bank, self.problem.margin
        count, width = len(bank.rows), len(bank.rows[0])
        rounds = max(
            (round(math.log(now / base, 3)) for now, base in zip(held, self.problem.held)),
            default=0,
        )
        if share == 0 or rounds == 10:
            return
        if count * width * (len(bank.classes) + 2 * len(self.b)) > MOST:
            self.unchecked.append(
                "whether the retained prompts keep their margin: too large for plain Python"
            )
            return
        size = len(bank.classes)
        for place, (pair, _, row) in self.problem.kept:
            if place >= count:
                continue
            start = place - place % size
            block = bank.scores[start : start + size]
            before = _margin(row, block, place % size)
            edited = self.apply(row)
            if before > CLOSE and _margin(edited, block, place % size) < share * before - CLOSE:
                yield f"the retained prompt of {pair[0]} loses more of its margin than the recipes allow"
                return

    def _limit(self) -> Iterator[str]:
        """Without retained rows and with μ = 0: A F is the orthogonal projection on the forgotten rows."""
        rows = [row for _, _, row in self.problem.lost]
        problem = not_orthogonal(self.columns, rows, range(len(rows)))
        if problem is not None:
            yield problem

    def apply(self, row: List[float]) -> List[float]:
        """The row times P."""
        out = row
        for column, line in zip(self.columns, self.b):
            out = add(out, line, dot(row, column))
        return out

    def residual(self, edit: Edit) -> float:
        """How much of a request is left undone: the largest ‖f P − g‖ / max(‖f − g‖, their mean)."""
        sources = {None, *edit.prototypes}
        mine = [
            (row, move) for (pair, source, row), move in zip(self.problem.lost, self.problem.moves)
            if source in sources and edit.covers(pair)
        ]  # fmt: skip
        ways = [length(move) for _, move in mine]
        if not any(way > 1e-9 for way in ways):
            return 0.0
        typical = sum(ways) / len(ways)
        left = [length(add(self.apply(row), add(row, move), -1.0)) for row, move in mine]
        return max(value / max(way, typical) for value, way in zip(left, ways))


def _margin(row: List[float], scores: List[List[float]], own: int) -> float:
    logits = [dot(row, score) for score in scores]
    return logits[own] - max(value for n, value in enumerate(logits) if n != own)


def sides_1(
    bank: Bank, edits: List[Edit], factors: Dict[str, Any], seed: str
) -> Iterator[Tuple[str, Matrix]]:
    """The matrix of each tower that a version of format 1 edits."""
    yield "image", Matrix(Problem(bank, edits), *factors["image"])
    both = [for_text(edit) for edit in edits if edit.recipe["both_sides"]]
    if both:
        yield "text", Matrix(Problem(bank, both), *factors["text"])


# ── 7b The matrix, format 2 ───────────────────────────────────────────────────────────────────────────────────────
#
# The blocks are those of three sides, P = P_rows P_images P_texts, each I + Σ aᵢ bᵢ over its blocks. What a row v meets
# behind its side it meets at once: b of a block is its own b times the P of the sides behind.
#   texts   classes that are forgotten everywhere: u is a text less its anchor, the mean of the nearest retained texts;
#           aᵢ = −αᵢ uᵢ, and (N + Uᵀ Λ U) bᵢ = λᵢ uᵢ with N = λr Rᵀ R + μ I over the retained texts R
#   images  classes in one domain, and domains: (Xᵀ W X + σS + M + μ I) aᵢ = wᵢ xᵢ over the rows X standing for images;
#           bᵢ = (Tᵀ T + μt I)⁻¹ Tᵀ eᵢ, eᵢ the wanted change of the score of every text T
#   rows    methods of the papers: (Fᵀ W F + Rᵀ V R + μ I) aᵢ = wᵢ fᵢ, or the limit μ → 0; bᵢ = −αᵢ fᵢ
# The text tower has a matrix of its own, with rows only.

WORK = 2_400_000_000
"""Multiplications for one matrix of format 2, about a minute; if all blocks take more, a sample of them is checked."""
FEWEST = 8
"""Blocks of each side that a sample holds at least."""
SOLVED = 1e-7
"""What is solved for again may differ by this from what was recorded, relative to its length: it was rounded twice."""

NOISE = 1e-12
"""Where nothing is wanted, and only rounding is left."""

HYPERPARAMETERS = (
    "lambda_forget", "forget_room", "lambda_retain", "mu", "mu_room", "anchors", "lambda_image", "sibling_weight",
    "scatter", "mu_image", "overshoot", "contraction", "shift",
)  # fmt: skip
EXACT, IRREVERSIBLE_RIDGE = 1e9, 3.0
SIBLING_TEXT, SIBLING_IMAGE = 4.5, 15.0
MU_TEXTS, MU_IMAGES = 8.0, 4.0
OVERSHOOT_TEXT, OVERSHOOT_BOTH, OVERSHOOT_IMAGE = 2.2, 2.3, 3.4
SAME, NOTHING = 1e-6, 1e-9
DUAL_RIDGE = 1.0
PLACEHOLDER = "{class}"
TOWER = {"lambda_forget": 1e3, "lambda_retain": 10.0, "mu": 0.1}

EVERYWHERE, IN_ITS_DOMAIN, WITH_ITS_DOMAIN = "everywhere", "in its domain", "with its domain"


def precedence(recipe: Dict[str, Any]) -> Tuple[Any, ...]:
    """Of several requests that cover a row the one that does most to it decides."""
    return (
        recipe["strength"],
        _STRENGTH.index(recipe["method"]),
        recipe["irreversible"],
        recipe["synonyms"],
        recipe["lambda_forget"],
        recipe["overshoot"] or 0.0,
        *(recipe[name] or 0.0 for name in HYPERPARAMETERS),
    )


class Forgotten:
    """Which rows of the bank are forgotten, by whose recipe, and what becomes of each."""

    def __init__(self, bank: Bank, edits: Sequence[Edit]) -> None:
        self.bank, self.edits = bank, edits
        self._asking: Dict[Any, List[int]] = {}
        named: Dict[Any, Dict[str, Any]] = {}
        for edit in edits:
            for target in edit.targets:
                self._asking.setdefault(target, []).append(edit.request)
                named[target] = max(named.get(target, edit.recipe), edit.recipe, key=precedence)
        self.owners: Dict[int, Dict[str, Any]] = {}
        for place, pair in enumerate(bank.pairs):
            recipes = [named[target] for target in covering(pair) if target in named]
            if recipes:
                self.owners[place] = max(recipes, key=precedence)
        size, count = len(bank.classes), len(bank.pairs)
        retaining = {place // size for place in range(count) if place not in self.owners}
        self.named = frozenset(named)
        self.fates = {
            place: EVERYWHERE
            if place % size in self.owners
            and recipe["strength"] <= self.owners[place % size]["strength"]
            else IN_ITS_DOMAIN if place // size in retaining else WITH_ITS_DOMAIN
            for place, recipe in self.owners.items()
        }  # fmt: skip
        self.places = {pair: place for place, pair in enumerate(bank.pairs)}
        stacked = {source: chosen for edit in edits for source, chosen in edit.prototypes.items()}
        self.visual = [(source, stacked[source]) for source in sorted(stacked)]

    def requests_of(self, pair: Pair) -> List[int]:
        """Whose rows those of a pair are."""
        asking = {number for target in covering(pair) for number in self._asking.get(target, ())}
        return [edit.request for edit in self.edits if edit.request in asking]

    def redirected(self, *fates: str) -> List[int]:
        """Rows of the bank with one of these fates that the method `redirect` forgets."""
        return [
            place for place, fate in self.fates.items()
            if fate in fates and self.owners[place]["method"] == "redirect"
        ]  # fmt: skip


class Factors:
    """I + Σ aᵢ bᵢ over some blocks."""

    def __init__(self, columns: List[List[float]], lines: List[List[float]]) -> None:
        self.columns, self.lines = columns, lines
        self._across = list(zip(*lines))

    def apply(self, row: List[float]) -> List[float]:
        """The row times this matrix."""
        if not self.lines:
            return row
        shares = product(self.columns, row)
        return [x + dot(shares, line) for x, line in zip(row, self._across)]


def gram(
    rows: Sequence[Sequence[float]], weights: Sequence[float], width: int
) -> List[List[float]]:
    """Σ wᵢ xᵢᵀ xᵢ."""
    columns = list(zip(*rows)) or [()] * width
    scaled = [list(map(mul, weights, column)) for column in columns]
    half = [[dot(line, other) for other in columns[: i + 1]] for i, line in enumerate(scaled)]
    return [line + [half[j][i] for j in range(i + 1, width)] for i, line in enumerate(half)]


def ridged(matrix: List[List[float]], ridge: float) -> List[List[float]]:
    """A matrix with something added to its diagonal."""
    return [[*line[:i], line[i] + ridge, *line[i + 1 :]] for i, line in enumerate(matrix)]


class Inverse:
    """M⁻¹ of a positive definite matrix, by Cholesky."""

    def __init__(self, matrix: List[List[float]]) -> None:
        self._lower = cholesky(matrix)
        columns = [[line[i] for line in self._lower[i:]] for i in range(len(matrix))]
        self._upper = [column[::-1] for column in reversed(columns)]

    def apply(self, right: Sequence[float]) -> List[float]:
        """X of M x = right."""
        half: List[float] = []
        for line, value in zip(self._lower, right):
            half.append((value - dot(line[:-1], half)) / line[-1])
        made: List[float] = []  # from the last to the first
        for line, value in zip(self._upper, reversed(half)):
            made.append((value - dot(line[:-1], made)) / line[-1])
        return made[::-1]


class Normal:
    """M = Σ wᵢ xᵢᵀ xᵢ + μ I + others; multiplied out only if so many vectors make that less work."""

    def __init__(
        self,
        rows: List[List[float]],
        weights: List[float],
        ridge: float,
        vectors: int,
        others: Sequence[List[List[float]]] = (),
    ) -> None:
        width = len(rows[0])
        self._rows, self._weights, self._ridge, self._others = rows, weights, ridge, list(others)
        if self.work(len(rows), width, vectors) < 2 * len(rows) * width * vectors:
            self._others.append(gram(rows, weights, width))
            self._rows = []
        self._across = list(zip(*self._rows))

    @staticmethod
    def work(count: int, width: int, vectors: int) -> int:
        """Multiplications for so many rows and vectors."""
        return min(2 * count * width * vectors, (count // 2 + vectors) * width**2)

    def apply(self, vector: List[float]) -> List[float]:
        """The vector times M."""
        out = times(vector, self._ridge)
        if self._rows:
            shares = list(map(mul, self._weights, product(self._rows, vector)))
            out = add(out, product(self._across, shares))
        for matrix in self._others:
            out = add(out, product(matrix, vector))
        return out

    def solved(self, vector: List[float], right: Sequence[float], weight: float) -> bool:
        """Whether the vector solves M x = weight · right."""
        return length(add(self.apply(vector), right, -weight)) <= CLOSE * weight


class Block(NamedTuple):
    """What a column of A and row of B are."""

    side: str
    pair: Pair
    source: Optional[str] = None
    synonym: Optional[str] = None


Finding = Tuple[int, str]
"""Number of a block of a side, and what is wrong with it."""


class Side:
    """A side: its blocks, and how they are checked.

    Attributes:
        blocks: what they are, in order.
        work: multiplications of checking all of them.
        fixed: those of them that checking a single one needs.
    """

    blocks: List[Block]
    work = 0
    fixed = 0

    def follow(self, before: Factors) -> None:
        """Take in what the sides before this one do to an image."""

    def check(
        self, own: Factors, behind: Factors, anchors: List[Any], chosen: List[int]
    ) -> Iterator[Finding]:
        """What is wrong with the chosen blocks, given those behind this side and the anchors that the recipe states."""
        raise NotImplementedError

    def lengths(self, own: Factors) -> List[Tuple[float, float]]:
        """How far each block was to go, and how much of that is left undone."""
        raise NotImplementedError


class RowSide(Side):
    """Rows that are sent along `moves`, while others are held: the papers' methods and the text tower."""

    def __init__(
        self,
        blocks: List[Block],
        rows: List[List[float]],
        moves: List[List[float]],
        weights: List[float],
        held: List[List[float]],
        held_weight: float,
        mu: float,
    ) -> None:
        self.blocks, self.rows, self.moves, self.weights = blocks, rows, moves, weights
        self._held, self._held_weight, self._mu = held, held_weight, mu
        if rows:
            count, width = len(rows), len(rows[0])
            self.work = Normal.work(count + len(held), width, count) + 6 * count**2 * width

    @classmethod
    def of_papers(cls, forgotten: Forgotten) -> RowSide:
        """Rows that other methods than `redirect` forget, text rows and prototypes, go to zero."""
        bank, owners, places = forgotten.bank, forgotten.owners, forgotten.places
        stacked = [(Block("rows", pair), row) for pair, row in zip(bank.pairs, bank.rows)]
        for source, chosen in forgotten.visual:
            stacked += [
                (Block("rows", p, source), row) for p, row in zip(chosen.pairs, chosen.rows)
            ]
        lost = [
            (block, row, owners[places[block.pair]]) for block, row in stacked
            if owners.get(places[block.pair], {"method": "redirect"})["method"] != "redirect"
        ]  # fmt: skip
        recipes = [edit.recipe for edit in forgotten.edits if edit.recipe["method"] != "redirect"]
        weight = max((recipe["lambda_retain"] for recipe in recipes), default=0.0)
        kept = [row for block, row in stacked if places[block.pair] not in owners] if weight else []
        return cls(
            [block for block, _, _ in lost],
            [row for _, row, _ in lost],
            [times(row, -recipe["strength"]) for _, row, recipe in lost],
            [recipe["lambda_forget"] for _, _, recipe in lost],
            kept,
            weight,
            min((recipe["mu"] for recipe in recipes if recipe["mu"] > 0), default=0.0),
        )

    @classmethod
    def of_tower(cls, forgotten: Forgotten) -> RowSide:
        """Every forgotten prompt goes to the mean of what is retained in its domain."""
        bank, owners = forgotten.bank, forgotten.owners
        kept = [place for place in range(len(bank.rows)) if place not in owners]
        classes = {bank.pairs[place][0] for place in kept}
        goals: Dict[Optional[str], List[float]] = {}
        for domain in {bank.pairs[place][1] for place in owners}:
            rows = [place for place, pair in enumerate(bank.pairs) if pair[1] == domain]
            here = [place for place in rows if place not in owners]
            elsewhere = [place for place in rows if bank.pairs[place][0] in classes]
            goals[domain] = mean([bank.rows[place] for place in here or elsewhere or rows])
        moves = [
            times(add(goals[bank.pairs[place][1]], bank.rows[place], -1.0), recipe["strength"])
            for place, recipe in owners.items()
        ]
        return cls(
            [Block("rows", bank.pairs[place]) for place in owners],
            [bank.rows[place] for place in owners],
            moves,
            [TOWER["lambda_forget"]] * len(owners),
            [bank.rows[place] for place in kept],
            TOWER["lambda_retain"],
            TOWER["mu"],
        )

    def check(
        self, own: Factors, behind: Factors, anchors: List[Any], chosen: List[int]
    ) -> Iterator[Finding]:
        """B from the moves; A by its normal equations, or as a projection."""
        for number in chosen:
            move = self.moves[number]
            off = add(behind.apply(move), own.lines[number], -1.0)
            if max(map(abs, off)) > CLOSE * max(1.0, length(move)):
                yield number, "sends its row elsewhere than the recipes say"
        if self._mu == 0:
            problem = not_orthogonal(own.columns, self.rows, chosen)
            if problem is not None:
                yield chosen[0], f"is one of those whose {problem}"
            return
        weights = self.weights + [self._held_weight] * len(self._held)
        normal = Normal(self.rows + self._held, weights, self._mu, len(chosen))
        for number in chosen:
            if not normal.solved(own.columns[number], self.rows[number], self.weights[number]):
                yield number, "has a column of A that does not solve what the recipes pose"

    def lengths(self, own: Factors) -> List[Tuple[float, float]]:
        """‖f − g‖ and ‖f P − g‖, with P of this side alone."""
        mine = Factors(own.columns, self.moves)
        return [
            (length(move), length(add(mine.apply(row), add(row, move), -1.0)))
            for row, move in zip(self.rows, self.moves)
        ]


class ImageSide(Side):
    """What `redirect` forgets in its domain only: the scores of some rows that stand for images change."""

    def __init__(self, forgotten: Forgotten) -> None:
        self._forgotten, self._bank = forgotten, forgotten.bank
        bank, owners = forgotten.bank, forgotten.owners
        mine = {
            bank.pairs[place]: place
            for place in forgotten.redirected(IN_ITS_DOMAIN, WITH_ITS_DOMAIN)
        }
        self._answers: Dict[int, Tuple[Dict[int, float], List[float]]] = {}
        self._before = Factors([], [])
        self._all = self._images() if mine else []
        self._changing = [n for n, (pair, _, _) in enumerate(self._all) if pair in mine]
        self._pairs = [self._all[n][0] for n in self._changing]
        self._rows = [self._all[n][2] for n in self._changing]
        self.blocks = [Block("images", *self._all[n][:2]) for n in self._changing]
        self._recipes = [owners[mine[pair]] for pair in self._pairs]
        if not mine:
            return
        self._free = [n for n in range(len(bank.classes)) if forgotten.fates.get(n) != EVERYWHERE]
        self._weights = self._weigh(mine)
        count, width, texts = len(self._rows), len(bank.rows[0]), len(bank.rows)
        self.fixed = (texts // 2 + len(bank.classes)) * width**2
        self.work = (
            self.fixed
            + Normal.work(len(self._all), width, count)
            + count * width * (3 * texts + 2 * width + 2 * count)
        )

    def follow(self, before: Factors) -> None:
        """The papers' methods move images first."""
        self._before = before
        self._all = [(pair, source, before.apply(row)) for pair, source, row in self._all]
        self._rows = [self._all[n][2] for n in self._changing]

    def _moved(self, moment: List[List[float]]) -> List[List[float]]:
        """A second moment of images as those methods leave them: Pᵀ M P."""
        if not self._before.lines:
            return moment
        half = [self._before.apply(list(line)) for line in moment]
        return [self._before.apply(list(column)) for column in zip(*half)]

    def _images(self) -> List[Tuple[Pair, Optional[str], List[float]]]:
        """What stands for images: texts moved by the gap between images and texts, and prototypes."""
        bank, visual = self._bank, self._forgotten.visual
        size = len(bank.classes)
        named = range(size, len(bank.pairs)) if bank.domains else range(size)
        images = [
            (pair, source, row)
            for source, chosen in visual
            for pair, row in zip(chosen.pairs, chosen.rows)
        ]
        self._reference = min(
            (edit.reference for edit in self._forgotten.edits if edit.reference is not None),
            key=lambda reference: reference[0],
            default=None,
        )
        gap = [0.0] * len(bank.rows[0])
        if self._reference is not None:
            gap = add(self._reference[1], mean([bank.rows[place] for place in named]), -1.0)
        elif images:
            places = self._forgotten.places
            gap = mean([add(row, bank.rows[places[pair]], -1.0) for pair, _, row in images])
        seen = {pair for pair, _, _ in images}
        texts: List[Tuple[Pair, Optional[str], List[float]]] = []
        for place in named:
            pair, row = bank.pairs[place], bank.rows[place]
            # A domain's prompt that is the plain one names no domain, so it stands only where no image does.
            plain = bool(bank.domains) and length(add(row, bank.rows[place % size], -1.0)) <= SAME
            if not plain or pair not in seen:
                moved = add(row, gap)
                texts.append((pair, None, times(moved, 1 / max(length(moved), 1e-12))))
        return texts + images

    def _weigh(self, mine: Dict[Pair, int]) -> List[float]:
        """Weight of every row: what changes, its siblings in other domains, the others."""
        owners, fates = self._forgotten.owners, self._forgotten.fates
        siblings: Dict[str, List[Dict[str, Any]]] = {}
        for pair, place in mine.items():
            if fates[place] == IN_ITS_DOMAIN:
                siblings.setdefault(pair[0], []).append(owners[place])
        weights = []
        for pair, source, _ in self._all:
            default = SIBLING_TEXT if source is None else SIBLING_IMAGE
            weights.append(
                owners[mine[pair]]["lambda_image"] if pair in mine
                else max((r["sibling_weight"] or default for r in siblings.get(pair[0], ())), default=1.0)
            )  # fmt: skip
        return weights

    def check(
        self, own: Factors, behind: Factors, anchors: List[Any], chosen: List[int]
    ) -> Iterator[Finding]:
        """A by its normal equations; B from the wanted changes."""
        normal = self._normal(len(chosen))
        for number in chosen:
            weight = self._weights[self._changing[number]]
            if not normal.solved(own.columns[number], self._rows[number], weight):
                yield number, "has a column of A that does not solve what the recipes pose"
        self._solve_texts()
        for number in chosen:
            _, answer = self._answer(number)
            off = add(behind.apply(answer), own.lines[number], -1.0)
            if length(off) > SOLVED * length(answer) + NOISE:
                yield number, "changes other scores than the recipes say"

    def _normal(self, vectors: int) -> Normal:
        recipes, visual = self._recipes, self._forgotten.visual
        others = [] if self._reference is None else [self._moved(self._reference[2])]
        spread = [chosen.scatter for _, chosen in visual if chosen.scatter is not None]
        if spread:
            share = max(recipe["scatter"] for recipe in recipes) / len(spread)
            others += [self._moved([times(line, share) for line in scatter]) for scatter in spread]
        default = MU_IMAGES if visual else MU_TEXTS
        ridge = max(recipe["mu_image"] or default for recipe in recipes)
        ridge *= len(self._all) / len(self._rows[0])
        return Normal([row for _, _, row in self._all], self._weights, ridge, vectors, others)

    def _solve_texts(self) -> None:
        """What the changes are made with: (Tᵀ T + μt I)⁻¹, the class that takes a domain's images, and the leads."""
        bank, width = self._bank, len(self._bank.rows[0])
        texts = gram(bank.rows, [1.0] * len(bank.rows), width)
        ridge = min(recipe["mu"] for recipe in self._recipes) * len(bank.rows) / width
        self._inverse = Inverse(ridged(texts, ridge))
        self._sink: Optional[int] = None
        self._leads: Dict[Optional[str], float] = {}
        gone = {pair[1] for pair in self._pairs if self._fate(pair) == WITH_ITS_DOMAIN}
        if gone:
            takers = self._takers(gone)
            self._sink = self._nearest_class(Inverse(ridged(texts, DUAL_RIDGE)), takers)
            self._leads = {domain: self._lead(domain) for domain in {p[1] for p in self._pairs}}

    def _fate(self, pair: Pair) -> str:
        return self._forgotten.fates[self._forgotten.places[pair]]

    def _takers(self, gone: Set[Optional[str]]) -> List[int]:
        """Classes that may take the images of forgotten domains: those that nobody asked to be forgotten there."""
        named, owners, classes = self._forgotten.named, self._forgotten.owners, self._bank.classes
        whole = [domain for domain in gone if (None, domain) in named]
        return [
            n for n in self._free
            if n not in owners and not any((classes[n], domain) in named for domain in whole)
        ]  # fmt: skip

    def _nearest_class(self, inverse: Inverse, takers: List[int]) -> Optional[int]:
        """Of some classes the one that the shortest vector reaches: rows of (Tᵀ T + I)⁻¹ Tᵀ Y."""
        rows, size = self._bank.rows, len(self._bank.classes)
        centre = times(mean(rows), len(rows) / size)
        best: Tuple[float, Optional[int]] = (math.inf, None)
        for number in takers:
            own = times(mean(rows[number::size]), len(rows) / size)
            best = min(best, (length(inverse.apply(add(own, centre, -1.0))), number))
        return best[1]

    def _lead(self, domain: Optional[str]) -> float:
        """Mean lead of a class over the mean of the others, among the rows of a domain, over plain prompts."""
        rows, leads = self._bank.rows, []
        everything = times(mean([rows[n] for n in self._free]), len(self._free))
        for pair, row in zip(self._pairs, self._rows):
            own = self._bank.classes.index(pair[0])
            others, score = len(self._free) - (own in self._free), dot(row, rows[own])
            if pair[1] == domain and others:
                rest = dot(row, everything) - (score if own in self._free else 0.0)
                leads.append(score - rest / others)
        return max(0.0, sum(leads) / len(leads)) if leads else 0.0

    def _answer(self, number: int) -> Tuple[Dict[int, float], List[float]]:
        """The wanted change of the scores of a row, by the number of the text, and the b that makes it."""
        if number not in self._answers:
            wanted = self._wanted(number)
            across = zip(*(self._bank.rows[text] for text in wanted))
            sums = [dot(column, list(wanted.values())) for column in across]
            self._answers[number] = (wanted, self._inverse.apply(sums))
        return self._answers[number]

    def _wanted(self, number: int) -> Dict[int, float]:
        pair, row, recipe = self._pairs[number], self._rows[number], self._recipes[number]
        bank, free = self._bank, self._free
        scores = product(bank.rows, row)
        blocks = range(0, len(bank.rows), len(bank.classes))
        made = {}
        if self._fate(pair) == WITH_ITS_DOMAIN:
            step = 0.0 if self._sink is None else recipe["shift"] * self._leads[pair[1]]
            for start in blocks:
                middle = sum(scores[start + n] for n in free) / len(free)
                for n in free:
                    change = recipe["contraction"] * (middle - scores[start + n])
                    change += step * ((n == self._sink) - 1 / len(free))
                    made[start + n] = recipe["strength"] * change
            return made
        owners, places, own = (
            self._forgotten.owners, self._forgotten.places, bank.classes.index(pair[0])
        )  # fmt: skip
        rivals = [
            n for n in free if n != own and places[bank.classes[n], pair[1]] not in owners
        ] or [n for n in free if n != own]
        for start in blocks:
            others, score = [scores[start + n] for n in rivals], scores[start + own]
            lead = max(score - max(others), (score - sum(others) / len(others)) / 2, 0.0)
            made[start + own] = -recipe["strength"] * self._overshoot(pair, recipe) * lead
        return made

    def _overshoot(self, pair: Pair, recipe: Dict[str, Any]) -> float:
        stand_ins = [source is None for other, source, _ in self._all if other == pair]
        if all(stand_ins):
            return float(recipe["overshoot"] or OVERSHOOT_TEXT)
        return float(recipe["overshoot"] or (OVERSHOOT_BOTH if any(stand_ins) else OVERSHOOT_IMAGE))

    def lengths(self, own: Factors) -> List[Tuple[float, float]]:
        """‖e‖, and how much of the change of the texts that it names is left undone."""
        mine = Factors(own.columns, [self._answer(n)[1] for n in range(len(self.blocks))])
        made = []
        for number, row in enumerate(self._rows):
            wanted, _ = self._answer(number)
            moved = add(mine.apply(row), row, -1.0)
            left = [
                dot(moved, self._bank.rows[text]) - value
                for text, value in wanted.items()
                if abs(value) > NOTHING
            ]
            made.append((length(list(wanted.values())), length(left)))
        return made


class TextSide(Side):
    """What `redirect` forgets everywhere: every image scores a text like its anchor."""

    def __init__(self, forgotten: Forgotten) -> None:
        self._forgotten, self._bank = forgotten, forgotten.bank
        bank, owners = forgotten.bank, forgotten.owners
        self._lost = forgotten.redirected(EVERYWHERE)
        self._rows = [bank.rows[place] for place in self._lost]
        self._recipes = [owners[place] for place in self._lost]
        self._texts = list(range(len(self._lost)))  # which lost row's anchor each block has
        self.blocks = [Block("texts", bank.pairs[place]) for place in self._lost]
        self._add_synonyms()
        if self.blocks:
            self._pose()

    def _add_synonyms(self) -> None:
        bank = self._bank
        asking = [
            number for number, recipe in enumerate(self._recipes)
            if recipe["synonyms"] and self.blocks[number].pair[1] is None
        ]  # fmt: skip
        if not asking:
            return
        for number in asking:
            pair = self.blocks[number].pair
            for prompt, row in bank.synonyms(pair[0]):
                self.blocks.append(Block("texts", pair, None, prompt))
                self._rows.append(row)
                self._recipes.append(self._recipes[number])
                self._texts.append(number)

    def _pose(self) -> None:
        """The weights Λ, the retained texts and the ridge."""
        bank, owners = self._bank, self._forgotten.owners
        count, width, classes = len(self.blocks), len(bank.rows[0]), len(bank.classes)
        room = width / len({block.pair[0] for block in self.blocks})
        self._weights: List[float] = [
            EXACT if recipe["irreversible"] and block.pair[1] is None
            else recipe["lambda_forget"] + recipe["forget_room"] * room
            for block, recipe in zip(self.blocks, self._recipes)
        ]  # fmt: skip
        gone = {place for place, recipe in owners.items() if recipe["method"] != "redirect"}
        moved = {place % len(bank.classes) for place in self._lost}
        self._kept = [
            row for place, row in enumerate(bank.rows)
            if place not in gone and place % len(bank.classes) not in moved
        ]  # fmt: skip
        self._retain: float = max(recipe["lambda_retain"] for recipe in self._recipes)
        ridge = min(recipe["mu"] + recipe["mu_room"] * room for recipe in self._recipes)
        if any(recipe["irreversible"] for recipe in self._recipes):
            ridge *= IRREVERSIBLE_RIDGE
        self._ridge = ridge * max(1, len(self._kept)) / width
        # Beside very large weights the equations for B do not show N any more; then they are solved for S = U N⁻¹ Uᵀ.
        self._dual = self._ridge < 1e-5 * max(self._weights)
        self.work = count * width * (classes + 2 * count)
        if self._dual:
            self.fixed = len(self._kept) // 2 * width**2 + width**3 // 6
            self.work += self.fixed + count * (width**2 + 2 * count * width)
        else:
            self.work += Normal.work(len(self._kept) + count, width, count)

    def check(
        self, own: Factors, behind: Factors, anchors: List[Any], chosen: List[int]
    ) -> Iterator[Finding]:
        """The anchors, A from them, and B by its equations."""
        for number, anchor in enumerate(anchors):
            if not self._anchored(number, anchor, anchors, number in chosen):
                yield number, "has another anchor than the nearest retained texts"
                return
        means = [mean([self._bank.rows[place] for place in anchor]) for anchor in anchors]
        self._u = [add(row, anchor, -1.0) for row, anchor in zip(self._rows, means)]
        for number, (u, recipe) in enumerate(zip(self._u, self._recipes)):
            if max(map(abs, add(own.columns[number], u, recipe["strength"]))) > CLOSE:
                yield number, "has a column of A that is not the way to its anchor"
        yield from self._dual_solved(own, chosen) if self._dual else self._solved(own, chosen)

    def _anchored(self, number: int, anchor: Any, anchors: List[Any], near: bool) -> bool:
        """Whether an anchor has as many retained rows of its domain as the recipe says, and, if `near`, the nearest."""
        first = self._texts[number]
        if first != number:  # a synonym
            return bool(anchor == anchors[first])
        bank, place, size = self._bank, self._lost[number], len(self._bank.classes)
        rows = range(place - place % size, place - place % size + size)
        lost = set(self._lost)
        candidates = (
            [n for n in rows if n not in self._forgotten.owners]
            or [n for n in rows if n not in lost]
            or [place]
        )
        count = min(int(self._recipes[number]["anchors"]), len(candidates))
        if len(anchor) != count or len({*anchor}.intersection(candidates)) != count:
            return False
        if not near:
            return True
        row = bank.rows[place]
        best = sorted((dot(row, bank.rows[n]) for n in candidates), reverse=True)
        return all(abs(dot(row, bank.rows[n]) - wanted) <= CLOSE for n, wanted in zip(anchor, best))

    def _solved(self, own: Factors, chosen: List[int]) -> Iterator[Finding]:
        """(N + Uᵀ Λ U) bᵢ = λᵢ uᵢ."""
        weights = self._weights + [self._retain] * len(self._kept)
        normal = Normal(self._u + self._kept, weights, self._ridge, len(chosen))
        for number in chosen:
            if not normal.solved(own.lines[number], self._u[number], self._weights[number]):
                yield number, "has a row of B that does not solve what the recipes pose"

    def _dual_solved(self, own: Factors, chosen: List[int]) -> Iterator[Finding]:
        """(Λ⁻¹ + U N⁻¹ Uᵀ) B = U N⁻¹."""
        width = len(self._u[0])
        normal = gram(self._kept, [self._retain] * len(self._kept), width)
        inverse = Inverse(ridged(normal, self._ridge))
        duals = [inverse.apply(self._u[number]) for number in chosen]
        longest = max(map(length, duals))
        across = list(zip(*own.lines))
        for number, dual in zip(chosen, duals):
            shares = product(self._u, dual)
            shares[number] += 1 / self._weights[number]
            if length(add(product(across, shares), dual, -1.0)) > SOLVED * longest:
                yield number, "has a row of B that does not solve what the recipes pose"

    def lengths(self, own: Factors) -> List[Tuple[float, float]]:
        """‖α u‖ and ‖u P̃ − (1 − α) u‖ with P̃ = Pᵀ of this side."""
        turned = Factors(own.lines, own.columns)
        made = []
        for u, recipe in zip(self._u, self._recipes):
            strength = recipe["strength"]
            left = add(turned.apply(u), u, strength - 1)
            made.append((strength * length(u), length(left)))
        return made


class Solution:
    """The factors of one matrix of a version, held against what its requests pose.

    Attributes:
        unchecked: what was left out, in words.
    """

    def __init__(
        self,
        forgotten: Forgotten,
        sides: Sequence[Side],
        factors: Sequence[List[List[float]]],
        seed: str,
    ) -> None:
        self.edits, self._forgotten, self._sides = forgotten.edits, forgotten, sides
        self._blocks = [block for side in sides for block in side.blocks]
        a, self.lines = factors
        self.columns = [list(column) for column in zip(*a)]
        self._seed = seed
        self.unchecked: List[str] = []
        self._lengths: List[Tuple[float, float]] = []

    def check(self, said: Dict[str, Any]) -> Iterator[str]:
        """Why it is not the sum of exactly these requests; `said` is what the recipe says of its blocks."""
        stated: List[Dict[str, Any]] = said["blocks"]
        if not len(self.columns) == len(self.lines) == len(self._blocks):
            yield (
                f"it has {len(self.lines)} blocks, but its requests have {len(self._blocks)}: something is left over "
                "or missing"
            )
            return
        blocks: List[Dict[str, Any]] = [
            {
                "side": block.side,
                "class": block.pair[0],
                "domain": block.pair[1],
                "prototypes": block.source,
                "synonym": block.synonym,
                "anchor": found["anchor"] if block.side == "texts" else [],
                "requests": self._forgotten.requests_of(block.pair),
            }
            for block, found in zip(self._blocks, stated)
        ]
        if len(stated) != len(self._blocks) or stated != blocks:
            yield "its recipe lists other blocks, or gives them to other requests, than the targets do"
            return
        served = {request for block in blocks for request in block["requests"]}
        for edit in self.edits:
            if edit.request not in served:
                yield f"request {edit.request} has no block in it"
                return
        for number, problem in self._problems([block["anchor"] for block in blocks]):
            block = blocks[number]
            where = f"{block['class']}, {block['domain'] or 'no domain'}"
            yield f"the block of request {block['requests']} ({where}) {problem}"
            return

    def _problems(self, anchors: List[Any]) -> Iterator[Finding]:
        """Findings of every side, by the number of the block."""
        fixed = sum(side.fixed for side in self._sides)
        each = sum(side.work for side in self._sides) - fixed
        share = min(1.0, max(0, WORK - fixed) / max(1, each))
        whole, start = share == 1.0, 0
        before = Factors([], [])
        for side in self._sides:
            side.follow(before)
            end = start + len(side.blocks)
            chosen = self._sample(start, end, share)
            if side.fixed > 4 * WORK:
                whole, chosen = False, []
            own = Factors(self.columns[start:end], self.lines[start:end])
            if chosen:
                behind = Factors(self.columns[end:], self.lines[end:])
                for number, problem in side.check(own, behind, anchors[start:end], chosen):
                    yield start + number, problem
            if len(chosen) < len(side.blocks):
                self.unchecked.append(
                    f"{len(side.blocks) - len(chosen)} of {len(side.blocks)} blocks of {side.blocks[0].side}, beyond a "
                    "sample that nobody could foresee: all of them take plain Python too long"
                )
            if whole and chosen:
                self._lengths += side.lengths(own)
            if isinstance(side, RowSide):
                before = Factors(own.columns, side.moves)
            start = end
        if not whole:
            self._lengths = []
            self.unchecked.append("how much of each request is left undone, for the same reason")

    def _sample(self, start: int, end: int, share: float) -> List[int]:
        """Numbers of blocks of a side to check; which they are depends on the factors, so nobody can prepare for it."""
        count = max(math.ceil(share * (end - start)), min(FEWEST, end - start))
        order = sorted(
            range(start, end), key=lambda n: sha256(f"{self._seed}/{n}".encode()).digest()
        )
        return sorted(number - start for number in order[:count])

    def residual(self, edit: Edit) -> Optional[float]:
        """How much of a request is left undone: the largest share of a block's way, or of their mean way."""
        if not self._lengths:
            return None
        sources = {None, *edit.prototypes}
        covered = [
            (block.source, lengths) for block, lengths in zip(self._blocks, self._lengths)
            if edit.covers(block.pair)
        ]  # fmt: skip
        # A pair may be known from the images of another request alone.
        mine = [lengths for source, lengths in covered if source in sources]
        mine = mine or [lengths for _, lengths in covered]
        if not any(way > 1e-9 for way, _ in mine):
            return 0.0
        typical = sum(way for way, _ in mine) / len(mine)
        return max(left / max(way, typical) for way, left in mine)


def sides_2(
    bank: Bank, edits: List[Edit], factors: Dict[str, Any], seed: str
) -> Iterator[Tuple[str, Solution]]:
    """The matrix of each tower that a version of format 2 edits."""
    forgotten = Forgotten(bank, edits)
    sides = [RowSide.of_papers(forgotten), ImageSide(forgotten), TextSide(forgotten)]
    yield "image", Solution(forgotten, sides, factors["image"], seed)
    both = [edit for edit in edits if edit.recipe["both_sides"]]
    if both:
        forgotten = Forgotten(bank, both)
        sides = [RowSide.of_tower(forgotten)]
        yield "text", Solution(forgotten, sides, factors["text"], seed)


# ── 7c The matrix of a version ────────────────────────────────────────────────────────────────────────────────────


def check_matrix(records: Records, row: Dict[str, Any], unchecked: List[str]) -> Iterator[str]:
    """Whether a version's matrix is the sum of exactly its approved requests, and how well it does each of them."""
    facts, arrays, recipe = row["facts"], records.arrays, row["recipe"]
    name = f"version {facts['number']} of {row['model']}"
    model = next((m for m in records.models if m["facts"]["name"] == row["model"]), None)
    if model is None:
        raise Broken(f"{name}: its model is missing")
    a, b = arrays.rows(row["factor_a"]), arrays.rows(row["factor_b"])
    if not facts["active_requests"]:
        if b or any(a):
            yield f"{name} holds no request, but its matrix is not the identity"
        return
    form = recipe.get("format", 1)
    if form not in _SIDES:
        yield f"{name}: its recipe has format {form!r:.20}, which this verifier does not know; is there a newer one?"
        return
    approved = {}
    for request, projector in zip(facts["active_requests"], facts["projectors"]):
        held = (request, projector)
        made = next(
            (p for p in records.projectors if (p["request"], p["facts"]["digest"]) == held), None
        )
        if made is None:
            raise Broken(f"{name}: the projector of request {request} is missing")
        approved[request] = made
        if (
            made["recipe"].get("bank_rows", model["facts"]["bank_rows"])
            != model["facts"]["bank_rows"]
        ):
            yield f"{name}: request {request} was fitted to another prompt bank"
        if made["recipe"].get("format", 1) != form:
            yield (
                f"{name}: the approved recipe of request {request} has another format than the version's, so it does "
                "not say what the version had to solve"
            )
            return
    moving = synonyms_moved(made["recipe"] for made in approved.values())
    bank = Bank(
        model["labels"],
        arrays.rows(model["facts"]["bank_rows"]),
        arrays.rows(model["facts"]["bank_scores"]),
        arrays.rows(model["facts"]["bank_paraphrases"]) if moving else (),
    )
    edits = [Edit(request, made["recipe"], arrays) for request, made in approved.items()]
    text = [arrays.rows(value) for value in text_factors(recipe)]
    if any(edit.recipe["both_sides"] for edit in edits) != bool(text):
        yield f"{name}: a text side without a request for it, or the other way round"
        return
    if form == 2 and recipe["active"] != _active(approved):
        yield f"{name}: its recipe says other things of its requests than the approved recipes"
        return
    stated = recipe["problem"] if form == 2 else recipe.get("problem")
    if stated is None:
        unchecked.append(
            f"{name}: its recipe does not say which rows are whose; they follow from the targets"
        )
        stated = {"image": None, "text": None}
    left: Dict[int, float] = {}
    factors = {"image": (a, b), "text": text}
    for side, matrix in _SIDES[form](bank, edits, factors, factors_digest(row)):
        what = f"{name}, text side" if side == "text" else name
        for problem in matrix.check(stated[side]):
            yield f"{what}: {problem}"
            return
        unchecked += [f"{what}: {text_}" for text_ in matrix.unchecked]
        for edit in matrix.edits:
            share = matrix.residual(edit)
            if share is not None:
                left[edit.request] = max(left.get(edit.request, 0.0), share)
    said = {entry["request"]: entry["residual"] for entry in recipe.get("residuals", [])}
    for request, value in left.items():
        tolerance = approved[request]["facts"]["tolerance"]
        if value > tolerance + 1e-6:
            yield f"{name}: {value:.3f} of request {request} is left undone, more than {tolerance:.3f}"
        if abs(said.get(request, value if form == 1 else math.inf) - value) > 1e-6:
            yield f"{name}: its recipe says another residual of request {request} than its factors give"


def _active(approved: Dict[int, Dict[str, Any]]) -> List[Dict[str, Any]]:
    """What a version's recipe has to say of its requests."""
    names = ("targets", "hyperparameters", "prototypes", "reference")
    return [
        {
            "request": request,
            "projector_digest": made["facts"]["digest"],
            **{name: made["recipe"][name] for name in names},
        }
        for request, made in approved.items()
    ]


_SIDES: Dict[int, Callable[..., Iterator[Tuple[str, Any]]]] = {1: sides_1, 2: sides_2}


# ── 7d Certificates ───────────────────────────────────────────────────────────────────────────────────────────────
#
# What holds of an edit for every unit image embedding z, with P̃ = Pᵀ: a forgotten text f scores at most ‖(f − g) P̃‖
# more than its anchor g (its excess), a retained text t changes by at most ‖t P̃ − t‖. Factors and prompts suffice.

ROUNDED = 2e-6
"""Certificates are rounded to six digits."""


class Certificate:
    """The certificate of an edit, computed again.

    Attributes:
        sampled: whether only some of the texts were looked at, since all take too long.
    """

    def __init__(
        self,
        bank: Bank,
        blocks: List[Dict[str, Any]],
        a: List[List[float]],
        b: List[List[float]],
        moment: Optional[List[List[float]]],
        seed: str,
    ) -> None:
        size, width = len(bank.classes), len(bank.scores[0])
        lost = [block for block in blocks if block["side"] == "texts"]
        gone = {block["class"] for block in lost}
        kept = [n for n in range(size) if bank.classes[n] not in gone]
        touched = {block["class"] for block in blocks}
        self.retained = [
            n for n in range(len(bank.scores)) if bank.classes[n % size] not in touched
        ]
        self.labels = [block["class"] for block in lost]
        self.depends = len(lost) < len(blocks)
        each = 2 * len(b) * width + (0 if moment is None else width**2)
        self.sampled = (len(self.retained) + 2 * len(lost)) * each > WORK // 4
        few = max(FEWEST, WORK // 4 // max(1, each) // 3)
        texts, rows = self._some(len(lost), few, seed), self._some(len(self.retained), few, seed)
        turned = Factors(b, [list(column) for column in zip(*a)])
        self.excess: Dict[int, float] = {}
        self.away: Dict[int, float] = {}
        self.margin: Dict[int, float] = {}
        changes: Dict[str, List[List[float]]] = {"excess": [], "change": []}
        for number in texts:
            block = lost[number]
            start = [None, *bank.domains].index(block["domain"]) * size
            text = (
                bank.scores[start + bank.classes.index(block["class"])]
                if block["synonym"] is None
                else dict(bank.synonyms(block["class"]))[block["synonym"]]
            )
            anchor = mean([bank.scores[n] for n in block["anchor"]])
            moved = turned.apply(add(text, anchor, -1.0))
            changes["excess"].append(moved)
            self.excess[number] = length(moved)
            self.away[number] = length(add(turned.apply(text), anchor, -1.0))
            rivals = [dot(bank.scores[start + n], text) for n in kept] or [dot(text, text)]
            self.margin[number] = max(rivals) - dot(anchor, text)
        for number in rows:
            row = bank.scores[self.retained[number]]
            changes["change"].append(add(turned.apply(row), row, -1.0))
        self.change = list(map(length, changes["change"]))
        self.estimates = {} if moment is None else {
            name: [math.sqrt(max(0.0, dot(row, product(moment, row)))) for row in found]
            for name, found in changes.items()
            if found
        }  # fmt: skip

    def _some(self, count: int, few: int, seed: str) -> List[int]:
        if not self.sampled or count <= few:
            return list(range(count))
        order = sorted(range(count), key=lambda n: sha256(f"{seed}/{n}".encode()).digest())
        return sorted(order[:few])

    def contradicts(self, said: Dict[str, Any]) -> bool:
        """Whether a report says something else."""
        forgotten, retained = said["forgotten"], said["retained"]
        if said["depends_on_image"] != self.depends:
            return True
        if (forgotten is None) != (not self.labels) or (retained is None) != (not self.retained):
            return True
        pairs = []
        if forgotten is not None:
            if forgotten["texts"] != len(self.labels):
                return True
            held = sum(self.excess[n] <= self.margin[n] for n in self.excess)
            if not self.sampled and forgotten["certified"] != held:
                return True
            pairs += [
                (forgotten["excess"], list(self.excess.values()), max),
                (forgotten["from_anchor"], list(self.away.values()), max),
                (forgotten["margin"], list(self.margin.values()), min),
            ]
            for number, label in enumerate(self.labels):
                if number in self.excess and (
                    self.excess[number] > said["classes"][label]["excess"] + ROUNDED
                    or self.margin[number] < said["classes"][label]["margin"] - ROUNDED
                ):
                    return True
        if retained is not None:
            if retained["texts"] != len(self.retained):
                return True
            pairs.append((retained["change"], self.change, max))
        estimate = said["estimate"] or {}
        if set(estimate) != set(self.estimates):
            return True
        pairs += [(estimate[name], values, max) for name, values in self.estimates.items()]
        return any(self._off(summary, values, worst) for summary, values, worst in pairs)

    def _off(
        self, summary: Dict[str, float], values: List[float], worst: Callable[[List[float]], float]
    ) -> bool:
        if not values:
            return False
        if self.sampled:  # of the median a sample says nothing
            beyond = worst(values) - summary["worst"]
            return (beyond if worst is max else -beyond) > ROUNDED
        ranked, middle = sorted(values), len(values) // 2
        median = (ranked[middle] + ranked[-1 - middle]) / 2
        return (
            abs(median - summary["median"]) > ROUNDED
            or abs(worst(values) - summary["worst"]) > ROUNDED
        )


def _about(content: Any) -> Any:
    """What a report is about: the digest of a projector, or the model and number of a version."""
    if content["kind"] == "request":
        return content["projector_digest"]
    return content["model"], content["version"]


def check_certificates(
    records: Records, contents: Sequence[Any], unchecked: List[str]
) -> Iterator[str]:
    """Whether the certificates of reports are what factors and prompts give."""
    rows: List[Tuple[Any, str, Dict[str, Any]]] = [
        (row["facts"]["digest"], f"the projector of request {row['request']}", row)
        for row in records.projectors
    ]
    rows += [
        ((row["model"], row["facts"]["number"]), f"version {row['facts']['number']} of {row['model']}", row)
        for row in records.versions
    ]  # fmt: skip
    models = {case["id"]: case["facts"]["model"] for case in records.requests}
    for key, name, row in rows:
        stated = [
            content["certificate"] for content in contents
            if content.get("certificate") is not None and key == _about(content)
        ]  # fmt: skip
        recipe = row["recipe"]
        if not stated or "blocks" not in (recipe.get("problem") or {}).get("image", ()):
            continue
        owner = row.get("model") or models.get(row["request"])
        model = next((m for m in records.models if m["facts"]["name"] == owner), None)
        if model is None:
            raise Broken(f"{name}: its model is missing")
        arrays, facts, blocks = records.arrays, model["facts"], recipe["problem"]["image"]["blocks"]
        synonyms = any(block["synonym"] is not None for block in blocks)
        bank = Bank(
            model["labels"],
            arrays.rows(facts["bank_rows"]),
            arrays.rows(facts["bank_scores"]),
            arrays.rows(facts["bank_paraphrases"]) if synonyms else (),
        )
        references = [
            edit["reference"] for edit in recipe.get("active") or [recipe] if edit.get("reference")
        ]
        first = min(references, key=lambda r: digest_json([r["mean"], r["moment"]]), default=None)
        found = Certificate(
            bank,
            blocks,
            arrays.rows(row["factor_a"]),
            arrays.rows(row["factor_b"]),
            None if first is None else arrays.rows(first["moment"]),
            factors_digest(row),
        )
        if any(found.contradicts(said) for said in stated):
            yield f"{name}: the certificate in a report is not what its factors and prompts give"
        if found.sampled:
            unchecked.append(
                f"{name}: its certificate, beyond a sample of its texts that nobody could foresee"
            )


# ── 8 The steps ───────────────────────────────────────────────────────────────────────────────────────────────────


class Step:
    """One numbered check."""

    def __init__(self, number: int, title: str) -> None:
        self.number, self.title = number, title
        self.said: List[str] = []
        self.problems: List[str] = []
        self.skipped: Optional[str] = None

    def fail(self, problem: str) -> None:
        """Note a problem; the first hundred are kept."""
        if len(self.problems) < 100:
            self.problems.append(problem)

    @property
    def outcome(self) -> str:
        """One word for people and programs."""
        if self.problems:
            return "FAILS"
        return "not checked" if self.skipped else "holds"


class Outcome:
    """What a verification found.

    Attributes:
        about: the manifest's words on what the bundle is.
        steps: all of them, in order.
        unchecked: what could not be checked, in plain words.
        loud: what everybody who reads the bundle must know.
    """

    def __init__(self) -> None:
        self.about: Dict[str, Any] = {}
        self.steps: List[Step] = []
        self.unchecked: List[str] = []
        self.loud: List[str] = []

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not any(step.problems for step in self.steps)

    @property
    def first_bad(self) -> Optional[str]:
        """The first problem."""
        return next((problem for step in self.steps for problem in step.problems), None)

    def to_dict(self) -> Dict[str, Any]:
        """The outcome as JSON values."""
        return {
            "ok": self.ok,
            "first_bad": self.first_bad,
            "bundle": self.about,
            "steps": [
                {
                    "number": step.number,
                    "title": step.title,
                    "outcome": step.outcome,
                    "said": step.said,
                    "problems": step.problems,
                    "skipped": step.skipped,
                }
                for step in self.steps
            ],
            "not_checked": self.unchecked,
            "attention": self.loud,
        }

    def to_text(self) -> str:
        """The outcome for people; of each step the first ten problems."""
        lines = []
        for step in self.steps:
            lines.append(f"{step.number:2d}. {step.outcome:11}  {step.title}")
            lines += [f"{_INDENT}{text}" for text in [*step.said, step.skipped] if text]
            lines += [f"{_INDENT}PROBLEM: {text}" for text in step.problems[:10]]
            if len(step.problems) > 10:
                lines.append(f"{_INDENT}and {len(step.problems) - 10} more problems; see --json")
        lines += ["", "Could not be checked:"] + [f"  - {text}" for text in self.unchecked]
        lines += ["", "ATTENTION:"] + [f"  ! {text}" for text in self.loud] if self.loud else []
        verdict = "The bundle holds." if self.ok else f"The bundle DOES NOT HOLD: {self.first_bad}"
        return "\n".join([*lines, "", verdict]).translate(_HARMLESS)


_INDENT = " " * 17
# Names come from whoever made the bundle; they must not steer the terminal of who reads this.
_HARMLESS = {code: "\N{REPLACEMENT CHARACTER}" for code in [*range(32), *range(127, 160), *range(0x202A, 0x202F),
                                                           *range(0x2066, 0x206A)] if code != 10}  # fmt: skip


_NO_RECORDS = "the records cannot be read; see step 9"


class Verification:
    """Runs the steps over one bundle."""

    def __init__(self, package: Package, outside: Optional[bytes], trusted: Sequence[Any]) -> None:
        self.package, self.outside, self.trusted = package, outside, trusted
        self.result = Outcome()
        try:
            self.manifest = parse(package.read(MANIFEST))
        except (ValueError, Broken) as error:
            raise Unreadable(f"{MANIFEST} cannot be read: {error}") from None
        manifest = self.manifest
        if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
            raise Unreadable(f"{MANIFEST} does not describe a bundle of this kind")
        if manifest.get("format") != FORMAT:
            raise Unreadable(
                f"the bundle has format {manifest.get('format')!r:.40}; this verifier reads {FORMAT}"
            )
        try:
            self.complete = manifest["about"]["scope"] == "all"
            self.size, self.origin = int(manifest["size"]), str(manifest["origin"])
            self.root = bytes.fromhex(manifest["root"])
            names = ("about", "origin", "size", "root", "exported_by", "as_of", "texts")
            self.result.about = {name: manifest[name] for name in names}
        except MALFORMED as error:
            raise Unreadable(f"{MANIFEST} lacks what a bundle must say: {error}") from None
        self.keys = Keys()
        self.replay = Replay(self.complete, self._content)
        self.heads: Dict[str, Head] = {}
        self.roots: Dict[int, bytes] = {}
        self._exporter: Dict[str, Key] = {}
        self._records: Optional[Records] = None
        self.count = 0

    def run(self) -> Outcome:
        """Every step in order. If the package itself or its events cannot be read, the rest is not looked at."""
        steps = (
            ("Every file is there and has the digest that the manifest says", self.members),
            ("The events are in order, each with its digest, and belong to one log", self.events),
            (
                "Every event is signed with a key that was its actor's at that point",
                self.signatures,
            ),
            (
                "Signed tree heads: their signatures hold, and each tree begins with the one before",
                self.checkpoints,
            ),
            (
                "The manifest is signed by who exported the bundle, and they were allowed to",
                self.exporter,
            ),
            (
                "The checkpoint that you have from elsewhere is a head of the same log",
                self.elsewhere,
            ),
            ("The keys that you trust are known to the log and vouch for it", self.pinned),
            (
                "Roles, states, four eyes and quorum: every step was allowed where it stands",
                self.allowed,
            ),
            (
                "Records, reports, policies and factors have the digests that the events name",
                self.records,
            ),
            ("Each version's matrix is the sum of exactly its approved requests", self.matrices),
            ("The in-toto statements say what the records say", self.attestations),
            ("The private texts are those to which the log committed", self.texts),
        )
        for number, (title, check) in enumerate(steps, 1):
            step = Step(number, title)
            self.result.steps.append(step)
            try:
                check(step)
            except Broken as error:
                step.fail(str(error))
            except MALFORMED as error:
                what = str(error).split("\n")[0][:160]
                step.fail(
                    f"a value is missing or of another form than it should be ({type(error).__name__}: {what})"
                )
            if step.problems and number <= 2:
                self.result.unchecked.append("everything after the step that failed")
                return self.result
        self.result.loud += self.replay.loud
        self._limits()
        return self.result

    def members(self, step: Step) -> None:
        """Step 1: the manifest names every member but itself and its signature."""
        listed: Dict[str, Tuple[Any, Any]] = {}
        for entry in self.manifest["members"]:
            if not isinstance(entry, dict) or set(entry) != {"name", "sha256", "size"}:
                raise Broken(f"{MANIFEST} lists something that is no member")
            name = entry["name"]
            if name in listed or name in (MANIFEST, SIGNATURE):
                step.fail(f"the manifest lists {name} twice, or itself")
            listed[name] = (entry["sha256"], entry["size"])
        there = set(self.package.sizes) - {MANIFEST, SIGNATURE}
        for name in sorted(there - set(listed)):
            step.fail(f"{name} is not in the manifest")
        for name in sorted(set(listed) - there):
            step.fail(f"{name} is missing")
        if SIGNATURE not in self.package.sizes:
            step.fail(f"{SIGNATURE} is missing")
        for name in sorted(there & set(listed)):
            value, size = listed[name]
            if (
                self.package.sizes[name] != size
                or self.package.digest_of(name) != f"sha256:{value}"
            ):
                step.fail(f"{name} was altered: it has another digest than the manifest says")
        step.said.append(f"{len(there)} files; {self._about()}")

    def _about(self) -> str:
        about = self.manifest["about"]
        if self.complete:
            return f"the whole ledger {self.origin}, {self.size} events"
        what = f"request {about['request']}" if about["scope"] == "request" else (
            f"version {about['version']} of model {about['model']}"
        )  # fmt: skip
        return f"{what} in the ledger {self.origin}, which had {self.size} events"

    def events(self, step: Step) -> None:
        """Step 2: order, chain or inclusion, tree. The other steps on events run along and report later."""
        self._signing, self._allowing = [], []  # type: List[str], List[str]
        self._read_heads(step)
        proofs = self.package.json("proofs.json")
        stops = {head.size for head in self.heads.values()}
        tree, before, first = Tree(), None, None
        for line in self.package.lines("events.jsonl"):
            try:
                event = read_event(line)
            except MALFORMED as error:
                raise Broken(
                    f"entry {self.count + 1} of events.jsonl cannot be read: {str(error)[:120]}"
                ) from None
            self.count += 1
            if before is not None and event.seq <= before.seq:
                raise Broken(f"event {event.seq} stands behind event {before.seq}")
            if before is not None and event.at < before.at:
                step.fail(f"event {event.seq} is dated before its predecessor")
            previous = (
                GENESIS
                if event.seq == 1
                else before.digest
                if before and before.seq == event.seq - 1
                else None
            )
            if previous is None and self.complete:
                raise Broken(f"the event before event {event.seq} is missing")
            if previous is not None and event.prev_digest != previous:
                raise Broken(f"event {event.seq} does not follow its predecessor's digest")
            if self.complete:
                tree.append(leaf_hash(event.digest))
                if tree.size in stops:
                    self.roots[tree.size] = tree.root()
            else:
                proof = [unbase64(value) for value in proofs["inclusion"][str(event.seq)]]
                if not included(
                    event.seq - 1, self.size, leaf_hash(event.digest), proof, self.root
                ):
                    raise Broken(f"event {event.seq} is not proven to be in the log")
            first, before = first or event, event
            self._along(event)
        if first is None or first.seq != 1:
            raise Broken("the first event of the log is missing")
        if self.origin != f"clip-governance/ledger/{first.digest[7:23]}":
            raise Broken("the events are those of another ledger than the manifest says")
        if self.complete:
            self.roots[tree.size] = tree.root()
            if tree.size != self.size or tree.root() != self.root:
                raise Broken(f"the manifest speaks of {self.size} events with another root")
            if proofs["inclusion"] != {}:
                step.fail("proofs.json holds proofs that a whole log does not need")
            step.said.append(
                f"{self.count} events; every link of the chain was followed and the tree built anew"
            )
        else:
            if set(proofs["inclusion"]) != {str(number) for number in self._numbers}:
                step.fail("proofs.json holds a proof of an event that is not there")
            step.said.append(
                f"{self.count} of {self.size} events, each proven to be in the log's tree"
            )

    def _read_heads(self, step: Step) -> None:
        for name in sorted(self.package.sizes):
            if name.startswith("checkpoints/"):
                try:
                    self.heads[name] = read_note(self.package.read(name))
                except MALFORMED as error:
                    raise Broken(f"{name} cannot be read: {error}") from None
        self._numbers: List[int] = []

    def _content(self, value: str) -> Any:
        name = f"reports/{raw_digest(value).hex()}.json"
        if name not in self.package.sizes:
            return None
        data = self.package.read(name)
        return parse(data) if digest(data) == value else None

    def _along(self, event: Event) -> None:
        self._numbers.append(event.seq)
        try:
            problem = self.keys.read(event)
        except MALFORMED:
            problem = f"announces a key that cannot be read ({event.action})"
        if problem is not None and len(self._signing) < 100:
            self._signing.append(f"event {event.seq} {problem}")
        for problem in self.replay.read(event):
            if len(self._allowing) < 100:
                self._allowing.append(f"event {event.seq}: {problem}")

    def signatures(self, step: Step) -> None:
        """Step 3: found while the events were read."""
        step.problems += self._signing
        if self.package.json("keys.json") != self.keys.table():
            step.fail("keys.json holds other keys than the events announce")
        people = len({key.actor for key in self.keys.all.values()})
        step.said.append(
            f"signatures {self.keys.signed}, people {people}, keys {len(self.keys.all)}"
        )

    def checkpoints(self, step: Step) -> None:
        """Step 4: every head is signed by an actor of the log; heads of different sizes are consistent."""
        names = self.keys.note_keys(self.origin)
        by_size: Dict[int, Head] = {}
        for name, head in sorted(self.heads.items(), key=lambda item: item[1].size):
            if head.origin != self.origin:
                step.fail(f"{name} is a head of another log, {head.origin[:80]}")
                continue
            try:
                note_signers(head, names)
            except Broken as error:
                step.fail(f"{name}: {error}")
            if by_size.setdefault(head.size, head).root != head.root:
                step.fail(f"{name}: two heads of {head.size} events have different roots")
        newest = by_size.get(self.size)
        if newest is None or newest.root != self.root or max(by_size) > self.size:
            step.fail(
                "there is no signed head of the tree that the manifest names, or a larger one"
            )
        # Every one that the log announces, and besides them only that of the tree itself.
        notes = {self.package.digest_of(name): head.size for name, head in self.heads.items()}
        announced = {facts["note"]: facts["size"] for _, facts in self.replay.said["checkpoints"]}
        others = {note: size for note, size in notes.items() if size != self.size}
        for note, size in sorted(announced.items() ^ others.items(), key=lambda item: item[1]):
            where = "missing" if note in announced else "one of which no event speaks"
            step.fail(f"the head of {size} events is {where}")
        proofs = {
            (p["old"], p["new"]): p["proof"]
            for p in self.package.json("proofs.json")["consistency"]
        }
        sizes = sorted(by_size)
        for old, new in zip(sizes, sizes[1:]):
            one, other = by_size[old].root, by_size[new].root
            proof = [unbase64(value) for value in proofs.pop((old, new), [])]
            if not consistent(old, new, one, other, proof):
                step.fail(f"the log of {new} events is not proven to begin with that of {old}")
        if proofs:
            step.fail("proofs.json holds a proof between heads that are not there")
        for size, head in by_size.items():
            if self.complete and self.roots.get(size) != head.root:
                step.fail(f"the head of {size} events is not that of the events in the bundle")
            self.roots[size] = head.root
        step.said.append(
            f"heads {len(self.heads)}; the newest are of {', '.join(map(str, sizes[-5:]))} events"
        )

    def exporter(self, step: Step) -> None:
        """Step 5: the detached signature on the manifest."""
        actor = self.manifest["exported_by"]
        try:
            statement, key = open_envelope(self.package.json(SIGNATURE), self.keys.valid(actor))
        except MALFORMED as error:
            raise Broken(f"{SIGNATURE} is no signed statement: {str(error)[:80]}") from None
        expected = [{"name": MANIFEST, "digest": {"sha256": self.package.digest_of(MANIFEST)[7:]}}]
        if statement["subject"] != expected or statement["predicateType"] != BUNDLE_PREDICATE:
            raise Broken("the signature is about another manifest")
        if not self.replay.may("audit.export") & self.replay.roles.get(actor, set()):
            step.fail(f"{actor} had no role for audit.export")
        self._exporter = {key.key_id: key}
        step.said.append(f"exported by {actor}, key {short(key.key_id)}")

    def elsewhere(self, step: Step) -> None:
        """Step 6: only a head that the operator could not exchange shows that the whole log was not made anew."""
        if self.outside is None:
            step.skipped = "no --checkpoint was given"
            return
        try:
            head = read_note(self.outside)
        except MALFORMED as error:
            raise Broken(f"the given checkpoint cannot be read: {error}") from None
        if head.origin != self.origin:
            raise Broken(f"the given checkpoint is one of another log, {head.origin[:80]}")
        pinned = [key for key in self.trusted if isinstance(key, Key)]
        signers = note_signers(head, self.keys.note_keys(self.origin), pinned)
        if self.complete and head.size <= self.size and head.size not in self.roots:
            self.roots[head.size] = self._root_at(head.size)
        if head.size > self.size:
            raise Broken(
                f"the given checkpoint vouches for {head.size} events, but the bundle is of a log of {self.size}: "
                "the tail was cut, or the bundle is older; ask for a new one"
            )
        if head.size not in self.roots:
            raise Broken(
                f"the bundle has no proof from a head of {head.size} events to its own; ask for a bundle of --all, or "
                "for one made after this checkpoint was put into the ledger"
            )
        if self.roots[head.size] != head.root:
            raise Broken(
                f"the first {head.size} events are others than those the checkpoint vouches for"
            )
        who = ", ".join(sorted({short(key.key_id) for key in signers}))
        step.said.append(
            f"the first {head.size} events are those of the checkpoint of {head.time} (signed by {who})"
        )

    def _root_at(self, size: int) -> bytes:
        tree = Tree()
        for line in self.package.lines("events.jsonl"):
            if tree.size == size:
                break
            tree.append(leaf_hash(digest(line)))
        return tree.root()

    def pinned(self, step: Step) -> None:
        """Step 7: every signed event holds the digest of the one before, so who signs vouches for all up to there."""
        if not self.trusted:
            step.skipped = "no --trust-key was given"
            return
        # A selection shows few links of the chain, so there only a signed head vouches for what is before.
        signed = dict(self.keys.last_signed) if self.complete else {}
        names = self.keys.note_keys(self.origin)
        for head in self.heads.values():
            for signer in note_signers(head, names):
                signed[signer.key_id] = max(signed.get(signer.key_id, 0), head.size)
        best = 0
        for trusted in self.trusted:
            key_id = trusted.key_id if isinstance(trusted, Key) else trusted
            key = self.keys.all.get(key_id)
            if key is None:
                step.fail(f"the log does not know the key {short(key_id)}")
            elif key_id in signed:
                best = max(best, signed[key_id])
                step.said.append(
                    f"{key.actor}, key {short(key_id)}, vouches for the first {signed[key_id]} events"
                )
            elif key_id in self.keys.last_signed:
                step.said.append(
                    f"{key.actor}, key {short(key_id)}, signed events here, but no head of the tree"
                )
            else:
                step.fail(f"the key {short(key_id)} of {key.actor} signed nothing in this bundle")
        if best < self.size:
            self.result.unchecked.append(
                f"that nothing behind event {best} was made up: no key that you trust signed after it"
            )

    def allowed(self, step: Step) -> None:
        """Step 8: found while the events were read."""
        step.problems += self._allowing
        for number, case in sorted(self.replay.cases.items())[:20]:
            who = f", approved by {', '.join(case.approvers)}" if case.approved else ""
            step.said.append(f"request {number} is {case.state}{who}")

    def records(self, step: Step) -> None:
        """Step 9."""
        found = self._records = Records(self.package, self.replay)
        for problem in found.check():
            step.fail(problem)
        step.said.append(
            f"projectors {len(found.projectors)}, decisions {len(found.decisions)}, versions {len(found.versions)}, "
            f"reports {len(self.replay.said['reports'])}, arrays {len(found.arrays.table)}"
        )

    def matrices(self, step: Step) -> None:
        """Step 10."""
        records = self._records
        if records is None:
            step.skipped = _NO_RECORDS
            return
        for row in records.versions:
            for problem in check_matrix(records, row, self.result.unchecked):
                step.fail(problem)
            active = row["facts"]["active_requests"]
            if active:
                blocks = ", ".join(f"request {number}" for number in active)
                step.said.append(f"version {row['facts']['number']} of {row['model']}: {blocks}")
        for problem in check_certificates(records, records.reports(), self.result.unchecked):
            step.fail(problem)

    def attestations(self, step: Step) -> None:
        """Step 11: signed by the exporter, about versions that are there, saying what the records say."""
        records = self._records
        if records is None or not self._exporter:
            step.skipped = (
                _NO_RECORDS if records is None else "who exported it is not known; see step 5"
            )
            return
        versions = {
            (row["model"], row["facts"]["number"]): row
            for row in records.versions
            if row["facts"]["active_requests"]
        }
        wanted = {
            (key, kind) for key in versions for kind in (RECIPE_PREDICATE, APPROVAL_PREDICATE)
        }
        names = [name for name in sorted(self.package.sizes) if name.startswith("attestations/")]
        for name in names:
            try:
                statement, _ = open_envelope(self.package.json(name), self._exporter)
                kind, said = statement["predicateType"], statement["predicate"]
                key = next(
                    key
                    for key in versions
                    if statement["subject"] == subjects(*key, versions[key]["facts"])
                )
                wanted.discard((key, kind))
                if not self._true(records, kind, said, versions[key]):
                    step.fail(f"{name} says something else than the records")
            except (Broken, StopIteration) as error:
                step.fail(f"{name}: {error or 'it is about no version in this bundle'}")
        for (model, number), kind in sorted(wanted):
            step.fail(f"version {number} of {model} has no statement {kind}")
        step.said.append(f"statements {len(names)}")

    def _true(self, records: Records, kind: str, said: Any, row: Dict[str, Any]) -> bool:
        facts = row["facts"]
        if kind == RECIPE_PREDICATE:
            return bool(said == recipe_predicate(row))
        if kind == APPROVAL_PREDICATE:
            return bool(said == approval_predicate(row, records.decisions))
        if kind == TEST_PREDICATE:
            subject = f"version:{row['model']}/{facts['number']}"
            reports = {
                f["digest"][7:] for owner, f in self.replay.said["reports"] if owner == subject
            }
            named = {
                entry["digest"]["sha256"]
                for entry in said["configuration"]
                if entry["name"] == "report"
            }
            policies = {
                entry["digest"]["sha256"]
                for entry in said["configuration"]
                if entry["name"] == "policy"
            }
            known = {name[7:] for name in records.policy["policies"]}
            failed = bool(said["failedTests"])
            return bool(
                named
                and named <= reports
                and policies <= known
                and failed == (said["result"] == "FAILED")
            )
        return False

    def texts(self, step: Step) -> None:
        """Step 12."""
        if self._records is None:
            step.skipped = _NO_RECORDS
            return
        committed, opened, problems = self._records.texts()
        step.problems += problems
        step.said.append(f"the log committed to {committed} texts; the bundle opens {opened}")
        if opened < committed:
            self.result.unchecked.append(
                f"{committed - opened} private texts (reasons, comments, attachments): left out or erased; the log "
                "holds only salted digests of them"
            )
        elif not committed:
            step.skipped = "the events speak of none"

    def _limits(self) -> None:
        """What no bundle can show."""
        unchecked = self.result.unchecked
        if self.outside is None:
            unchecked.append(
                "that the whole log was not made anew by who holds all the keys: give a checkpoint from elsewhere "
                "(--checkpoint)"
            )
        if not self.trusted:
            unchecked.append(
                "that the keys belong to the people named: give those that you know (--trust-key)"
            )
        if not self.complete:
            unchecked.append(
                "that no event was left out of this selection: only a bundle of the whole ledger shows that"
            )
        if self.replay.unknown:
            unchecked.append(
                f"what these events mean: {', '.join(sorted(self.replay.unknown))[:200]}"
            )
        unchecked += [
            "the figures in the reports, and the digests of weights, prompt bank and data sets: that needs model and "
            "images",
            "index.html, README.txt and the CSV files: for reading; only the manifest covers them",
        ]


def subjects(model: str, number: int, facts: Dict[str, Any]) -> List[Dict[str, Any]]:
    """What the statements on a version are about."""
    return [
        {"name": f"version:{model}/{number}", "digest": {"sha256": facts["digest"][7:]}},
        {"name": f"weights:{model}/{number}", "digest": {"sha256": facts["weights_digest"][7:]}},
    ]


def recipe_predicate(row: Dict[str, Any]) -> Dict[str, Any]:
    """What the statement on the recipe of a version says."""
    names = ("number", "parent", "active_requests", "projectors", "created_by", "created_at")
    return {
        "model": row["model"],
        **{name: row["facts"][name] for name in names},
        "factors": {"a": row["factor_a"], "b": row["factor_b"]},
        "recipe": row["recipe"],
    }


def approval_predicate(row: Dict[str, Any], decisions: List[Dict[str, Any]]) -> Dict[str, Any]:
    """What the statement on the approvals of a version says: the decisions on the projectors that it holds."""
    held = dict(zip(row["facts"]["active_requests"], row["facts"]["projectors"]))
    return {
        "model": row["model"],
        "number": row["facts"]["number"],
        "decisions": [
            d for d in decisions if held.get(d["request"]) == d["facts"]["projector_digest"]
        ],
    }


def read_trusted(text: str) -> Any:
    """A key that is trusted: its id, or the PEM file of the public key."""
    if re.fullmatch("sha256:[0-9a-f]{64}", text):
        return text
    try:
        data = Path(text).read_bytes()
    except FileNotFoundError:
        raise Missing(f"there is no key file {text}") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{text} cannot be read: {error}") from None
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        raw, plain = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        return Key(serialization.load_pem_public_key(data).public_bytes(raw, plain))
    except (UnsupportedAlgorithm, *MALFORMED):
        raise Unreadable(f"{text} holds no Ed25519 public key in PEM") from None


def verify(path: Path, checkpoint: Optional[Path] = None, trusted: Sequence[str] = ()) -> Outcome:
    """Verify a bundle.

    Args:
        path: a ZIP file or a directory.
        checkpoint: file of a signed tree head that came from elsewhere.
        trusted: key ids ``sha256:…`` or PEM files of public keys.

    Raises:
        Missing: a file that was named does not exist.
        Unreadable: it is no bundle, or a named file cannot be read.
    """
    keys = [read_trusted(text) for text in trusted]
    outside = None
    if checkpoint is not None:
        try:
            outside = checkpoint.read_bytes()
        except FileNotFoundError:
            raise Missing(f"there is no file {checkpoint}") from None
        except (OSError, ValueError) as error:
            raise Unreadable(f"{checkpoint} cannot be read: {error}") from None
    package = Package(path)
    try:
        return Verification(package, outside, keys).run()
    finally:
        package.close()


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="verify_bundle.py", description="Verify an evidence bundle."
    )
    parser.add_argument(
        "bundle", nargs="?", help="ZIP file or directory; default: where this file lies"
    )
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="a signed tree head that you got from elsewhere"
    )
    parser.add_argument(
        "--trust-key",
        metavar="KEY",
        action="append",
        default=[],
        help="key id or PEM file; repeatable",
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    options = parser.parse_args(arguments)
    path = Path(options.bundle) if options.bundle else Path(__file__).resolve().parent
    try:
        outcome = verify(
            path, Path(options.checkpoint) if options.checkpoint else None, options.trust_key
        )
    except (Missing, Unreadable) as error:
        print(f"Error: {error}".translate(_HARMLESS), file=sys.stderr)
        return MISSING if isinstance(error, Missing) else UNREADABLE
    except ImportError:
        print(
            "Error: the package cryptography is missing: pip install cryptography", file=sys.stderr
        )
        return UNREADABLE
    print(json.dumps(outcome.to_dict(), indent=2) if options.json else outcome.to_text())
    return HOLDS if outcome.ok else BROKEN


if __name__ == "__main__":
    sys.exit(main())
