"""`secret: true`: what a field has to be for it, and where it may be named: in a node's own texts, as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flowyard.language.nodes import Node
from flowyard.language.reading.document import DocumentShape, FieldShape, NodeShape
from flowyard.language.reading.places import Path, Places
from flowyard.language.values.expressions import Expression, roots
from flowyard.language.values.references import Finding
from flowyard.language.values.templates import Template
from flowyard.language.values.types import STR, Type, describe
from flowyard.language.workflow import Field, Map

FIELD = "secret-field"
USE = "secret-use"
_WHERE = "use it in 'prompt', 'system' or 'inputs' of a node"


def check_secret_field(places: Places, path: Path, name: str, given: FieldShape, kind: Type) -> None:
    """Reports what a secret field can't be."""
    if not given.secret or places.lost_a_key(path):
        return
    if kind != STR:
        where = (*path, "type") if places.has((*path, "type")) else path
        message = f"'{name}' is secret, so it is a text, not {describe(kind)}"
        places.error(FIELD, where, message, "write type: str")
    if "default" in given.model_fields_set:
        message = f"'{name}' is secret, and a default would stand here for everybody to read"
        places.error(FIELD, (*path, "default"), message, "write required: true instead", key=True)
    elif not given.required:
        message = f"'{name}' is secret, so each run has to be given it"
        places.error(FIELD, (*path, "secret"), message, "add required: true", key=True)
    if given.reduce not in (None, "replace"):
        message = f"'{name}' is secret, and nothing writes it that could be merged"
        places.error(FIELD, (*path, "reduce"), message, "remove it", key=True)


def check_expression_secrets(places: Places, path: Path, expression: Expression, fields: Mapping[str, Field]) -> None:
    for name, place in roots(expression.tree):
        if name in fields and fields[name].secret:
            message = f"'{name}' is secret: no condition may depend on it"
            places.inside(path, Finding(USE, message, place.col_offset, _WHERE))


def check_secrets(
    shape: DocumentShape,
    places: Places,
    fields: Mapping[str, Field],
    nodes: Mapping[str, Node],
    maps: Mapping[str, Map],
) -> None:
    """Reports where nodes and tests of a document say a secret's name, and may not."""
    secrets = {name for name, f in fields.items() if f.secret}
    if not secrets:
        return
    for i, case in enumerate(shape.tests or ()):
        for name in (case.expect.outputs if case.expect and case.expect.outputs else {}).keys() & secrets:
            message = f"'{name}' is secret: no run shows what it is"
            places.error(USE, ("tests", i, "expect", "outputs", name), message, "remove it", key=True)
    for i, given in enumerate(shape.nodes):
        for name, where in _written(given):
            if name in secrets:
                message = f"'{name}' is secret: it is an input, and no node may write it"
                places.error(USE, ("nodes", i, *where), message, "write another field", key=where[0] == "set")
        if len(nodes) == len(shape.nodes):
            _check_texts(places, nodes[given.id], ("nodes", i), secrets, maps.get(given.id))


def _written(given: NodeShape) -> Iterator[tuple[str, Path]]:
    yield from ((name, ("outputs", k)) for k, name in enumerate(given.outputs or ()))
    yield from ((name, ("set", name)) for name in given.set_ or ())


def _check_texts(places: Places, node: Node, path: Path, secrets: set[str], way: Map | None) -> None:
    item = {way.item} if way is not None else set()
    for text in node.texts():
        for name, offset in text.value.references():
            if not text.takes_secrets and name in secrets - item - text.local:
                message = f"'{name}' is secret: it can't be used here"
                places.inside((*path, *text.path), Finding(USE, message, offset, _WHERE))
        if text.takes_secrets and isinstance(text.value, Template):
            _check_template(places, text.value, (*path, *text.path), secrets - item - text.local)


def _check_template(places: Places, template: Template, path: Path, secrets: set[str]) -> None:
    for placeholder in template.placeholders:
        if placeholder.steps and placeholder.root in secrets:
            message = f"'{placeholder.root}' is secret, and used as a whole or not at all"
            hint = f"write {{{placeholder.root}}}"
            places.inside(path, Finding(USE, message, placeholder.offset + 1, hint))
