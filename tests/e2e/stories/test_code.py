"""Code of strangers, executed by the sandbox of a whole stack."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from flowyard.language.code import read_code
from flowyard.language.nodes import CodeTier
from support.escapes import ESCAPES, FILES, KEEPS, LOOKS, NETWORK, PROCESSES
from support.system import EXECUTORS, System
from support.visitor import Visitor
from support.waiting import eventually

pytestmark = pytest.mark.timeout(120)

TIERS: Final[tuple[CodeTier, ...]] = ("fast", "full")
CANARY: Final = "canary-81c2aa"
IN_CONTAINERS: Final = "/run/flowyard/sandbox/nats_url"
"""The only secret in the container of a sandbox."""


def workflow(name: str, tier: CodeTier, codes: Mapping[str, str], **limits: Any) -> str:
    """Each code is a node, with what it finds in a field of its name."""
    sandbox = json.dumps({"tier": tier, **limits})
    nodes = "\n".join(
        f"  - {{id: {node}, outputs: [f_{node}], sandbox: {sandbox}, retry: 0, on_error: continue, "
        f"inputs: {{SECRET: '{{secret}}', PORT: '{{port}}'}}, code: {json.dumps(code, ensure_ascii=False)}}}"
        for node, code in codes.items()
    )
    fields = "".join(f"    f_{node}: any\n" for node in codes)
    return (
        f"flow: {{name: {name}}}\nstate:\n  fields:\n    secret: {{type: str, default: '/x'}}\n"
        f"    port: {{type: int, default: 1}}\n{fields}nodes:\n{nodes}\n"
    )


async def test_code_is_executed_and_what_it_prints_is_recorded(visitor: Visitor) -> None:
    codes = {"a": "print('seen', PORT)\nresult = {'n': PORT + 1, 'u': 'é😀'}", "b": "print('no')\nresult = 1 / 0"}
    for tier in TIERS:
        await visitor.apply(f"code-{tier}", workflow(f"code-{tier}", tier, codes))
        run = await visitor.ended(await visitor.submit(f"code-{tier}", port=41))
        assert run["outputs"] == {"f_a": {"n": 42, "u": "é😀"}}
        printed = [event["data"] for event in await visitor.events(run["id"]) if event["type"] == "code.printed"]
        assert [(data["node"], data["text"]) for data in printed] == [("a", "seen 41\n"), ("b", "no\n")]


@pytest.mark.parametrize("tier", TIERS)
async def test_no_public_escape_gets_anything_of_the_host(visitor: Visitor, tmp_path: Path, tier: CodeTier) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(CANARY)
    tried = {f"e{number}": code for number, code in enumerate(ESCAPES.values())}
    tried |= {"files": FILES, "processes": PROCESSES, "keeps": KEEPS, "looks": LOOKS}
    # The others are refused when the document is applied.
    codes = {name: code for name, code in tried.items() if not read_code(code, tier).findings}
    await visitor.apply(f"escapes-{tier}", workflow(f"escapes-{tier}", tier, codes))
    for path in (str(secret), IN_CONTAINERS):
        run = await visitor.ended(await visitor.submit(f"escapes-{tier}", secret=path))
        assert run["status"] == "succeeded"
        shown = json.dumps([run, await visitor.events(run["id"])])
        for of_host in (CANARY, "root:x:0", "nats://", "flowyard_sandbox", "HOSTNAME", "left behind"):
            assert of_host not in shown
        assert [run["outputs"][f"f_{name}"] for name in {"files", "processes"} & codes.keys()] in ([[]], [[], []])
    assert not secret.with_name("secret.txt.pth").exists()


async def test_no_packet_leaves(visitor: Visitor) -> None:
    """No tier has `socket`, as `apply` says. The tier `full` can look for it in another way."""
    code = NETWORK.replace("import socket", "socket = __import__('importlib').import_module('socket')")
    code = code.replace("import urllib.request", "request = __import__('importlib').import_module('urllib.request')")
    code = code.replace("urllib.request.urlopen", "request.urlopen")
    arrived: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(await reader.read(100))
        writer.close()

    async with await asyncio.start_server(note, "0.0.0.0", 0) as server:  # also for containers
        port = server.sockets[0].getsockname()[1]
        await visitor.apply("packets", workflow("packets", "full", {"n": code}))
        run = await visitor.ended(await visitor.submit("packets", port=port))
    assert run["status"] == "succeeded"
    assert "SENT" not in json.dumps(run["outputs"])
    assert arrived == []


async def test_bombs_fail_alone(visitor: Visitor) -> None:
    bombs = {
        "loop": "while True:\n    result = 1",
        "memory": "kept = []\nwhile True:\n    kept.append('x' * 1_000_000)\nresult = 1",
        "output": "while True:\n    print('x' * 1_000_000)\nresult = 1",
        "recursion": "def f(n):\n    return f(n + 1)\nresult = f(0)",
        "levels": "x = []\nfor i in range(100_000):\n    x = [x]\nresult = x",
        "large": "result = 'x' * 3_000_000",
        "fine": "result = 1",
    }
    for tier in TIERS:
        await visitor.apply(f"bombs-{tier}", workflow(f"bombs-{tier}", tier, bombs, timeout=1, memory_mb=64))
        run = await visitor.ended(await visitor.submit(f"bombs-{tier}"))
        assert (run["status"], run["outputs"]) == ("succeeded", {"f_fine": 1})


async def test_code_outlives_its_executors_and_its_sandbox(visitor: Visitor, system: System) -> None:
    slow = "import time\ntime.sleep(3)\nresult = PORT"
    await visitor.apply("slow", workflow("slow", "fast", {"a": slow}))
    run_id = await visitor.submit("slow", port=7)
    started = await eventually(lambda: _started(visitor, run_id))
    assert started
    killed = {name: system.send(name, signal.SIGKILL) for name in (*EXECUTORS, "sandbox-1")}
    for name, starts in killed.items():
        await system.back(name, after=starts)
    run = await visitor.ended(run_id)
    assert run["outputs"] == {"f_a": 7}


async def _started(visitor: Visitor, run_id: str) -> bool:
    return any(event["type"] == "step.started" for event in await visitor.events(run_id))
