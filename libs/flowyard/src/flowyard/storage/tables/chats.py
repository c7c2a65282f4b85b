"""Conversations: which runs belong to one another."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from flowyard.storage.tables.columns import metadata, time_column

chat_sessions = Table(
    "chat_sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("workflow", Text, nullable=False),
    Column("key_id", Text, nullable=False, comment="the API key whose conversation it is"),
    Column("name", Text, nullable=False, comment="as its client calls it"),
    Column("title", Text, comment="that its user has given it"),
    Column("opening", Text, comment="the beginning of its first message"),
    Column("turns", Integer, nullable=False, server_default=text("0"), comment="the number of the last one"),
    Column("last_run", Uuid, comment="of the last turn"),
    time_column("created_at", default_now=True),
    time_column("used_at", default_now=True),
    UniqueConstraint("workflow", "key_id", "name"),
    Index("ix_chat_sessions_key_id_id", "key_id", "id"),
    Index("ix_chat_sessions_used_at", "used_at"),
    comment="Conversations. What was said in one is in its runs.",
)

chat_turns = Table(
    "chat_turns",
    metadata,
    Column("session_id", Uuid, ForeignKey("chat_sessions.id", ondelete="CASCADE"), nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False, comment="from 1"),
    Column("new_messages", Integer, nullable=False, comment="how many of the run's messages, the last ones, are new"),
    Column("messages", Text, nullable=False, comment="the input of the run that has the messages"),
    Column("answer", Text, nullable=False, comment="the output of the run that has the answer"),
    Column("about", JSON(none_as_null=True), comment="of a response: what it repeats of its request"),
    Column("replaces", Integer, comment="the number of a turn: it, and those after it, are left out since this one"),
    PrimaryKeyConstraint("session_id", "number"),
    Index("ix_chat_turns_run_id", "run_id", unique=True),
    comment="The turns of conversations: each is a run.",
)
