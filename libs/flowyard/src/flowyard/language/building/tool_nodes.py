"""Reads tool nodes: the tool, its arguments, the fields that its result goes to."""

from __future__ import annotations

from collections.abc import Mapping

from flowyard.language.building.mapped_values import ValueReader
from flowyard.language.building.node_context import NodeContext
from flowyard.language.nodes import Output, SetValue, ToolNode
from flowyard.language.problems import KeyPath, suggest
from flowyard.language.reading.document import NodeShape
from flowyard.language.tools import ToolFacts, ToolUse


def read_tool_node(context: NodeContext, shape: NodeShape, path: KeyPath) -> ToolNode:
    reader = ValueReader(context.document, context.scope(shape.id), context.outputs)
    arguments = {name: reader.value(value, (*path, "with", name)) for name, value in (shape.with_ or {}).items()}
    use = context.tools.read_single(shape.tool, (*path, "tool")) if shape.tool is not None else ToolUse("")
    if use.is_pattern:
        message = f"a tool node calls one tool, and '{use.name}' stands for many"
        context.document.error("tool-pattern", (*path, "tool"), message, "name one of them")
    facts = context.tools.facts(use.name)
    if facts is not None and not context.is_incomplete(path):
        _check_arguments(context, facts, arguments, path)
    return ToolNode(**context.head(shape, path), outputs=_outputs(context, shape, path), tool=use, arguments=arguments)


def _check_arguments(context: NodeContext, facts: ToolFacts, arguments: Mapping[str, SetValue], path: KeyPath) -> None:
    """Their names. The values are checked when the tool is called: most of them depend on the run."""
    for name in arguments if facts.parameters.get("additionalProperties") is False else ():
        if name not in facts.arguments:
            hint = suggest(name, facts.arguments, "arguments")
            message = f"'{facts.name}' has no argument '{name}'"
            context.document.error("unknown-argument", (*path, "with", name), message, hint, key=True)
    for name in facts.required:
        if name not in arguments:
            message = f"'{facts.name}' needs the argument '{name}'"
            context.document.error("missing-key", (*path, "tool"), message, f"write with: {{{name}: …}}", key=True)


def _outputs(context: NodeContext, shape: NodeShape, path: KeyPath) -> tuple[Output, ...]:
    names, outputs = shape.outputs or [], list[Output]()
    for i, name in enumerate(names):
        where = (*path, "outputs", i)
        if name in names[:i]:
            context.document.error("duplicate-output", where, f"'{name}' is listed twice", "remove one of them")
            continue
        kind = context.output_type(shape.id, name, where, is_only=len(names) == 1)
        declared = context.fields.get(name)
        outputs.append(Output(name, kind, declared.description if declared else None))
    return tuple(outputs)
