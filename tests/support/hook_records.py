"""What a test reads of webhooks: what is stored of them, and how they were answered."""

from __future__ import annotations

from typing import Any

import httpx

from flowyard.storage.database import Database


async def deliveries(database: Database) -> list[dict[str, Any]]:
    return [dict(row) for row in await database.rows("SELECT * FROM deliveries ORDER BY received_at, id")]


async def runs_of(database: Database) -> int:
    return int(await database.value("SELECT count(*) FROM runs"))


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]
