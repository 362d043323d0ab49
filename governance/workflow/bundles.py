"""Exporting evidence: a bundle leaves the house, and the log says so."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from governance.audit.bundle import Signer, build
from governance.audit.bundle_contents import Scope
from governance.errors import InvalidInputError
from governance.ledger.checkpoints import take
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.lookup import find_model, find_request, find_version
from governance.ledger.signers import signing_key
from governance.workflow.refusals import recorded
from governance.workflow.transition import require


@dataclass(frozen=True)
class Exported:
    """A bundle that was written.

    Attributes:
        path: where.
        scope: what it is about.
        manifest: digest of its manifest.
        size: number of events of the log that it speaks of.
    """

    path: Path
    scope: Scope
    manifest: str
    size: int


@recorded("export", "bundle", "scope")
def export(ledger: Ledger, actor: str, scope: Scope, output: Path, texts: bool = False) -> Exported:
    """Write a bundle on a freshly signed head of the log, and record that it left the house.

    Args:
        ledger: what it is made from.
        actor: who exports, and signs.
        scope: what the bundle is about; a version without a model is one of the only model.
        output: the ZIP file; one that is there is replaced.
        texts: include the private texts that were not erased.

    Raises:
        NotFoundError: there is no such request, model or version.
        InvalidInputError: the file cannot be written.
        IntegrityError: the ledger lacks something of which its log speaks.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}-")
    except OSError as error:
        raise InvalidInputError(f"{output} cannot be written: {error.strerror}") from error
    try:
        # The lock of the writers is held for the head only; nothing newer than it gets into the bundle.
        with ledger.write() as session:
            require(session, actor, "audit.export")
            scope = _found(session, scope)
            size = take(session, actor).size
        with ledger.read() as session, os.fdopen(handle, "wb") as out:
            manifest = build(session, scope, _signer(session, actor), size, texts).write(out)
        # Recorded first: a record of a bundle that never got its name does less harm than a bundle without a record.
        with ledger.write() as session:
            require(session, actor, "audit.export")
            payload = {
                "about": scope.to_dict(),
                "manifest": manifest,
                "size": size,
                "texts": texts,
            }
            append(session, actor, "bundle.exported", f"bundle:{manifest[7:23]}", payload)
        Path(name).chmod(0o644)
        Path(name).replace(output)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InvalidInputError(f"{output} cannot be written: {error.strerror}") from error
        raise
    return Exported(output, scope, manifest, size)


def _found(session: Session, scope: Scope) -> Scope:
    """The scope with the name of its model, if what it is about is there."""
    if scope.request is not None:
        find_request(session, scope.request)
    elif scope.version is not None:
        model = find_model(session, scope.model)
        find_version(session, model, scope.version)
        return Scope(model=model.name, version=scope.version)
    return scope


def _signer(session: Session, actor: str) -> Signer:
    return Signer(actor, signing_key(session, actor))
