"""Steps are the only record of a run: they hold its decisions, and what is at work.

The tables of checkpoints, `claims.head_checkpoint`, and the way in which executors of the release before claim runs
stay until the next release, so that these can finish what they have claimed.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

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
    op.add_column("claims", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("claims", sa.Column("step_deadline", sa.DateTime(timezone=True), nullable=True))
    for column in (
        sa.Column("start_seq", sa.Integer(), comment="of the event with which it last began"),
        sa.Column("deadline", sa.DateTime(timezone=True)),
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
    op.create_table(
        "daily_reservations",
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False, comment="of UTC"),
        sa.Column("executor", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("model_calls", sa.Integer(), nullable=False),
        sa.Column("usd", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("workflow", "day", "executor", name=op.f("pk_daily_reservations")),
        comment="The part of daily_spending that is reserved for calls in flight, by executor.",
        postgresql_with={"fillfactor": "50"},
    )
    op.execute("DROP FUNCTION claim_runs(text, integer, interval)")
    for name in ("0003_claim_runs.sql", "0003_claim_runs_of_old_executors.sql"):
        op.execute((Path(__file__).parent / name).read_text())
