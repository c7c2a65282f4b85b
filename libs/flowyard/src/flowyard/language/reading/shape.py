"""Tree → DocumentShape. Problems of shape are reported, and what is broken is cut out so that the rest is checked."""

from __future__ import annotations

import typing
from collections.abc import Mapping as MappingType
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from flowyard.language.problems import Position, did_you_mean, suggest
from flowyard.language.reading.document import FORMS, NOT_YET, OLD_KEY, DocumentShape, FieldShape, Shape
from flowyard.language.reading.origin import Origin
from flowyard.language.reading.places import Path, Places, plain
from flowyard.language.reading.source import KeyValue, Mapping, Scalar, Sequence, YamlNode

_ROUNDS: Final = 6
_SHOWN: Final = 60
_WANTED: Final = {
    "string_type": "text", "int_type": "a whole number", "float_type": "a number", "bool_type": "true or false",
    "list_type": "a list", "dict_type": "a mapping", "model_type": "a mapping", "model_attributes_type": "a mapping",
    "mapping_type": "a mapping", "int_from_float": "a whole number",
}  # fmt: skip
_MINIMAL: Final[MappingType[str, Any]] = {
    "flow": {"name": "unnamed"}, "state": {"fields": {}}, "nodes": [{"id": "unnamed"}], "name": "unnamed", "fields": {},
    "max_iterations": 1,
}  # fmt: skip
_HOLE: Final = Scalar(None, "", Position(1, 1), Origin("", 0, 0, ""))


def read_shape(places: Places) -> DocumentShape | None:
    """The document's shape with the broken parts left out; None if too little is left to go on with."""
    gone: set[Path] = set()
    _drop_empty_tools(places.node(("nodes",)))
    for _ in range(_ROUNDS):
        try:
            return DocumentShape.model_validate(plain(places.root))
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=True)
        places.gaps |= {places.value(_path(f["loc"])[:-1]) for f in faults if f["type"] == "extra_forbidden"}
        for fault in faults:
            if not _follows(fault, gone) and not _is_misspelled(places, fault):
                _report(places, fault)
        gone |= {_cut(places, fault["type"], _path(fault["loc"])) for fault in faults}
        _close_holes(places.root)
    return None


def _drop_empty_tools(nodes: YamlNode) -> None:
    """A node that has an empty list of tools has none; with some it can't be run yet."""
    for node in nodes.items if isinstance(nodes, Sequence) else ():
        if isinstance(node, Mapping) and "tools" in node.entries:
            tools = node.entries["tools"].value
            if isinstance(tools, Sequence) and not tools.items:
                node.entries.pop("tools")


def _follows(fault: Any, gone: set[Path]) -> bool:
    """Whether a fault only shows what was cut out in an earlier round."""
    path = _path(fault["loc"])
    return path in gone or (fault["type"] == "too_short" and any(cut[: len(path)] == path for cut in gone))


def _is_misspelled(places: Places, fault: Any) -> bool:
    """Whether a missing key stands there under a wrong name, which is reported on its own."""
    path = _path(fault["loc"])
    parent = places.node(path[:-1])
    if fault["type"] != "missing" or not isinstance(parent, Mapping):
        return False
    shape = shape_at(path[:-1])
    known = keys_of(shape) if shape else []
    unknown = [name for name in parent.entries if name not in known]
    return any(did_you_mean(name, known) == did_you_mean(str(path[-1]), known) for name in unknown)


def _path(loc: tuple[int | str, ...]) -> Path:
    """Pydantic's location without the names of union members, which are no keys."""
    return tuple(step for step in loc if step not in FORMS)


def _report(places: Places, fault: Any) -> None:
    path = _path(fault["loc"])
    name = str(path[-1]) if path else "document"
    kind = fault["type"]
    context = fault.get("ctx", {})
    if kind == "extra_forbidden":
        _unknown_key(places, path, name)
    elif kind == "missing":
        _missing_key(places, path, name)
    elif kind in _WANTED:
        message = f"{_called(path)} must be {_WANTED[kind]}, not {_given(fault['input'])}"
        places.error("wrong-type", path, message, _type_hint(kind, fault["input"]))
    elif kind == "union_tag_invalid":
        places.error("wrong-type", path, f"{_called(path)} can't be {_given(fault['input'])}")
    elif kind == "literal_error" and fault["input"] == "tool_error":
        message = "'tool_error' can't happen yet: this version of Flowyard knows no tools"
        places.error("not-supported-yet", path, message, "remove it")
    elif kind == "literal_error":
        expected = [word.strip("' ") for word in context["expected"].replace(" or ", ",").split(",")]
        message = f"{_called(path)} can't be {_given(fault['input'])}"
        places.error("invalid-value", path, message, suggest(str(fault["input"]), expected, "values"))
    elif kind == "string_pattern_mismatch":
        _bad_pattern(places, path, fault["input"])
    else:
        given = "" if kind in ("too_short", "string_too_short") else f", not {_given(fault['input'])}"
        places.error("out-of-range", path, f"{_called(path)} {_limit(kind, context)}{given}")


def _unknown_key(places: Places, path: Path, name: str) -> None:
    shape = shape_at(path[:-1])
    feature = NOT_YET.get(shape, {}).get(name) if shape else None
    if feature:
        message = f"'{name}' can't be run yet: this version of Flowyard knows no {feature.removeprefix('the ')}"
        places.error("not-supported-yet", path, message, "remove it", key=True)
        return
    known = keys_of(shape) if shape else []
    where = f" in {_called(path[:-1])}" if len(path) > 1 else ""
    places.error("unknown-key", path, f"no key '{name}'{where}", suggest(name, known, "keys"), key=True)


def _missing_key(places: Places, path: Path, name: str) -> None:
    code = "loop-without-bound" if name == "max_iterations" else "missing-key"
    hint = "add max_iterations: 10" if name == "max_iterations" else f"add '{name}:'"
    where = _called(path[:-1]) if len(path) > 1 else "the document"
    places.error(code, path[:-1], f"{where} needs the key '{name}'", hint, key=True)


def _bad_pattern(places: Places, path: Path, given: Any) -> None:
    if path[-1] == "api_base":
        places.error(
            "invalid-value", path, f"'api_base' must be an address, not '{given}'", "write http://… or https://…"
        )
        return
    hint = "use letters, digits and _, and begin with a letter"
    places.error("bad-name", path, f"{_called(path)} can't be {_given(given)}", hint)


def _called(path: Path) -> str:
    """How messages call the thing at a path: its key, or the list that it's an item of."""
    words = [step for step in path if isinstance(step, str)]
    if not words:
        return "the document"
    if path and isinstance(path[-1], int):
        return f"item {path[-1] + 1} of '{words[-1]}'"
    return f"'{words[-1]}'"


def _given(value: Any) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            shown = repr(value)
            return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _type_hint(kind: str, given: Any) -> str | None:
    if kind == "bool_type" and str(given).lower() in ("yes", "on", "y", "1", "no", "off", "n", "0", "true", "false"):
        return "write true" if str(given).lower() in ("yes", "on", "y", "1", "true") else "write false"
    if kind in ("int_type", "float_type") and isinstance(given, str) and given.strip("-").replace(".", "", 1).isdigit():
        return "remove the quotes"
    if kind == "string_type" and isinstance(given, (int, float)):
        return f"quote it: '{str(given).lower() if isinstance(given, bool) else given}'"
    if kind == "string_type" and isinstance(given, dict):
        return "quote text that begins with { or holds ': '"
    return None


def _limit(kind: str, context: MappingType[str, Any]) -> str:
    match kind:
        case "greater_than":
            return f"must be more than {context['gt']:g}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        case "less_than":
            return f"must be less than {context['lt']:g}"
        case "less_than_equal":
            return f"must be at most {context['le']:,g}"
        case "string_too_short" | "too_short":
            return "must not be empty"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
        case _:
            return "must be a finite number"


def keys_of(shape: type[BaseModel]) -> list[str]:
    return [f.alias or name for name, f in shape.model_fields.items() if f.json_schema_extra != OLD_KEY]


def shape_at(path: Path) -> type[Shape] | None:
    """The shape of the mapping at `path`, found by walking the annotations."""
    annotation: Any = DocumentShape
    for step in path:
        annotation = _step(annotation, step)
    return _first_shape(annotation)


def _step(annotation: Any, step: str | int) -> Any:
    shape = _first_shape(annotation) if not _is_collection(annotation) else None
    if shape is not None:
        fields = {f.alias or name: f for name, f in shape.model_fields.items()}
        return fields[str(step)].annotation if step in fields else None
    return typing.get_args(_unwrapped(annotation))[-1] if _is_collection(annotation) else None


def _unwrapped(annotation: Any) -> Any:
    """`X` out of `X | None` and `Annotated[X, …]`, where X is a collection."""
    for part in (annotation, *typing.get_args(annotation)):
        if typing.get_origin(part) in (list, dict, MappingType):
            return part
        if typing.get_origin(part) is typing.Annotated and _is_collection(typing.get_args(part)[0]):
            return _unwrapped(typing.get_args(part)[0])
    return annotation


def _is_collection(annotation: Any) -> bool:
    return typing.get_origin(_unwrapped(annotation)) in (list, dict, MappingType)


def _first_shape(annotation: Any) -> type[Shape] | None:
    if isinstance(annotation, type) and issubclass(annotation, Shape):
        return annotation
    if isinstance(annotation, typing.ForwardRef):
        return FieldShape
    if _is_collection(annotation):
        return None
    return next((s for part in typing.get_args(annotation) if (s := _first_shape(part))), None)


def _cut(places: Places, kind: str, path: Path) -> Path:
    """Takes the smallest broken part out of the tree, so that the next round sees a whole document."""
    if kind == "missing":
        return _fill(places, path)
    if path[:2] == ("state", "fields") and len(path) >= 3 and kind != "extra_forbidden":
        _replace_field(places, str(path[2]))
        return path
    if kind == "extra_forbidden" and not places.has(path):
        return path
    while path and not places.has(path):
        path = path[:-1]
    if kind != "extra_forbidden" and path:
        places.damaged.add(str(path[0]))
    parent = places.node(path[:-1])
    places.gaps.add(parent.position)
    if isinstance(parent, Mapping) and path:
        parent.entries.pop(str(path[-1]), None)
    elif isinstance(parent, Sequence) and isinstance(path[-1], int):
        parent.items[path[-1]] = _HOLE
    return path


def _close_holes(node: YamlNode) -> None:
    """Removes the list items that were cut; only now, so that the numbers of the others stayed true."""
    match node:
        case Sequence():
            node.items[:] = [item for item in node.items if item is not _HOLE]
            for item in node.items:
                _close_holes(item)
        case Mapping():
            for entry in node.entries.values():
                _close_holes(entry.value)


def _fill(places: Places, path: Path) -> Path:
    """Puts in what is missing where the document can't do without it; elsewhere takes out what needed it."""
    parent = places.node(path[:-1])
    if path[0] == "nodes" and len(path) == 3 and path[-1] == "id" and isinstance(parent, Mapping):
        places.damaged.add("ids")
        parent.entries["id"] = KeyValue(_synthetic("id", parent), _synthetic(f"unnamed_{path[1]}", parent))
        return path
    if path[-1] in _MINIMAL and path[0] not in ("nodes", "tests") and isinstance(parent, Mapping):
        places.damaged.add(str(path[0]))
        key = _synthetic(str(path[-1]), parent)
        parent.entries[key.text] = KeyValue(key, _grown(_MINIMAL[key.text], parent))
        return path
    return _cut(places, "broken", path[:-1]) if len(path) > 1 else path


def _synthetic(value: Any, near: Mapping) -> Scalar:
    return Scalar(value, str(value), near.position, Origin("", 0, 0, ""))


def _grown(data: Any, near: Mapping) -> YamlNode:
    if isinstance(data, dict):
        return Mapping({k: KeyValue(_synthetic(k, near), _grown(v, near)) for k, v in data.items()}, near.position)
    if isinstance(data, list):
        return Sequence([_grown(item, near) for item in data], near.position)
    return _synthetic(data, near)


def _replace_field(places: Places, name: str) -> None:
    """A field whose description is broken is still a field: an input of any type, so that its uses aren't reported."""
    fields = places.node(("state", "fields"))
    if isinstance(fields, Mapping) and name in fields.entries:
        entry = fields.entries[name]
        places.gaps.add(entry.value.position)
        near = Mapping({}, entry.value.position)
        fields.entries[name] = KeyValue(entry.key, _grown({"type": "any", "default": None}, near))
