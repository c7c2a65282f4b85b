"""Agents and their tools, keys, sessions, and who did what."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSON

from flowyard.storage.tables.columns import metadata, time_column

agents = Table(
    "agents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("capabilities", JSON, nullable=False),
    Column("load", JSON, nullable=False, comment="what its last heartbeat told"),
    Column("key_id", Text, comment="the API key that registered it; null: an executor"),
    time_column("registered_at", default_now=True),
    time_column("heartbeat_at", default_now=True),
)

announced_tools = Table(
    "announced_tools",
    metadata,
    Column("executor", Text, primary_key=True),
    Column("source", Text, primary_key=True, comment="of the tools: their folder, an API, another server"),
    time_column("announced_at", default_now=True),
    Column("tools", JSON, nullable=False),
    comment="The tools of executors that aren't built in, as they announce them.",
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of the whole key"),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("workflows", ARRAY(Text), comment="the only ones that it is for; null: all"),
    Column("rate", Integer, comment="requests per minute; null: no limit"),
    time_column("created_at", default_now=True),
    time_column("expires_at", nullable=True),
    time_column("last_used_at", nullable=True),
    time_column("revoked_at", nullable=True),
    Column("old_hash", LargeBinary, comment="as `hash`, of the secret before the last rotation"),
    time_column("old_until", nullable=True),
    # Who creates keys could create one for all workflows.
    CheckConstraint("workflows IS NULL OR NOT 'admin' = ANY (scopes)", name="admin"),
)

key_pace = Table(
    "key_pace",
    metadata,
    Column("key_id", Text, primary_key=True),
    time_column("paid_at"),
    # Rewritten in place, with each request of a key that has a rate. What a crash of Postgres forgets doesn't matter.
    prefixes=["UNLOGGED"],
    postgresql_with={"fillfactor": "50"},
    comment="When the requests of keys with a rate are paid off, at that rate.",
)

sessions = Table(
    "sessions",
    metadata,
    Column("hash", LargeBinary, primary_key=True, comment="SHA-256 of the cookie"),
    Column("key_id", Text, ForeignKey("api_keys.id", ondelete="CASCADE"), nullable=False, index=True),
    time_column("created_at", default_now=True),
    time_column("expires_at"),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    time_column("at", default_now=True),
    Column("act", Text, nullable=False),
    Column("key_id", Text, comment="null: it was done without a key"),
    Column("who", Text, nullable=False, comment="the key's name, or what did it without a key"),
    Column("address", Text, comment="null: it was done on the machine of the stack"),
    Column("workflow", Text),
    Column("objects", ARRAY(Text), nullable=False, comment="ids of what it was done with"),
    Column("details", JSON),
    comment="Acts that aren't part of the chain yet. Services may add to them, and no more.",
)

audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    time_column("at"),
    Column("act", Text, nullable=False),
    Column("key_id", Text),
    Column("who", Text, nullable=False),
    Column("address", Text),
    Column("workflow", Text),
    Column("objects", ARRAY(Text), nullable=False),
    Column("details", JSON),
    Column("previous", LargeBinary, nullable=False, comment="the hash of the row before; of the first one: zeros"),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of all the others, see chain_audit"),
    Index("ix_audit_at", "at"),
    Index("ix_audit_objects", text("object_hashes(objects)"), postgresql_using="gin"),
    comment="Who did what. Nobody but its owner can add, change or delete; `chain_audit` adds.",
)
