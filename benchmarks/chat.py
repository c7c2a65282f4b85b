"""What streaming chats cost: a workflow as a model, beside a bare aiohttp proxy that hands the model's bytes on.

`flowyard up` is started in a directory of its own, with a model on loopback that streams as a real one does: its first
chunk after 100 ms, then one every 20 ms, each an event of some words. A hundred clients talk at once, each with several
turns in a conversation of its own, and each turn waits for the whole answer. They start one after the other within the
time of a turn, so that the turns are spread; a last round, of one turn, has all of them start in the same moment.

Both take turns, so that a busy machine slows both down. A *chunk* is an event with text that the model has sent,
whatever becomes of it afterwards: Flowyard hands several of them on as one. The CPU time of all that is between model
and client is divided by it, that of the turn itself included: its run, its events and its history. The model and the
clients are processes of their own, and don't count.

    .venv/bin/python benchmarks/chat.py
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import uvloop

from measuring.load import percentile
from measuring.processes import free_port, process
from measuring.stack import Failed, Stack, cpu_s, running, scratch
from measuring.streams import FIRST_S, PACE_S, Answer, Chat, serve_model, serve_proxy

DOCUMENT: Final = """
flow: {name: talk}
state: {fields: {messages: {type: 'list[message]', required: true}, reply: str}}
nodes:
  - {id: answer, history: messages, outputs: [reply]}
triggers:
  chat: {chat: {}}
config:
  llm: {provider: hosted_vllm, model: m, api_base: "URL"}
"""
PATH: Final = ("executor-1", "gateway", "nats", "postgres")
"""What a token comes by, or its run is kept by."""
TARGET_FIRST_MS: Final = 50
TARGET_CPU_MS: Final = 0.05

Cpu = Callable[[], Mapping[str, float]]


@dataclass
class Round:
    """Of one side. `cpu`: seconds by process."""

    answers: list[Answer] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    chunks: int = 0
    took_s: float = 0.0

    @property
    def first_ms(self) -> list[float]:
        return sorted(answer.first_ms for answer in self.answers)

    def cpu_ms(self, *names: str) -> float:
        """Of a chunk. Without names: of all processes."""
        return sum(self.cpu[name] for name in names or self.cpu) / self.chunks * 1000


@dataclass(frozen=True)
class Load:
    """`every_s`: from the begin of a client's turn to that of its next one, at least."""

    clients: int
    turns: int
    chunks: int
    every_s: float = 0.0

    @property
    def turn_s(self) -> float:
        """What a turn takes at least."""
        return max(self.every_s, FIRST_S + PACE_S * self.chunks)


async def a_round(chat: Chat, cpu: Cpu, load: Load, *, name: str, spread: bool = True) -> Round:
    """`spread`: whether the clients start one after the other."""
    result = Round()

    async def client(number: int) -> None:
        await asyncio.sleep(load.turn_s * number / load.clients if spread else 0)
        for turn in range(load.turns):
            ends = time.perf_counter() + load.every_s
            answer = await chat.turn(f"{name}-{number}", f"{name} {number} {turn}", load.chunks)
            if not answer.is_right and not answer.events:
                raise Failed(answer.why)
            result.answers.append(answer)
            await asyncio.sleep(ends - time.perf_counter())

    before, started = cpu(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(load.clients):
            group.create_task(client(number))
    result.took_s = time.perf_counter() - started
    result.cpu = {name: seconds - before[name] for name, seconds in cpu().items()}
    result.chunks = len(result.answers) * load.chunks
    return result


async def measure(stack: Stack, model_port: int, proxy_port: int, proxy_pid: int, load: Load, rounds: int) -> bool:
    headers = {"Authorization": f"Bearer {stack.key}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await apply(session, stack, model_port)
        sides = {
            "flowyard": (Chat(session, stack.url, "talk", headers), stack.cpu_s),
            "pass-through": (
                Chat(session, f"http://127.0.0.1:{proxy_port}", "m", {}),
                lambda: {"proxy": cpu_s(proxy_pid)},
            ),
        }
        small = Load(load.clients, 1, 10)
        for side, (chat, cpu) in sides.items():
            await a_round(chat, cpu, small, name=f"warm {side}")
        results: dict[str, list[Round]] = {side: [] for side in sides}
        for number in range(rounds):
            for side, (chat, cpu) in list(sides.items())[:: 1 if number % 2 else -1]:
                results[side].append(await a_round(chat, cpu, load, name=f"{side} {number}"))
                print(f"  {side}: {shown(results[side][-1:])}", file=sys.stderr, flush=True)
        # As many turns per second as before: those that come together share their commits.
        short = Load(load.clients, load.turns, 1, every_s=load.turn_s)
        turn_ms = {side: (await a_round(*sides[side], short, name=f"short {side}")).cpu_ms() for side in sides}
        once = Load(load.clients, 1, load.chunks)
        together = {side: [await a_round(*sides[side], once, name=f"at once {side}", spread=False)] for side in sides}
    return report(load, results, turn_ms, together)


async def apply(session: aiohttp.ClientSession, stack: Stack, model_port: int) -> None:
    headers = {"Authorization": f"Bearer {stack.key}", "Content-Type": "application/yaml"}
    document = DOCUMENT.replace("URL", f"http://127.0.0.1:{model_port}/v1")
    async with session.put(f"{stack.url}/v1/workflows/talk", data=document, headers=headers) as answer:
        if answer.status not in (200, 201):
            raise Failed(f"apply failed: {answer.status} {await answer.text()}")


def shown(rounds: Sequence[Round]) -> str:
    """The median of the rounds' numbers."""
    p50, p99 = (statistics.median(percentile(each.first_ms, share) for each in rounds) for share in (0.5, 0.99))
    cpu = statistics.median(each.cpu_ms() for each in rounds)
    rate = statistics.median(each.chunks / each.took_s for each in rounds)
    events = statistics.median(sum(answer.events for answer in each.answers) / len(each.answers) for each in rounds)
    return (
        f"first text {p50:.1f} ms over the model's own, p99 {p99:.1f} ms; {cpu:.3f} ms of CPU per chunk;"
        f" {rate:.0f} chunks/s, {events:.0f} events per answer"
    )


def report(
    load: Load, results: Mapping[str, list[Round]], turn_ms: Mapping[str, float], together: Mapping[str, list[Round]]
) -> bool:
    print(f"{load.clients} clients, {load.turns} turns each, {load.chunks} chunks an answer; medians of the rounds")
    for side, rounds in results.items():
        print(f"{side:12}  {shown(rounds)}")
        of_turn = turn_ms[side]
        rest = (statistics.median(each.cpu_ms() for each in rounds) * load.chunks - of_turn) / max(1, load.chunks - 1)
        print(f"{'':12}  a turn of one chunk, and the stack at rest: {of_turn:.2f} ms; each further chunk: {rest:.3f}")
    ours, floor = results["flowyard"], results["pass-through"]
    each = {name: statistics.median(measured.cpu_ms(name) for measured in ours) for name in ours[0].cpu}
    print("CPU per chunk: " + ", ".join(f"{name} {ms:.4f}" for name, ms in sorted(each.items(), key=lambda i: -i[1])))
    cpu = statistics.median(measured.cpu_ms(*PATH) for measured in ours)
    ratios = [measured.cpu_ms(*PATH) / bare.cpu_ms() for measured, bare in zip(ours, floor, strict=True)]
    print(f"  executor, gateway, NATS, Postgres: {cpu:.3f} ms (required: {TARGET_CPU_MS})")
    print(f"  times that of the floor: {statistics.median(ratios):.1f}")
    for side, rounds in together.items():
        print(f"all in one moment, {side}: {shown(rounds)}")
    every = [measured for sides in (results, together) for rounds in sides.values() for measured in rounds]
    answers = [answer for measured in every for answer in measured.answers]
    wrong = [each for each in answers if not each.is_right]
    unstreamed = sum(each.events < min(3, load.chunks) for each in answers)
    print(f"answers that came as a whole: {unstreamed} of {len(answers)} (required: 0)")
    print(f"answers that aren't what the model sent: {len(wrong)} of {len(answers)} (required: 0)")
    for answer in wrong[:3]:
        print(f"  {answer.why}")
    first = statistics.median(percentile(measured.first_ms, 0.5) for measured in ours)
    return first <= TARGET_FIRST_MS and cpu <= TARGET_CPU_MS and not wrong and not unstreamed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3, help="of a client in each round")
    parser.add_argument("--chunks", type=int, default=200, help="of an answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", nargs="+", type=int, metavar="PORT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        (serve_model if len(args.serve) == 1 else serve_proxy)(*args.serve)
        return 0
    load, model, proxy = Load(args.clients, args.turns, args.chunks), free_port(), free_port()
    with scratch() as home, ExitStack() as opened:
        serve = sys.executable, __file__, "--serve"
        opened.enter_context(process(*serve, str(model), port=model))
        floor = opened.enter_context(process(*serve, str(proxy), str(model), port=proxy))
        stack = opened.enter_context(running(home / "stack"))
        reached = uvloop.run(measure(stack, model, proxy, floor.pid, load, args.rounds))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
