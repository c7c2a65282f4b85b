"""Reads a tree into a DocumentShape. Reports what has a wrong shape and removes it, so that the rest can be checked."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from types import UnionType
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from flowyard.language.problems import KeyPath, Position, did_you_mean, suggest
from flowyard.language.reading.document import UNSUPPORTED, DocumentShape, FieldShape
from flowyard.language.reading.keys import FORMS, OLD_KEY, Shape
from flowyard.language.reading.source import MappingEntry, MappingNode, ScalarNode, SequenceNode, YamlNode
from flowyard.language.reading.source_document import SourceDocument, to_data
from flowyard.language.reading.source_span import SourceSpan
from flowyard.language.values.durations import DurationError

_MAX_ROUNDS: Final = 6
_MAX_SHOWN: Final = 60
_EXPECTED: Final = {
    "string_type": "text", "int_type": "a whole number", "float_type": "a number", "bool_type": "true or false",
    "list_type": "a list", "dict_type": "a mapping", "model_type": "a mapping", "model_attributes_type": "a mapping",
    "mapping_type": "a mapping", "int_from_float": "a whole number",
}  # fmt: skip
_FINITE: Final = "must be a finite number"
_LIMITS: Final = {
    "greater_than": "must be more than {gt:g}", "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}", "less_than_equal": "must be at most {le:,.15g}",
    "too_short": "must not be empty", "string_too_short": "must not be empty",
    "too_long": "must have at most {max_length:,} items",
    "string_too_long": "must have at most {max_length} characters",
}  # fmt: skip
_PLACEHOLDERS: Final[Mapping[str, Any]] = {
    "flow": {"name": "unnamed"}, "state": {"fields": {}}, "nodes": [{"id": "unnamed"}], "name": "unnamed", "fields": {},
    "max_iterations": 1,
}  # fmt: skip
_REMOVED: Final = ScalarNode(None, "", Position(1, 1), SourceSpan("", 0, 0, ""))


def read_shape(document: SourceDocument) -> DocumentShape | None:
    """The document's shape without its broken parts; None if too little is left for further checks."""
    removed_paths: set[KeyPath] = set()
    for _ in range(_MAX_ROUNDS):
        try:
            return DocumentShape.model_validate(to_data(document.root))
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=True)
        document.removed_from |= {
            document.position(_path(f["loc"])[:-1]) for f in faults if f["type"] == "extra_forbidden"
        }
        for fault in faults:
            if not _is_consequence(fault, removed_paths) and not _is_misspelled(document, fault):
                _report(document, fault)
        removed_paths |= {_remove(document, fault["type"], _path(fault["loc"])) for fault in faults}
        _drop_removed_items(document.root)
    return None


def _is_consequence(fault: Any, removed_paths: set[KeyPath]) -> bool:
    """Whether a fault is only caused by what was removed in an earlier round."""
    path = _path(fault["loc"])
    is_emptied = fault["type"] == "too_short" and any(removed[: len(path)] == path for removed in removed_paths)
    return path in removed_paths or is_emptied


def _is_misspelled(document: SourceDocument, fault: Any) -> bool:
    """Whether a missing key is there with a typo, which is reported as an unknown key."""
    path = _path(fault["loc"])
    parent = document.node(path[:-1])
    if fault["type"] != "missing" or not isinstance(parent, MappingNode):
        return False
    shape = shape_at(path[:-1])
    known = keys_of(shape) if shape else []
    unknown = [name for name in parent.entries if name not in known]
    return any(did_you_mean(name, known) == did_you_mean(str(path[-1]), known) for name in unknown)


def _path(loc: tuple[int | str, ...]) -> KeyPath:
    """Pydantic's location without the names of union members, which aren't keys of the document."""
    return tuple(key for key in loc if key not in FORMS)


def _report(document: SourceDocument, fault: Any) -> None:
    path = _path(fault["loc"])
    name = str(path[-1]) if path else "document"
    kind = fault["type"]
    context = fault.get("ctx", {})
    if kind == "extra_forbidden":
        _unknown_key(document, path, name)
    elif kind == "missing":
        _missing_key(document, path, name)
    elif kind in _EXPECTED:
        message = f"{_label(path)} must be {_EXPECTED[kind]}, not {_describe_value(fault['input'])}"
        document.error("wrong-type", path, message, _type_hint(kind, fault["input"]))
    elif kind == "union_tag_invalid":
        document.error("wrong-type", path, f"{_label(path)} can't be {_describe_value(fault['input'])}")
    elif kind == "value_error":
        _bad_time(document, path, context["error"])
    elif kind == "literal_error":
        expected = [word.strip("' ") for word in context["expected"].replace(" or ", ",").split(",")]
        message = f"{_label(path)} can't be {_describe_value(fault['input'])}"
        document.error("invalid-value", path, message, suggest(str(fault["input"]), expected, "values"))
    elif kind == "string_pattern_mismatch" and path[-1] == "api_base":
        # Not the value itself: it may contain a password.
        message = "'api_base' must be an address"
        document.error("invalid-value", path, message, "write http://… or https://…")
    elif kind == "string_pattern_mismatch":
        hint = "use letters, digits and _, and begin with a letter"
        document.error("bad-name", path, f"{_label(path)} can't be {_describe_value(fault['input'])}", hint)
    else:
        value = "" if kind in ("too_short", "string_too_short") else f", not {_describe_value(fault['input'])}"
        if kind == "too_long":
            value = f", not {len(fault['input']):,}"
        is_finite = not isinstance(fault["input"], float) or math.isfinite(fault["input"])
        limit = _LIMITS.get(kind, _FINITE).format_map(context) if is_finite else _FINITE
        document.error("out-of-range", path, f"{_label(path)} {limit}{value}")


def _bad_time(document: SourceDocument, path: KeyPath, error: DurationError) -> None:
    code = "wrong-type" if error.is_number else "invalid-value"
    document.error(code, path, f"{_label(path)}: {error}", error.suggestion)


def _unknown_key(document: SourceDocument, path: KeyPath, name: str) -> None:
    shape = shape_at(path[:-1])
    feature = UNSUPPORTED.get(shape, {}).get(name) if shape else None
    if feature:
        message = f"'{name}' isn't supported yet: this version of Flowyard has no {feature.removeprefix('the ')}"
        document.error("not-supported-yet", path, message, "remove it", key=True)
        return
    known = keys_of(shape) if shape else []
    where = f" in {_label(path[:-1])}" if len(path) > 1 else ""
    document.error("unknown-key", path, f"no key '{name}'{where}", suggest(name, known, "keys"), key=True)


def _missing_key(document: SourceDocument, path: KeyPath, name: str) -> None:
    code = "loop-without-bound" if name == "max_iterations" else "missing-key"
    hint = "add max_iterations: 10" if name == "max_iterations" else f"add '{name}:'"
    where = _label(path[:-1]) if len(path) > 1 else "the document"
    document.error(code, path[:-1], f"{where} needs the key '{name}'", hint, key=True)


def _label(path: KeyPath) -> str:
    """The name of a path's end in messages: its key, or for an item of a list, its number and the list's key."""
    words = [key for key in path if isinstance(key, str)]
    if not words:
        return "the document"
    return f"item {path[-1] + 1} of '{words[-1]}'" if isinstance(path[-1], int) else f"'{words[-1]}'"


def _describe_value(value: Any) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            shown = repr(value)
            return shown if len(shown) <= _MAX_SHOWN else f"{shown[: _MAX_SHOWN - 1]}…"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _type_hint(kind: str, value: Any) -> str | None:
    if kind == "bool_type" and str(value).lower() in ("yes", "on", "y", "1", "no", "off", "n", "0", "true", "false"):
        return "write true" if str(value).lower() in ("yes", "on", "y", "1", "true") else "write false"
    if kind in ("int_type", "float_type") and isinstance(value, str) and value.strip("-").replace(".", "", 1).isdigit():
        return "remove the quotes"
    if kind == "string_type" and isinstance(value, (int, float)):
        return f"quote it: '{str(value).lower() if isinstance(value, bool) else value}'"
    if kind == "string_type" and isinstance(value, dict):
        return "quote text that begins with { or contains ': '"
    return None


def keys_of(shape: type[BaseModel]) -> list[str]:
    """The keys of a mapping, without old keys that have no effect any more."""
    return [f.alias or name for name, f in shape.model_fields.items() if f.json_schema_extra != OLD_KEY]


def shape_at(path: KeyPath) -> type[Shape] | None:
    """The shape of the mapping at `path`, derived from the annotations of DocumentShape."""
    annotation: Any = DocumentShape
    for key in path:
        annotation = _annotation_at(annotation, key)
    return _first_shape(annotation)


def _annotation_at(annotation: Any, key: str | int) -> Any:
    shape = _first_shape(annotation) if not _is_collection(annotation) else None
    if shape is not None:
        fields = {f.alias or name: f for name, f in shape.model_fields.items()}
        return fields[str(key)].annotation if key in fields else None
    return typing.get_args(_collection_type(annotation))[-1] if _is_collection(annotation) else None


def _collection_type(annotation: Any) -> Any:
    """`X` out of `X | None` and `Annotated[X, …]`, at any depth, where X is a collection."""
    for part in (annotation, *typing.get_args(annotation)):
        origin, inner = typing.get_origin(part), typing.get_args(part)
        if origin in (list, dict, Mapping):
            return part
        within = inner[:1] if origin is typing.Annotated else inner if origin in (typing.Union, UnionType) else ()
        for each in within:
            if _is_collection(each):
                return _collection_type(each)
    return annotation


def _is_collection(annotation: Any) -> bool:
    return typing.get_origin(_collection_type(annotation)) in (list, dict, Mapping)


def _first_shape(annotation: Any) -> type[Shape] | None:
    if isinstance(annotation, type) and issubclass(annotation, Shape):
        return annotation
    if isinstance(annotation, typing.ForwardRef):
        return FieldShape
    if _is_collection(annotation):
        return None
    return next((s for part in typing.get_args(annotation) if (s := _first_shape(part))), None)


def _remove(document: SourceDocument, kind: str, path: KeyPath) -> KeyPath:
    """Removes the smallest broken part from the tree, so that the next round reads a correct document."""
    if kind == "missing":
        return _insert_missing(document, path)
    if path[:2] == ("state", "fields") and len(path) >= 3 and kind != "extra_forbidden":
        _replace_field(document, str(path[2]))
        return path
    if kind == "extra_forbidden" and not document.has(path):
        return path
    while path and not document.has(path):
        path = path[:-1]
    if kind != "extra_forbidden" and path:
        document.incomplete.add(str(path[0]))
    parent = document.node(path[:-1])
    document.removed_from.add(parent.position)
    if isinstance(parent, MappingNode) and path:
        parent.entries.pop(str(path[-1]), None)
    elif isinstance(parent, SequenceNode) and isinstance(path[-1], int):
        parent.items[path[-1]] = _REMOVED
    return path


def _drop_removed_items(node: YamlNode) -> None:
    """Removes the marked items from lists: at the end of a round, so that indexes stay the same during the round."""
    match node:
        case SequenceNode():
            node.items[:] = [item for item in node.items if item is not _REMOVED]
            for item in node.items:
                _drop_removed_items(item)
        case MappingNode():
            for entry in node.entries.values():
                _drop_removed_items(entry.value)


def _insert_missing(document: SourceDocument, path: KeyPath) -> KeyPath:
    """Inserts a placeholder for a key that the document can't do without; else removes the mapping that needs it."""
    parent = document.node(path[:-1])
    if path[0] == "nodes" and len(path) == 3 and path[-1] == "id" and isinstance(parent, MappingNode):
        document.incomplete.add("ids")
        parent.entries["id"] = MappingEntry(_placeholder("id", parent), _placeholder(f"unnamed_{path[1]}", parent))
        return path
    if path[-1] in _PLACEHOLDERS and path[0] not in ("nodes", "tests") and isinstance(parent, MappingNode):
        document.incomplete.add(str(path[0]))
        key = _placeholder(str(path[-1]), parent)
        parent.entries[key.text] = MappingEntry(key, _placeholder_tree(_PLACEHOLDERS[key.text], parent))
        return path
    return _remove(document, "broken", path[:-1]) if len(path) > 1 else path


def _placeholder(value: Any, parent: MappingNode) -> ScalarNode:
    return ScalarNode(value, str(value), parent.position, SourceSpan("", 0, 0, ""))


def _placeholder_tree(data: Any, parent: MappingNode) -> YamlNode:
    if isinstance(data, dict):
        entries = {k: MappingEntry(_placeholder(k, parent), _placeholder_tree(v, parent)) for k, v in data.items()}
        return MappingNode(entries, parent.position)
    if isinstance(data, list):
        return SequenceNode([_placeholder_tree(item, parent) for item in data], parent.position)
    return _placeholder(data, parent)


def _replace_field(document: SourceDocument, name: str) -> None:
    """Replaces a broken field by an optional input of any type, so that nodes that use it aren't reported."""
    fields = document.node(("state", "fields"))
    if isinstance(fields, MappingNode) and name in fields.entries:
        entry = fields.entries[name]
        document.removed_from.add(entry.value.position)
        parent = MappingNode({}, entry.value.position)
        fields.entries[name] = MappingEntry(entry.key, _placeholder_tree({"type": "any", "default": None}, parent))
