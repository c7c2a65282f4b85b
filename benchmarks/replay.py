"""What it costs to continue a run whose steps are recorded: read from Postgres, fold, and reach the next step.

Each run is executed by the real attempt up to a step whose model never answers, and its executor is lost. Then another
executor claims it: the time is from the claim to the call of that step.

A last run waits a thousand times: in each turn of its loop a step fails, and is tried again after a long wait.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from flowyard.errors.steps import ProviderError
from flowyard.llm.calls import ModelCall, ModelReply, OnToken, Usage
from flowyard.llm.models import open_models
from flowyard.service.process import collect_garbage_seldom
from flowyard.storage.schema import migrate
from flowyard.web.process import new_event_loop
from flowyard_embedded.servers.postgres import start_postgres

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.attempts import Attempts, MiniExecutor, WireModel, open_attempts
from support.servers import temporary_home
from support.stored import Stored, open_stored
from support.workflows import document

LOOP: Final = document(
    "z",
    """
    - {from: START, to: a}
    - {from: a, to: b}
    - {from: b, to: c}
    - {from: c, to: d}
    - {from: d, to: e}
    - {from: e, loop: {to: a, until: "iterations('e') >= TURNS", max_iterations: 1000, exit_to: z}}
    - {from: z, to: END}
    """,
    fields="n: {type: int, default: 0}",
    nodes="\n".join(f"- {{id: {name}, set: {{n: {{expr: n + 1}}}}}}" for name in "abcde"),
)
MAP: Final = document(
    "z",
    """
    - {from: START, parallel: {items_field: items, target_node: work, collect_field: all}}
    - {from: work, to: z}
    - {from: z, to: END}
    """,
    fields="items: {type: 'list[int]', default: []}\nx: int\nall: 'list[int]'",
    nodes="- {id: work, set: {x: {expr: item + 1}}}",
)
LIMITS: Final = {"5,000 steps": 0.5, "10,000 items": 0.2, "1,000 wakes": 3.0}
"""Seconds of CPU, from the claim to the next step; for all wakes of a run together."""
MOST_HELD_S: Final = 0.05
"""Seconds of CPU for which a map may hold the event loop."""
ITEMS: Final = MAP.replace("set: {x: {expr: item + 1}}", "prompt: '{item}', outputs: [x]")
WAKES: Final = 1000
WAITING: Final = document(
    "a",
    f"""
    - {{from: START, to: a}}
    - {{from: a, loop: {{to: a, until: "iterations('a') >= {WAKES}", max_iterations: {WAKES}, exit_to: END}}}}
    """,
).replace("{id: a,", "{id: a, retry: {max_retries: 1, initial_delay: 600, max_delay: 600},")


class EveryOther:
    """A model in this process whose every other call fails."""

    def __init__(self) -> None:
        self.calls = 0

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        self.calls += 1
        if self.calls % 2:
            raise ProviderError("down", provider="p", model="m")
        return ModelReply("done", Usage(), None)


async def woken(stored: Stored, *, keeps_snapshots: bool) -> float:
    """Seconds of CPU for all wakes of a run: be claimed, replayed, go on, and be given back."""
    async with open_models({}, scripted=EveryOther()) as models:
        await stored.workflow("waiting", document=WAITING)
        await stored.run("waiting")
        executor = MiniExecutor(stored, WireModel(), models)
        spent = 0.0
        while True:
            started = time.process_time()
            attempt = executor.start(await executor.take())
            assert attempt.task is not None
            await attempt.task
            spent += time.process_time() - started
            run = await stored.runs.get(attempt.claim.run_id)
            if not run.is_open:
                assert run.status == "succeeded", run.error
                await executor.crash()
                return spent
            await stored.database.execute("UPDATE steps SET wake_at = now() WHERE wake_at IS NOT NULL")
            await stored.database.execute("UPDATE runs SET wake_at = now() WHERE status = 'waiting'")
            if not keeps_snapshots:
                await stored.database.execute("DELETE FROM snapshots")
            started = time.process_time()
            await stored.moves.sweep()
            spent += time.process_time() - started


class Instant:
    """A model in this process that answers at once."""

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        return ModelReply("7", Usage(), None)


async def mapped(stored: Stored) -> tuple[float, float]:
    """Seconds of CPU for a map of 10,000 items, and for how long it held the event loop at most."""
    async with open_models({}, scripted=Instant()) as models:
        await stored.workflow("items", document=ITEMS)
        await stored.run("items", inputs={"items": list(range(10_000))})
        executor, held = MiniExecutor(stored, WireModel(), models), [0.0]

        async def tick() -> None:
            while True:
                before = time.process_time()
                await asyncio.sleep(0)
                held.append(time.process_time() - before)

        ticking = asyncio.create_task(tick())
        started = time.process_time()
        run = await executor.run()
        cpu = time.process_time() - started
        ticking.cancel()
        assert run is not None
        assert run.status == "succeeded", run.error
        await executor.crash()
        return cpu, max(held)


async def resumed(stored: Stored, attempts: Attempts, text: str, inputs: Mapping[str, object]) -> tuple[float, float]:
    """Seconds of CPU of this process, and of the clock."""
    run_id = await attempts.submit(text, inputs)
    first = attempts.executor(WireModel(hold={"z"}))
    first.start(await first.take())
    await first.model.holding.wait()
    await first.crash()
    await attempts.lose_executor(run_id)
    second = attempts.executor(WireModel(hold={"z"}))
    claim = await second.take()
    cpu, wall = time.process_time(), time.perf_counter()
    second.start(claim)
    await second.model.holding.wait()
    result = time.process_time() - cpu, time.perf_counter() - wall
    await second.crash()
    return result


async def measure(url: str, repetitions: int) -> bool:
    await migrate(url)
    collect_garbage_seldom()
    cases: dict[str, tuple[str, dict[str, object]]] = {
        "5,000 steps": (LOOP.replace("TURNS", "1000"), {}),
        "10,000 items": (MAP, {"items": list(range(10_000))}),
    }
    is_fast = True
    async with open_stored(url) as stored, open_attempts(stored) as attempts:
        # First, while no other run waits for an executor.
        cpu, held = await mapped(stored)
        is_fast &= held <= MOST_HELD_S
        print(f"a map of 10,000 items: {cpu:.2f} s of CPU, holds the event loop for {held * 1000:.0f} ms at most")
        for keeps_snapshots in (True, False):
            cpu = await woken(stored, keeps_snapshots=keeps_snapshots)
            print(f"1,000 wakes{'' if keeps_snapshots else ' without snapshots'}: {cpu:.2f} s of CPU")
            is_fast &= not keeps_snapshots or cpu <= LIMITS["1,000 wakes"]
        for name, (text, inputs) in cases.items():
            times = [await resumed(stored, attempts, text, inputs) for _ in range(repetitions)]
            cpu, wall = min(times)
            is_fast &= cpu <= LIMITS[name]
            print(f"{name}: {cpu:.2f} s of CPU (at most {LIMITS[name]}), {wall:.2f} s in all")
    return is_fast


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3, help="the best of so many counts (default: 3)")
    args = parser.parse_args()
    with temporary_home() as home:
        server = start_postgres(home / "postgres")
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                is_fast = runner.run(measure(server.url.get_secret_value(), args.repetitions))
        finally:
            server.process.stop()
    raise SystemExit(not is_fast)


if __name__ == "__main__":
    main()
