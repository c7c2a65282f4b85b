"""Values that must not be found anywhere, and the looking for them."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import asyncpg


def canary() -> str:
    """As keys look: nothing else holds it, however it is spelled."""
    return f"canary{secrets.token_hex(12)}"


@dataclass
class Watch:
    """`canaries`: what is looked for, by what it is. `found`: where one of them was.

    `planted` is no secret, and is to be found: `seen` says in which kinds of places it was.
    """

    canaries: dict[str, str]
    planted: str = field(default_factory=canary)
    seen: set[str] = field(default_factory=set)
    found: list[str] = field(default_factory=list)

    def look(self, where: str, text: str) -> None:
        kind = where.partition(" ")[0]
        if any(form in text for _, form in spellings(self.planted)):
            self.seen.add(kind)
        for name, value in self.canaries.items():
            for spelling, form in spellings(value):
                if form in text:
                    at = text.index(form)
                    self.found.append(f"{name} ({spelling}) in {where}: …{text[max(0, at - 120) : at + 40]}…")

    def look_at_bytes(self, where: str, data: bytes) -> None:
        self.look(where, data.decode("utf-8", errors="replace"))


def spellings(value: str) -> Iterator[tuple[str, str]]:
    data = value.encode()
    yield "plain", value
    yield "JSON", json.dumps(value)[1:-1]
    yield "URL", quote(value, safe="")
    yield "form", quote_plus(value)
    yield "hex", data.hex()
    yield "HEX", data.hex().upper()
    # Base64 of a longer text that it stands in, wherever: what its neighbours can't change.
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + data).decode()
        yield "Base64", whole[(8 * before + 5) // 6 : len(whole) - 4]


async def look_at_database(watch: Watch, url: str) -> None:
    """Every row of every table, as text."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables"
            " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        for table in tables:
            for row in await connection.fetch(f"SELECT t::text AS row FROM {table['name']} t"):
                watch.look(f"table {table['name']}", row["row"])
        for row in await connection.fetch("SELECT query FROM pg_stat_activity"):
            watch.look("activity", row["query"] or "")
    finally:
        await connection.close()


def look_at_files(watch: Watch, folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            watch.look_at_bytes(f"file {file.relative_to(folder)}", file.read_bytes())
