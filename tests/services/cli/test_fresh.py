"""Commands with a start and imports of their own. In other tests they are forks, which find everything imported."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from support.cli import fresh_flowyard
from support.remote import open_remote

_RUN: Final = "01a2314b-db8a-756f-a2f7-c5faef533b7a"
COMMANDS: Final[Sequence[Sequence[str]]] = (
    ["schema"],
    ["assistant"],
    ["triggers"],
    ["hooks", "send", "in/nowhere", "--payload", "poem.yaml"],
    ["notifications"],
    ["chat", "poem", "-m", "Hello"],
    ["chats"],
    ["ask", _RUN],
    ["migrate"],
)
"""All that no page of the documentation types."""


async def test_a_command_does_the_same_whatever_was_imported_before(
    database_url: str, nats_url: str, tmp_path: Path
) -> None:
    async with open_remote(database_url, nats_url, tmp_path) as remote:
        await remote.applied()
        for words in COMMANDS:
            fresh = await asyncio.to_thread(fresh_flowyard, *words, cwd=tmp_path, env=remote.environment)
            assert fresh == await remote.process(*words)
