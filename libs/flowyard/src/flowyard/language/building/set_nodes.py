"""Reads set nodes: fields from templates, expressions and plain values."""

from __future__ import annotations

from flowyard.language.building.mapped_values import ValueReader
from flowyard.language.building.node_context import NodeContext
from flowyard.language.nodes import Output, SetNode
from flowyard.language.problems import KeyPath
from flowyard.language.reading.document import NodeShape


def read_set_node(context: NodeContext, shape: NodeShape, path: KeyPath) -> SetNode:
    given = shape.set_ or {}
    reader = ValueReader(context.document, context.scope(shape.id), context.outputs)
    values, outputs = {}, []
    for name, value in given.items():
        where = (*path, "set", name)
        kind = context.output_type(shape.id, name, where, is_only=len(given) == 1, key=True)
        values[name] = reader.value(value, where)
        reader.check(name, values[name], kind, where)
        declared = context.fields.get(name)
        outputs.append(Output(name, kind, declared.description if declared else None))
    return SetNode(**context.head(shape, path), outputs=tuple(outputs), values=values)
