"""What Flowyard's engine costs on top of bare LangGraph. Everything in one process, no model, no network, no storage.

Both sides run the same chain of three nodes, which render the same prompts and ask the same model of canned replies.
Bare LangGraph does nothing else. Flowyard also checks inputs and replies, counts tokens, time and money, and emits its
events. The two take turns within each repetition, so that what else the machine does meets both.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypedDict

from langgraph.graph import END, START, StateGraph

from flowyard.graph.compile import Compiled, compile_workflow
from flowyard.graph.run import run_workflow
from flowyard.language.load import load_text
from flowyard.language.nodes import PromptNode
from flowyard.llm.calls import ChatMessage, ModelCall
from flowyard.llm.scripted import ScriptedModel

Once = Callable[[], Awaitable[None]]

TARGET: Final = 0.7
CHAIN: Final = """
flow: {name: chain}
state: {fields: {topic: {type: str, required: true}, plan: str, draft: str, final: str}}
nodes:
  - {id: think, prompt: "Plan a text about {topic}.", outputs: [plan]}
  - {id: write, prompt: "Write about {topic} after the plan {plan}.", outputs: [draft]}
  - {id: polish, prompt: "Polish {draft}", outputs: [final]}
config: {llm: {provider: scripted}}
"""
FORK: Final = """
flow: {name: fork}
state: {fields: {topic: {type: str, required: true}, a: str, b: str, c: str, d: str, final: str}}
nodes:
  - {id: a, prompt: "A {topic}", outputs: [a]}
  - {id: b, prompt: "B {topic}", outputs: [b]}
  - {id: c, prompt: "C {topic}", outputs: [c]}
  - {id: d, prompt: "D {topic}", outputs: [d]}
  - {id: join, prompt: "{a} {b} {c} {d}", outputs: [final]}
edges: [{from: START, to: [a, b, c, d]}, {from: [a, b, c, d], to: join}, {from: join, to: END}]
config: {llm: {provider: scripted}}
"""
MAP: Final = """
flow: {name: map}
state: {fields: {topic: {type: str, required: true}, items: {type: "list[int]", default: ITEMS}, one: str, all: list}}
nodes: [{id: work, prompt: "{topic} {item}", outputs: [one]}]
edges:
  - {from: START, parallel: {items_field: items, target_node: work, collect_field: all}}
  - {from: work, to: END}
config: {llm: {provider: scripted}}
"""
EPILOG: Final = """
examples:
  python benchmarks/engine.py                  ratios for 1 and 64 runs at a time, then forks and maps
  python benchmarks/engine.py --profile        where the time of Flowyard's side goes
  python benchmarks/engine.py --seconds 0.2    quicker, and less exact

The ratio is Flowyard's runs per second over bare LangGraph's, taken per repetition; its median counts, and "spread" is
from the lowest to the highest. The exit code is 1 if a median is below the target. Trust ratios, not rates.
"""


class State(TypedDict):
    topic: str
    plan: str
    draft: str
    final: str


def compiled(text: str) -> Compiled:
    loaded = load_text(text, "benchmark")
    if loaded.workflow is None:
        sys.exit("\n".join(problem.render("benchmark") for problem in loaded.problems))
    return compile_workflow(loaded.workflow)


def model_for(graph: Compiled) -> ScriptedModel:
    return ScriptedModel({node: f"the reply of {node}" for node in graph.workflow.nodes})


def flowyard(graph: Compiled) -> Once:
    model = model_for(graph)
    seen: list[object] = []

    async def once() -> None:
        seen.clear()
        result = await run_workflow(graph, {"topic": "rain"}, run_id="r", model=model, emit=seen.append)
        if result.status != "succeeded":
            sys.exit(f"a run failed: {result.error}")

    return once


def bare(graph: Compiled) -> Once:
    """LangGraph with the same nodes as `graph`, which must be a chain."""
    model = model_for(graph)

    def node_of(node: PromptNode) -> Any:
        template = node.prompt
        assert template is not None

        async def run(state: State) -> dict[str, str]:
            prompt = template.render(state.get)
            reply = await model.reply(ModelCall(node.id, node.settings, (ChatMessage("user", prompt),)))
            return {node.outputs[0].field: reply.text}

        return run

    builder: Any = StateGraph(State)
    names = list(graph.workflow.nodes)
    for node in graph.workflow.nodes.values():
        assert isinstance(node, PromptNode)
        builder.add_node(node.id, node_of(node))
    for source, target in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(source, target)
    app = builder.compile()

    async def once() -> None:
        await app.ainvoke({"topic": "rain"})

    return once


async def rate(once: Once, at_once: int, seconds: float) -> float:
    """Runs per second, `at_once` of them at a time."""
    done = 0
    gc.collect()
    started = time.perf_counter()

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() - started < seconds:
            await once()
            done += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())
    return done / (time.perf_counter() - started)


async def compare(at_once: int, repetitions: int, seconds: float) -> float:
    graph = compiled(CHAIN)
    ours, theirs = flowyard(graph), bare(graph)
    pairs = []
    for repetition in range(repetitions + 1):
        order = (ours, theirs) if repetition % 2 else (theirs, ours)
        rates = {once: await rate(once, at_once, seconds) for once in order}
        if repetition:  # the first one warms up
            pairs.append((rates[ours], rates[theirs]))
    ratios = sorted(a / b for a, b in pairs)
    ratio = statistics.median(ratios)
    print(
        f"{at_once:>4} at a time   flowyard {statistics.median(a for a, _ in pairs):>6.0f} runs/s"
        f"   langgraph {statistics.median(b for _, b in pairs):>6.0f} runs/s"
        f"   ratio {ratio:.2f}   spread {ratios[0]:.2f} to {ratios[-1]:.2f}"
    )
    return ratio


async def others(seconds: float) -> None:
    documents = {"fork of 4 and join": (FORK, 5)}
    documents |= {f"map over {n}": (MAP.replace("ITEMS", str(list(range(n)))), n) for n in (10, 100, 1000)}
    for name, (text, steps) in documents.items():
        once = flowyard(compiled(text))
        await once()
        measured = await rate(once, 1, seconds)
        print(f"{name:<20} {measured:>7.1f} runs/s   {1e3 / measured / steps:>6.3f} ms per step")


async def profile(runs: int) -> None:
    """Prints which layer the time of Flowyard's runs goes to, and its dearest functions."""
    once = flowyard(compiled(CHAIN))
    for _ in range(50):
        await once()
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(runs):
        await once()
    profiler.disable()
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]  # typeshed leaves it out
    layers: dict[str, float] = {}
    ours: list[tuple[float, str]] = []
    for (file, line, function), (_, _, own, _, _) in stats.items():
        layer = layer_of(file)
        layers[layer] = layers.get(layer, 0.0) + own
        if layer.startswith("flowyard"):
            ours.append((own, f"{Path(file).name}:{line} {function}"))
    total = sum(layers.values())
    print(f"own time by layer, of {total / runs * 1e3:.2f} ms per run (more than without the profiler)")
    print_table(layers.items(), total)
    print("\nFlowyard's dearest functions")
    print_table(((name, own) for own, name in ours), total, most=15)


def print_table(rows: Any, total: float, most: int = 30) -> None:
    for name, own in sorted(rows, key=lambda row: -row[1])[:most]:
        print(f"{own / total:>6.1%}  {name}")


def layer_of(file: str) -> str:
    parts = Path(file).parts
    if "flowyard" in parts:
        return "flowyard/" + "/".join(parts[parts.index("flowyard") :][-2:-1])
    for package in ("langgraph", "langchain_core", "langsmith", "asyncio"):
        if package in parts:
            return package
    return "Python itself" if file.startswith(("~", "<")) else "others"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=11, help="pairs of measurements (default: 11)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of one measurement (default: 0.5)")
    parser.add_argument("--at-once", type=int, nargs="*", default=[1, 64], help="runs at a time (default: 1 64)")
    parser.add_argument("--profile", action="store_true", help="say where the time goes, and measure nothing")
    return parser.parse_args()


async def main() -> int:
    args = arguments()
    if args.profile:
        await profile(500)
        return 0
    ratios = [await compare(n, args.repetitions, args.seconds) for n in args.at_once]
    await others(args.seconds)
    met = all(ratio >= TARGET for ratio in ratios)
    print(f"target: a ratio of {TARGET:.2f} or more: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
