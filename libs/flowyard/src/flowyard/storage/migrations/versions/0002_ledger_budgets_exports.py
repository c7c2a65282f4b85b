"""Retries in the ledger, what a day has cost, and runs that wait to be exported."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "model_calls",
        sa.Column(
            "retries",
            sa.SmallInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="tries of its step before it",
        ),
    )
    op.create_table(
        "daily_spending",
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False, comment="of UTC"),
        sa.Column("tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("model_calls", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("usd", sa.Numeric(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("workflow", "day", name=op.f("pk_daily_spending")),
        comment="What the calls of a day have come to, and what those in flight may come to at most.",
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "export_targets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_export_targets")),
        comment="Where finished runs are sent to. Without a row here, `exports` stays empty.",
    )
    op.create_table(
        "exports",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "tries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False, comment="how often it was refused"
        ),
        sa.PrimaryKeyConstraint("target", "run_id", name=op.f("pk_exports")),
        comment="Finished runs that still have to be sent. A trigger on `runs` writes it.",
    )
    op.execute((Path(__file__).parent / "0002_run_finished.sql").read_text())
    op.execute(
        "CREATE TRIGGER run_finished AFTER UPDATE OF status ON runs FOR EACH ROW"
        " WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL) EXECUTE FUNCTION run_finished()"
    )
