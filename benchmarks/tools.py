"""What a round of a tool loop costs: a reply that calls tools, their results, and the next question.

The real attempt on a real Postgres, with a model and a tool in this process that answer at once. The same run without
any round is subtracted, so that what is left are the rounds. What is counted: this process's CPU time, without that of
Postgres; the waits for a commit, one after the other; and the time of a round by the clock.

    .venv/bin/python benchmarks/tools.py
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from flowyard.language.tools import ToolFacts
from flowyard.llm.calls import ModelCall, ModelReply, OnToken, ToolCall, Usage
from flowyard.llm.models import open_models
from flowyard.service.process import collect_garbage_seldom
from flowyard.storage.commits import CommitResult, RunCommit
from flowyard.storage.schema import migrate
from flowyard.tools.registry import ToolRegistry
from flowyard.tools.tool import Tool, ToolContext
from flowyard.web.process import new_event_loop
from flowyard_embedded.servers.postgres import start_postgres

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.attempts import MiniExecutor, WireModel
from support.servers import temporary_home
from support.stored import Stored, open_stored
from support.workflows import document

ROUNDS: Final = 50
MOST_CPU_MS: Final = 1.0
"""Of a round with one call."""
MOST_WAITS: Final = 1.1
"""For commits, in a round with one call."""
DOCUMENT: Final = document(
    "",
    fields="answer: str",
    nodes="- {id: ask, prompt: go, outputs: [answer], tools: [test.echo], max_tool_rounds: 100}",
)
SCHEMA: Final = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@dataclass
class Asking:
    """A model that calls the tool in so many rounds, so many times each, and then answers."""

    rounds: int
    calls: int

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        del on_token
        done = sum(message.role == "assistant" for message in call.messages)
        if done == self.rounds:
            return ModelReply("done", Usage(), None)
        calls = (ToolCall(f"{done}-{n}", "test_echo", f'{{"n": {n}}}') for n in range(self.calls))
        return ModelReply("", Usage(), None, tool_calls=tuple(calls))


async def echo(arguments: Mapping[str, Any], context: ToolContext) -> Any:
    del context
    return {"n": arguments["n"]}


@dataclass(frozen=True)
class Cost:
    cpu_s: float
    wall_s: float
    waits: int


async def cost_of(stored: Stored, rounds: int, calls: int) -> Cost:
    async with open_models({}, scripted=Asking(rounds, calls)) as models:
        executor = MiniExecutor(stored, WireModel(), models)
        facts = ToolFacts(name="test.echo", description="Returns what it gets.", parameters=SCHEMA)
        executor.parts = replace(executor.parts, tools=ToolRegistry([Tool(facts, echo)]))
        await stored.run("loop")
        commit, waits = executor.committer.commit, 0

        async def counted(run_commit: RunCommit) -> CommitResult:
            nonlocal waits
            waits += 1
            return await commit(run_commit)

        executor.committer.commit = counted  # type: ignore[method-assign, assignment]
        cpu, wall = time.process_time(), time.perf_counter()
        run = await executor.run()
        cost = Cost(time.process_time() - cpu, time.perf_counter() - wall, waits)
        await executor.crash()
        if run is None or run.outputs != {"answer": "done"}:
            sys.exit(f"a run failed: {run and run.error}")
        return cost


async def measure(url: str, repetitions: int) -> bool:
    await migrate(url)
    collect_garbage_seldom()
    is_good = True
    async with open_stored(url) as stored:
        await stored.workflow("loop", document=DOCUMENT)
        for calls in (1, 8):
            await cost_of(stored, ROUNDS, calls)  # the first one imports
            pairs = [
                (await cost_of(stored, 0, calls), await cost_of(stored, ROUNDS, calls)) for _ in range(repetitions)
            ]
            cpu_ms = statistics.median((long.cpu_s - short.cpu_s) * 1000 / ROUNDS for short, long in pairs)
            wall_ms = statistics.median((long.wall_s - short.wall_s) * 1000 / ROUNDS for short, long in pairs)
            waits = statistics.median((long.waits - short.waits) / ROUNDS for short, long in pairs)
            print(f"a round with {calls} calls: {cpu_ms:.2f} ms of CPU, {wall_ms:.2f} ms in all, {waits:.2f} commits")
            is_good &= calls > 1 or (cpu_ms <= MOST_CPU_MS and waits <= MOST_WAITS)
    return is_good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=9, help="the median of so many counts (default: 9)")
    args = parser.parse_args()
    with temporary_home() as home:
        server = start_postgres(home / "postgres")
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                is_good = runner.run(measure(server.url.get_secret_value(), args.repetitions))
        finally:
            server.process.stop()
    raise SystemExit(not is_good)


if __name__ == "__main__":
    main()
