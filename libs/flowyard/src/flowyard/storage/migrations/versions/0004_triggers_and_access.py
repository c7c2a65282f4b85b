"""What starts runs, whom their ends are reported to, and who may do what: triggers, notifications, keys, the audit log,
conversations.

It also gives each row of events a position, by which the public events are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

_OUTCOMES = (
    "'started', 'repeated', 'unmatched', 'failed', 'unverified', 'refused', 'paused', 'answered', 'waiting', 'skipped'"
)
_FAILURES = "notifications in a row that it has never accepted"
_TAKES = "how often a process has taken it: who sends it shows this number"
_MESSAGES = "of a reply, that the chat has taken"
_WAITING = "state = 'waiting'"


# Services of the release before are at work on them, and lock several in one transaction: it gets all or none of them,
# and gives up before Postgres looks for a deadlock, which would end one of these transactions.
_LOCK_BUSY_TABLES = """
SET LOCAL lock_timeout = '300ms';
LOCK TABLE workflows, runs, events, steps, step_parts, api_keys IN ACCESS EXCLUSIVE MODE;
SET LOCAL lock_timeout = 0;
"""


def upgrade() -> None:
    for statement in _LOCK_BUSY_TABLES.split(";")[:-1]:
        op.execute(statement)
    _make_triggers()
    _make_deliveries()
    _make_run_ends()
    _make_public_events()
    _change_keys()
    _make_audit()
    _make_notifications()
    _make_chats()
    _add_tools()


def _make_triggers() -> None:
    now = sa.text("now()")
    op.create_table(
        "triggers",
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), comment="of a webhook"),
        sa.Column("subject", sa.Text(), comment="of messages of NATS"),
        sa.Column("follows", sa.Text(), comment="the workflow whose ends start runs"),
        sa.Column("ends", postgresql.ARRAY(sa.Text()), comment="the statuses with which these runs end"),
        sa.Column(
            "revision", sa.Integer(), nullable=False, comment="the workflow's current one: triggers are made with it"
        ),
        sa.Column("enabled", sa.Boolean(), nullable=False, comment="as its document says"),
        sa.Column("paused_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("rule", sa.Text(), comment="of a schedule"),
        sa.Column("due_at", sa.DateTime(timezone=True), comment="of a schedule: when it has to be looked at"),
        sa.Column(
            "handled_at", sa.DateTime(timezone=True), comment="of a schedule: earlier fires were started or skipped"
        ),
        sa.Column("fires", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="that were recorded"),
        sa.Column(
            "open_runs",
            postgresql.ARRAY(sa.Uuid()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="that a schedule has started",
        ),
        sa.ForeignKeyConstraint(
            ["workflow"], ["workflows.name"], name=op.f("fk_triggers_workflow"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workflow", "name", name=op.f("pk_triggers")),
        comment="What starts runs, of each workflow's current revision.",
    )
    op.create_index("ix_triggers_path", "triggers", ["path"], unique=True, postgresql_where=sa.text("path IS NOT NULL"))
    follows = sa.text("follows IS NOT NULL")
    op.create_index("ix_triggers_follows", "triggers", ["follows"], postgresql_where=follows)
    due = sa.text("due_at IS NOT NULL AND enabled AND paused_at IS NULL")
    op.create_index("ix_triggers_due", "triggers", ["due_at"], postgresql_where=due)


def _make_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("run_id", sa.Uuid(), comment="that it has started; of a repeated one: that the first has started"),
        sa.Column("replays", sa.Uuid(), comment="the delivery that an operator has replayed"),
        sa.Column("body_size", sa.Integer(), nullable=False, comment="bytes, as they came"),
        sa.Column("status", sa.SmallInteger(), comment="of the response"),
        sa.Column("digest", sa.LargeBinary(), comment="SHA-256 of the body as it came; null: it wasn't read"),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), comment="why it is unverified, refused or failed"),
        sa.Column("sender_id", sa.Text(), comment="the same in all copies of it"),
        sa.Column("key", sa.Text(), comment="no other delivery may have it for a day"),
        sa.Column("fire_at", sa.DateTime(timezone=True), comment="the instant of a schedule's fire"),
        sa.Column("address", sa.Text(), comment="of the client"),
        sa.Column("method", sa.Text()),
        sa.Column("query", postgresql.JSON(astext_type=sa.Text())),
        sa.Column("headers", postgresql.JSON(astext_type=sa.Text())),
        sa.Column("payload", postgresql.JSON(astext_type=sa.Text()), comment="null: too large, or not verified"),
        sa.CheckConstraint(f"outcome IN ({_OUTCOMES})", name="outcome"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        comment="What came for triggers, and what became of it. Secrets are masked.",
    )
    key = sa.text("key IS NOT NULL")
    op.create_index("ix_deliveries_key", "deliveries", ["key"], unique=True, postgresql_where=key)
    op.create_index("ix_deliveries_workflow_id", "deliveries", ["workflow", "id"])
    fire, waiting = sa.text("fire_at IS NOT NULL"), sa.text("outcome = 'waiting'")
    columns = ["workflow", "trigger", "fire_at"]
    op.create_index("ix_deliveries_fire", "deliveries", columns, unique=True, postgresql_where=fire)
    op.create_index("ix_deliveries_waiting", "deliveries", columns, postgresql_where=waiting)


def _make_run_ends() -> None:
    depth = "how many runs started it, one another"
    op.add_column(
        "runs", sa.Column("depth", sa.SmallInteger(), server_default=sa.text("0"), nullable=False, comment=depth)
    )
    takes = "how often a process has taken it"
    op.create_table(
        "run_ends",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, comment="of the event that ended the run"),
        sa.Column("takes", sa.Integer(), server_default=sa.text("0"), nullable=False, comment=takes),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken_until", sa.DateTime(timezone=True)),
        sa.Column("workflow", sa.Text(), nullable=False, comment="of the trigger"),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, comment="of the run"),
        sa.Column("error", postgresql.JSON(astext_type=sa.Text()), comment="of the run"),
        sa.PrimaryKeyConstraint("run_id", "seq", "workflow", "trigger", name=op.f("pk_run_ends")),
        comment="Ends of runs that triggers wait for. A trigger on `runs` inserts them.",
    )
    op.create_index(op.f("ix_run_ends_ended_at"), "run_ends", ["ended_at"])
    op.execute((Path(__file__).parent / "0004_run_finished.sql").read_text())


def _make_public_events() -> None:
    """Rows that are there already get no position: they aren't published, and the tables aren't rewritten."""
    op.execute("CREATE SEQUENCE event_positions")
    default = "CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('event_positions'::regclass) END"
    comment = "in the order of public events; null: from before there were any"
    for table in ("runs", "events"):
        op.add_column(table, sa.Column("position", sa.BigInteger(), comment=comment))
        op.alter_column(table, "position", server_default=sa.text(default))
        there = sa.text("position IS NOT NULL")
        full = {"fillfactor": "100"}
        op.create_index(f"ix_{table}_position", table, ["position"], postgresql_where=there, postgresql_with=full)
    op.create_table(
        "event_relays",
        sa.Column("name", sa.Text(), nullable=False, comment="of the stream that it publishes to"),
        sa.Column("position", sa.BigInteger(), nullable=False, comment="of the last row whose events the stream has"),
        sa.Column("holder", sa.Text(), comment="the process that publishes; null: none"),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_event_relays")),
        comment="How far the public events are published. Without a row here, none are.",
        postgresql_with={"fillfactor": "50"},
    )


def _change_keys() -> None:
    for column in (
        sa.Column("workflows", postgresql.ARRAY(sa.Text()), comment="the only ones that it is for; null: all"),
        sa.Column("rate", sa.Integer(), comment="requests per minute; null: no limit"),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.Column("old_hash", sa.LargeBinary(), comment="as `hash`, of the secret before the last rotation"),
        sa.Column("old_until", sa.DateTime(timezone=True)),
    ):
        op.add_column("api_keys", column)
    op.create_check_constraint("admin", "api_keys", "workflows IS NULL OR NOT 'admin' = ANY (scopes)")
    op.create_table(
        "key_pace",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_key_pace")),
        prefixes=["UNLOGGED"],
        comment="When the requests of keys with a rate are paid off, at that rate.",
        postgresql_with={"fillfactor": "50"},
    )
    for name in ("0004_caller_of_key.sql", "0004_key_used.sql"):
        op.execute((Path(__file__).parent / name).read_text())


def _make_audit() -> None:
    at = sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    columns: list[sa.Column[Any]] = [
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), comment="null: it was done without a key"),
        sa.Column("who", sa.Text(), nullable=False, comment="the key's name, or what did it without a key"),
        sa.Column("address", sa.Text(), comment="null: it was done on the machine of the stack"),
        sa.Column("workflow", sa.Text()),
        sa.Column("objects", postgresql.ARRAY(sa.Text()), nullable=False, comment="ids of what it was done with"),
        sa.Column("details", postgresql.JSON(astext_type=sa.Text())),
    ]
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        at,
        *columns,
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
        comment="Acts that aren't part of the chain yet. Services may add to them, and no more.",
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        *(sa.Column(column.name, column.type, nullable=column.nullable) for column in columns),
        sa.Column(
            "previous", sa.LargeBinary(), nullable=False, comment="the hash of the row before; of the first one: zeros"
        ),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of all the others, see chain_audit"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
        comment="Who did what. Nobody but its owner can add, change or delete; `chain_audit` adds.",
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    for name in ("0004_object_hashes.sql", "0004_chain_audit.sql", "0004_forget_audit.sql"):
        # As it is: SQLAlchemy would take the colons of a time for parameters.
        op.get_bind().exec_driver_sql((Path(__file__).parent / name).read_text())
    op.create_index("ix_audit_objects", "audit", [sa.text("object_hashes(objects)")], postgresql_using="gin")


def _make_notifications() -> None:
    about = "whom its end is reported to; null: nobody"
    op.add_column("runs", sa.Column("on_finish", postgresql.JSON(astext_type=sa.Text()), comment=about))
    op.create_table(
        "receivers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False, comment=_FAILURES),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True)),
        sa.Column("failing_since", sa.DateTime(timezone=True), comment="null: it has accepted the last one"),
        sa.Column("not_before", sa.DateTime(timezone=True), comment="as it has demanded"),
        sa.Column("disabled_at", sa.DateTime(timezone=True)),
        sa.Column("why_disabled", sa.Text()),
        sa.Column("last_failure", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receivers")),
        comment="Where notifications were sent to, and how that went.",
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "notifications",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False, comment="of the event that ended the run"),
        sa.Column("place", sa.SmallInteger(), nullable=False, comment="of the receiver in the run's `on_finish`"),
        sa.Column("tries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("takes", sa.Integer(), server_default=sa.text("0"), nullable=False, comment=_TAKES),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False, comment="when it may be taken"),
        sa.Column("taken_until", sa.DateTime(timezone=True), comment="null: no process is sending it"),
        sa.Column("messages", sa.SmallInteger(), server_default=sa.text("0"), nullable=False, comment=_MESSAGES),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("run_status", sa.Text(), nullable=False),
        sa.Column("error", postgresql.JSON(astext_type=sa.Text()), comment="of the run"),
        sa.Column("answers", postgresql.JSON(astext_type=sa.Text()), comment="to the last tries"),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'failed')", name="state"),
        sa.PrimaryKeyConstraint("run_id", "seq", "place", name=op.f("pk_notifications")),
        comment="Ends of runs that are reported to receivers. A trigger on `runs` inserts them.",
    )
    op.create_index(
        "ix_notifications_waiting", "notifications", ["receiver", "next_at"], postgresql_where=sa.text(_WAITING)
    )
    op.create_index(
        "ix_notifications_failed", "notifications", ["run_id"], postgresql_where=sa.text("state = 'failed'")
    )
    op.create_index(
        "ix_notifications_taken", "notifications", ["receiver"], postgresql_where=sa.text("taken_until IS NOT NULL")
    )
    op.create_index(op.f("ix_notifications_receiver_run_id"), "notifications", ["receiver", "run_id"])
    op.execute((Path(__file__).parent / "0004_run_notifies.sql").read_text())
    op.execute(
        "CREATE TRIGGER run_notifies AFTER UPDATE OF status ON runs FOR EACH ROW"
        " WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL AND NEW.on_finish IS NOT NULL)"
        " EXECUTE FUNCTION run_notifies()"
    )


def _make_chats() -> None:
    about = "the conversation whose turn it is; null: of none"
    op.add_column("runs", sa.Column("session_id", sa.Uuid(), comment=about))
    now = sa.text("now()")
    op.create_table(
        "chat_sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False, comment="the API key whose conversation it is"),
        sa.Column("name", sa.Text(), nullable=False, comment="as its client calls it"),
        sa.Column("title", sa.Text(), comment="that its user has given it"),
        sa.Column("opening", sa.Text(), comment="the beginning of its first message"),
        sa.Column(
            "turns", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="the number of the last one"
        ),
        sa.Column("last_run", sa.Uuid(), comment="of the last turn"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_sessions")),
        sa.UniqueConstraint("workflow", "key_id", "name", name=op.f("uq_chat_sessions_workflow_key_id_name")),
        comment="Conversations. What was said in one is in its runs.",
    )
    op.create_index(op.f("ix_chat_sessions_key_id_id"), "chat_sessions", ["key_id", "id"])
    op.create_index(op.f("ix_chat_sessions_used_at"), "chat_sessions", ["used_at"])
    new = "how many of the run's messages, the last ones, are new"
    replaces = "the number of a turn: it, and those after it, are left out since this one"
    op.create_table(
        "chat_turns",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="from 1"),
        sa.Column("new_messages", sa.Integer(), nullable=False, comment=new),
        sa.Column("messages", sa.Text(), nullable=False, comment="the input of the run that has the messages"),
        sa.Column("answer", sa.Text(), nullable=False, comment="the output of the run that has the answer"),
        sa.Column("about", sa.JSON(none_as_null=True), comment="of a response: what it repeats of its request"),
        sa.Column("replaces", sa.Integer(), comment=replaces),
        sa.ForeignKeyConstraint(
            ["session_id"], ["chat_sessions.id"], name=op.f("fk_chat_turns_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", "number", name=op.f("pk_chat_turns")),
        comment="The turns of conversations: each is a run.",
    )
    op.create_index(op.f("ix_chat_turns_run_id"), "chat_turns", ["run_id"], unique=True)


def _add_tools() -> None:
    """Calls of tools are parts of steps, as those of models are."""
    op.add_column("step_parts", sa.Column("tool", sa.Text(), comment="that was called; null: a model was"))
    call = "of a tool: its place in the reply that asks for it"
    op.add_column("step_parts", sa.Column("call", sa.SmallInteger(), comment=call))
    result = "from which its step goes on, as JSON; null: not kept"
    op.add_column("step_parts", sa.Column("result", sa.Text(), comment=result))
    op.create_table_comment(
        "step_parts",
        "The ledger: each model call, from when it is made, and each call of a tool. The view `model_calls` has the"
        " model calls that have ended.",
    )
    op.execute(
        "CREATE OR REPLACE VIEW model_calls AS SELECT * FROM step_parts"
        " WHERE NOT (status IN ('reserved', 'running')) AND tool IS NULL"
    )
    source = "of the tools: their folder, an API, another server"
    op.create_table(
        "announced_tools",
        sa.Column("executor", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment=source),
        sa.Column("announced_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tools", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("executor", "source", name=op.f("pk_announced_tools")),
        comment="The tools of executors that aren't built in, as they announce them.",
    )
