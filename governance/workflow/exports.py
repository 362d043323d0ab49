"""Exported directories: what is signed with them, and whether one is what the ledger knows."""

from pathlib import Path
from typing import Any

from governance.digests import load_json
from governance.errors import IntegrityError
from governance.evidence.artifact import SignedModel, verify_directory
from governance.evidence.keys import PublicKey
from governance.ledger.checkpoints import origin
from governance.ledger.database import Ledger, Session
from governance.ledger.events import check_signature, head, stream
from governance.ledger.lookup import find_model, find_version, newest_events
from governance.ledger.tables import Event, ModelVersion
from governance.workflow.aliases import subject_of

EXPORTED = "version.exported"


def export_name(version: ModelVersion) -> str:
    """Subject of the signed statement."""
    return f"{version.model.name}/{version.number}"


def version_identity(version: ModelVersion) -> dict[str, Any]:
    """What an exported directory says of its version: digests and numbers, nobody's name."""
    return {
        "model": version.model.name,
        "version": version.number,
        "version_digest": version.digest,
        "weights_digest": version.weights_digest,
        "base_weights_digest": version.model.weights_digest,
        "active_requests": [member.request_id for member in version.members],
    }


def log_state(session: Session) -> dict[str, Any]:
    """Which log, and how far it had come."""
    size, digest, _ = head(session)
    return {"origin": origin(session), "size": size, "head": digest}


def verify_export(
    ledger: Ledger, model_name: str | None, number: int, directory: Path
) -> tuple[SignedModel, str]:
    """Check an exported directory against the ledger; MLflow and the base model are not needed.

    Args:
        ledger: of the workspace that exported it.
        model_name: which model; None if there is only one.
        number: of the version that it should be.
        directory: as it was exported.

    Returns:
        What was signed, and who exported it.

    Raises:
        NotFoundError: there is no such version or directory, or the directory is not signed.
        IntegrityError: signature or files do not hold (the first bad file is named), or the ledger knows of no such
            export of this version.
    """
    # 1. Signature and files hold together.
    signed = verify_directory(directory)
    with ledger.read() as session:
        version = find_version(session, find_model(session, model_name), number)
        # 2. The log has the export, by somebody who had that key then.
        event = _export_event(session, version, signed)
        _check_signer(session, event, signed.key)
        # 3. The statement says of the version what the ledger says.
        payload = load_json(event.payload)
        expected = version_identity(version) | {
            "precision": payload.get("precision"),
            "exported_weights_digest": payload.get("exported_weights_digest"),
        }
        for name, value in expected.items():
            if signed.facts.get(name) != value:
                raise IntegrityError(f"{directory} states another {name} than the ledger")
        if signed.name != export_name(version):
            raise IntegrityError(f"{directory} is an export of {signed.name!r}")
        # 4. It names this log, as it was before the export.
        log = signed.facts.get("ledger")
        size = log.get("size") if isinstance(log, dict) else None
        before = session.get(Event, size) if type(size) is int and 0 < size < event.seq else None
        known = before and {"origin": origin(session), "size": before.seq, "head": before.digest}
        if log != known or known is None:
            raise IntegrityError(f"{directory} names another log, or another state of it")
        return signed, event.actor


def _export_event(session: Session, version: ModelVersion, signed: SignedModel) -> Event:
    subject = subject_of(version.model.name, version.number)
    for event in newest_events(session, subject, EXPORTED):
        if load_json(event.payload).get("statement_digest") == signed.statement_digest:
            return event
    raise IntegrityError(
        f"the ledger has no export of version {version.number} of {version.model.name!r} with the statement "
        f"{signed.statement_digest}, which key {signed.key.key_id} signed"
    )


def _check_signer(session: Session, event: Event, key: PublicKey) -> None:
    """The key was the exporting actor's at that point of the log, and signed the event too."""
    valid: set[str] = set()
    for change in stream(session, f"actor:{event.actor}"):
        if change.seq > event.seq:
            break
        payload = load_json(change.payload)
        match change.action:
            case "actor.added":
                valid = {payload["actor"]["key"]["key_id"]}
            case "actor.key_rotated":
                valid = (valid - set(payload["retired"])) | {payload["key"]["key_id"]}
            case "actor.deactivated":
                valid = set()
            case _:
                pass
    if key.key_id not in valid:
        raise IntegrityError(
            f"key {key.key_id}, which signed the directory, was not {event.actor}'s at event {event.seq}"
        )
    if event.key_id != key.key_id or event.signature is None:
        raise IntegrityError(f"event {event.seq} is signed with another key than the directory")
    try:
        check_signature(event, key)
    except IntegrityError as error:
        raise IntegrityError(f"event {event.seq} has a signature that does not hold") from error
