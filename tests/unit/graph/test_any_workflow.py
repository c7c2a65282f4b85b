"""Random workflows against two references: what every graph without loops means, and nested blocks with loops."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flowyard.runs.events import RunFinished, StepFailed, StepFinished, StepStarted
from support.blocks import Block, Trail, Writer, blocks
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


# Blocks within blocks: how often each node runs, and what all of them write, is known without running anything.


@given(blocks)
@_SETTINGS
def test_nested_forks_routes_loops_and_maps_run_each_node_as_often_as_they_say(block: Block) -> None:
    writer = Writer()
    document = writer.document(block)
    assume(writer.expected.total() < 400)
    outcome = _finish(document, writer.replies)
    assert Counter(outcome.path) == +writer.expected
    assert outcome.result.state["trail"] == Trail().of(block)
