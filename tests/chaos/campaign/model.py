"""The model of a campaign, as a process of its own: `python -m chaos.campaign.model LOG`.

It prints its address, and ends with its standard input. LOG gets a line of JSON for each request, when it comes.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaos.campaign.shapes import reply_delay_s, reply_to
from support.wire.behaviour import Behaviour, Late, Text
from support.wire.openai import openai_server
from support.wire.server import Request

_TESTS: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Asked:
    """A request that the model received. `at`: in seconds since 1970; `key`: its Idempotency-Key, `-` without it."""

    at: float
    key: str
    prompt: str


@contextmanager
def model_process(log: Path) -> Iterator[str]:
    """The address of a model that writes this log."""
    command = [sys.executable, "-m", "chaos.campaign.model", str(log)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_TESTS, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(10)


def read_log(log: Path) -> list[Asked]:
    return [Asked(**json.loads(line)) for line in log.read_text(encoding="utf-8").splitlines()]


async def _serve(log: Path) -> None:
    with log.open("w", encoding="utf-8", buffering=1) as lines:

        def reply(request: Request) -> Behaviour:
            prompt = str(request.body["messages"][-1]["content"])
            line = {"at": time.time(), "key": request.headers.get("idempotency-key", "-"), "prompt": prompt}
            lines.write(f"{json.dumps(line)}\n")
            server.requests.clear()  # the log has them
            return Late(Text(reply_to(prompt)), reply_delay_s(prompt))

        async with openai_server(reply) as server:
            sys.stdout.write(f"{server.url}\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
