"""A loop: back to an earlier node until a condition holds."""

from __future__ import annotations

from flowyard.language.building.edge_context import EdgeContext, field_name
from flowyard.language.reading.document import LoopShape
from flowyard.language.reading.places import Path
from flowyard.language.values.types import BOOL, accepts, describe, without_null
from flowyard.language.workflow import END, START, Loop, Way


def read_loop(context: EdgeContext, source: str, loop: LoopShape, path: Path) -> Way | None:
    if loop.to is None and source in context.joins:
        context.error("missing-key", path, "a loop from a join needs the key 'to'", "name where a turn begins")
        return None
    back = loop.to or source
    ends = [(back, (*path, "to")), (loop.exit_to, (*path, "exit_to"))]
    known = [context.target(target, where) for target, where in ends]
    logic = _until(context, loop, path)
    expression = context.condition(*logic) if logic is not None else None
    if source == START:
        context.error("unknown-node", path, "a loop can't start from START", "start it from a node", key=True)
        return None
    if back == END:
        context.error(
            "loop-target", (*path, "to"), "a loop can't lead back to END", "name the node where a turn begins"
        )
        return None
    if loop.exit_to == back:
        context.error(
            "loop-target", (*path, "exit_to"), "the loop exits to where it goes on", "name the node after the loop"
        )
        return None
    for target, where in ends:
        context.link(source, target, where if context.places.has(where) else path)
    if expression is None or not all(known):
        return None
    return Loop(back, expression, loop.max_iterations, loop.exit_to)


def _until(context: EdgeContext, loop: LoopShape, path: Path) -> tuple[str, Path] | None:
    if (loop.until is None) == (loop.condition_field is None):
        message = "a loop has one of 'until' and 'condition_field'"
        code = "missing-key" if loop.until is None else "conflicting-edges"
        if "edges" in context.places.damaged or context.places.lost_a_key(path):
            context.edges.sound = False
        else:
            context.error(code, path, message, "write until: score > 0.8", key=True)
        return None
    if loop.until is not None:
        return loop.until, (*path, "until")
    name = field_name(loop.condition_field or "")
    where = (*path, "condition_field")
    found = context.fields.get(name)
    if found is None:
        context.unknown_field(name, where)
        return None
    if not accepts(BOOL, without_null(found.type)):
        message = f"'condition_field' names a bool, but '{name}' is {describe(found.type)}"
        context.error("expression-type", where, message, f"write until: {name} == …")
        return None
    return name, where
