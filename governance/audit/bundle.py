"""Making a bundle: a ZIP file with everything that somebody needs who trusts neither us nor our database.

The same content gives the same bytes: members are sorted and stored without compression, times are those of the
ledger, Ed25519 signatures are deterministic. docs/audit.md describes the format.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from itertools import islice, pairwise
from typing import IO, Any

from governance.audit.bundle_contents import Contents, Scope
from governance.audit.sheets import decisions_csv, events_csv, overrides_csv, requests_csv
from governance.audit.statements import statements
from governance.audit.verify_bundle import (
    BUNDLE_PREDICATE,
    FORMAT,
    KIND,
    MANIFEST,
    SIGNATURE,
    canonical,
)
from governance.digests import digest_bytes
from governance.errors import IntegrityError
from governance.evidence.dsse import sign, statement, statement_bytes
from governance.evidence.encoding import to_base64
from governance.evidence.keys import SigningKey
from governance.ledger.checkpoints import origin, stored
from governance.ledger.database import Session
from governance.ledger.events import Entry, entry_of
from governance.ledger.tree import Prover
from governance.policy import parse_policy
from governance.reports.bundle import render_bundle
from governance.unlearning.gates import Kind

Member = bytes | Callable[[], Iterator[bytes]]
"""Content of a member, or what makes its pieces, for those that grow with the log."""

README = """\
This is an evidence bundle of a governed model: who asked that it forget something, who decided on exactly which
matrix and which figures, and what was served when.

Open index.html to read it. To verify it, with Python 3.9 or newer and the package `cryptography`:

    python -m venv check
    check/bin/pip install cryptography
    check/bin/python verify_bundle.py

Take verify_bundle.py from somewhere you trust rather than from here, if you can; it is one file, meant to be read.
"""

_TIME = (1980, 1, 1, 0, 0, 0)
_NOTES = "checkpoints/"


@dataclass(frozen=True)
class Signer:
    """Who exports, and with which key."""

    actor: str
    key: SigningKey


@dataclass(frozen=True)
class Bundle:
    """A bundle that can be written.

    Attributes:
        about: the manifest without the list of members.
        members: all but the manifest and its signature, by name.
        signer: who signs the manifest.
    """

    about: Mapping[str, Any]
    members: Mapping[str, Member]
    signer: Signer

    def write(self, out: IO[bytes]) -> str:
        """Write the ZIP file.

        Args:
            out: a binary file that can seek.

        Returns:
            Digest of the manifest, which stands for all of it.
        """
        listed = []
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(self.members):
                content = self.members[name]
                state, size = sha256(), 0
                with archive.open(
                    _info(name), "w", force_zip64=not isinstance(content, bytes)
                ) as file:
                    for piece in (content,) if isinstance(content, bytes) else content():
                        state.update(piece)
                        size += len(piece)
                        file.write(piece)
                listed.append({"name": name, "sha256": state.hexdigest(), "size": size})
            manifest = _json({**self.about, "members": listed})
            digest = digest_bytes(manifest)
            archive.writestr(_info(MANIFEST), manifest)
            archive.writestr(_info(SIGNATURE), self._signature(digest))
        return digest

    def _signature(self, digest: str) -> bytes:
        about = {"about": self.about["about"], "origin": self.about["origin"]}
        said = statement({MANIFEST: digest}, BUNDLE_PREDICATE, about)
        return (sign(statement_bytes(said), [self.signer.key]).to_json() + "\n").encode()


def build(session: Session, scope: Scope, signer: Signer, size: int, texts: bool = False) -> Bundle:
    """Everything about `scope` in the first `size` events of the log.

    Args:
        session: one consistent read.
        scope: what the bundle is about.
        signer: who exports it.
        size: of a stored checkpoint; nothing newer gets into the bundle.
        texts: include the private texts that were not erased, with their salts.

    Raises:
        NotFoundError: there is no such request, model or version.
        IntegrityError: the ledger lacks something of which its log speaks.
    """
    contents = Contents(session, scope, size)
    heads = {row.size: row for row in stored(session) if row.size <= size}
    if size not in heads:
        raise IntegrityError(f"the ledger has no signed head of {size} events")
    members: dict[str, Member] = {
        "README.txt": README.encode(),
        "verify_bundle.py": (files("governance.audit") / "verify_bundle.py").read_bytes(),
        "events.jsonl": lambda: _lines(contents.entries()),
        "keys.json": _json(contents.keys.table()),
        "policy.json": _json(contents.policy()),
        "requests.json": _json(contents.requests),
        "decisions.json": _json(contents.decisions),
        "overrides.json": _json(contents.overrides),
        "projectors.json": _json(contents.projectors),
        "versions.json": _json(contents.versions),
        "models.json": _json(contents.models()),
        "datasets.json": _json(contents.datasets()),
        "requests.csv": requests_csv(contents),
        "decisions.csv": decisions_csv(contents),
        "overrides.csv": overrides_csv(contents),
        "events.csv": lambda: events_csv(contents.entries()),
    }
    for row in heads.values():
        note = row.note.encode()
        members[f"{_NOTES}{row.size:012d}-{digest_bytes(note)[7:19]}.txt"] = note
    members["proofs.json"] = _json(_proofs(session, contents, sorted(heads)))
    arrays = contents.arrays()
    members["arrays.json"] = _json(
        {digest: {"dtype": a.dtype, "shape": a.shape} for digest, a in arrays.items()}
    )
    members |= {f"arrays/{digest[7:]}.bin": array.data for digest, array in arrays.items()}
    reports = contents.reports()
    members |= {f"reports/{digest[7:]}.json": text.encode() for digest, text in reports.items()}
    members |= statements(
        signer.key,
        contents.versions,
        contents.decisions,
        contents.replay.said["reports"],
        reports,
        parse_policy(contents.replay.rules),
        {
            number: Kind(case.scopes(), case.facts["basis"])
            for number, case in contents.replay.cases.items()
        },
    )
    if texts:
        members["texts.json"] = _json(contents.texts())
    about = {
        "format": FORMAT,
        "kind": KIND,
        "about": scope.to_dict(),
        "origin": origin(session),
        "size": size,
        "root": heads[size].root,
        "head": contents.head,
        "as_of": contents.at,
        "exported_by": signer.actor,
        "key_id": signer.key.key_id,
        "texts": texts,
    }
    members["index.html"] = render_bundle(_document(about, contents)).encode()
    return Bundle(about, members, signer)


def _document(about: Mapping[str, Any], contents: Contents) -> dict[str, Any]:
    """What the page for people shows."""
    shown = (event for event in contents.entries() if event.action != "checkpoint.taken")
    return {
        "manifest": dict(about),
        "title": _title(contents.scope),
        "requests": contents.requests,
        "decisions": contents.decisions,
        "overrides": contents.overrides,
        "projectors": contents.projectors,
        "versions": contents.versions,
        "attention": list(contents.replay.loud),
        "events": [event._asdict() for event in islice(shown, _SHOWN)],
        "shown": _SHOWN,
    }


def _title(scope: Scope) -> str:
    if scope.request is not None:
        return f"Request {scope.request}"
    return "The whole ledger" if scope.all else f"Version {scope.version} of {scope.model}"


_SHOWN = 500
"""Events on the page; a longer log is in events.csv."""


def _proofs(session: Session, contents: Contents, sizes: list[int]) -> dict[str, Any]:
    """Inclusion of each selected event in the tree, consistency of each head with the next."""
    prover = Prover(session)
    inclusion = {}
    if contents.partial:
        for event in contents.entries():
            path = prover.inclusion(event.seq, contents.size)
            inclusion[str(event.seq)] = [to_base64(value) for value in path]
    return {
        "inclusion": inclusion,
        "consistency": [
            {
                "old": old,
                "new": new,
                "proof": [to_base64(value) for value in prover.consistency(old, new)],
            }
            for old, new in pairwise(sizes)
        ],
    }


def _lines(events: Iterator[Entry]) -> Iterator[bytes]:
    for event in events:
        yield entry_of(event).encode() + b"\n"


def _json(value: Any) -> bytes:
    return (canonical(value) + "\n").encode()


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _TIME)
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    return info
