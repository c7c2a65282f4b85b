"""How fast webhooks are received, beside a bare FastAPI route that verifies them and inserts one row each.

Both are processes of their own, with the same Postgres, whose disk they share, and the same number of cores with the
clients. The requests are small, signed by HMAC-SHA256, and each has an id of its own. They take short turns, so that a
busy machine slows both down; what counts is the median of the turns' ratios. Then requests come at a fixed rate, each
of them twice, to see how long they take and that none starts two runs. No executor is at work: its runs are measured by
benchmarks/stack.py.

    .venv/bin/python benchmarks/hooks.py
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import aiohttp
import asyncpg
import uvicorn
from fastapi import FastAPI, HTTPException, Request

from flowyard.language.load import load_text
from flowyard.service.process import collect_garbage_seldom
from flowyard.storage.database import open_database
from flowyard.storage.schema import migrate
from flowyard.storage.triggers import trigger_rows
from flowyard.storage.workflows import Workflows
from flowyard_embedded.servers.postgres import start_postgres
from measuring.load import at_once, percentile, throughput
from measuring.processes import free_port, process
from measuring.stack import cpu_s, scratch

Send = Callable[[], Awaitable[None]]

SECRET: Final = "a-secret-of-some-length"  # of this benchmark
VARIABLE: Final = "BENCH_WEBHOOK_SECRET"
DOCUMENT: Final = f"""
flow: {{name: orders}}
state: {{fields: {{order: {{type: int, required: true}}, customer: {{type: str, required: true}}, note: str}}}}
nodes:
  - {{id: keep, set: {{note: "{{customer}}"}}}}
triggers:
  order:
    webhook: {{path: orders, secret: "${{env:{VARIABLE}}}"}}
    when: payload.kind == 'order'
    inputs: {{order: "{{payload.order}}", customer: "{{payload.customer.name}}"}}
"""
CLIENTS: Final = 64
RATE: Final = 300
TARGET: Final = 0.5
TARGET_P99_MS: Final = 100


def bare(url: str, port: int) -> None:
    app = FastAPI()
    pools: list[asyncpg.Pool[Any]] = []

    @app.post("/hooks/{path}", status_code=202)
    async def receive(path: str, request: Request) -> dict[str, str]:
        body = await request.body()
        stamp = request.headers.get("x-webhook-timestamp", "0")
        right = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        given = request.headers.get("x-webhook-signature", "").removeprefix("sha256=")
        if not hmac.compare_digest(right, given) or abs(time.time() - int(stamp)) > 300:
            raise HTTPException(401)
        json.loads(body)
        row = uuid4()
        await pools[0].execute("INSERT INTO bare (id, path, body) VALUES ($1, $2, $3)", row, path, body.decode())
        return {"id": str(row)}

    async def serve() -> None:
        pools.append(await asyncpg.create_pool(url, min_size=0, max_size=20))
        await pools[0].execute("CREATE TABLE IF NOT EXISTS bare (id uuid PRIMARY KEY, path text, body json)")
        await uvicorn.Server(uvicorn.Config(app, port=port, access_log=False, log_level="warning")).serve()

    collect_garbage_seldom()
    asyncio.run(serve())


def request(number: int) -> tuple[bytes, dict[str, str]]:
    body = json.dumps({"kind": "order", "order": number, "customer": {"name": "Ada", "note": "x" * 200}}).encode()
    stamp = str(int(time.time()))
    signature = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return body, {
        "Content-Type": "application/json",
        "X-Webhook-Timestamp": stamp,
        "X-Webhook-Signature": f"sha256={signature}",
    }


def sender(session: aiohttp.ClientSession, port: int, numbers: Iterator[int]) -> Send:
    async def send() -> None:
        body, headers = request(next(numbers))
        async with session.post(f"http://127.0.0.1:{port}/hooks/orders", data=body, headers=headers) as answer:
            if answer.status != 202:
                raise SystemExit(f"{answer.status} {await answer.text()}")
            await answer.read()

    return send


async def at_a_rate(session: aiohttp.ClientSession, port: int, numbers: Iterator[int], seconds: float) -> list[float]:
    """Milliseconds, sorted, of requests that come at RATE per second whether those before were answered or not.

    Each request is sent twice, the second time while the first is under way.
    """
    times: list[float] = []

    async def send(body: bytes, headers: dict[str, str], at: float) -> None:
        await asyncio.sleep(at - time.perf_counter())
        async with session.post(f"http://127.0.0.1:{port}/hooks/orders", data=body, headers=headers) as answer:
            await answer.read()
            if answer.status not in (200, 202):
                raise SystemExit(f"{answer.status}")
        times.append((time.perf_counter() - at) * 1000)

    started = time.perf_counter() + 0.1
    async with asyncio.TaskGroup() as group:
        for i in range(int(RATE * seconds) // 2):
            body, headers = request(next(numbers))
            for copy in range(2):
                group.create_task(send(body, headers, started + (2 * i + copy) / RATE))
            if i % 100 == 0:
                await asyncio.sleep(0)
    return sorted(times)


async def apply(url: str) -> None:
    workflow = load_text(DOCUMENT, "orders.yaml").workflow
    assert workflow is not None
    async with open_database(url, service="bench") as database:
        await Workflows(database).apply(
            workflow.name,
            digest=workflow.digest,
            document=DOCUMENT,
            concurrency=None,
            priority=0,
            triggers=trigger_rows(workflow),
        )


async def measure(url: str, ports: tuple[int, int], pids: tuple[int, int], *, rounds: int, seconds: float) -> bool:
    numbers = itertools.count(1)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        ours, floor = (sender(session, port, numbers) for port in ports)
        for warm in (ours, floor):
            await at_once(warm, CLIENTS)
        rates: tuple[list[float], list[float]] = [], []
        cpu: tuple[list[float], list[float]] = [], []
        for number in range(rounds):
            for side in (0, 1) if number % 2 else (1, 0):
                before = cpu_s(pids[side])
                rates[side].append(await throughput((ours, floor)[side], CLIENTS, seconds))
                cpu[side].append((cpu_s(pids[side]) - before) / (rates[side][-1] * seconds) * 1000)
        paced = [await at_a_rate(session, port, numbers, seconds * rounds) for port in reversed(ports)]
    ratio = statistics.median(mine / bare for mine, bare in zip(*rates, strict=True))
    (_, floor_p99), (p50, p99) = [(percentile(sent, 0.5), percentile(sent, 0.99)) for sent in paced]
    for name, side in (("gateway", 0), ("bare route", 1)):
        rate, cpu_ms = statistics.median(rates[side]), statistics.median(cpu[side])
        print(f"{name:10}  {rate:6.0f} webhooks/s, {cpu_ms:.2f} ms of CPU each")
    print(f"ratio of the rates, median of {rounds} turns: {ratio:.2f} (required: {TARGET})")
    print(f"at {RATE}/s, each twice: p50 {p50:.1f} ms, p99 {p99:.1f} ms (required: {TARGET_P99_MS})")
    print(f"  of the bare route, which knows no copies: p99 {floor_p99:.1f} ms")
    twice = await doubles(url)
    print(f"runs with an order that another run has: {twice} (required: 0)")
    return ratio >= TARGET and p99 <= TARGET_P99_MS and twice == 0


async def doubles(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        statement = "SELECT count(*) - count(DISTINCT inputs->>'order') FROM runs"
        return int(await connection.fetchval(statement))
    finally:
        await connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn")
    parser.add_argument("--bare", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        bare(args.bare[0], int(args.bare[1]))
        return 0
    with scratch() as home, ExitStack() as stack:
        postgres = start_postgres(home / "postgres")
        stack.callback(postgres.process.stop)
        url = postgres.url.get_secret_value()
        asyncio.run(migrate(url))
        asyncio.run(apply(url))
        nats_port, port, bare_port = free_port(), free_port(), free_port()
        nats = str(Path(sys.executable).with_name("nats-server"))
        stack.enter_context(process(nats, "-a", "127.0.0.1", "-p", str(nats_port), "-l", os.devnull, port=nats_port))
        settings = {
            "FLOWYARD_DATABASE_URL": url, "FLOWYARD_NATS_URL": f"nats://127.0.0.1:{nats_port}",
            "FLOWYARD_PORT": str(port), "FLOWYARD_QUEUE_LIMIT": "10000000", "FLOWYARD_LOG_LEVEL": "warning",
            VARIABLE: SECRET,
        }  # fmt: skip
        start = "from flowyard_gateway.main import main; main()"
        ours = stack.enter_context(process(sys.executable, "-c", start, port=port, **settings))
        theirs = stack.enter_context(process(sys.executable, __file__, "--bare", url, str(bare_port), port=bare_port))
        pids = ours.pid, theirs.pid
        reached = asyncio.run(measure(url, (port, bare_port), pids, rounds=args.rounds, seconds=args.seconds))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
