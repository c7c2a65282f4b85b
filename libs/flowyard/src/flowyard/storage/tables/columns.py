"""What all tables share: their metadata, and columns that several have."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, DateTime, Index, MetaData, text
from sqlalchemy.sql.functions import now

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


POSITION: Final = "CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('event_positions'::regclass) END"
"""The order of the public events. The transaction has its number before it takes a position: see `public_events`."""


def position_column() -> Column[object]:
    comment = "in the order of public events; null: from before there were any"
    return Column("position", BigInteger, server_default=text(POSITION), comment=comment)


def position_index(name: str) -> Index:
    # Positions only ascend: no page is ever inserted into, so none needs room.
    full = {"fillfactor": "100"}
    return Index(name, "position", postgresql_where=text("position IS NOT NULL"), postgresql_with=full)


def time_column(
    name: str, *, default_now: bool = False, nullable: bool = False, comment: str | None = None
) -> Column[object]:
    default = now() if default_now else None
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default, comment=comment)
