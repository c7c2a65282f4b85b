"""Reads `state.fields` and types, and reports their problems."""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from flowyard.language.building.limits import with_limits
from flowyard.language.building.secrets import check_secret_field
from flowyard.language.problems import KeyPath
from flowyard.language.reading.document import DocumentShape, FieldShape
from flowyard.language.reading.source import ScalarNode
from flowyard.language.reading.source_document import SourceDocument
from flowyard.language.values.conform import conform
from flowyard.language.values.expression_names import CONSTANTS, LOOP_PREFIX
from flowyard.language.values.references import Finding
from flowyard.language.values.types import (
    ANY,
    FLOAT,
    DictOf,
    ListOf,
    Nullable,
    ObjectField,
    ObjectOf,
    Type,
    TypeSyntaxError,
    accepts,
    core,
    describe,
    is_text,
    nullable,
    parse_type,
)
from flowyard.language.workflow import Field

_RESERVED: Final = frozenset({"state", "START", "END", "configurable", *CONSTANTS})
_NEEDED_TYPES: Final = {
    "append": ("a list", "list"), "extend": ("a list", "list"), "merge": ("a dict or object", "dict"),
    "add": ("a number", "float"), "max": ("a number or text", "float"), "min": ("a number or text", "float"),
}  # fmt: skip
"""By the value of `reduce`: what the field's type has to be, and an example."""
_EMPTY_VALUES: Final[Mapping[str, Any]] = {"append": [], "extend": [], "merge": {}}


def read_fields(shape: DocumentShape, document: SourceDocument) -> dict[str, Field]:
    fields = {}
    for name, given in shape.state.fields.items():
        path: KeyPath = ("state", "fields", name)
        check_name(document, path, name)
        fields[name] = _read_field(document, path, name, _long_form(given))
    return fields


def _long_form(given: str | FieldShape) -> FieldShape:
    return FieldShape(type=given) if isinstance(given, str) else given


def check_name(document: SourceDocument, path: KeyPath, name: str) -> None:
    normalized = unicodedata.normalize("NFKC", name)
    if normalized != name:
        message = f"'{name}' is read as '{normalized}' in conditions"
        document.error("bad-name", path, message, f"write '{normalized}'", key=True)
    elif not name.isidentifier() or keyword.iskeyword(name):
        hint = "use letters, digits and _, and begin with a letter"
        document.error("bad-name", path, f"'{name}' can't be the name of a field", hint, key=True)
    elif name in _RESERVED or name.lower() in CONSTANTS or name.startswith((LOOP_PREFIX, "__")):
        document.error("reserved-name", path, f"'{name}' is a reserved name", "choose another name", key=True)


def _read_field(document: SourceDocument, path: KeyPath, name: str, given: FieldShape) -> Field:
    kind = with_limits(document, path, read_type(document, path, given.type, given.schema_), given)
    has_default = "default" in given.model_fields_set or document.has_removed_key(path)
    reduce = given.reduce or "replace"
    _check_reduce(document, path, kind, reduce)
    check_secret_field(document, path, name, given, kind)
    kind, default = _default(document, path, kind, given, has_default=has_default)
    if given.required and "default" in given.model_fields_set and not given.secret:
        message = f"'{name}' is required, so its default would never be used"
        document.error("required-with-default", (*path, "default"), message, "remove one of the two", key=True)
    if reduce == "append" and not has_default and not given.required:
        for key in (key for key in ("min_items", "max_items") if document.has((*path, key))):
            message = f"'{key}' would never be checked: nodes append one element at a time"
            document.error("limit-type", (*path, key), message, "remove it", key=True)
    if not has_default and not given.required and reduce in _EMPTY_VALUES:
        return Field(name, kind, default=_EMPTY_VALUES[reduce], description=given.description, reduce=reduce)
    return Field(name, kind, given.required, has_default, default, given.description, reduce, given.secret)


def read_type(
    document: SourceDocument, path: KeyPath, text: str, schema: Mapping[str, str | FieldShape] | None = None
) -> Type:
    """The type at `path`, with `schema` as the fields of its objects. `any` if the text isn't a type."""
    where = (*path, "type") if document.has((*path, "type")) else path
    try:
        kind = parse_type(text)
    except TypeSyntaxError as error:
        if isinstance(document.node(where), ScalarNode):
            document.text_problem(where, Finding("unknown-type", error.message, error.offset, error.suggestion))
        return ANY
    if schema is None:
        return kind
    fields = {name: _object_field(document, (*path, "schema", name), name, _long_form(f)) for name, f in schema.items()}
    filled = _fill_objects(kind, ObjectOf(fields))
    if filled == kind:
        message = f"'schema' describes an object, but the type is {describe(kind)}"
        document.error("schema-without-object", (*path, "schema"), message, "write type: object", key=True)
    return filled


def _object_field(document: SourceDocument, path: KeyPath, name: str, given: FieldShape) -> ObjectField:
    check_name(document, path, name)
    if given.reduce is not None:
        message = "'reduce' belongs to fields of the state, not to fields of an object"
        document.error("unknown-key", (*path, "reduce"), message, "remove it", key=True)
    if given.secret:
        message = "'secret' belongs to fields of the state, not to fields of an object"
        document.error("unknown-key", (*path, "secret"), message, "make it a field of its own", key=True)
    kind = with_limits(document, path, read_type(document, path, given.type, given.schema_), given)
    has_default = "default" in given.model_fields_set
    kind, default = _default(document, path, kind, given, has_default=has_default)
    return ObjectField(kind, given.required, has_default, default, given.description)


def _default(
    document: SourceDocument, path: KeyPath, kind: Type, given: FieldShape, *, has_default: bool
) -> tuple[Type, Any]:
    """The type and the default of a field. With the default null, the type allows null."""
    if has_default and given.default is None:
        return nullable(kind), None
    code, where = "bad-default", (*path, "default")
    return kind, check_value(document, where, kind, given.default, "default", code=code) if has_default else None


def _fill_objects(kind: Type, whole: ObjectOf) -> Type:
    match kind:
        case ObjectOf(None):
            return whole
        case ListOf(element):
            return ListOf(_fill_objects(element, whole))
        case DictOf(value):
            return DictOf(_fill_objects(value, whole))
        case Nullable(inner):
            return Nullable(_fill_objects(inner, whole))
        case _:
            return kind


def check_value(document: SourceDocument, path: KeyPath, kind: Type, value: Any, name: str, *, code: str) -> Any:
    """The value, converted to its type. Every mismatch is reported at its position. `name`: the value's in messages."""
    problems: list[str] = []
    converted = conform(kind, value, name, problems)
    for problem in problems:
        document.error(code, document.deepest_path(path, problem.removeprefix(name)), problem)
    return converted


def _check_reduce(document: SourceDocument, path: KeyPath, kind: Type, reduce: str) -> None:
    if reduce == "replace" or document.has_removed_key(path):
        return
    inner = core(kind)
    needed, example = _NEEDED_TYPES[reduce]
    fits = {
        "a list": isinstance(inner, ListOf),
        "a dict or object": isinstance(inner, (DictOf, ObjectOf)),
        "a number": accepts(FLOAT, inner),
        "a number or text": accepts(FLOAT, inner) or is_text(inner),
    }
    if inner == ANY:
        message = f"'reduce: {reduce}' needs a field with a type, but the type is any"
        document.error("reduce-type", (*path, "reduce"), message, f"give it a type, such as {example}")
    elif not fits[needed]:
        message = f"'reduce: {reduce}' needs {needed}, not {describe(kind)}"
        document.error("reduce-type", (*path, "reduce"), message)
