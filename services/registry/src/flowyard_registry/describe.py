"""A workflow as responses show it: with its inputs, and its graph to draw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import assert_never

from flowyard.api.workflows import Graph, GraphEdge, GraphNode, InputField, WorkflowDetail
from flowyard.language.load import Loaded
from flowyard.language.nodes import Goto, Node
from flowyard.language.values.json_schema import json_schema
from flowyard.language.values.types import describe
from flowyard.language.workflow import END, START, Field, Loop, Map, Next, Routes, Transition, Workflow
from flowyard.storage.workflows import Listed
from flowyard_registry.documents import document_problems


def workflow_detail(listed: Listed, document: str, loaded: Loaded) -> WorkflowDetail:
    """Without inputs and graph if this version refuses the document, which an older one accepted."""
    workflow = loaded.workflow
    return WorkflowDetail(
        **asdict(listed),
        description=workflow.description if workflow else None,
        version=workflow.version if workflow else None,
        tags=list(workflow.tags) if workflow else [],
        author=workflow.author if workflow else None,
        document=document,
        inputs=[_input(field) for field in workflow.inputs.values()] if workflow else [],
        graph=graph_of(workflow) if workflow else Graph(nodes=[], edges=[]),
        problems=document_problems(listed.name, loaded.problems),
    )


def _input(field: Field) -> InputField:
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
