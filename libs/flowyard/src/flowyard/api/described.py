"""A workflow as responses describe it: its inputs, and its graph to draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from flowyard.api.workflows import Graph, GraphEdge, GraphNode, InputField
from flowyard.language.nodes import Goto, Node
from flowyard.language.values.json_schema import json_schema
from flowyard.language.values.types import describe
from flowyard.language.workflow import END, START, Field, Loop, Map, Next, Routes, Transition, Workflow


def input_field(field: Field) -> InputField:
    return InputField(
        name=field.name,
        type=describe(field.type),
        required=field.required,
        default=field.default if field.has_default else None,
        description=field.description,
        # OpenAPI's keywords for a value that is accepted but never returned.
        json_schema=json_schema(field.type) | ({"writeOnly": True, "format": "password"} if field.secret else {}),
    )


def graph_of(workflow: Workflow) -> Graph:
    nodes = [
        GraphNode(id=START, kind="start"),
        *map(_node, workflow.nodes.values()),
        *(GraphNode(id=join, kind="join") for join in workflow.joins),
        GraphNode(id=END, kind="end"),
    ]
    return Graph(nodes=nodes, edges=list(_edges(workflow)))


def _node(node: Node) -> GraphNode:
    return GraphNode(
        id=node.id,
        kind=node.kind,
        name=node.name,
        description=node.description,
        model=str(node.models[0]) if node.models else None,
        outputs=[output.field for output in node.outputs],
    )


def _edges(workflow: Workflow) -> Iterator[GraphEdge]:
    """All edges, those of each node together, from START on."""
    for source in (START, *workflow.nodes, *workflow.joins):
        if source in workflow.transitions:
            yield from _edges_of(source, workflow.transitions[source])
        node = workflow.nodes.get(source)
        if node is not None and isinstance(node.on_error, Goto):
            yield GraphEdge(source=source, target=node.on_error.node, kind="error")


def _edges_of(source: str, transition: Transition) -> Iterator[GraphEdge]:
    match transition:
        case Next(to):
            yield from (GraphEdge(source=source, target=target, kind="next") for target in to)
        case Routes(routes, default):
            for route in routes:
                yield GraphEdge(source=source, target=route.to, kind="route", label=_line(route.condition.text))
            yield GraphEdge(source=source, target=default, kind="else")
        case Loop() as loop:
            again = f"at most {loop.max_iterations} times"
            yield GraphEdge(source=source, target=loop.to, kind="again", label=again)
            yield GraphEdge(source=source, target=loop.exit_to, kind="exit", label=_line(loop.until.text))
        case Map() as map_:
            each = f"{map_.item} of {map_.items_field}, into {map_.collect_field}"
            yield GraphEdge(source=source, target=map_.target, kind="each", label=each)
        case _:
            assert_never(transition)


def _line(text: str) -> str:
    return " ".join(text.split())
