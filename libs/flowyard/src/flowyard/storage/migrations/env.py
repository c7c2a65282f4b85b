"""What Alembic asks first. The connection is given: `flowyard.storage.schema` has the lock on it."""

from __future__ import annotations

from typing import Any

from alembic import context

from flowyard.storage.tables import metadata

_LEFT_BEHIND = {"checkpoints", "checkpoint_writes", "checkpoint_values", "head_checkpoint"}
"""Tables and a column that only executors of the release before still use. The next release drops them."""


def _is_compared(compared: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:  # noqa: FBT001
    """Alembic would evaluate the defaults of positions to compare them, and a sequence has no value twice."""
    return kind != "column" or name != "position" or compared.table.name not in ("events", "runs")


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_server_default=True,
    include_name=lambda name, _kind, _parents: name not in _LEFT_BEHIND,
    include_object=_is_compared,
    # CREATE INDEX CONCURRENTLY needs a migration that runs outside of a transaction, and alone.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
