"""What Alembic asks first. The connection is given: `flowyard.storage.schema` has the lock on it."""

from __future__ import annotations

from alembic import context

from flowyard.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_server_default=True,
    # CREATE INDEX CONCURRENTLY needs a migration that runs outside of a transaction, and alone.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
