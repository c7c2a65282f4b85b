"""Reads a loop: back to an earlier node until a condition holds."""

from __future__ import annotations

from typing import Final

from flowyard.language.building.edge_context import EdgeContext
from flowyard.language.building.expressions import field_name
from flowyard.language.problems import KeyPath
from flowyard.language.reading.document import LoopShape
from flowyard.language.values.types import BOOL, accepts, describe, without_null
from flowyard.language.workflow import END, START, Loop

_START_HINT: Final = "name the node where an iteration begins"


def read_loop(context: EdgeContext, source: str, loop: LoopShape, path: KeyPath) -> Loop | None:
    """The loop; None if it is broken. Reports its problems."""
    if loop.to is None and source in context.joins:
        context.error("missing-key", path, "a loop from a join needs the key 'to'", _START_HINT)
        return None
    start = loop.to or source
    targets = [(start, (*path, "to")), (loop.exit_to, (*path, "exit_to"))]
    are_known = [context.target(target, where) for target, where in targets]
    logic = _condition_of(context, loop, path)
    expression = context.condition(*logic) if logic is not None else None
    if source == START:
        context.error("unknown-node", path, "a loop can't start from START", "start it from a node", key=True)
        return None
    if start == END:
        context.error("loop-target", (*path, "to"), "a loop can't lead back to END", _START_HINT)
        return None
    if loop.exit_to == start:
        message = "'exit_to' is the node where an iteration begins"
        context.error("loop-target", (*path, "exit_to"), message, "name the node after the loop")
        return None
    for target, where in targets:
        context.link(source, target, where if context.document.has(where) else path)
    if expression is None or not all(are_known):
        return None
    return Loop(start, expression, loop.max_iterations, loop.exit_to)


def _condition_of(context: EdgeContext, loop: LoopShape, path: KeyPath) -> tuple[str, KeyPath] | None:
    if (loop.until is None) == (loop.condition_field is None):
        message = "a loop has one of 'until' and 'condition_field'"
        code = "missing-key" if loop.until is None else "conflicting-edges"
        if "edges" in context.document.incomplete or context.document.has_removed_key(path):
            context.edges.is_complete = False
        else:
            context.error(code, path, message, "write until: score > 0.8", key=True)
        return None
    if loop.until is not None:
        return loop.until, (*path, "until")
    name = field_name(loop.condition_field or "")
    where = (*path, "condition_field")
    field = context.fields.get(name)
    if field is None:
        context.unknown_field(name, where)
        return None
    if not accepts(BOOL, without_null(field.type)):
        message = f"'condition_field' names a bool, but '{name}' is {describe(field.type)}"
        context.error("expression-type", where, message, f"write until: {name} == …")
        return None
    return name, where
