"""Reads `result`, and warns about fields that nothing reads or writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, assert_never

from flowyard.language.nodes import Node
from flowyard.language.problems import suggest
from flowyard.language.reading.source import SequenceNode
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.workflow import Field, Loop, Map, Next, Routes, Transition, Workflow

_MISSING: Final = frozenset({"missing-key", "not-supported-yet"})
"""Problems of parts that aren't there yet, and may use any field."""
_SUGGESTED: Final = re.compile(r"['{](\w+)['}]")


def read_result(names: list[str] | None, document: SourceDocument, fields: Mapping[str, Field]) -> tuple[str, ...]:
    """The fields that are the run's outputs; empty if the document doesn't name them."""
    is_list = isinstance(document.node(("result",)), SequenceNode)
    listed = set[str]()
    for i, name in enumerate(names or ()):
        where = ("result", i) if is_list else ("result",)
        if name not in fields:
            document.error("unknown-field", where, f"no field '{name}'", suggest(name, fields, "fields"))
        elif fields[name].secret:
            document.error("secret-use", where, f"'{name}' is secret: its value is never shown", "remove it")
        elif name in listed:
            document.error("duplicate-output", where, f"'{name}' is listed twice", "remove one of them")
        listed.add(name)
    return tuple(names or ())


def warn_about_unused_fields(workflow: Workflow, document: SourceDocument) -> None:
    """In a document with errors, only about fields that a broken part can't be meant to use."""
    may_be_used = _name_in_broken_parts(document)
    read, written, maps = set(workflow.result), set[str](), workflow.maps
    for node in workflow.nodes.values():
        read |= node.names_read
        written.update(_written_by(node, maps))
    for transition in workflow.transitions.values():
        read.update(_read_by(transition))
    for name, field in workflow.fields.items():
        path = ("state", "fields", name)
        if may_be_used(name) or document.has_removed_key(path):
            continue
        if field.is_input and not {name} & (read | written):
            document.warn("unread-input", path, f"nothing reads the input '{name}'")
        elif not field.is_input and name not in written:
            document.warn("unwritten-field", path, f"nothing writes '{name}', so it is always null")


def _name_in_broken_parts(document: SourceDocument) -> Callable[[str], bool]:
    """Whether a name may belong to a part that couldn't be read."""
    errors = [problem for problem in document.problems if problem.severity == "error"]
    words = None if any(problem.code in _MISSING for problem in errors) else document.words
    suggested = {name for problem in errors for name in _SUGGESTED.findall(problem.suggestion or "")}
    return lambda name: bool(errors) and (words is None or name in words or name in suggested)


def _written_by(node: Node, maps: Mapping[str, Map]) -> Iterable[str]:
    """In a map also the output that isn't written, but is the type of a result."""
    outputs = [output.field for output in node.outputs]
    return [*outputs, maps[node.id].collect_field] if node.id in maps else outputs


def _read_by(transition: Transition) -> Iterable[str]:
    match transition:
        case Next():
            return ()
        case Routes(routes):
            return {name for route in routes for name in route.condition.names}
        case Loop():
            return transition.until.names
        case Map():
            return (transition.items_field,)
        case _:
            assert_never(transition)
