"""Assert nodes: a condition, and the message of the failure."""

from __future__ import annotations

from flowyard.language.building.expressions import read_condition
from flowyard.language.building.node_context import NodeContext
from flowyard.language.nodes import AssertNode
from flowyard.language.problems import KeyPath
from flowyard.language.reading.document import NodeShape
from flowyard.language.values.expressions import parse_expression


def read_assert_node(context: NodeContext, shape: NodeShape, path: KeyPath) -> AssertNode:
    scope = context.scope(shape.id)
    where = (*path, "assert")
    if shape.id in context.maps:
        problem = f"'{shape.id}' is an assert node: it has no result that a map could collect"
        context.document.error("map-target", where, problem, "let the map run another node", key=True)
    condition = read_condition(context.document, where, shape.assert_ or "", scope)
    message = context.template(shape.message, (*path, "message"), scope.types) if shape.message is not None else None
    return AssertNode(**context.head(shape, path), condition=condition or parse_expression("false"), message=message)
