"""`state.fields` → Field, and type strings → Type, with their problems."""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from flowyard.language.building.secrets import check_secret_field
from flowyard.language.reading.document import DocumentShape, FieldShape
from flowyard.language.reading.places import Path, Places
from flowyard.language.reading.source import Scalar
from flowyard.language.values.conform import conform
from flowyard.language.values.expressions import CONSTANTS, LOOP_PREFIX
from flowyard.language.values.references import Finding
from flowyard.language.values.types import (
    ANY,
    FLOAT,
    STR,
    DictOf,
    ListOf,
    Nullable,
    ObjectField,
    ObjectOf,
    Type,
    TypeSyntaxError,
    accepts,
    describe,
    nullable,
    parse_type,
    without_null,
)
from flowyard.language.workflow import Field

_RESERVED: Final = frozenset({"state", "START", "END", "configurable", *CONSTANTS})
_TYPICAL: Final = {
    "append": "list", "extend": "list", "merge": "dict", "add": "float", "max": "float", "min": "float",
}  # fmt: skip
_EMPTY: Final[Mapping[str, Any]] = {"append": [], "extend": [], "merge": {}}


def read_fields(shape: DocumentShape, places: Places) -> dict[str, Field]:
    fields = {}
    for name, given in shape.state.fields.items():
        path: Path = ("state", "fields", name)
        check_name(places, path, name)
        fields[name] = _read_field(places, path, name, _long(given))
    return fields


def _long(given: str | FieldShape) -> FieldShape:
    return FieldShape(type=given) if isinstance(given, str) else given


def check_name(places: Places, path: Path, name: str) -> None:
    plain = unicodedata.normalize("NFKC", name)
    if plain != name:
        message = f"'{name}' is read as '{plain}' in conditions"
        places.error("bad-name", path, message, f"write '{plain}'", key=True)
    elif not name.isidentifier() or keyword.iskeyword(name):
        hint = "use letters, digits and _, and begin with a letter"
        places.error("bad-name", path, f"'{name}' can't be the name of a field", hint, key=True)
    elif name in _RESERVED or name.lower() in CONSTANTS or name.startswith((LOOP_PREFIX, "__")):
        places.error("reserved-name", path, f"'{name}' has a meaning of its own", "choose another name", key=True)


def _read_field(places: Places, path: Path, name: str, given: FieldShape) -> Field:
    kind = read_type(places, path, given.type, given.schema_)
    has_default = "default" in given.model_fields_set or places.lost_a_key(path)
    reduce = given.reduce or "replace"
    _check_reduce(places, path, kind, reduce)
    check_secret_field(places, path, name, given, kind)
    default = given.default
    if has_default and default is None:
        kind = nullable(kind)
    elif has_default:
        default = check_value(places, (*path, "default"), kind, default, "default", code="bad-default")
    if given.required and "default" in given.model_fields_set and not given.secret:
        message = f"'{name}' is required, so its default would never be used"
        places.error("required-with-default", (*path, "default"), message, "remove one of the two", key=True)
    if not has_default and not given.required and reduce in _EMPTY:
        return Field(name, kind, default=_EMPTY[reduce], description=given.description, reduce=reduce)
    return Field(name, kind, given.required, has_default, default, given.description, reduce, given.secret)


def read_type(places: Places, path: Path, text: str, schema: Mapping[str, str | FieldShape] | None = None) -> Type:
    """The type at `path` (`any` where it's broken), with the schema filled in where it says object."""
    where = (*path, "type") if places.has((*path, "type")) else path
    try:
        kind = parse_type(text)
    except TypeSyntaxError as error:
        if isinstance(places.node(where), Scalar):
            places.inside(where, Finding("unknown-type", error.message, error.offset, error.suggestion))
        return ANY
    if schema is None:
        return kind
    fields = {name: _object_field(places, (*path, "schema", name), name, _long(f)) for name, f in schema.items()}
    filled = _fill_objects(kind, ObjectOf(fields))
    if filled == kind:
        message = f"'schema' describes an object, but the type is {describe(kind)}"
        places.error("schema-without-object", (*path, "schema"), message, "write type: object", key=True)
    return filled


def _object_field(places: Places, path: Path, name: str, given: FieldShape) -> ObjectField:
    check_name(places, path, name)
    if given.reduce is not None:
        message = "'reduce' belongs to fields of the state, not to fields of an object"
        places.error("unknown-key", (*path, "reduce"), message, "remove it", key=True)
    if given.secret:
        message = "'secret' belongs to fields of the state, not to fields of an object"
        places.error("unknown-key", (*path, "secret"), message, "make it a field of its own", key=True)
    kind = read_type(places, path, given.type, given.schema_)
    has_default = "default" in given.model_fields_set
    default = given.default
    if has_default and default is None:
        kind = nullable(kind)
    elif has_default:
        default = check_value(places, (*path, "default"), kind, default, "default", code="bad-default")
    return ObjectField(kind, given.required, has_default, default, given.description)


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


def check_value(places: Places, path: Path, kind: Type, value: Any, called: str, *, code: str) -> Any:
    """The value as its type wants it; every mismatch is reported where the value stands."""
    problems: list[str] = []
    fitting = conform(kind, value, called, problems)
    for problem in problems:
        places.error(code, places.deepest(path, problem.removeprefix(called)), problem)
    return fitting


def _check_reduce(places: Places, path: Path, kind: Type, reduce: str) -> None:
    inner = without_null(kind)
    fits = {
        "append": isinstance(inner, ListOf),
        "extend": isinstance(inner, ListOf),
        "merge": isinstance(inner, (DictOf, ObjectOf)),
        "add": accepts(FLOAT, inner),
        "max": accepts(FLOAT, inner) or inner == STR,
        "min": accepts(FLOAT, inner) or inner == STR,
    }
    if reduce == "replace" or places.lost_a_key(path):
        return
    if inner == ANY:
        message = f"'reduce: {reduce}' needs to know what it works on, but the type is any"
        places.error("reduce-type", (*path, "reduce"), message, f"give it a type, such as {_TYPICAL[reduce]}")
    elif not fits[reduce]:
        needs = {"append": "a list", "extend": "a list", "merge": "a dict or object", "add": "a number"}
        message = f"'reduce: {reduce}' needs {needs.get(reduce, 'a number or text')}, not {describe(kind)}"
        places.error("reduce-type", (*path, "reduce"), message)
