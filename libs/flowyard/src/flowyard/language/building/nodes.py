"""NodeShape → Node: which kind of node it is, and its reader."""

from __future__ import annotations

from flowyard.language.building.node_context import NodeContext
from flowyard.language.building.prompt_nodes import read_prompt_node
from flowyard.language.nodes import Node
from flowyard.language.reading.document import NodeShape
from flowyard.language.reading.places import Path


def read_node(context: NodeContext, shape: NodeShape, path: Path) -> Node:
    """The node at `path`. What is wrong with it is reported to the context's document."""
    context.check_id(shape.id, path)
    context.check_map_target(shape, path)
    return read_prompt_node(context, shape, path)
