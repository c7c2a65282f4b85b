"""What the whole stack costs: time to start, memory at rest, bytes per run, runs per second, and time per run.

`flowyard up` is started in a directory of its own, twice (cold, then warm). The work is a chain of three prompts, each
one HTTP call to a loopback model that answers at once; runs are submitted and awaited over HTTP. Everything shares this
machine's cores: clients, model, databases, services. In turns with it, bare LangGraph runs, with the same calls and
without any storage: speed is reported as the ratio to that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypedDict

import aiohttp
import asyncpg
import psutil  # type: ignore[import-untyped]
from langgraph.graph import END, START, StateGraph

from flowyard_embedded.stack.state import read_state

FLOWYARD: Final = Path(sys.executable).with_name("flowyard")
TOPIC: Final = "a text of about two hundred bytes, as the state of a small run has it: " + "x" * 130
CHAIN: Final = """
flow: {name: chain}
state: {fields: {topic: {type: str, required: true}, plan: str, draft: str, final: str}}
nodes:
  - {id: think, prompt: "Plan {topic}.", outputs: [plan]}
  - {id: write, prompt: "Write {plan}.", outputs: [draft]}
  - {id: polish, prompt: "Polish {draft}.", outputs: [final]}
config:
  llm: {provider: hosted_vllm, model: m, api_base: "URL"}
"""
REPLY: Final = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "done"}}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
}
SERVICES: Final = ("registry", "executor", "gateway", "dashboard")


class Model(asyncio.Protocol):
    """Answers every request at once, streamed or whole: a model that costs next to nothing."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, rest = self.buffer.split(b"\r\n\r\n", 1)
            length = next(int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length"))
            if len(rest) < length:
                return
            self.transport.write(STREAMED if b'"stream":true' in rest[:length].replace(b" ", b"") else WHOLE)
            self.buffer = rest[length:]


def _response(body: bytes, kind: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _events() -> bytes:
    piece = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {
        **piece,
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": "done"}, "finish_reason": None}],
    }
    last = {**piece, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {**piece, "choices": [], "usage": REPLY["usage"]}
    return b"".join(f"data: {json.dumps(e)}\n\n".encode() for e in (delta, last, usage)) + b"data: [DONE]\n\n"


WHOLE: Final = _response(json.dumps(REPLY).encode(), "application/json")
STREAMED: Final = _response(_events(), "text/event-stream")


def _is_up(data: Path) -> bool:
    state = read_state(data / "stack.json")
    return state is not None and state.phase == "running"


def _pids(data: Path) -> dict[str, int]:
    state = read_state(data / "stack.json")
    return (
        {process.name: process.pid for process in state.processes if process.pid is not None}
        if state is not None
        else {}
    )


@contextmanager
def stack(data: Path, executors: int) -> Iterator[tuple[str, str, float]]:
    """The stack's address, an API key, and the seconds that it took until everything was healthy."""
    started = time.perf_counter()
    up = [str(FLOWYARD), "up", "--data", str(data), "--port", "0", "--executors", str(executors)]
    process = subprocess.Popen(up, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while not _is_up(data):
            if process.poll() is not None or time.perf_counter() - started > 60:
                raise SystemExit(f"the stack doesn't start: see {data}/logs")
            time.sleep(0.02)
        took = time.perf_counter() - started
        state = json.loads((data / "cli.json").read_text())
        yield state["url"], state["key"], took
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def memory(data: Path) -> dict[str, float]:
    """Megabytes of resident memory of each service."""
    megabytes = {}
    for name, pid in _pids(data).items():
        if name.partition("-")[0] in SERVICES:
            megabytes[name] = sum(_resident(process) for process in _family(pid)) / 1e6
    return megabytes


def _family(pid: int) -> list[psutil.Process]:
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def _resident(process: psutil.Process) -> int:
    return int(process.memory_info().rss) if "flowyard" in " ".join(process.cmdline()) else 0


class Client:
    """Submits runs over HTTP and waits for their results."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def run(self) -> None:
        body = {"inputs": {"topic": TOPIC}}
        async with self._session.post(f"{self._url}/v1/workflows/chain/runs?wait=30", json=body) as answer:
            run = await answer.json()
            if answer.status != 200 or run["status"] != "succeeded":
                raise SystemExit(f"a run failed: {answer.status} {run}")

    async def apply(self, model_url: str) -> None:
        document = CHAIN.replace("URL", model_url)
        headers = {"Content-Type": "application/yaml"}
        async with self._session.put(f"{self._url}/v1/workflows/chain", data=document, headers=headers) as answer:
            if answer.status not in (200, 201):
                raise SystemExit(f"apply failed: {answer.status} {await answer.text()}")


class State(TypedDict, total=False):
    topic: str
    plan: str
    draft: str
    final: str


def bare_langgraph(session: aiohttp.ClientSession, model_url: str) -> Callable[[], Awaitable[None]]:
    """The same chain and the same calls: no durability, no checks, no events."""

    def node(name: str, reads: str, writes: str) -> Callable[[State], Awaitable[Any]]:
        async def ask(state: State) -> Any:
            prompt = f"{name} {state[reads]}."  # type: ignore[literal-required]
            body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
            async with session.post(f"{model_url}/chat/completions", json=body) as answer:
                return {writes: (await answer.json())["choices"][0]["message"]["content"]}

        return ask

    graph: Any = StateGraph(State)
    graph.add_node("think", node("Plan", "topic", "plan"))
    graph.add_node("write", node("Write", "plan", "draft"))
    graph.add_node("polish", node("Polish", "draft", "final"))
    for source, target in ((START, "think"), ("think", "write"), ("write", "polish"), ("polish", END)):
        graph.add_edge(source, target)
    compiled = graph.compile()

    async def once() -> None:
        await compiled.ainvoke({"topic": TOPIC})

    return once


async def throughput(once: Callable[[], Awaitable[None]], clients: int, seconds: float) -> float:
    """Runs per second of so many clients, each of which starts its next run when the last has ended."""
    done = 0
    started = time.perf_counter()

    async def client() -> None:
        nonlocal done
        while time.perf_counter() - started < seconds:
            await once()
            done += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    return done / (time.perf_counter() - started)


async def latencies(once: Callable[[], Awaitable[None]], count: int) -> list[float]:
    """Milliseconds of runs that come one after the other, sorted."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        await once()
        times.append((time.perf_counter() - started) * 1000)
    return sorted(times)


@dataclass(frozen=True)
class Cost:
    """What the stack has used up since it was started. `cpu_s`: by its executors."""

    database_bytes: int
    transactions: int
    cpu_s: float


async def cost(data: Path) -> Cost:
    connection = await asyncpg.connect(database_url(data))
    try:
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        size, transactions = await connection.fetchrow(
            "SELECT pg_database_size(datname), xact_commit FROM pg_stat_database WHERE datname = current_database()"
        )
    finally:
        await connection.close()
    executors = [pid for name, pid in _pids(data).items() if name.startswith("executor")]
    times = [process.cpu_times() for pid in executors for process in _family(pid)]
    return Cost(size, transactions, sum(each.user + each.system for each in times))


def database_url(data: Path) -> str:
    """Of the stack's own Postgres, from the environment of its executor."""
    pid = next(pid for name, pid in _pids(data).items() if name.startswith("executor"))
    for process in _family(pid):
        if url := process.environ().get("FLOWYARD_DATABASE_URL"):
            return str(url)
    raise SystemExit("no executor has FLOWYARD_DATABASE_URL")


@asynccontextmanager
async def sessions(key: str) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """An HTTP session with the key, and the model's address."""
    server = await asyncio.get_running_loop().create_server(Model, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {key}"}) as session:
        yield session, f"http://127.0.0.1:{port}/v1"
    server.close()


async def measure(data: Path, url: str, key: str, args: argparse.Namespace) -> None:
    async with sessions(key) as (session, model_url):
        client = Client(session, url)
        await client.apply(model_url)
        bare = bare_langgraph(session, model_url)
        await asyncio.gather(*(client.run() for _ in range(16)))
        ratios = []
        for _ in range(args.repeat):
            floor = await throughput(bare, args.clients, args.seconds)
            ours = await throughput(client.run, args.clients, args.seconds)
            ratios.append(ours / floor)
            print(f"  {args.clients} clients: {ours:6.1f} runs/s, bare LangGraph {floor:6.1f}: {ours / floor:.2f}")
        print(f"durable throughput / floor: {statistics.median(ratios):.2f}  (target 0.60)")
        times = await latencies(client.run, args.singles)
        p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
        print(f"one at a time: p50 {p50:.1f} ms, p99 {p99:.1f} ms  (targets 6 and 12)")
        await _cost_per_run(data, client, args.bytes_runs)


async def _cost_per_run(data: Path, client: Client, runs: int) -> None:
    await asyncio.sleep(2)  # until Postgres has counted what was done before
    before = await cost(data)
    for _ in range(runs // 50):
        await asyncio.gather(*(client.run() for _ in range(50)))
    await asyncio.sleep(2)
    after, count = await cost(data), runs // 50 * 50
    grown = (after.database_bytes - before.database_bytes) / count
    print(f"database per run: {grown / 1000:.2f} kB over {runs} runs  (target 3)")
    transactions, cpu_ms = after.transactions - before.transactions, (after.cpu_s - before.cpu_s) * 1000
    print(f"per run: {transactions / count:.1f} transactions, {cpu_ms / count:.2f} ms of the executors' CPU")
    connection = await asyncpg.connect(database_url(data))
    rows = await connection.fetch(
        "SELECT relname, pg_total_relation_size(oid) AS n FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY n DESC LIMIT 6"
    )
    await connection.close()
    print("  " + ", ".join(f"{row['relname']} {row['n'] / 1e6:.1f} MB" for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--executors", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement of throughput")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--singles", type=int, default=200, help="runs for the time of one")
    parser.add_argument("--bytes-runs", type=int, default=2000, help="runs for the bytes of one")
    args = parser.parse_args()
    data = Path(tempfile.mkdtemp(prefix="flowyard-bench-")) / "data"
    data.parent.chmod(0o755)
    try:
        with stack(data, args.executors) as (_, _, cold):
            pass
        with stack(data, args.executors) as (url, key, warm):
            print(f"healthy after {warm:.1f} s warm, {cold:.1f} s cold  (targets 6 and 8)")
            time.sleep(2)
            resting = memory(data)
            each = ", ".join(f"{name} {size:.0f}" for name, size in resting.items())
            print(f"memory at rest: {sum(resting.values()):.0f} MB  ({each}; target 450)")
            asyncio.run(measure(data, url, key, args))
    finally:
        shutil.rmtree(data.parent, ignore_errors=True)


if __name__ == "__main__":
    os.environ.setdefault("LANGSMITH_TRACING", "false")
    main()
