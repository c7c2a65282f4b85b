"""How much the export to MLflow slows down runs: without MLflow, with MLflow up, down, and one that never answers.

Four stacks run side by side and are measured in turns, run by run and second by second, so that changes of the
machine's speed affect all four alike: what counts are the ratios within a turn. The work is that of
`benchmarks/stack.py`. MLflow's own server runs on the same cores; the CPU time per exported run of it and of the
registry is printed separately.

    .venv/bin/python benchmarks/export.py
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
import psutil  # type: ignore[import-untyped]

from measuring.load import at_once, latencies, throughput
from measuring.model import open_model
from measuring.stack import Client, Stack, running, scratch

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.mlflow import mlflow_server  # noqa: E402  # see above


@contextmanager
def hole() -> Iterator[str]:
    """Takes connections and all that is said, and never answers."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:

        def take() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for connection in kept:
            connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@dataclass
class Variant:
    """One stack, and what was measured of it."""

    name: str
    stack: Stack
    rates: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    async def waiting(self) -> int:
        connection = await asyncpg.connect(self.stack.database_url())
        try:
            return int(await connection.fetchval("SELECT count(*) FROM exports"))
        finally:
            await connection.close()

    def registry_cpu_s(self) -> float:
        return self.stack.cpu_s()["registry"]


def cpu_s(pid: int | None) -> float:
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


@contextmanager
def variants(home: Path, addresses: dict[str, str], executors: int) -> Iterator[list[Variant]]:
    measured = []
    with ExitStack() as opened:
        for name, address in addresses.items():
            settings = {"FLOWYARD_MLFLOW_URL": address}
            measured.append(Variant(name, opened.enter_context(running(home / name, executors, settings))))
        yield measured


def export_rate(variant: Variant, mlflow_pid: int, seconds: float) -> None:
    """While nothing else happens."""
    waiting, registry, mlflow = asyncio.run(variant.waiting()), variant.registry_cpu_s(), cpu_s(mlflow_pid)
    began = time.perf_counter()
    time.sleep(seconds)
    exported = waiting - asyncio.run(variant.waiting())
    registry, mlflow = variant.registry_cpu_s() - registry, cpu_s(mlflow_pid) - mlflow
    print(f"MLflow receives {exported / (time.perf_counter() - began):.0f} runs/s")
    if exported > 0:
        ours, theirs = registry / exported * 1000, mlflow / exported * 1000
        print(f"for each, the registry takes {ours:.1f} ms of a core, MLflow {theirs:.1f} ms")


async def measure(measured: Sequence[Variant], args: argparse.Namespace) -> None:
    async with open_model() as model, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        clients = [Client(session, variant.stack) for variant in measured]
        for client in clients:
            await client.apply(model)
            await at_once(client.run, 16)
        order = list(zip(measured, clients, strict=True))
        for number in range(args.singles):
            for variant, client in order[number % 4 :] + order[: number % 4]:
                variant.times += await latencies(client.run, 1)
        for number in range(args.rounds):
            for variant, client in order[number % 4 :] + order[: number % 4]:
                variant.rates.append(await throughput(client.run, args.clients, args.seconds))


def report(measured: Sequence[Variant]) -> None:
    nobody = measured[0]
    for its in measured:
        rate = statistics.median(ours / base for ours, base in zip(its.rates, nobody.rates, strict=True))
        slower = statistics.median(ours / base for ours, base in zip(its.times, nobody.times, strict=True))
        rates, times = statistics.median(its.rates), statistics.median(its.times)
        print(
            f"{its.name:7} {rates:6.1f} runs/s ({rate:4.2f} of nobody's)"
            f", one at a time p50 {times:5.1f} ms ({slower:4.2f}), {asyncio.run(its.waiting())} runs wait"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--executors", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement of throughput")
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--singles", type=int, default=200, help="runs, one at a time")
    args = parser.parse_args()
    with scratch() as home, hole() as deaf, mlflow_server(home / "mlflow", free_port()) as server:
        addresses = {"nobody": "", "up": server.url, "down": f"http://127.0.0.1:{free_port()}", "hole": deaf}
        with variants(home, addresses, args.executors) as measured:
            asyncio.run(measure(measured, args))
            report(measured)
            export_rate(measured[1], server.pid, 10.0)


if __name__ == "__main__":
    os.environ.setdefault("LANGSMITH_TRACING", "false")
    main()
