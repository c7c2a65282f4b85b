"""The documents and the program of docs/messages.md start runs, and get the answer that the page promises."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from support.cli import clean_environment
from support.documents import ROOT, programs, yaml_blocks
from support.system import System
from support.waiting import eventually

PAGE: Final = ROOT / "docs" / "messages.md"


@pytest.mark.timeout(120)
async def test_the_program_of_the_page_starts_runs_and_these_start_others(system: System, tmp_path: Path) -> None:
    [program] = programs(PAGE)
    shipping, follow_up = (block.text for block in yaml_blocks(PAGE))
    (tmp_path / "send.py").write_text(program)
    async with httpx.AsyncClient(base_url=system.url, headers=system.headers, timeout=30) as client:
        for name, document in (("shipping", shipping), ("follow-up", follow_up)):
            response = await client.put(f"/v1/workflows/{name}", content=document.encode())
            assert response.is_success, response.text
        url = await asyncio.to_thread(system.nats_url, "messages")
        process = await asyncio.create_subprocess_exec(
            sys.executable, tmp_path / "send.py", env={**clean_environment(), "MESSAGES_URL": url}, stdout=PIPE
        )
        printed, _ = await asyncio.wait_for(process.communicate(), 60)
        stream, answer = printed.decode().splitlines()
        assert stream == "TRIGGERS"
        answered = json.loads(answer)
        assert (answered["outcome"], answered["status"]) == ("started", "succeeded")
        assert answered["outputs"] == {"text": "Order 8 is on its way. "}

        async def lengths() -> list[Any]:
            page = (await client.get("/v1/runs", params={"workflow": "follow-up"})).json()
            runs = [(await client.get(f"/v1/runs/{item['id']}")).json() for item in page["items"]]
            found = sorted(run["outputs"]["length"] for run in runs if run["status"] == "succeeded")
            return found if len(found) == 2 else []

        assert await eventually(lengths) == [
            len("Order 8 is on its way. "),
            len("Order 7 is on its way. Mind the dog."),
        ]
