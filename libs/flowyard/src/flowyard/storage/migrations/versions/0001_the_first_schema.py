"""The first schema."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_agents_and_checkpoint_writes()
    _create_checkpoints_and_events()
    _create_model_calls()
    _create_runs()
    _create_steps_and_workflows()
    _create_revisions_and_sessions()


def _create_agents_and_checkpoint_writes() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("capabilities", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "load", postgresql.JSON(astext_type=sa.Text()), nullable=False, comment="what its last heartbeat told"
        ),
        sa.Column("registered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agents")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the whole key"),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "checkpoint_values",
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("thread_id", "digest", name=op.f("pk_checkpoint_values")),
        comment="Large values of the state: checkpoints refer to them instead of repeating them.",
    )
    op.create_table(
        "checkpoint_writes",
        sa.Column("thread_id", sa.Text(), nullable=False),
        sa.Column("ns", sa.Text(), nullable=False),
        sa.Column("checkpoint_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("task_path", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint(
            "thread_id", "ns", "checkpoint_id", "task_id", "index", name=op.f("pk_checkpoint_writes")
        ),
        comment="Results of steps whose superstep isn't over.",
    )


def _create_checkpoints_and_events() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("thread_id", sa.Text(), nullable=False, comment="the run"),
        sa.Column("ns", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("checkpoint", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.Column("metadata", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("thread_id", "ns", "id", name=op.f("pk_checkpoints")),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.05"},
    )
    op.create_table(
        "claims",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("executor", sa.Text(), nullable=True, comment="null: nobody has it now"),
        sa.Column("head_checkpoint", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_claims")),
        comment="One row per open run that was ever claimed: the only row that a step changes.",
        postgresql_with={"fillfactor": "50", "autovacuum_vacuum_scale_factor": "0.05"},
    )
    op.create_table(
        "definitions",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_definitions")),
        sa.UniqueConstraint("digest", name=op.f("uq_definitions_digest")),
        comment="Documents by their digest. Revisions and runs refer to them; one that nobody refers to is swept away.",
    )
    op.create_table(
        "events",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, comment="of the last entry"),
        sa.Column("entries", postgresql.JSON(astext_type=sa.Text()), nullable=False, comment="see `packing`"),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_events")),
        comment="What was committed together is one row.",
    )


def _create_model_calls() -> None:
    op.create_table(
        "model_calls",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, comment="of the event that tells of it"),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("tokens_in", sa.Integer(), nullable=True),
        sa.Column("tokens_out", sa.Integer(), nullable=True),
        sa.Column("tokens_cached", sa.Integer(), nullable=True),
        sa.Column("duration_s", sa.REAL(), nullable=False),
        sa.Column("first_token_s", sa.REAL(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True, comment="its code"),
        sa.Column("cost_usd", sa.Numeric(), nullable=True, comment="null: unknown, which is not zero"),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_model_calls")),
    )
    op.create_index("ix_model_calls_at", "model_calls", ["at"], unique=False, postgresql_using="brin")


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("definition", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="of the last claim"),
        sa.Column("last_seq", sa.Integer(), nullable=False, comment="of the last event, while there is no claim"),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("max_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("timeout_s", sa.REAL(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wake_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("forked_from", sa.Uuid(), nullable=True),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True, comment="Idempotency-Key, and whose it is"),
        sa.Column("inputs", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.Column("outputs", postgresql.JSON(astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSON(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "fork",
            postgresql.JSON(astext_type=sa.Text()),
            nullable=True,
            comment="the step before which it leaves its origin, and the changed fields",
        ),
        sa.CheckConstraint(
            "(finished_at IS NULL) = (status IN ('queued', 'running', 'waiting'))", name=op.f("ck_runs_finished")
        ),
        sa.CheckConstraint("status <> 'waiting' OR wake_at IS NOT NULL", name=op.f("ck_runs_wakes")),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_runs_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(
        "ix_runs_broken",
        "runs",
        ["status", "id"],
        unique=False,
        postgresql_where=sa.text("status IN ('failed', 'cancelled')"),
    )


def _create_steps_and_workflows() -> None:
    op.create_index(
        "ix_runs_held",
        "runs",
        ["status", "id"],
        unique=False,
        postgresql_where=sa.text("status IN ('running', 'waiting')"),
    )
    op.create_index("ix_runs_key", "runs", ["key"], unique=True, postgresql_where=sa.text("key IS NOT NULL"))
    op.create_index(
        "ix_runs_queued",
        "runs",
        ["workflow", sa.literal_column("priority DESC"), "queued_at"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index("ix_runs_workflow_id", "runs", ["workflow", "id"], unique=False)
    op.create_table(
        "steps",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("visit", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False, comment="-1: not an item of a map"),
        sa.Column("seq", sa.Integer(), nullable=False, comment="of the event that ended it"),
        sa.Column("tries", sa.SmallInteger(), nullable=False),
        sa.Column("duration_s", sa.REAL(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("handled", sa.Text(), nullable=True),
        sa.Column("outputs", postgresql.JSON(astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSON(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint("status IN ('succeeded', 'failed', 'waiting')", name=op.f("ck_steps_status")),
        sa.PrimaryKeyConstraint("run_id", "node", "visit", "item", name=op.f("pk_steps")),
    )
    op.create_table(
        "workflows",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False, comment="the number of the current one"),
        sa.Column(
            "concurrency", sa.Integer(), nullable=True, comment="how many of its runs may run at once; null: no limit"
        ),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workflows")),
    )


def _create_revisions_and_sessions() -> None:
    op.create_table(
        "revisions",
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("definition", sa.Integer(), nullable=False),
        sa.Column(
            "restores", sa.Integer(), nullable=True, comment="the number of the revision that a rollback brought back"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["definition"], ["definitions.id"], name=op.f("fk_revisions_definition")),
        sa.ForeignKeyConstraint(
            ["workflow"], ["workflows.name"], name=op.f("fk_revisions_workflow"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workflow", "number", name=op.f("pk_revisions")),
    )
    op.create_index(op.f("ix_revisions_definition"), "revisions", ["definition"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the cookie"),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_sessions_key_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_key_id"), "sessions", ["key_id"], unique=False)
    op.execute((Path(__file__).parent / "0001_claim_runs.sql").read_text())
