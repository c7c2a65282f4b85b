"""Workflows, their runs, and what is recorded of these."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, REAL

from flowyard.runs.run import STATES, STEP_STATUSES
from flowyard.storage.tables.columns import metadata, position_column, position_index, time_column

definitions = Table(
    "definitions",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("document", Text, nullable=False),
    time_column("created_at", default_now=True),
    comment="Documents by their digest. Revisions and runs refer to them; one that nobody refers to is swept away.",
)

workflows = Table(
    "workflows",
    metadata,
    Column("name", Text, primary_key=True),
    Column("revision", Integer, nullable=False, comment="the number of the current one"),
    Column("concurrency", Integer, comment="how many of its runs may run at once; null: no limit"),
    Column("priority", SmallInteger, nullable=False),
    time_column("created_at", default_now=True),
    time_column("updated_at", default_now=True),
)

revisions = Table(
    "revisions",
    metadata,
    Column("workflow", Text, ForeignKey("workflows.name", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("definition", Integer, ForeignKey("definitions.id"), nullable=False, index=True),
    Column("restores", Integer, comment="the number of the revision that a rollback brought back"),
    time_column("created_at", default_now=True),
    PrimaryKeyConstraint("workflow", "number"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("definition", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("epoch", Integer, nullable=False, server_default=text("0"), comment="of the last claim"),
    Column("last_seq", Integer, nullable=False, comment="of the last event, while there is no claim"),
    Column("priority", SmallInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False, server_default=text("0")),
    Column("engine", SmallInteger, nullable=False, server_default=text("0"), comment="the rules by which it goes on"),
    Column("max_attempts", SmallInteger, nullable=False),
    Column(
        "depth", SmallInteger, nullable=False, server_default=text("0"), comment="how many runs started it, one another"
    ),
    Column("timeout_s", REAL),
    Column("worked_s", REAL, nullable=False, server_default=text("0"), comment="under the claims that are over"),
    time_column("created_at", default_now=True),
    time_column("queued_at", default_now=True),
    time_column("started_at", nullable=True),
    time_column("finished_at", nullable=True),
    time_column("wake_at", nullable=True),
    time_column("deadline", nullable=True),
    time_column("cancel_requested_at", nullable=True),
    Column("fingerprint", LargeBinary),
    Column("forked_from", Uuid),
    Column("workflow", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("key", Text, comment="Idempotency-Key, and whose it is"),
    Column("inputs", JSON, nullable=False),
    Column("outputs", JSON),
    Column("error", JSON),
    Column("fork", JSON, comment="the step before which it leaves its origin, and the changed fields"),
    position_column(),
    Column("on_finish", JSON, comment="whom its end is reported to; null: nobody"),
    Column("session_id", Uuid, comment="the conversation whose turn it is; null: of none"),
    CheckConstraint(f"status IN ({', '.join(repr(s) for s in STATES)})", name="status"),
    CheckConstraint("(finished_at IS NULL) = (status IN ('queued', 'running', 'waiting'))", name="finished"),
    CheckConstraint("status <> 'waiting' OR wake_at IS NOT NULL", name="wakes"),
    Index("ix_runs_workflow_id", "workflow", "id"),
    Index("ix_runs_queued", "workflow", text("priority DESC"), "queued_at", postgresql_where=text("status = 'queued'")),
    Index("ix_runs_held", "status", "id", postgresql_where=text("status IN ('running', 'waiting')")),
    Index("ix_runs_broken", "status", "id", postgresql_where=text("status IN ('failed', 'cancelled')")),
    Index("ix_runs_alone", "queued_at", postgresql_where=text("status = 'queued' AND attempt >= 2")),
    position_index("ix_runs_position"),
    Index("ix_runs_key", "key", unique=True, postgresql_where=text("key IS NOT NULL")),
)

claims = Table(
    "claims",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("last_seq", Integer, nullable=False),
    time_column("claimed_at", nullable=True),
    time_column("lease_until", nullable=True),
    Column("executor", Text, comment="null: nobody has it now"),
    time_column("step_deadline", nullable=True),
    Column("spent_usd", Numeric, comment="of the run's budget, by calls that have ended; null: see the ledger"),
    Column("spent_tokens", BigInteger),
    Column("spent_calls", Integer),
    Column("seen", Text, comment="what its executor has last said of itself"),
    # No index but the primary key, and room in each page: what changes with every step is rewritten in place.
    postgresql_with={"fillfactor": "50", "autovacuum_vacuum_scale_factor": "0.05"},
    comment="One row per open run that was ever claimed: the only row that a step changes.",
)

events = Table(
    "events",
    metadata,
    Column("run_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False, comment="of the last entry"),
    Column("entries", JSON, nullable=False, comment="see `packing`"),
    position_column(),
    PrimaryKeyConstraint("run_id", "seq"),
    position_index("ix_events_position"),
    comment="What was committed together is one row.",
)

steps = Table(
    "steps",
    metadata,
    Column("run_id", Uuid, nullable=False),
    Column("visit", Integer, nullable=False),
    Column("item", Integer, nullable=False, comment="-1: not an item of a map"),
    Column("seq", Integer, nullable=False, comment="of the event that ended it"),
    Column("start_seq", Integer, comment="of the event with which it last began"),
    Column("tries", SmallInteger, nullable=False),
    Column("duration_s", REAL),
    time_column("started_at"),
    time_column("deadline", nullable=True),
    Column("left_s", REAL, comment="of its time, while that doesn't run"),
    time_column("wake_at", nullable=True),
    Column("node", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default=text("'step'")),
    Column("status", Text, nullable=False),
    Column("handled", Text),
    Column("next", JSON, comment="how the run went on after it"),
    Column("outputs", JSON),
    Column("error", JSON),
    PrimaryKeyConstraint("run_id", "node", "visit", "item"),
    CheckConstraint(f"status IN ({', '.join(repr(s) for s in STEP_STATUSES)})", name="status"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("engine", SmallInteger, nullable=False, comment="the rules by which it was made"),
    Column("through_seq", Integer, nullable=False, comment="of the last event before it was made"),
    Column("state", JSON, nullable=False),
    comment="Where open runs stand, so that the steps before needn't be read again. May be deleted at any time.",
)

step_parts = Table(
    "step_parts",
    metadata,
    Column("run_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False, comment="of the event that tells of it"),
    Column("visit", Integer, nullable=False),
    Column("item", Integer, nullable=False),
    Column("part", Integer, nullable=False),
    Column("round", SmallInteger, nullable=False, server_default=text("0")),
    Column("question", SmallInteger, nullable=False, server_default=text("0")),
    Column("tokens_in", Integer),
    Column("tokens_out", Integer),
    Column("tokens_cached", Integer),
    Column("duration_s", REAL, nullable=False),
    Column("first_token_s", REAL),
    time_column("at"),
    Column("node", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'done'")),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("error", Text, comment="its code"),
    Column("retries", SmallInteger, nullable=False, server_default=text("0"), comment="tries of its step before it"),
    Column("cost_usd", Numeric, comment="null: unknown, which is not zero"),
    Column("reserved_tokens", BigInteger),
    Column("reserved_usd", Numeric),
    Column("texts", Text, comment="what was said, as JSON; null: not kept"),
    Column("tool", Text, comment="that was called; null: a model was"),
    Column("call", SmallInteger, comment="of a tool: its place in the reply that asks for it"),
    Column("result", Text, comment="from which its step goes on, as JSON; null: not kept"),
    PrimaryKeyConstraint("run_id", "node", "visit", "item", "part"),
    Index("ix_step_parts_at", "at", postgresql_using="brin"),
    comment="The ledger: each model call, from when it is made, and each call of a tool. The view `model_calls` has the"
    " model calls that have ended.",
)

daily_spending = Table(
    "daily_spending",
    metadata,
    Column("workflow", Text, nullable=False),
    Column("day", Date, nullable=False, comment="of UTC"),
    Column("tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("model_calls", Integer, nullable=False, server_default=text("0")),
    Column("usd", Numeric, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("workflow", "day"),
    # Rewritten in place, with each call of a workflow whose day is limited.
    postgresql_with={"fillfactor": "50"},
    comment="What the calls of a day have come to, and what those in flight may come to at most.",
)

daily_reservations = Table(
    "daily_reservations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("workflow", Text, nullable=False),
    Column("day", Date, nullable=False, comment="of UTC"),
    Column("executor", Text, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("model_calls", Integer, nullable=False),
    Column("usd", Numeric, nullable=False),
    comment="The part of daily_spending that is reserved for calls in flight.",
)

model_pace = Table(
    "model_pace",
    metadata,
    Column("name", Text, primary_key=True, comment="of the limit"),
    time_column("requests_at", default_now=True),
    time_column("tokens_at", default_now=True),
    time_column("held_until", default_now=True),
    time_column("slowed_at", default_now=True),
    Column("slowdown", Double, nullable=False, server_default=text("1"), comment="after a 429; at `slowed_at`"),
    # Rewritten in place, with each call under the limit.
    postgresql_with={"fillfactor": "50"},
    comment="When the requests and tokens that were taken are paid off at the limit's pace.",
)

model_leases = Table(
    "model_leases",
    metadata,
    Column("name", Text, nullable=False, comment="of the limit"),
    Column("call", Uuid, nullable=False, index=True),
    time_column("until"),
    Column("tokens_s", Double, nullable=False, comment="by how much its tokens have moved `tokens_at`, in seconds"),
    PrimaryKeyConstraint("name", "call"),
    comment="The calls under a limit that are at work.",
)

model_waits = Table(
    "model_waits",
    metadata,
    Column("name", Text, nullable=False, comment="of the limit"),
    Column("executor", Text, nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("longest_s", Double, nullable=False),
    Column("rate_limited", Boolean, nullable=False, comment="a 429 has slowed the calls down"),
    time_column("seen_at"),
    PrimaryKeyConstraint("name", "executor"),
    comment="How many calls have waited for a limit for a second. Shown to people; may be some seconds old.",
)

export_targets = Table(
    "export_targets",
    metadata,
    Column("name", Text, primary_key=True),
    time_column("created_at", default_now=True),
    comment="Where finished runs are sent to. Without a row here, `exports` stays empty.",
)

exports = Table(
    "exports",
    metadata,
    Column("target", Text, nullable=False),
    Column("run_id", Uuid, nullable=False),
    time_column("finished_at"),
    time_column("taken_until", nullable=True),
    Column("tries", SmallInteger, nullable=False, server_default=text("0"), comment="how often it was refused"),
    Column(
        "begun", SmallInteger, nullable=False, server_default=text("0"), comment="how often, since the last outcome"
    ),
    PrimaryKeyConstraint("target", "run_id"),
    comment="Finished runs that still have to be sent. A trigger on `runs` writes it.",
)
