"""Flowyard, Restate, DBOS and LangGraph with its stock Postgres saver, doing the same work on this machine.

A chain of three steps, each an HTTP call to a model on loopback, submitted and awaited over HTTP: by 64 clients with a
model that answers at once, one at a time, and by 64 and 256 clients with a model that takes 100 ms. Each runs alone, in
turns with the floor: bare LangGraph with the same calls and without any storage. `make bench-peers` installs them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp

from measuring.floors import bare_langgraph
from measuring.load import Once, at_once, in_turns, latencies, percentile, share_of_ideal
from measuring.model import Model, open_model
from measuring.peers import Peer, dbos, restate, saver
from measuring.stack import PROVIDER, Client, Failed, cpu_s, database_bytes, running, scratch

COST_RUNS: Final = 500
STARTS: Final[dict[str, Callable[[Path, Path, str], AbstractContextManager[Peer]]]] = {
    "Restate": restate,
    "DBOS behind FastAPI": dbos,
    "LangGraph, stock saver (sync), behind FastAPI": partial(saver, durability="sync"),
    "LangGraph, stock saver (async), behind FastAPI": partial(saver, durability="async"),
}
OURS: Final = {"Flowyard": {"FLOWYARD_LITELLM": ""}, "Flowyard, through LiteLLM": {"FLOWYARD_LITELLM": PROVIDER}}
NAMES: Final = (*OURS, *STARTS)
HEADER: Final = (
    "| system | runs/s | floor | of the floor | alone, p50 | p99 | 64 runs of 100 ms | 256 runs | CPU per run | kB |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


@dataclass(frozen=True)
class Candidate:
    """`once`: submits a run and awaits its result. `cpu_s`: of all its processes, until now."""

    once: Once
    cpu_s: Callable[[], float]
    database_url: str | None


async def measure(name: str, args: argparse.Namespace) -> str:
    """Its row of the table."""
    connector = aiohttp.TCPConnector(limit=0)
    with scratch() as folder:
        async with (
            open_model() as model,
            aiohttp.ClientSession(connector=connector) as session,
            candidate(name, args.folder, folder, session, model) as runs,
        ):
            return f"| {name} | {await row(runs, session, model, args)} |"


@asynccontextmanager
async def candidate(
    name: str, installed: Path, folder: Path, session: aiohttp.ClientSession, model: Model
) -> AsyncIterator[Candidate]:
    if name in OURS:
        with running(folder / "data", settings=OURS[name]) as stack:
            client = Client(session, stack)
            await client.apply(model)
            yield Candidate(client.run, lambda: sum(stack.cpu_s().values()), stack.database_url())
    else:
        with STARTS[name](installed, folder, model.url) as peer:
            yield Candidate(partial(post, session, peer), lambda: sum(map(cpu_s, peer.pids)), peer.database_url)


async def post(session: aiohttp.ClientSession, peer: Peer) -> None:
    async with session.post(peer.url, json=peer.body) as answer:
        if answer.status != 200 or await answer.json() != "done":
            raise Failed(f"a run failed: {answer.status} {await answer.text()}")


async def row(runs: Candidate, session: aiohttp.ClientSession, model: Model, args: argparse.Namespace) -> str:
    for _ in range(3):
        await at_once(runs.once, args.clients)
    floor = bare_langgraph(session, model.url)
    pair = await in_turns(runs.once, floor, clients=args.clients, seconds=args.seconds, repeat=args.repeat)
    times = await latencies(runs.once, args.singles)
    shares = [await share_of_ideal(runs.once, model, clients, args.seconds) for clients in (64, 256)]
    cells = [
        f"{pair.ours:.0f}",
        f"{pair.floor:.0f}",
        f"{pair.ratio:.2f}",
        f"{percentile(times, 0.5):.1f} ms",
        f"{percentile(times, 0.99):.1f} ms",
        *(f"{share:.2f}" for share in shares),
        *await cost(runs),
    ]
    return " | ".join(cells)


async def cost(runs: Candidate) -> tuple[str, str]:
    """Of a run: the CPU of all processes, and by how much it makes the database larger, before any vacuum.

    Restate has a store of its own.
    """
    url = runs.database_url
    size = await database_bytes(url, compact=True) if url else 0
    cpu = runs.cpu_s()
    for _ in range(COST_RUNS // 50):
        await at_once(runs.once, 50)
    milliseconds = (runs.cpu_s() - cpu) * 1000 / COST_RUNS
    await asyncio.sleep(1)  # the last writes
    grown = f"{(await database_bytes(url) - size) / COST_RUNS / 1000:.1f} kB" if url else "-"
    return f"{milliseconds:.1f} ms", grown


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=lambda text: Path(text).resolve(), help="where `make bench-peers` has installed them"
    )
    parser.add_argument("--only", metavar="WORD", default="", help=f"those whose name has it: {'; '.join(NAMES)}")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn (default: 5)")
    parser.add_argument("--repeat", type=int, default=3, help="turns (default: 3)")
    parser.add_argument("--singles", type=int, default=200, help="runs for the time of one (default: 200)")
    args = parser.parse_args()
    print(HEADER, flush=True)
    for name in NAMES:
        if args.only.lower() in name.lower():
            print(await measure(name, args), flush=True)
    return 0


if __name__ == "__main__":
    os.environ.setdefault("LANGSMITH_TRACING", "false")
    # As Ctrl-C: what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(130)
    except Failed as failure:
        sys.exit(str(failure))
