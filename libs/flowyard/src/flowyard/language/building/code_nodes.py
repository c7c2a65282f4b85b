"""Code nodes: what they read, what they write, their limits, and what can be seen of their code."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from flowyard.language.building.mapped_values import ValueReader
from flowyard.language.building.node_context import NodeContext
from flowyard.language.building.prompt_nodes import read_outputs
from flowyard.language.code import INPUTS, read_code
from flowyard.language.code_bounds import CodeBounds
from flowyard.language.nodes import CodeLimits, CodeNode, SetValue
from flowyard.language.problems import KeyPath
from flowyard.language.reading.document import ConfigShape, NodeShape
from flowyard.language.reading.sandbox import SandboxShape
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.values.templates import parse_template
from flowyard.language.values.types import ANY

_OLD: Final = {
    "mode": "code always runs in the sandbox",
    "enabled": "code always runs in the sandbox",
    "network": "code has no network",
    "preset": "write 'timeout' and 'memory_mb'",
    "resources": "write 'timeout' and 'memory_mb'",
}


def read_code_node(context: NodeContext, shape: NodeShape, path: KeyPath) -> CodeNode:
    text = shape.code or ""
    if not shape.outputs and not context.is_incomplete(path):
        message = f"node '{shape.id}' writes nothing"
        context.document.error("missing-key", path, message, "add 'outputs:' with the fields that it writes", key=True)
    _warn_about_old_limits(context.document, shape.sandbox, (*path, "sandbox"))
    limits = _limits(context.code_limits, shape.sandbox)
    _check_bounds(context, shape, limits, path)
    code = read_code(text, limits.tier)
    for finding in code.findings:
        context.document.text_problem((*path, "code"), finding)
    return CodeNode(
        **context.head(shape, path),
        outputs=read_outputs(context, shape, path),
        code=text,
        inputs=_inputs(context, shape, path, code.names),
        limits=limits,
    )


def _check_bounds(context: NodeContext, shape: NodeShape, limits: CodeLimits, path: KeyPath) -> None:
    """A limit may be the node's own, or that of the whole document."""
    for key, message in context.code_bounds.refusals(limits):
        is_own = getattr(shape.sandbox, key, None) is not None
        context.document.error("code-limit", (*path, "sandbox", key) if is_own else (*path, "code"), message, key=True)


def _inputs(context: NodeContext, shape: NodeShape, path: KeyPath, names: frozenset[str]) -> Mapping[str, SetValue]:
    """Without `inputs`, the code sees the fields that it names."""
    types = context.types(shape.id)
    if shape.inputs is None:
        return {name: parse_template(f"{{{name}}}") for name in sorted(names & types.keys())}
    reader = ValueReader(context.document, context.scope(shape.id), context.outputs)
    values: dict[str, SetValue] = {}
    for name, given in shape.inputs.items():
        where = (*path, "inputs", name)
        if not name.isidentifier() or keyword.iskeyword(name) or name == INPUTS:
            message = f"'{name}' can't be a name in code"
            context.document.error("bad-name", where, message, "use letters, digits and _", key=True)
        values[name] = reader.value(given, where)
        reader.check(name, values[name], ANY, where)
    return values


def read_code_limits(document: SourceDocument, config: ConfigShape | None, bounds: CodeBounds) -> CodeLimits:
    """Those of the whole document. What it leaves out is within the bounds."""
    given = config.sandbox if config is not None else None
    _warn_about_old_limits(document, given, ("config", "sandbox"))
    return _limits(bounds.within(CodeLimits()), given)


def _limits(base: CodeLimits, given: SandboxShape | None) -> CodeLimits:
    if given is None:
        return base
    changes: dict[str, Any] = {
        name: value for name in ("tier", "timeout", "memory_mb") if (value := getattr(given, name)) is not None
    }
    return replace(base, **changes)


def _warn_about_old_limits(document: SourceDocument, given: SandboxShape | None, path: KeyPath) -> None:
    for key, instead in _OLD.items():
        if given is not None and key in given.model_fields_set:
            document.warn("old-key", (*path, key), f"'{key}' has no effect: {instead}")
