"""What Alembic asks first. The connection is given: `flowyard.storage.schema` has the lock on it."""

from __future__ import annotations

from alembic import context

from flowyard.storage.tables import metadata

_LEFT_BEHIND = {"checkpoints", "checkpoint_writes", "checkpoint_values", "head_checkpoint"}
"""Tables and a column that only executors of the release before still use. The next release drops them."""

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_server_default=True,
    include_name=lambda name, _kind, _parents: name not in _LEFT_BEHIND,
    # CREATE INDEX CONCURRENTLY needs a migration that runs outside of a transaction, and alone.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
