"""Whether memory stays flat: a stack at half of its load for an hour, and the memory of each process over that time.

First, clients submit as many runs as the stack takes; then half as many per second, of the four workflows of the
campaigns. Prints what each process has in memory, every half minute and at the end with its growth. Exits with 1 if one
has grown by more than `--most` percent, by a line through the samples after the first fifth of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import aiohttp
import psutil  # type: ignore[import-untyped]

from chaos.campaign.clients import Gateway, Submission
from chaos.campaign.model import model_process
from chaos.campaign.shapes import SHAPES
from flowyard_embedded.stack.state import read_state
from support.system import Embedded, embedded

_SETTINGS: Final = {"FLOWYARD_SLOTS": "512", "FLOWYARD_QUEUE_LIMIT": "100000", "FLOWYARD_LEASE_S": "15"}
_CLIENTS: Final = 64
_AT_FULL_LOAD_S: Final = 30.0
_SAMPLE_S: Final = 5.0
_SHOWN_EVERY: Final = 6
_WAIT_S: Final = 60.0
_SMALL_MB: Final = 3.0
"""Growth that isn't told from noise."""


def main() -> int:
    args = _arguments()
    nowhere = Path("/dev/null")
    with model_process(nowhere) as model, embedded(_SETTINGS, executors=1) as system:
        samples = asyncio.run(_soak(system, model, args.minutes * 60))
    return _print_growth(samples[len(samples) // 5 :], most=args.most)


async def _soak(system: Embedded, model: str, seconds: float) -> list[Mapping[str, float]]:
    """Megabytes by process, every few seconds."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=system.headers) as session:
        gateway = Gateway(session, system.url)
        for shape in SHAPES:
            llm = f"{{provider: hosted_vllm, model: m, api_base: '{model}'}}"
            await gateway.apply(shape.name, shape.document.replace("MODEL", llm))
        numbers = itertools.count()
        full = await _at_full_load(gateway, numbers)
        print(
            f"full load: {full:.1f} runs/s; from now on {full / 2:.1f} runs/s for {seconds / 60:g} minutes", flush=True
        )
        async with _submitting(gateway, numbers, full / 2):
            return await _samples(system, seconds)


async def _at_full_load(gateway: Gateway, numbers: Iterator[int]) -> float:
    """Runs per second, with so many clients that each wait for their runs."""
    done, begun = 0, time.monotonic()

    async def client() -> None:
        nonlocal done
        while time.monotonic() < begun + _AT_FULL_LOAD_S:
            await gateway.submit(_submission(next(numbers)))
            done += 1

    await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    return done / (time.monotonic() - begun)


@asynccontextmanager
async def _submitting(gateway: Gateway, numbers: Iterator[int], per_s: float) -> AsyncIterator[None]:
    async def submit_all(tasks: asyncio.TaskGroup) -> None:
        begun = time.monotonic()
        for count, number in enumerate(numbers):
            await asyncio.sleep(max(0.0, begun + count / per_s - time.monotonic()))
            tasks.create_task(gateway.submit(_submission(number)))

    async with asyncio.TaskGroup() as tasks:
        submitting = tasks.create_task(submit_all(tasks))
        yield
        submitting.cancel()


def _submission(number: int) -> Submission:
    return Submission(SHAPES[number % len(SHAPES)], f"w{number}", _WAIT_S)


async def _samples(system: Embedded, seconds: float) -> list[Mapping[str, float]]:
    samples: list[Mapping[str, float]] = []
    for number in range(int(seconds / _SAMPLE_S)):
        await asyncio.sleep(_SAMPLE_S)
        samples.append(_megabytes(system.home))
        if number % _SHOWN_EVERY == 0:
            shown = "  ".join(f"{name} {size:.1f}" for name, size in samples[-1].items())
            print(f"{number * _SAMPLE_S / 60:5.1f} min  {shown}", flush=True)
    return samples


def _megabytes(home: Path) -> dict[str, float]:
    """Resident memory of each process of the stack, with its children. Pages that they share are counted once."""
    state = read_state(home / "stack.json")
    pids = {each.name: each.pid for each in state.processes if each.pid is not None} if state is not None else {}
    return {name: _resident(pid) / 1e6 for name, pid in sorted(pids.items())}


def _resident(pid: int) -> float:
    """The proportional set size, where there are children: Postgres has one for each connection."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        children = top.children(recursive=True)
        if not children:
            return float(top.memory_info().rss)
        for process in (top, *children):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
    return total


def _print_growth(samples: Sequence[Mapping[str, float]], *, most: float) -> int:
    """The exit code."""
    has_grown = False
    times = [number * _SAMPLE_S / 3600 for number in range(len(samples))]
    print(f"\n{'process':12} {'MB':>7} {'grown':>7} {'per hour':>9}")
    for name in samples[0]:
        sizes = [sample.get(name, 0.0) for sample in samples]
        slope = statistics.linear_regression(times, sizes).slope
        grown = slope * (times[-1] - times[0])
        is_flat = grown <= max(_SMALL_MB, sizes[0] * most / 100)
        has_grown |= not is_flat
        print(f"{name:12} {sizes[-1]:7.1f} {grown:+7.2f} {slope:+9.2f}{'' if is_flat else '   it grows'}")
    return int(has_grown)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--most", type=float, default=5, help="percent by which a process may grow")
    return parser.parse_args()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
