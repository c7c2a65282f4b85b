"""Each row of the benchmark of the stack: what is measured, and the target."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

import aiohttp

from measuring.floors import bare_langgraph, bare_litellm
from measuring.load import at_once, in_turns, latencies, percentile, share_of_ideal, throughput
from measuring.model import Model, open_model
from measuring.stack import PROVIDER, Client, Stack, database_bytes, running

FEW_SLOTS: Final = 16
WAITING_S: Final = 20


@dataclass(frozen=True, kw_only=True)
class Options:
    """`seconds`: of each turn; `repeat`: turns; `singles`: runs for the time of a single run."""

    clients: int
    seconds: float
    repeat: int
    singles: int
    bytes_runs: int


@dataclass(frozen=True)
class Line:
    """`reached`: the share of the target, 1 or more if it is met; None: there is no target."""

    what: str
    measured: str
    target: str
    reached: float | None


@dataclass(frozen=True)
class Subject:
    """What is measured, and what measures it."""

    stack: Stack
    client: Client
    session: aiohttp.ClientSession
    model: Model
    options: Options


Row = Callable[[Subject], Awaitable[list[Line]]]
OwnRow = Callable[[Path, Options], Awaitable[list[Line]]]


@asynccontextmanager
async def opened(
    data: Path, options: Options, executors: int = 1, settings: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[Subject]:
    """A stack of its own with the chain, warmed up."""
    connector = aiohttp.TCPConnector(limit=0)
    async with open_model() as model, aiohttp.ClientSession(connector=connector) as session:
        with running(data, executors, settings) as stack:
            client = Client(session, stack)
            await client.apply(model)
            await at_once(client.run, options.clients)
            yield Subject(stack, client, session, model, options)


async def durable_throughput(subject: Subject) -> list[Line]:
    options = subject.options
    floor = bare_langgraph(subject.session, subject.model.url)
    pair = await in_turns(
        subject.client.run, floor, clients=options.clients, seconds=options.seconds, repeat=options.repeat
    )
    shown = f"{pair.ratio:.2f} of the floor ({pair.ours:.0f} of {pair.floor:.0f} runs/s)"
    return [_at_least("durable throughput, direct path", shown, pair.ratio, 0.6)]


async def cpu_per_run(subject: Subject) -> list[Line]:
    done = 0

    async def once() -> None:
        nonlocal done
        await subject.client.run()
        done += 1

    before, own = subject.stack.cpu_s(), time.process_time()
    await throughput(once, subject.options.clients, subject.options.seconds)
    after, own = subject.stack.cpu_s(), time.process_time() - own
    each = {name: (after[name] - before.get(name, 0)) * 1000 / done for name in after}
    shown = ", ".join(f"{name} {ms:.2f}" for name, ms in sorted(each.items(), key=lambda item: -item[1]))
    total = sum(each.values())
    return [
        _at_most(
            "CPU per run, all processes",
            f"{total:.1f} ms ({shown}; clients and model {own * 1000 / done:.2f})",
            total,
            4.5,
            "ms",
        )
    ]


async def alone(subject: Subject) -> list[Line]:
    times = await latencies(subject.client.run, subject.options.singles)
    p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
    return [
        _at_most("submit → result, one at a time, p50", f"{p50:.1f} ms", p50, 6, "ms"),
        _at_most("the same, p99", f"{p99:.1f} ms", p99, 12, "ms"),
    ]


async def first_step(subject: Subject) -> list[Line]:
    """By the clock of this machine, which the client and the executor share."""
    times = []
    for _ in range(subject.options.singles):
        await asyncio.sleep(0.03)  # an idle executor
        sent = time.time()
        run = await subject.client.run()
        started = next(
            event["at"] for event in await subject.client.events(run["id"]) if event["type"] == "step.started"
        )
        times.append((datetime.fromisoformat(started).timestamp() - sent) * 1000)
    times.sort()
    p50, p95 = percentile(times, 0.5), percentile(times, 0.95)
    return [
        _at_most("trigger → first step starts, p50", f"{p50:.1f} ms", p50, 3, "ms"),
        _at_most("the same, p95", f"{p95:.1f} ms", p95, 10, "ms"),
    ]


async def with_model_of_100_ms(subject: Subject, runs: int, target: float) -> list[Line]:
    share = await share_of_ideal(subject.client.run, subject.model, runs, subject.options.seconds)
    return [_at_least(f"a 100 ms model, {runs} concurrent runs", f"{share:.2f} of the ideal", share, target)]


async def bytes_per_run(subject: Subject) -> list[Line]:
    url, runs = subject.stack.database_url(), subject.options.bytes_runs // 50 * 50
    start = await database_bytes(url, compact=True)
    for _ in range(runs // 50):
        await at_once(subject.client.run, 50)
    await asyncio.sleep(1)  # the last events
    grown = (await database_bytes(url) - start) / runs
    live = (await database_bytes(url, compact=True) - start) / runs
    return [
        _at_most("database bytes per run, before vacuum", f"{grown / 1000:.2f} kB", grown / 1000, 4, "kB"),
        _at_most("database bytes per run, after vacuum", f"{live / 1000:.2f} kB", live / 1000, 3, "kB"),
    ]


async def through_litellm(folder: Path, options: Options) -> list[Line]:
    async with opened(folder / "litellm", options, settings={"FLOWYARD_LITELLM": PROVIDER}) as subject:
        floor = bare_litellm(subject.model)
        pair = await in_turns(
            subject.client.run, floor, clients=options.clients, seconds=options.seconds, repeat=options.repeat
        )
    shown = f"{pair.ratio:.2f} of three bare calls ({pair.ours:.0f} of {pair.floor:.0f} runs/s)"
    return [_at_least("durable throughput through LiteLLM", shown, pair.ratio, 0.7)]


async def two_executors(folder: Path, options: Options) -> list[Line]:
    """Work that only this machine's cores limit."""
    async with opened(folder / "cpu1", options) as single, opened(folder / "cpu2", options, 2) as double:
        pair = await in_turns(
            double.client.run,
            single.client.run,
            clients=options.clients,
            seconds=options.seconds,
            repeat=options.repeat,
        )
    shown = f"{pair.ratio:.2f} times ({pair.floor:.0f} → {pair.ours:.0f} runs/s)"
    return [_at_least("executors 1 → 2, a model that answers at once", shown, pair.ratio, 1)]


async def two_executors_that_wait(folder: Path, options: Options) -> list[Line]:
    """Work that only the number of slots limits: a model of 100 ms, and few slots."""
    settings = {"FLOWYARD_SLOTS": str(FEW_SLOTS)}
    async with (
        opened(folder / "wait1", options, 1, settings) as single,
        opened(folder / "wait2", options, 2, settings) as double,
    ):
        clients, seconds = FEW_SLOTS * 4, options.seconds
        shares = [await share_of_ideal(each.client.run, each.model, clients, seconds) for each in (single, double)]
    ratio = shares[1] / shares[0]
    return [_at_least(f"executors 1 → 2, a 100 ms model, {FEW_SLOTS} slots each", f"{ratio:.2f} times", ratio, 1.9)]


async def at_rest(folder: Path, options: Options) -> list[Line]:
    with running(folder / "rest") as first:
        cold = first.took_s
    with running(folder / "rest") as stack:
        warm = stack.took_s
        await asyncio.sleep(2)
        resting = stack.memory_mb()
    each, total = ", ".join(f"{name} {size:.0f}" for name, size in resting.items()), sum(resting.values())
    return [
        _at_most("healthy, warm", f"{warm:.1f} s", warm, 6, "s"),
        _at_most("healthy, cold", f"{cold:.1f} s", cold, 8, "s"),
        _at_most("memory at rest, four services", f"{total:.0f} MB ({each})", total, 450, "MB"),
    ]


async def waiting_runs(folder: Path, options: Options) -> list[Line]:
    """What 450 more runs cost that wait for a model, beside 50 that wait already."""
    async with opened(folder / "waiting", options, settings={"FLOWYARD_SLOTS": "512"}) as subject:
        subject.model.delay_s = WAITING_S
        few = await _memory_with(subject, 50)
        many = await _memory_with(subject, 450)
        # They would end in a minute; the end of the stack gives them back at once.
        subject.model.delay_s = 0.0
    kilobytes = (many - few) * 1000 / 450
    return [Line("memory of a run that waits for its model", f"{kilobytes:.0f} kB", "none", None)]


async def _memory_with(subject: Subject, more: int) -> float:
    """Megabytes of the executor when so many more runs wait for the model."""
    arrived = subject.model.expect(more)
    await at_once(subject.client.submit, more)
    await asyncio.wait_for(arrived.wait(), WAITING_S - 2)
    await asyncio.sleep(0.5)
    return next(size for name, size in subject.stack.memory_mb().items() if name.startswith("executor"))


def _at_least(what: str, measured: str, value: float, target: float) -> Line:
    return Line(what, measured, f"≥ {target:g}", value / target)


def _at_most(what: str, measured: str, value: float, target: float, unit: str) -> Line:
    return Line(what, measured, f"≤ {target:g} {unit}", target / value)
