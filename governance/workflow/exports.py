"""Exported directories: what is signed with them, and whether one is what the ledger knows."""

from pathlib import Path
from typing import Any

from governance.audit.fault import UNREADABLE
from governance.audit.signatures import Keys
from governance.digests import load_json
from governance.errors import GovernanceError, IntegrityError, RefusedError
from governance.evidence.artifact import SignedModel, verify_directory
from governance.evidence.keys import PublicKey
from governance.ledger.database import Ledger, Session
from governance.ledger.events import check_signature, stream
from governance.ledger.intents import find_intent
from governance.ledger.lookup import find_model, find_version, newest_events
from governance.ledger.names import subject_of
from governance.ledger.tables import Event, ModelVersion
from governance.workflow.departures import EXPORTED, announced_in


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
        # 2. The log has the export, announced by somebody who had that key until it was complete.
        event = find_export(session, version, signed)
        payload = load_json(event.payload)
        intent = find_intent(session, payload.get("intent"))
        _check_signer(session, intent, event.seq, signed.key)
        # 3. The statement says of the version what the ledger says.
        expected = version_identity(version) | {
            "precision": payload.get("precision"),
            "exported_weights_digest": payload.get("exported_weights_digest"),
        }
        for name, value in expected.items():
            if signed.facts.get(name) != value:
                raise IntegrityError(f"{directory} states another {name} than the ledger")
        if signed.name != export_name(version):
            raise IntegrityError(f"{directory} is an export of {signed.name!r}")
        # 4. It names this log, as it was with the announcement.
        if signed.facts.get("ledger") != announced_in(session, intent):
            raise IntegrityError(f"{directory} names another log, or another state of it")
        return signed, intent.actor


def find_export(session: Session, version: ModelVersion, signed: SignedModel) -> Event:
    """The event of an export of a version.

    Raises:
        IntegrityError: there is none with that statement.
    """
    subject = subject_of(version.model.name, version.number)
    for event in newest_events(session, subject, EXPORTED):
        if load_json(event.payload).get("statement_digest") == signed.statement_digest:
            return event
    raise IntegrityError(
        f"the ledger has no export of version {version.number} of {version.model.name!r} with the statement "
        f"{signed.statement_digest}, which key {signed.key.key_id} signed"
    )


def check_unknown(session: Session, version: ModelVersion, directory: Path) -> None:
    """Make sure that a directory is not an export of a version that is on record.

    Raises:
        RefusedError: it is.
    """
    try:
        event = find_export(session, version, verify_directory(directory))
    except GovernanceError:
        return
    raise RefusedError(
        f"{directory} holds an export of version {version.number} already (event {event.seq})"
    )


def _check_signer(session: Session, intent: Event, until: int, key: PublicKey) -> None:
    """The key was the announcing actor's still at event `until`, and signed the announcement too."""
    keys = Keys()
    for change in stream(session, f"actor:{intent.actor}"):
        if change.seq > until:
            break
        try:
            keys.follow(change, load_json(change.payload))
        except UNREADABLE as error:
            raise IntegrityError(f"event {change.seq} is not what such an event holds") from error
    if keys.valid(intent.actor, key.key_id) is None:
        raise IntegrityError(
            f"key {key.key_id}, which signed the directory, was not {intent.actor}'s at event {until}"
        )
    if intent.key_id != key.key_id or intent.signature is None:
        raise IntegrityError(f"event {intent.seq} is signed with another key than the directory")
    try:
        check_signature(intent, key)
    except IntegrityError as error:
        raise IntegrityError(f"event {intent.seq} has a signature that does not hold") from error
