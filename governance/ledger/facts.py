"""What the log says of a record: written into the event that makes it, recomputed from the row by the audit.

One function for each table, so that the two can never speak of different things.
"""

from typing import Any

from governance.digests import digest_bytes, digest_json
from governance.ledger.tables import (
    Actor,
    ActorKey,
    CheckpointRecord,
    Dataset,
    Decision,
    Model,
    ModelVersion,
    Override,
    PolicyRecord,
    PrivateText,
    ProjectorRecord,
    Report,
    Request,
)

Facts = dict[str, Any]


def actor_facts(actor: Actor) -> Facts:
    """Who somebody is and what they may do."""
    return {
        "name": actor.name,
        "roles": actor.roles,
        "active": actor.active,
        "added_at": actor.added_at.isoformat(),
    }


def key_facts(key: ActorKey) -> Facts:
    """A public key."""
    return {
        "key_id": key.key_id,
        "public_key": key.public_key,
        "added_at": key.added_at.isoformat(),
    }


def policy_facts(policy: PolicyRecord) -> Facts:
    """Which rules, adopted by whom."""
    return {
        "digest": policy.digest,
        "adopted_by": policy.adopted_by,
        "adopted_at": policy.adopted_at.isoformat(),
    }


def checkpoint_facts(checkpoint: CheckpointRecord) -> Facts:
    """Which tree head was signed with which key."""
    return {
        "size": checkpoint.size,
        "root": checkpoint.root,
        "key_id": checkpoint.key_id,
        "note": digest_bytes(checkpoint.note.encode()),
        "taken_at": checkpoint.taken_at.isoformat(),
    }


def model_facts(model: Model) -> Facts:
    """Which weights, which projection, which prompts."""
    return {
        "name": model.name,
        "source": model.source,
        "weights_digest": model.weights_digest,
        "config_digest": model.config_digest,
        "dimension": model.dimension,
        "fold_path": model.fold_path,
        "logit_scale": model.logit_scale,
        "labels_digest": model.labels_digest,
        "bank_rows": model.bank_rows,
        "bank_scores": model.bank_scores,
        "bank_paraphrases": model.bank_paraphrases,
        "registered_at": model.registered_at.isoformat(),
    }


def dataset_facts(dataset: Dataset) -> Facts:
    """Which images; not where they lie, which may change."""
    return {
        "name": dataset.name,
        "role": dataset.role,
        "digest": dataset.digest,
        "images": dataset.images,
        "skipped": dataset.skipped,
        "added_at": dataset.added_at.isoformat(),
    }


def request_facts(request: Request) -> Facts:
    """What is asked, by whom, until when."""
    return {
        "model": request.model.name,
        "targets": [{"class": t.label, "domain": t.domain} for t in request.targets],
        "basis": request.basis,
        "due_at": request.due_at.isoformat(),
        "filed_by": request.filed_by,
        "filed_at": request.filed_at.isoformat(),
        "retention": request.retention,
    }


def text_facts(text: PrivateText) -> Facts:
    """That something was written or attached; what, only as a salted commitment."""
    return {
        "kind": text.kind,
        "commitment": text.commitment,
        "added_at": text.added_at.isoformat(),
    }


def projector_facts(projector: ProjectorRecord) -> Facts:
    """Which matrix, by whom, and how much of it later versions may leave undone."""
    return {
        "digest": projector.digest,
        "rank": projector.rank,
        "condition": projector.condition,
        "tolerance": projector.tolerance,
        "prepared_by": projector.prepared_by,
        "prepared_at": projector.prepared_at.isoformat(),
        "run_id": projector.run_id,
    }


def report_facts(report: Report) -> Facts:
    """Which figures on which images."""
    return {
        "purpose": report.purpose,
        "digest": report.digest,
        "dataset_digest": report.dataset.digest,
        "created_at": report.created_at.isoformat(),
    }


def decision_facts(decision: Decision) -> Facts:
    """Who ruled what on exactly which matrix and figures."""
    return {
        "ruling": decision.ruling,
        "actor": decision.actor,
        "decided_at": decision.decided_at.isoformat(),
        "projector_digest": decision.projector_digest,
        "report_digest": decision.report_digest,
        "policy_digest": decision.policy_digest,
        "break_glass": decision.break_glass,
        "comment": decision.comment.commitment if decision.comment else None,
    }


def override_facts(override: Override) -> Facts:
    """Who let what pass although which gates failed, and why."""
    return {
        "about": override.about,
        "actor": override.actor,
        "reason": override.reason,
        "gates": override.gates,
        "overridden_at": override.overridden_at.isoformat(),
    }


def version_facts(version: ModelVersion) -> Facts:
    """What a version is made of and where MLflow has it."""
    return {
        "number": version.number,
        "parent": version.parent,
        "digest": version.digest,
        "weights_digest": version.weights_digest,
        "active_requests": [member.request_id for member in version.members],
        "projectors": [member.projector.digest for member in version.members],
        "created_by": version.created_by,
        "created_at": version.created_at.isoformat(),
        "recipe": digest_json(version.recipe),
        "run_id": version.run_id,
        "registry_version": version.registry_version,
    }
