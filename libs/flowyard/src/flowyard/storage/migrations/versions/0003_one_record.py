"""Steps are the only record of a run: they hold its decisions, and what is at work, and so do the rows of their calls.

The tables of checkpoints, `claims.head_checkpoint`, and the way in which executors of the release before claim runs
stay until the next release, so that these can finish what they have claimed.
"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

_OPEN_PART = "(status IN ('reserved', 'running'))"
_STATUSES = "'running', 'waiting', 'succeeded', 'failed', 'retrying', 'interrupted'"


def upgrade() -> None:
    op.add_column(
        "runs",
        sa.Column(
            "engine",
            sa.SmallInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="the rules by which it goes on",
        ),
    )
    op.add_column(
        "runs",
        sa.Column(
            "worked_s", sa.REAL(), server_default=sa.text("0"), nullable=False, comment="under the claims that are over"
        ),
    )
    begun = sa.Column(
        "begun",
        sa.SmallInteger(),
        server_default=sa.text("0"),
        nullable=False,
        comment="how often, since the last outcome",
    )
    op.add_column("exports", begun)
    op.add_column("claims", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("claims", sa.Column("step_deadline", sa.DateTime(timezone=True), nullable=True))
    _change_steps()
    _make_daily_reservations()
    op.add_column("agents", sa.Column("key_id", sa.Text(), comment="the API key that registered it; null: an executor"))
    _make_step_parts()
    _make_snapshots()
    _make_model_limits()
    # A function, since it belongs to the schema: whoever empties tables keeps it.
    op.execute(f"CREATE FUNCTION installation_id() RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT '{uuid4()}'$$")
    op.execute("DROP FUNCTION claim_runs(text, integer, interval)")
    for name in ("0003_claim_runs.sql", "0003_claim_runs_of_old_executors.sql"):
        op.execute((Path(__file__).parent / name).read_text())


def _change_steps() -> None:
    for column in (
        sa.Column("start_seq", sa.Integer(), comment="of the event with which it last began"),
        sa.Column("deadline", sa.DateTime(timezone=True)),
        sa.Column("left_s", sa.REAL(), comment="of its time, while that doesn't run"),
        sa.Column("wake_at", sa.DateTime(timezone=True)),
        sa.Column("kind", sa.Text(), server_default=sa.text("'step'"), nullable=False),
        sa.Column("next", postgresql.JSON(astext_type=sa.Text()), comment="how the run went on after it"),
    ):
        op.add_column("steps", column)
    op.alter_column("steps", "duration_s", nullable=True)
    op.drop_constraint("status", "steps", type_="check")
    op.create_check_constraint("status", "steps", f"status IN ({_STATUSES})")
    # A step that has failed its run is executed again only with this mark; a run that is open was retried, or its
    # executor was lost between the two.
    op.execute(
        "UPDATE steps s SET status = 'retrying' FROM runs r WHERE r.id = s.run_id AND s.status = 'failed'"
        " AND s.handled = 'fail' AND r.status IN ('queued', 'running', 'waiting')"
    )


def _make_daily_reservations() -> None:
    op.create_table(
        "daily_reservations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False, comment="of UTC"),
        sa.Column("executor", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("model_calls", sa.Integer(), nullable=False),
        sa.Column("usd", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_daily_reservations")),
        comment="The part of daily_spending that is reserved for calls in flight.",
    )


def _make_step_parts() -> None:
    """The ledger: a call's row exists before the call ends. Its old name is a view of those that have ended, which
    executors of the release before still write to.
    """
    op.rename_table("model_calls", "step_parts")
    for name, kind, default in (
        ("part", sa.Integer(), None),
        ("round", sa.SmallInteger(), "0"),
        ("question", sa.SmallInteger(), "0"),
        ("status", sa.Text(), "'done'"),
        ("reserved_tokens", sa.BigInteger(), None),
        ("reserved_usd", sa.Numeric(), None),
    ):
        given = sa.text(default) if default is not None else None
        op.add_column("step_parts", sa.Column(name, kind, server_default=given, nullable=default is None))
    op.add_column("step_parts", sa.Column("texts", sa.Text(), comment="what was said, as JSON; null: not kept"))
    op.execute(
        "UPDATE step_parts SET part = seq, status = CASE WHEN error IS NULL THEN 'done'"
        " WHEN tokens_in IS NULL THEN 'lost' ELSE 'failed' END"
    )
    op.drop_constraint("pk_model_calls", "step_parts", type_="primary")
    op.create_primary_key("pk_step_parts", "step_parts", ["run_id", "node", "visit", "item", "part"])
    op.execute("ALTER INDEX ix_model_calls_at RENAME TO ix_step_parts_at")
    op.create_table_comment(
        "step_parts",
        "The ledger: each model call, from when it is made. The view `model_calls` has those that have ended.",
    )
    op.execute(f"CREATE VIEW model_calls AS SELECT * FROM step_parts WHERE NOT {_OPEN_PART}")  # noqa: S608  # no value
    op.execute((Path(__file__).parent / "0003_step_part_of_old_executor.sql").read_text())
    op.execute(
        "CREATE TRIGGER step_part_of_old_executor BEFORE INSERT ON step_parts FOR EACH ROW WHEN (NEW.part IS NULL)"
        " EXECUTE FUNCTION step_part_of_old_executor()"
    )
    spent = "of the run's budget, by calls that have ended; null: see the ledger"
    op.add_column("claims", sa.Column("spent_usd", sa.Numeric(), comment=spent))
    op.add_column("claims", sa.Column("spent_tokens", sa.BigInteger()))
    op.add_column("claims", sa.Column("spent_calls", sa.Integer()))
    op.add_column("claims", sa.Column("seen", sa.Text(), comment="what its executor has last said of itself"))
    alone = sa.text("status = 'queued' AND attempt >= 2")
    op.create_index("ix_runs_alone", "runs", ["queued_at"], postgresql_where=alone)


def _make_snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("engine", sa.SmallInteger(), nullable=False, comment="the rules by which it was made"),
        sa.Column("through_seq", sa.Integer(), nullable=False, comment="of the last event before it was made"),
        sa.Column("state", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_snapshots")),
        comment="Where open runs stand, so that the steps before needn't be read again. May be deleted at any time.",
    )


def _make_model_limits() -> None:
    now = sa.text("now()")
    op.create_table(
        "model_pace",
        sa.Column("name", sa.Text(), nullable=False, comment="of the limit"),
        sa.Column("requests_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("tokens_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("held_until", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("slowed_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column(
            "slowdown", sa.Double(), server_default=sa.text("1"), nullable=False, comment="after a 429; at `slowed_at`"
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_model_pace")),
        comment="When the requests and tokens that were taken are paid off at the limit's pace.",
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "model_leases",
        sa.Column("name", sa.Text(), nullable=False, comment="of the limit"),
        sa.Column("call", sa.Uuid(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "tokens_s", sa.Double(), nullable=False, comment="by how much its tokens have moved `tokens_at`, in seconds"
        ),
        sa.PrimaryKeyConstraint("name", "call", name=op.f("pk_model_leases")),
        comment="The calls under a limit that are at work.",
    )
    op.create_table(
        "model_waits",
        sa.Column("name", sa.Text(), nullable=False, comment="of the limit"),
        sa.Column("executor", sa.Text(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("longest_s", sa.Double(), nullable=False),
        sa.Column("rate_limited", sa.Boolean(), nullable=False, comment="a 429 has slowed the calls down"),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", "executor", name=op.f("pk_model_waits")),
        comment="How many calls have waited for a limit for a second. Shown to people; may be some seconds old.",
    )
    op.create_index(op.f("ix_model_leases_call"), "model_leases", ["call"])
    op.execute((Path(__file__).parent / "0003_admit_model_call.sql").read_text())
