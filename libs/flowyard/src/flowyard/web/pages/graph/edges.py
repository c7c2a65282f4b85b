"""The edges of a workflow's graph, with their conditions as labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

from flowyard.language.flow import Flow
from flowyard.language.nodes import Goto
from flowyard.language.workflow import END, START, Loop, Map, Next, Routes, Transition, Workflow

EdgeKind: TypeAlias = Literal["forward", "back", "error"]


@dataclass(frozen=True, slots=True)
class Edge:
    """`kind`: `back` for a loop's edge to an earlier node, `error` for `on_error: {goto: …}`."""

    source: str
    target: str
    kind: EdgeKind
    label: str = ""


def vertices(workflow: Workflow) -> list[str]:
    """START, the nodes, the joins, END, in this order."""
    return [START, *workflow.nodes, *workflow.joins, END]


def edges(workflow: Workflow) -> list[Edge]:
    """The edges, merged if they have the same ends and kind."""
    labels: dict[tuple[str, str, EdgeKind], list[str]] = {}
    for source in Flow(workflow.nodes, workflow.transitions).names:
        for edge in _edges_from(workflow, source):
            texts = labels.setdefault((edge.source, edge.target, edge.kind), [])
            if edge.label:
                texts.append(edge.label)
    return [Edge(*key, " or ".join(dict.fromkeys(texts))) for key, texts in labels.items()]


def _edges_from(workflow: Workflow, source: str) -> Iterator[Edge]:
    node = workflow.nodes.get(source)
    transition = workflow.transitions.get(source)
    if transition is not None:
        yield from _edges_of(source, transition)
    if node is not None and isinstance(node.on_error, Goto):
        yield Edge(source, node.on_error.node, "error", "on error")


def _edges_of(source: str, transition: Transition) -> Iterator[Edge]:
    match transition:
        case Next(to):
            for target in to:
                yield Edge(source, target, "forward")
        case Routes(routes, default):
            for route in routes:
                yield Edge(source, route.to, "forward", route.condition.text)
            yield Edge(source, default, "forward", "otherwise")
        case Loop() as loop:
            yield Edge(source, loop.to, "back", f"again, at most {loop.max_iterations} times")
            yield Edge(source, loop.exit_to, "forward", loop.until.text)
        case Map() as map_:
            yield Edge(source, map_.target, "forward", f"each of {map_.items_field}")
        case _:
            assert_never(transition)
