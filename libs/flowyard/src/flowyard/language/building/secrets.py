"""Checks `secret: true`: the field's declaration, and its uses, which are allowed in a prompt node's own texts only."""

from __future__ import annotations

from collections.abc import Mapping

from flowyard.language.nodes import Node
from flowyard.language.problems import KeyPath
from flowyard.language.reading.document import DocumentShape, FieldShape
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.values.expression_names import field_references
from flowyard.language.values.expressions import Expression
from flowyard.language.values.references import Finding
from flowyard.language.values.templates import Template
from flowyard.language.values.types import STR, Limited, Type, core, describe
from flowyard.language.workflow import Field, Map

FIELD = "secret-field"
USE = "secret-use"
_HINT = "use it in 'prompt', 'system' or 'inputs' of a node"


def check_secret_field(document: SourceDocument, path: KeyPath, name: str, field_shape: FieldShape, kind: Type) -> None:
    """Reports what a secret field can't have: another type than str, a default, a `reduce`."""
    if not field_shape.secret or document.has_removed_key(path):
        return
    if kind != STR:
        where = (*path, "type") if document.has((*path, "type")) else path
        limit = "format" if isinstance(kind, Limited) and kind.format is not None else "pattern"
        given = describe(kind) if core(kind) != STR else f"a str with a {limit}"
        message = f"'{name}' is secret, so its type must be str, not {given}"
        document.error(FIELD, where, message, "write type: str")
    if "default" in field_shape.model_fields_set:
        message = f"'{name}' is secret, so it can't have a default, which everybody could read here"
        document.error(FIELD, (*path, "default"), message, "write required: true instead", key=True)
    elif not field_shape.required:
        message = f"'{name}' is secret, so it must be a required input"
        document.error(FIELD, (*path, "secret"), message, "add required: true", key=True)
    if field_shape.reduce not in (None, "replace"):
        message = f"'{name}' is secret, so no node writes it, and there is nothing to merge"
        document.error(FIELD, (*path, "reduce"), message, "remove it", key=True)


def check_expression_secrets(
    document: SourceDocument, path: KeyPath, expression: Expression, fields: Mapping[str, Field]
) -> None:
    for name, node in field_references(expression.tree):
        if name in fields and fields[name].secret:
            message = f"'{name}' is secret: no condition may depend on it"
            document.text_problem(path, Finding(USE, message, node.col_offset, _HINT))


def check_secrets(
    shape: DocumentShape,
    document: SourceDocument,
    fields: Mapping[str, Field],
    nodes: Mapping[str, Node],
    maps: Mapping[str, Map],
) -> None:
    """Reports nodes and tests that use a secret field where it isn't allowed."""
    secrets = {name for name, f in fields.items() if f.secret}
    if not secrets:
        return
    for i, case in enumerate(shape.tests or ()):
        for name in (case.expect.outputs if case.expect and case.expect.outputs else {}).keys() & secrets:
            message = f"'{name}' is secret: its value is never shown"
            document.error(USE, ("tests", i, "expect", "outputs", name), message, "remove it", key=True)
    # If two nodes have the same id, which is reported, only the first one is in `nodes`.
    for i, node in enumerate(nodes.values() if len(nodes) == len(shape.nodes) else ()):
        for name in secrets.intersection(output.field for output in node.outputs):
            message = f"'{name}' is secret: it is an input, and no node may write it"
            document.error(USE, ("nodes", i, *node.output_path(name)), message, "write another field", key=True)
        _check_texts(document, node, ("nodes", i), secrets, maps.get(node.id))


def _check_texts(document: SourceDocument, node: Node, path: KeyPath, secrets: set[str], map_: Map | None) -> None:
    item = {map_.item} if map_ is not None else set()
    for text in node.texts():
        for name, offset in text.value.references():
            if not text.takes_secrets and name in secrets - item - text.local:
                message = f"'{name}' is secret: it can't be used here"
                document.text_problem((*path, *text.path), Finding(USE, message, offset, _HINT))
        if text.takes_secrets and isinstance(text.value, Template):
            _check_template(document, text.value, (*path, *text.path), secrets - item - text.local)


def _check_template(document: SourceDocument, template: Template, path: KeyPath, secrets: set[str]) -> None:
    for placeholder in template.placeholders:
        if placeholder.steps and placeholder.root in secrets:
            message = f"'{placeholder.root}' is secret: only the whole value can be used"
            hint = f"write {{{placeholder.root}}}"
            document.text_problem(path, Finding(USE, message, placeholder.offset + 1, hint))
