"""What starts runs, and whom their ends are reported to."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSON

from flowyard.runs.deliveries import OUTCOMES
from flowyard.storage.tables.columns import metadata, time_column

triggers = Table(
    "triggers",
    metadata,
    Column("workflow", Text, ForeignKey("workflows.name", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("path", Text, comment="of a webhook"),
    Column("subject", Text, comment="of messages of NATS"),
    Column("follows", Text, comment="the workflow whose ends start runs"),
    Column("ends", ARRAY(Text), comment="the statuses with which these runs end"),
    Column("revision", Integer, nullable=False, comment="the workflow's current one: triggers are made with it"),
    Column("enabled", Boolean, nullable=False, comment="as its document says"),
    time_column("paused_at", nullable=True),
    time_column("created_at", default_now=True),
    Column("rule", Text, comment="of a schedule"),
    Column("due_at", DateTime(timezone=True), comment="of a schedule: when it has to be looked at"),
    Column("handled_at", DateTime(timezone=True), comment="of a schedule: earlier fires were started or skipped"),
    Column("fires", BigInteger, nullable=False, server_default=text("0"), comment="that were recorded"),
    Column(
        "open_runs", ARRAY(Uuid), nullable=False, server_default=text("'{}'"), comment="that a schedule has started"
    ),
    PrimaryKeyConstraint("workflow", "name"),
    Index("ix_triggers_path", "path", unique=True, postgresql_where=text("path IS NOT NULL")),
    Index("ix_triggers_follows", "follows", postgresql_where=text("follows IS NOT NULL")),
    Index("ix_triggers_due", "due_at", postgresql_where=text("due_at IS NOT NULL AND enabled AND paused_at IS NULL")),
    comment="What starts runs, of each workflow's current revision.",
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    time_column("received_at", default_now=True),
    Column("run_id", Uuid, comment="that it has started; of a repeated one: that the first has started"),
    Column("replays", Uuid, comment="the delivery that an operator has replayed"),
    Column("body_size", Integer, nullable=False, comment="bytes, as they came"),
    Column("status", SmallInteger, comment="of the response"),
    Column("digest", LargeBinary, comment="SHA-256 of the body as it came; null: it wasn't read"),
    Column("workflow", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, comment="why it is unverified, refused or failed"),
    Column("sender_id", Text, comment="the same in all copies of it"),
    Column("key", Text, comment="no other delivery may have it for a day"),
    Column("fire_at", DateTime(timezone=True), comment="the instant of a schedule's fire"),
    Column("address", Text, comment="of the client"),
    Column("method", Text),
    Column("query", JSON),
    Column("headers", JSON),
    Column("payload", JSON, comment="null: too large, or not verified"),
    CheckConstraint(f"outcome IN ({', '.join(repr(o) for o in OUTCOMES)})", name="outcome"),
    Index("ix_deliveries_key", "key", unique=True, postgresql_where=text("key IS NOT NULL")),
    Index("ix_deliveries_workflow_id", "workflow", "id"),
    Index(
        "ix_deliveries_fire",
        "workflow",
        "trigger",
        "fire_at",
        unique=True,
        postgresql_where=text("fire_at IS NOT NULL"),
    ),
    Index("ix_deliveries_waiting", "workflow", "trigger", "fire_at", postgresql_where=text("outcome = 'waiting'")),
    comment="What came for triggers, and what became of it. Secrets are masked.",
)

run_ends = Table(
    "run_ends",
    metadata,
    Column("run_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False, comment="of the event that ended the run"),
    Column("takes", Integer, nullable=False, server_default=text("0"), comment="how often a process has taken it"),
    time_column("ended_at"),
    time_column("taken_until", nullable=True),
    Column("workflow", Text, nullable=False, comment="of the trigger"),
    Column("trigger", Text, nullable=False),
    Column("status", Text, nullable=False, comment="of the run"),
    Column("error", JSON, comment="of the run"),
    PrimaryKeyConstraint("run_id", "seq", "workflow", "trigger"),
    Index("ix_run_ends_ended_at", "ended_at"),
    comment="Ends of runs that triggers wait for. A trigger on `runs` inserts them.",
)

event_relays = Table(
    "event_relays",
    metadata,
    Column("name", Text, primary_key=True, comment="of the stream that it publishes to"),
    Column("position", BigInteger, nullable=False, comment="of the last row whose events the stream has"),
    Column("holder", Text, comment="the process that publishes; null: none"),
    time_column("lease_until", nullable=True),
    # Rewritten in place.
    postgresql_with={"fillfactor": "50"},
    comment="How far the public events are published. Without a row here, none are.",
)

receivers = Table(
    "receivers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("workflow", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column(
        "failures",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="notifications in a row that it has never accepted",
    ),
    time_column("tried_at"),
    time_column("accepted_at", nullable=True),
    time_column("failing_since", nullable=True, comment="null: it has accepted the last one"),
    time_column("not_before", nullable=True, comment="as it has demanded"),
    time_column("disabled_at", nullable=True),
    Column("why_disabled", Text),
    Column("last_failure", Text),
    # Rewritten in place, with each try.
    postgresql_with={"fillfactor": "50"},
    comment="Where notifications were sent to, and how that went.",
)

notifications = Table(
    "notifications",
    metadata,
    Column("run_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False, comment="of the event that ended the run"),
    Column("place", SmallInteger, nullable=False, comment="of the receiver in the run's `on_finish`"),
    Column("tries", SmallInteger, nullable=False, server_default=text("0")),
    Column(
        "takes",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="how often a process has taken it: who sends it shows this number",
    ),
    time_column("finished_at"),
    time_column("next_at", comment="when it may be taken"),
    time_column("taken_until", nullable=True, comment="null: no process is sending it"),
    Column(
        "messages",
        SmallInteger,
        nullable=False,
        server_default=text("0"),
        comment="of a reply, that the chat has taken",
    ),
    Column("receiver", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("run_status", Text, nullable=False),
    Column("error", JSON, comment="of the run"),
    Column("answers", JSON, comment="to the last tries"),
    PrimaryKeyConstraint("run_id", "seq", "place"),
    CheckConstraint("state IN ('waiting', 'sent', 'failed')", name="state"),
    Index("ix_notifications_waiting", "receiver", "next_at", postgresql_where=text("state = 'waiting'")),
    Index("ix_notifications_failed", "run_id", postgresql_where=text("state = 'failed'")),
    Index("ix_notifications_taken", "receiver", postgresql_where=text("taken_until IS NOT NULL")),
    Index("ix_notifications_receiver_run_id", "receiver", "run_id"),
    comment="Ends of runs that are reported to receivers. A trigger on `runs` inserts them.",
)
