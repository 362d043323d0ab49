"""The ledger: models, requests, projectors, reports, decisions, versions and the event log.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

from governance.ledger import guards

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "actors",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_actors")),
        sa.UniqueConstraint("name", name=op.f("uq_actors_name")),
    )
    op.create_table(
        "actor_keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("actor_id", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.String(length=71), nullable=False),
        sa.Column("public_key", sa.String(length=44), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["actor_id"], ["actors.id"], name=op.f("fk_actor_keys_actor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_actor_keys")),
        sa.UniqueConstraint("key_id", name=op.f("uq_actor_keys_key_id")),
    )
    op.create_index(op.f("ix_actor_keys_actor_id"), "actor_keys", ["actor_id"], unique=False)
    op.create_table(
        "arrays",
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("dtype", sa.String(length=16), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_arrays")),
    )
    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("name", name=op.f("uq_datasets_name")),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=80), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("prev_digest", sa.String(length=71), nullable=False),
        sa.Column("key_id", sa.String(length=71), nullable=True),
        sa.Column("signature", sa.String(length=88), nullable=True),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sa.UniqueConstraint("digest", name=op.f("uq_events_digest")),
        sa.UniqueConstraint("prev_digest", name=op.f("uq_events_prev_digest")),
    )
    op.create_index(op.f("ix_events_action_seq"), "events", ["action", "seq"], unique=False)
    op.create_index(op.f("ix_events_actor_seq"), "events", ["actor", "seq"], unique=False)
    op.create_index(
        op.f("ix_events_subject_action_seq"), "events", ["subject", "action", "seq"], unique=False
    )
    op.create_table(
        "tree_nodes",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_tree_nodes")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=71), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
    )
    op.create_index(op.f("ix_checkpoints_size"), "checkpoints", ["size"], unique=False)
    op.create_table(
        "policies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("adopted_by", sa.String(length=200), nullable=False),
        sa.Column("adopted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policies")),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("weights_digest", sa.String(length=71), nullable=False),
        sa.Column("config_digest", sa.String(length=71), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("fold_path", sa.String(length=200), nullable=False),
        sa.Column("logit_scale", sa.Double(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("labels_digest", sa.String(length=71), nullable=False),
        sa.Column("bank_rows", sa.String(length=71), nullable=False),
        sa.Column("bank_scores", sa.String(length=71), nullable=False),
        sa.Column("bank_paraphrases", sa.String(length=71), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["bank_rows"], ["arrays.digest"], name=op.f("fk_models_bank_rows")),
        sa.ForeignKeyConstraint(
            ["bank_scores"], ["arrays.digest"], name=op.f("fk_models_bank_scores")
        ),
        sa.ForeignKeyConstraint(
            ["bank_paraphrases"], ["arrays.digest"], name=op.f("fk_models_bank_paraphrases")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("name", name=op.f("uq_models_name")),
    )
    op.create_table(
        "model_versions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("factor_a", sa.String(length=71), nullable=False),
        sa.Column("factor_b", sa.String(length=71), nullable=False),
        sa.Column("weights_digest", sa.String(length=71), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("registry_version", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["factor_a"], ["arrays.digest"], name=op.f("fk_model_versions_factor_a")
        ),
        sa.ForeignKeyConstraint(
            ["factor_b"], ["arrays.digest"], name=op.f("fk_model_versions_factor_b")
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_versions_model_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("model_id", "number", name=op.f("uq_model_versions_model_id_number")),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("basis", sa.String(length=80), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("filed_by", sa.String(length=200), nullable=False),
        sa.Column("filed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retention", sa.String(length=40), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("redacted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_requests_model_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requests")),
    )
    op.create_index(op.f("ix_requests_basis_id"), "requests", ["basis", "id"], unique=False)
    op.create_index(op.f("ix_requests_filed_by_id"), "requests", ["filed_by", "id"], unique=False)
    op.create_index(op.f("ix_requests_held_id"), "requests", ["held", "id"], unique=False)
    op.create_index(
        op.f("ix_requests_model_id_state_id"), "requests", ["model_id", "state", "id"], unique=False
    )
    op.create_index(op.f("ix_requests_state_id"), "requests", ["state", "id"], unique=False)
    op.create_table(
        "aliases",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_aliases_model_id")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_versions.id"], name=op.f("fk_aliases_version_id")
        ),
        sa.PrimaryKeyConstraint("model_id", "name", name=op.f("pk_aliases")),
    )
    op.create_table(
        "private_texts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("scheme", sa.String(length=20), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("commitment", sa.String(length=71), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_private_texts_request_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_private_texts")),
    )
    op.create_index(
        op.f("ix_private_texts_request_id"), "private_texts", ["request_id"], unique=False
    )
    op.create_index(
        op.f("ix_private_texts_commitment"), "private_texts", ["commitment"], unique=False
    )
    op.create_table(
        "projectors",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("factor_a", sa.String(length=71), nullable=False),
        sa.Column("factor_b", sa.String(length=71), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("condition", sa.Double(), nullable=False),
        sa.Column("tolerance", sa.Double(), nullable=False),
        sa.Column("prepared_by", sa.String(length=200), nullable=False),
        sa.Column("prepared_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["factor_a"], ["arrays.digest"], name=op.f("fk_projectors_factor_a")
        ),
        sa.ForeignKeyConstraint(
            ["factor_b"], ["arrays.digest"], name=op.f("fk_projectors_factor_b")
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_projectors_request_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projectors")),
    )
    op.create_index(op.f("ix_projectors_request_id"), "projectors", ["request_id"], unique=False)
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("ruling", sa.String(length=20), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("projector_id", sa.Integer(), nullable=True),
        sa.Column("projector_digest", sa.String(length=71), nullable=True),
        sa.Column("report_digest", sa.String(length=71), nullable=True),
        sa.Column("policy_digest", sa.String(length=71), nullable=False),
        sa.Column("break_glass", sa.Boolean(), nullable=False),
        sa.Column("comment_id", sa.Integer(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["comment_id"], ["private_texts.id"], name=op.f("fk_decisions_comment_id")
        ),
        sa.ForeignKeyConstraint(
            ["projector_id"], ["projectors.id"], name=op.f("fk_decisions_projector_id")
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_decisions_request_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
    )
    op.create_index(op.f("ix_decisions_request_id"), "decisions", ["request_id"], unique=False)
    op.create_table(
        "request_targets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=True),
        sa.Column("domain", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_request_targets_request_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request_targets")),
    )
    op.create_index(
        op.f("ix_request_targets_request_id"), "request_targets", ["request_id"], unique=False
    )
    op.create_index(
        op.f("ix_request_targets_domain_request_id"),
        "request_targets",
        ["domain", "request_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_request_targets_label_request_id"),
        "request_targets",
        ["label", "request_id"],
        unique=False,
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("occasion", sa.String(length=80), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint(
            "kind", "subject", "occasion", name=op.f("uq_notices_kind_subject_occasion")
        ),
    )
    op.create_table(
        "outboxes",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("event_cursor", sa.Integer(), nullable=False),
        sa.Column("notice_cursor", sa.Integer(), nullable=False),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_outboxes")),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("outbox", sa.String(length=40), nullable=False),
        sa.Column("message", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("event_seq", sa.Integer(), nullable=True),
        sa.Column("notice_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("allowed", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["event_seq"], ["events.seq"], name=op.f("fk_deliveries_event_seq")
        ),
        sa.ForeignKeyConstraint(
            ["notice_id"], ["notices.id"], name=op.f("fk_deliveries_notice_id")
        ),
        sa.ForeignKeyConstraint(["outbox"], ["outboxes.name"], name=op.f("fk_deliveries_outbox")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("outbox", "message", name=op.f("uq_deliveries_outbox_message")),
    )
    op.create_index(
        "ix_deliveries_outbox_state_due_at",
        "deliveries",
        ["outbox", "state", "due_at"],
        unique=False,
    )
    op.create_table(
        "delivery_attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("excerpt", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_attempts_delivery_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_attempts")),
    )
    op.create_index(
        op.f("ix_delivery_attempts_delivery_id"), "delivery_attempts", ["delivery_id"], unique=False
    )
    op.create_table(
        "evaluation_reports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        sa.Column("projector_id", sa.Integer(), nullable=True),
        sa.Column("version_id", sa.Integer(), nullable=True),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_evaluation_reports_dataset_id")
        ),
        sa.ForeignKeyConstraint(
            ["projector_id"], ["projectors.id"], name=op.f("fk_evaluation_reports_projector_id")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_versions.id"], name=op.f("fk_evaluation_reports_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_reports")),
    )
    op.create_index(
        op.f("ix_evaluation_reports_digest"), "evaluation_reports", ["digest"], unique=False
    )
    op.create_index(
        op.f("ix_evaluation_reports_projector_id"),
        "evaluation_reports",
        ["projector_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_evaluation_reports_version_id"), "evaluation_reports", ["version_id"], unique=False
    )
    op.create_table(
        "version_members",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=False),
        sa.Column("projector_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["projector_id"], ["projectors.id"], name=op.f("fk_version_members_projector_id")
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_version_members_request_id")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_versions.id"], name=op.f("fk_version_members_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", "request_id", name=op.f("pk_version_members")),
    )

    op.create_table(
        "overrides",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Integer(), nullable=True),
        sa.Column("version_id", sa.Integer(), nullable=True),
        sa.Column("about", sa.String(length=71), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("gates", sa.JSON(), nullable=False),
        sa.Column("overridden_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_overrides_request_id")
        ),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_versions.id"], name=op.f("fk_overrides_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_overrides")),
    )
    op.create_index(op.f("ix_overrides_request_id"), "overrides", ["request_id"], unique=False)
    op.create_index(op.f("ix_overrides_version_id"), "overrides", ["version_id"], unique=False)

    for statement in guards.statements(op.get_bind().dialect.name):
        op.execute(statement)


def downgrade() -> None:
    connection = op.get_bind()
    if connection.scalar(sa.text("SELECT COUNT(*) FROM events")):
        raise RuntimeError(
            "the ledger holds events and will not be dropped; export it and drop it by hand"
        )
    for table in (
        "overrides",
        "delivery_attempts",
        "deliveries",
        "outboxes",
        "notices",
        "version_members",
        "evaluation_reports",
        "request_targets",
        "decisions",
        "projectors",
        "private_texts",
        "aliases",
        "requests",
        "model_versions",
        "models",
        "events",
        "datasets",
        "arrays",
        "policies",
        "checkpoints",
        "tree_nodes",
        "actor_keys",
        "actors",
    ):
        op.drop_table(table)
    if connection.dialect.name == "postgresql":
        for statement in guards.drop_functions():
            op.execute(statement)
