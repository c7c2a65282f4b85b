"""A program that docs/events.md shows follows what happens to runs."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Final

import httpx
import pytest

from support.cli import clean_environment
from support.documents import ROOT, programs
from support.system import System

PAGE: Final = ROOT / "docs" / "events.md"
DOCUMENT: Final = """\
flow: {name: sums}
state: {fields: {a: {type: int, required: true}, b: int}}
nodes: [{id: add, set: {b: {expr: a + 1}}}]
"""


@pytest.mark.timeout(120)
async def test_the_subscriber_of_the_page_reads_each_event_of_a_run(system: System, tmp_path: Path) -> None:
    [program] = programs(PAGE)
    (tmp_path / "follow.py").write_text(program)
    async with httpx.AsyncClient(base_url=system.url, headers=system.headers, timeout=30) as client:
        assert (await client.put("/v1/workflows/sums", content=DOCUMENT)).is_success
        run = (await client.post("/v1/workflows/sums/runs", params={"wait": 20}, json={"inputs": {"a": 1}})).json()
    assert run["status"] == "succeeded"
    url = await asyncio.to_thread(system.nats_url, "events")
    process = await asyncio.create_subprocess_exec(
        sys.executable, tmp_path / "follow.py", env={**clean_environment(), "EVENTS_URL": url}, stdout=PIPE
    )
    try:
        assert process.stdout is not None
        seen = []
        async with asyncio.timeout(60):
            async for line in process.stdout:
                kind, subject, data = line.decode().split(" ", 2)
                seen += [(kind, data)] if subject == run["id"] else []
                if (kind, subject) == ("flowyard.run.succeeded", run["id"]):
                    break
    finally:
        process.kill()
        await process.wait()
    assert [kind for kind, _ in seen] == ["flowyard.run.queued", "flowyard.run.claimed", "flowyard.run.succeeded"]
    assert "'outputs': {'b': 2}" in seen[-1][1]
