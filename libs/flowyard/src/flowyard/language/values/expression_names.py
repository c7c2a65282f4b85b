"""The names in expressions: which are fields, loops and constants, and what each part reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from flowyard.language.values.functions import FUNCTIONS, ITEM

LOOP_PREFIX: Final = "_loop_iteration_"
CONSTANTS: Final = {"true": True, "false": False, "null": None, "none": None}


def field_references(tree: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Each field that is read, as `x` or `state.x`, with the node of the tree that reads it."""
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, has_item = pending.pop()
        name = field_name(node)
        if name is not None:
            if not (has_item and is_item(node)):
                yield name, node  # type: ignore[misc]  # a node with a field's name is an expression
        elif isinstance(node, ast.Call):
            each = repeated_argument(node)
            pending.extend((arg, has_item or arg is each) for arg in node.args)
        else:
            pending.extend((child, has_item) for child in ast.iter_child_nodes(node))


def is_item(node: ast.AST) -> bool:
    """Whether it is the name of an element, where there is one."""
    return isinstance(node, ast.Name) and node.id == ITEM


def repeated_argument(call: ast.Call) -> ast.expr | None:
    """The argument that is evaluated for each element of another one, if the call has one."""
    function = FUNCTIONS.get(call.func.id) if isinstance(call.func, ast.Name) else None
    return call.args[1] if function is not None and function.each and len(call.args) > 1 else None


def field_name(node: ast.AST) -> str | None:
    """The field that this node of the tree reads, or None."""
    match node:
        case ast.Attribute(ast.Name("state"), attr):
            return None if attr.startswith(LOOP_PREFIX) else attr
        case ast.Name(name) if name not in CONSTANTS and not name.startswith(LOOP_PREFIX):
            return name
        case _:
            return None


def loop_name(node: ast.AST) -> str | None:
    """The workflow node in `_loop_iteration_node` or `iterations('node')`, or None."""
    match node:
        case ast.Attribute(ast.Name("state"), name) | ast.Name(name) if name.startswith(LOOP_PREFIX):
            return name.removeprefix(LOOP_PREFIX)
        case ast.Call(ast.Name("iterations"), [ast.Constant(str(name))], []):
            return name
        case _:
            return None
