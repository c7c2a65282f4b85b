"""The edges of a workflow, as one reads them: with their conditions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

from flowyard.language.flow import Flow
from flowyard.language.nodes import Goto
from flowyard.language.workflow import END, START, Loop, Map, Next, Routes, Way, Workflow

Kind: TypeAlias = Literal["way", "back", "error"]


@dataclass(frozen=True, slots=True)
class Edge:
    """`back`: by a loop, to what came before. `error`: where a failure leads."""

    source: str
    target: str
    kind: Kind
    label: str = ""


def places(workflow: Workflow) -> list[str]:
    """START, the nodes, the joins, END."""
    return [START, *workflow.nodes, *workflow.joins, END]


def edges(workflow: Workflow) -> list[Edge]:
    """One for each pair of places and kind."""
    labels: dict[tuple[str, str, Kind], list[str]] = {}
    for source in Flow(workflow.nodes, workflow.ways).names:
        for edge in _edges_from(workflow, source):
            found = labels.setdefault((edge.source, edge.target, edge.kind), [])
            if edge.label:
                found.append(edge.label)
    return [Edge(*key, " or ".join(dict.fromkeys(found))) for key, found in labels.items()]


def _edges_from(workflow: Workflow, source: str) -> Iterator[Edge]:
    node = workflow.nodes.get(source)
    way = workflow.ways.get(source)
    if way is not None:
        yield from _edges_of(source, way)
    if node is not None and isinstance(node.on_error, Goto):
        yield Edge(source, node.on_error.node, "error", "on error")


def _edges_of(source: str, way: Way) -> Iterator[Edge]:
    match way:
        case Next(to):
            for target in to:
                yield Edge(source, target, "way")
        case Routes(routes, default):
            for route in routes:
                yield Edge(source, route.to, "way", route.condition.text)
            yield Edge(source, default, "way", "otherwise")
        case Loop():
            yield Edge(source, way.to, "back", f"again, at most {way.max_iterations} turns")
            yield Edge(source, way.exit_to, "way", way.until.text)
        case Map():
            yield Edge(source, way.target, "way", f"each of {way.items_field}")
        case _:
            assert_never(way)
