"""A database that remembers which statements it was sent."""

from __future__ import annotations

from typing import Any

import asyncpg

from flowyard.storage.database import Database


class Watched(Database):
    """The pool of another one. `statements`: those that return rows, in order; `given`: the arguments of those for many
    rows.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database._pool)
        # Whoever closes the pool gives them back.
        self._kept = database._kept
        self.statements: list[str] = []
        self.given: list[tuple[Any, ...]] = []

    async def rows(self, statement: str, *args: Any) -> list[asyncpg.Record]:
        self.statements.append(statement)
        self.given.append(args)
        return await super().rows(statement, *args)

    async def row(self, statement: str, *args: Any) -> asyncpg.Record | None:
        self.statements.append(statement)
        return await super().row(statement, *args)

    async def value(self, statement: str, *args: Any) -> Any:
        self.statements.append(statement)
        return await super().value(statement, *args)
