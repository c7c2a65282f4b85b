"""Random workflows against two references: what every graph without loops means, and nested blocks with loops."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flowyard.runs.events import RunFinished, StepFailed, StepFinished, StepStarted
from support.workflows import Outcome, run

_SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _finish(document: object, replies: dict[str, object]) -> Outcome:
    """JSON is YAML. A run that is stuck is a failed test after 20 s, not a hanging one."""

    async def in_time() -> Outcome:
        async with asyncio.timeout(20):
            return await run(json.dumps(document), replies=replies)

    outcome = asyncio.run(in_time())
    assert outcome.result.status == "succeeded", outcome.result.error
    assert isinstance(outcome.events[-1], RunFinished)
    return outcome


# Graphs without loops: a node runs if and only if an edge into it is live, once, after everybody who leads to it.


@dataclass(frozen=True)
class Graph:
    """`after`: targets per node. `chosen`: which of them a route takes; where it is missing, all are taken.

    `failing`: nodes whose call fails, and where they go then; None is on past the failure.
    """

    after: dict[str, list[str]]
    chosen: dict[str, int]
    failing: dict[str, str | None]

    def live_after(self, name: str) -> list[str]:
        jump = self.failing.get(name)
        if jump is not None:
            return [jump]
        return [self.after[name][self.chosen[name]]] if name in self.chosen else self.after[name]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    names = ["START", *(f"n{i}" for i in range(draw(st.integers(1, 9))))]
    after: dict[str, list[str]] = {name: [] for name in names}
    for i, name in enumerate(names[1:], 1):
        for source in draw(st.sets(st.sampled_from(names[:i]), min_size=1, max_size=3)):
            after[source].append(name)
    chosen = {}
    failing: dict[str, str | None] = {}
    for i, name in enumerate(names):
        after[name] = after[name] or ["END"]
        if draw(st.booleans()):
            chosen[name] = draw(st.integers(0, len(after[name]) - 1))
        elif name != "START" and draw(st.integers(0, 4)) == 0:
            failing[name] = draw(st.sampled_from([None, *names[i + 1 :]]))
    return Graph(after, chosen, failing)


def _document(graph: Graph) -> dict[str, object]:
    names = [name for name in graph.after if name != "START"]
    edges: list[dict[str, object]] = []
    for name, targets in graph.after.items():
        if name in graph.chosen:
            field = "pick" if name == "START" else name
            routes: list[object] = [{"if": f"{field} == '{i}'", "to": to} for i, to in enumerate(targets[:-1])]
            edges.append({"from": name, "routes": [*routes, {"default": targets[-1]}]})
        else:
            edges.append({"from": name, "to": targets})
    nodes: list[dict[str, object]] = [{"id": n, "prompt": n, "outputs": [n], "retry": 0} for n in names]
    for node in nodes:
        name = str(node["id"])
        if name in graph.failing:
            jump = graph.failing[name]
            node["on_error"] = "continue" if jump is None else {"goto": jump}
    pick = {"type": "str", "default": str(graph.chosen.get("START", 0))}
    fields = {"pick": pick, **dict.fromkeys(names, "str")}
    return {"flow": {"name": "any"}, "state": {"fields": fields}, "nodes": nodes, "edges": edges}


def _sources_of_live_nodes(graph: Graph) -> dict[str, set[str]]:
    sources: dict[str, set[str]] = {"START": set()}
    for name in graph.after:  # sources come before their targets
        if name in sources:
            for target in graph.live_after(name):
                sources.setdefault(target, set()).add(name)
    return {name: found for name, found in sources.items() if name not in ("START", "END")}


@given(graphs())
@_SETTINGS
def test_a_node_runs_once_and_after_all_live_nodes_before_it(graph: Graph) -> None:
    replies: dict[str, object] = {name: str(choice) for name, choice in graph.chosen.items()}
    replies |= {name: {"error": "provider_error"} for name in graph.failing}
    outcome = _finish(_document(graph), replies)
    expected = _sources_of_live_nodes(graph)
    assert Counter(outcome.path) == Counter(expected.keys())
    done = {"START"}
    for event in outcome.events:
        if isinstance(event, StepStarted):
            assert expected[event.step.node] <= done
        elif isinstance(event, (StepFinished, StepFailed)):
            done.add(event.step.node)


# Blocks within blocks: how often each node runs can be counted without running anything.


@dataclass(frozen=True)
class Task:
    pass


@dataclass(frozen=True)
class Row:
    blocks: list[Block]


@dataclass(frozen=True)
class Fork:
    branches: list[Block]


@dataclass(frozen=True)
class Choice:
    branches: list[Block]
    chosen: int


@dataclass(frozen=True)
class Repeat:
    """The condition holds after `wanted` turns, the bound after `most`."""

    body: Block
    wanted: int
    most: int


@dataclass(frozen=True)
class Each:
    items: int


Block: TypeAlias = Task | Row | Fork | Choice | Repeat | Each


def _larger(inner: st.SearchStrategy[Block]) -> st.SearchStrategy[Block]:
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(
        st.builds(Row, several),
        st.builds(Fork, several),
        st.builds(Choice, several, st.integers(0, 1)),
        st.builds(Repeat, inner, st.integers(1, 4), st.integers(1, 3)),
    )


_SMALLEST: st.SearchStrategy[Block] = st.one_of(st.builds(Task), st.builds(Each, st.integers(0, 3)))
blocks = st.recursive(_SMALLEST, _larger, max_leaves=8)


class Writer:
    """Writes a block as a document, and counts how often each of its nodes runs."""

    def __init__(self) -> None:
        self.fields: dict[str, object] = {}
        self.nodes: list[object] = []
        self.edges: list[object] = []
        self.replies: dict[str, object] = {}
        self.expected: Counter[str] = Counter()

    def node(self, kind: str, times: int) -> str:
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append({"id": name, "prompt": name, "outputs": [name]})
        self.fields[name] = "str"
        self.expected[name] = times
        return name

    def write(self, block: Block, then: str, times: int) -> str:
        """The node where the block begins; it goes on to `then`, and is entered `times` times."""
        match block:
            case Task():
                name = self.node("task", times)
                self.edges.append({"from": name, "to": then})
                return name
            case Row(inner):
                for each in reversed(inner):
                    then = self.write(each, then, times)
                return then
            case Fork(branches):
                name, join = self.node("fork", times), self.node("join", times)
                self.edges.append({"from": join, "to": then})
                self.edges.append({"from": name, "to": [self.write(b, join, times) for b in branches]})
                return name
            case Choice(branches, chosen):
                return self.choice(branches, chosen, then, times)
            case Repeat(body, wanted, most):
                turns = min(wanted, most)
                name = self.node("loop", times * turns)
                until = f"iterations('{name}') >= {wanted}"
                to = self.write(body, name, times * turns)
                loop = {"to": to, "until": until, "max_iterations": most, "exit_to": then}
                self.edges.append({"from": name, "loop": loop})
                return to
            case Each(items):
                return self.each(items, then, times)

    def choice(self, branches: list[Block], chosen: int, then: str, times: int) -> str:
        name, merge = self.node("route", times), self.node("merge", times)
        self.replies[name] = str(chosen)
        self.edges.append({"from": merge, "to": then})
        to = [self.write(b, merge, times if i == chosen else 0) for i, b in enumerate(branches)]
        routes: list[object] = [{"if": f"{name} == '{i}'", "to": entry} for i, entry in enumerate(to[:-1])]
        self.edges.append({"from": name, "routes": [*routes, {"default": to[-1]}]})
        return name

    def each(self, items: int, then: str, times: int) -> str:
        name, work = self.node("plan", times), self.node("work", times * items)
        self.fields |= {f"{name}_in": {"type": "list", "default": list(range(items))}, f"{name}_out": "list"}
        way = {"items_field": f"{name}_in", "target_node": work, "collect_field": f"{name}_out", "max_concurrency": 2}
        self.edges += [{"from": name, "parallel": way}, {"from": work, "to": then}]
        return name

    def document(self, block: Block) -> dict[str, object]:
        entry = self.write(block, "END", 1)
        edges = [{"from": "START", "to": entry}, *self.edges]
        return {"flow": {"name": "any"}, "state": {"fields": self.fields}, "nodes": self.nodes, "edges": edges}


@given(blocks)
@_SETTINGS
def test_nested_forks_routes_loops_and_maps_run_each_node_as_often_as_they_say(block: Block) -> None:
    writer = Writer()
    document = writer.document(block)
    assume(writer.expected.total() < 400)
    outcome = _finish(document, writer.replies)
    assert Counter(outcome.path) == +writer.expected
