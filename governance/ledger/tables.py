"""Tables of the ledger, created only by the Alembic migrations under ``migrations/``.

Rows that are facts (events, decisions, projectors, reports, versions, arrays) never change: triggers forbid it on both
databases. Rows that hold a current state (a request's state, an alias) change only together with an event, in the
same transaction, through `governance.workflow`. Rows that say who was told what (`OPERATIONAL_TABLES`) belong to the
running of the house, not to the evidence: no event speaks of them.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from governance.ledger.types import UtcDateTime
from governance.states import State

Digest = String(71)


class Base(DeclarativeBase):
    """Declarative base; constraint names are fixed so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Event(Base):
    """One append-only, hash-chained entry; `governance.ledger.events` writes and checks it."""

    __tablename__ = "events"
    __table_args__ = (
        Index(None, "action", "seq"),
        Index(None, "actor", "seq"),
        Index(None, "subject", "action", "seq"),
    )

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(80))
    subject: Mapped[str] = mapped_column(String(200))
    payload: Mapped[str] = mapped_column(Text)
    prev_digest: Mapped[str] = mapped_column(Digest, unique=True)
    key_id: Mapped[str | None] = mapped_column(Digest)
    signature: Mapped[str | None] = mapped_column(String(88))
    digest: Mapped[str] = mapped_column(Digest, unique=True)


class TreeNode(Base):
    """Root of a full subtree of the Merkle tree over the events; `governance.ledger.tree` writes and reads it."""

    __tablename__ = "tree_nodes"

    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hash: Mapped[str] = mapped_column(String(64))


class CheckpointRecord(Base):
    """A signed tree head; `note` is the whole signed note."""

    __tablename__ = "checkpoints"

    id: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(index=True)
    root: Mapped[str] = mapped_column(String(64))
    key_id: Mapped[str] = mapped_column(Digest)
    note: Mapped[str] = mapped_column(Text)
    taken_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Array(Base):
    """A matrix as bytes, addressed by its digest (`governance.digests.digest_array`)."""

    __tablename__ = "arrays"

    digest: Mapped[str] = mapped_column(Digest, primary_key=True)
    dtype: Mapped[str] = mapped_column(String(16))
    shape: Mapped[list[int]] = mapped_column(JSON)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Actor(Base):
    """Somebody who acts."""

    __tablename__ = "actors"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    roles: Mapped[list[str]] = mapped_column(JSON)
    active: Mapped[bool] = mapped_column(default=True)
    added_at: Mapped[datetime] = mapped_column(UtcDateTime)

    keys: Mapped[list["ActorKey"]] = relationship(order_by="ActorKey.id", back_populates="actor")


class ActorKey(Base):
    """An actor's public key; it is valid from the event that announces it to the one that retires it."""

    __tablename__ = "actor_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    actor_id: Mapped[int] = mapped_column(ForeignKey("actors.id"), index=True)
    key_id: Mapped[str] = mapped_column(Digest, unique=True)
    public_key: Mapped[str] = mapped_column(String(44))
    added_at: Mapped[datetime] = mapped_column(UtcDateTime)
    retired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    actor: Mapped[Actor] = relationship(back_populates="keys")


class PolicyRecord(Base):
    """A policy that was adopted; the newest is in force. `content` is canonical JSON and `digest` its digest."""

    __tablename__ = "policies"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(Digest)
    content: Mapped[str] = mapped_column(Text)
    adopted_by: Mapped[str] = mapped_column(String(200))
    adopted_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Model(Base):
    """A registered base model with its label space and prompt bank."""

    __tablename__ = "models"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    source: Mapped[dict[str, Any]] = mapped_column(JSON)
    weights_digest: Mapped[str] = mapped_column(Digest)
    config_digest: Mapped[str] = mapped_column(Digest)
    dimension: Mapped[int]
    fold_path: Mapped[str] = mapped_column(String(200))
    logit_scale: Mapped[float]
    labels: Mapped[dict[str, Any]] = mapped_column(JSON)
    labels_digest: Mapped[str] = mapped_column(Digest)
    bank_rows: Mapped[str] = mapped_column(ForeignKey("arrays.digest"))
    bank_scores: Mapped[str] = mapped_column(ForeignKey("arrays.digest"))
    bank_paraphrases: Mapped[str] = mapped_column(ForeignKey("arrays.digest"))
    registered_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Dataset(Base):
    """A data set of labelled images; the images stay where they are, their digests are kept."""

    __tablename__ = "datasets"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    location: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Digest)
    images: Mapped[int]
    skipped: Mapped[int]
    manifest: Mapped[str] = mapped_column(Text, deferred=True)
    added_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Request(Base):
    """A forget request; `state` is assigned only by `governance.workflow.transition`."""

    __tablename__ = "requests"
    __table_args__ = (
        Index(None, "basis", "id"),
        Index(None, "filed_by", "id"),
        Index(None, "held", "id"),
        Index(None, "model_id", "state", "id"),
        Index(None, "state", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    state: Mapped[str] = mapped_column(String(20), default=State.FILED.value)
    basis: Mapped[str] = mapped_column(String(80))
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    filed_by: Mapped[str] = mapped_column(String(200))
    filed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    retention: Mapped[str] = mapped_column(String(40))
    held: Mapped[bool] = mapped_column(default=False)
    redacted: Mapped[bool] = mapped_column(default=False)

    model: Mapped[Model] = relationship()
    targets: Mapped[list["RequestTarget"]] = relationship(order_by="RequestTarget.id")
    texts: Mapped[list["PrivateText"]] = relationship(order_by="PrivateText.id")
    decisions: Mapped[list["Decision"]] = relationship(order_by="Decision.id")
    projectors: Mapped[list["ProjectorRecord"]] = relationship(order_by="ProjectorRecord.id")

    @property
    def projector(self) -> "ProjectorRecord | None":
        """The newest preparation, the one that a decision is about."""
        return self.projectors[-1] if self.projectors else None


class RequestTarget(Base):
    """One target of a request: a class, a domain, or a class in a domain."""

    __tablename__ = "request_targets"
    __table_args__ = (Index(None, "domain", "request_id"), Index(None, "label", "request_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(ForeignKey("requests.id"), index=True)
    label: Mapped[str | None] = mapped_column(String(200))
    domain: Mapped[str | None] = mapped_column(String(200))


class PrivateText(Base):
    """What people wrote or attached, which may be personal data.

    The log holds only `commitment`, a digest salted with `salt`, so name, salt and content stay erasable. In an
    encrypted text salt and name lie inside `content`. It may be large and is loaded when it is looked at.
    """

    __tablename__ = "private_texts"

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(ForeignKey("requests.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    scheme: Mapped[str] = mapped_column(String(20))
    salt: Mapped[str | None] = mapped_column(String(64))
    name: Mapped[str | None] = mapped_column(Text)
    content: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    commitment: Mapped[str] = mapped_column(Digest, index=True)
    added_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ProjectorRecord(Base):
    """One request's fitted edit: recipe, factors and digest."""

    __tablename__ = "projectors"

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(ForeignKey("requests.id"), index=True)
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON)
    factor_a: Mapped[str] = mapped_column(ForeignKey("arrays.digest"))
    factor_b: Mapped[str] = mapped_column(ForeignKey("arrays.digest"))
    digest: Mapped[str] = mapped_column(Digest)
    rank: Mapped[int]
    condition: Mapped[float]
    tolerance: Mapped[float]
    prepared_by: Mapped[str] = mapped_column(String(200))
    prepared_at: Mapped[datetime] = mapped_column(UtcDateTime)
    run_id: Mapped[str | None] = mapped_column(String(64))

    request: Mapped[Request | None] = relationship(viewonly=True)
    reports: Mapped[list["Report"]] = relationship(order_by="Report.id", viewonly=True)

    @property
    def report(self) -> "Report":
        """The report of the preparation, the one that a decision is about; later ones are extra measurements."""
        return self.reports[0]


class Report(Base):
    """A before/after evaluation; `content` is canonical JSON and `digest` its digest."""

    __tablename__ = "evaluation_reports"

    id: Mapped[int] = mapped_column(primary_key=True)
    purpose: Mapped[str] = mapped_column(String(20))
    projector_id: Mapped[int | None] = mapped_column(ForeignKey("projectors.id"), index=True)
    version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"), index=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    content: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Digest, index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    dataset: Mapped[Dataset] = relationship()
    projector: Mapped[ProjectorRecord | None] = relationship(viewonly=True)
    version: Mapped["ModelVersion | None"] = relationship(viewonly=True)


class Decision(Base):
    """An approval or rejection, bound to what was decided on."""

    __tablename__ = "decisions"

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(ForeignKey("requests.id"), index=True)
    ruling: Mapped[str] = mapped_column(String(20))
    actor: Mapped[str] = mapped_column(String(200))
    projector_id: Mapped[int | None] = mapped_column(ForeignKey("projectors.id"))
    projector_digest: Mapped[str | None] = mapped_column(Digest)
    report_digest: Mapped[str | None] = mapped_column(Digest)
    policy_digest: Mapped[str] = mapped_column(Digest)
    break_glass: Mapped[bool] = mapped_column(default=False)
    comment_id: Mapped[int | None] = mapped_column(ForeignKey("private_texts.id"))
    decided_at: Mapped[datetime] = mapped_column(UtcDateTime)

    comment: Mapped[PrivateText | None] = relationship()


class Override(Base):
    """An approval or a promotion in spite of gates that failed: by whom, why, and which; never forgotten.

    `about` is the digest of the projector that was approved or of the version that was promoted.
    """

    __tablename__ = "overrides"

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int | None] = mapped_column(ForeignKey("requests.id"), index=True)
    version_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"), index=True)
    about: Mapped[str] = mapped_column(Digest)
    actor: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(Text)
    gates: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    overridden_at: Mapped[datetime] = mapped_column(UtcDateTime)

    request: Mapped["Request | None"] = relationship(viewonly=True)
    version: Mapped["ModelVersion | None"] = relationship(viewonly=True)


class ModelVersion(Base):
    """A version of a model: its active set and the one matrix that does it all. Number 1 is the base model."""

    __tablename__ = "model_versions"
    __table_args__ = (UniqueConstraint("model_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    parent: Mapped[int | None]
    digest: Mapped[str] = mapped_column(Digest)
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON)
    factor_a: Mapped[str] = mapped_column(ForeignKey("arrays.digest"))
    factor_b: Mapped[str] = mapped_column(ForeignKey("arrays.digest"))
    weights_digest: Mapped[str] = mapped_column(Digest)
    created_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    run_id: Mapped[str] = mapped_column(String(64))
    registry_version: Mapped[str] = mapped_column(String(20))

    model: Mapped[Model] = relationship()
    members: Mapped[list["VersionMember"]] = relationship(order_by="VersionMember.request_id")
    reports: Mapped[list[Report]] = relationship(order_by=Report.id, viewonly=True)


class VersionMember(Base):
    """A request in a version's active set, with the projector that was approved."""

    __tablename__ = "version_members"

    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), primary_key=True)
    request_id: Mapped[int] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    projector_id: Mapped[int] = mapped_column(ForeignKey("projectors.id"))

    request: Mapped[Request] = relationship()
    projector: Mapped[ProjectorRecord] = relationship()


class Alias(Base):
    """The ledger's view of ``candidate`` and ``champion``; MLflow mirrors it."""

    __tablename__ = "aliases"

    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))

    version: Mapped[ModelVersion] = relationship()


class Notice(Base):
    """Something worth telling that no event says: a time that came, a check that failed; once for each occasion."""

    __tablename__ = "notices"
    __table_args__ = (UniqueConstraint("kind", "subject", "occasion"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(200))
    occasion: Mapped[str] = mapped_column(String(80))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class Outbox(Base):
    """How far log and notices were read for one endpoint; what lies before that became a delivery if it was wanted."""

    __tablename__ = "outboxes"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    event_cursor: Mapped[int]
    notice_cursor: Mapped[int]
    gone_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    added_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Delivery(Base):
    """One message for one endpoint. `tries` counts the attempts that were begun, `allowed` how many may be."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("outbox", "message"),
        Index("ix_deliveries_outbox_state_due_at", "outbox", "state", "due_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    outbox: Mapped[str] = mapped_column(ForeignKey("outboxes.name"))
    message: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(200))
    event_seq: Mapped[int | None] = mapped_column(ForeignKey("events.seq"))
    notice_id: Mapped[int | None] = mapped_column(ForeignKey("notices.id"))
    state: Mapped[str] = mapped_column(String(20))
    tries: Mapped[int]
    allowed: Mapped[int]
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    added_at: Mapped[datetime] = mapped_column(UtcDateTime)

    event: Mapped[Event | None] = relationship(viewonly=True)
    notice: Mapped[Notice | None] = relationship(viewonly=True)
    attempts: Mapped[list["DeliveryAttempt"]] = relationship(order_by="DeliveryAttempt.id")


class DeliveryAttempt(Base):
    """How one attempt at a delivery ended."""

    __tablename__ = "delivery_attempts"

    id: Mapped[int] = mapped_column(primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("deliveries.id"), index=True)
    number: Mapped[int]
    outcome: Mapped[str] = mapped_column(String(20))
    status: Mapped[int | None]
    excerpt: Mapped[str] = mapped_column(Text)
    seconds: Mapped[float]
    at: Mapped[datetime] = mapped_column(UtcDateTime)


OPERATIONAL_TABLES = ("notices", "outboxes", "deliveries", "delivery_attempts")
"""Tables that say who was told what. They are guarded like the others, but no evidence: no audit reads them."""

IMMUTABLE_TABLES = (
    "events",
    "tree_nodes",
    "checkpoints",
    "policies",
    "arrays",
    "models",
    "request_targets",
    "projectors",
    "evaluation_reports",
    "decisions",
    "overrides",
    "model_versions",
    "version_members",
    "notices",
    "delivery_attempts",
)
"""Tables whose rows triggers protect from UPDATE and DELETE."""
