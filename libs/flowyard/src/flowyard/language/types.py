"""Types of the state's fields: parse, print, check a value, and turn into JSON Schema."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, assert_never

from flowyard.language.problems import did_you_mean

SimpleName: TypeAlias = Literal["str", "int", "float", "bool", "any"]


@dataclass(frozen=True, slots=True)
class Simple:
    name: SimpleName


@dataclass(frozen=True, slots=True)
class ListOf:
    element: Type


@dataclass(frozen=True, slots=True)
class DictOf:
    """A mapping with text keys, as in JSON."""

    value: Type


@dataclass(frozen=True, slots=True)
class ObjectField:
    type: Type
    required: bool = False
    has_default: bool = False
    default: Any = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectOf:
    """A mapping with known fields; `fields` None means that any are welcome."""

    fields: Mapping[str, ObjectField] | None = None


@dataclass(frozen=True, slots=True)
class Nullable:
    inner: Type


Type: TypeAlias = Simple | ListOf | DictOf | ObjectOf | Nullable

STR: Final = Simple("str")
INT: Final = Simple("int")
FLOAT: Final = Simple("float")
BOOL: Final = Simple("bool")
ANY: Final = Simple("any")

NAMES: Final = ("str", "int", "float", "bool", "dict", "list", "object", "any")
_OTHER_NAMES: Final = {
    "string": "str", "text": "str", "integer": "int", "number": "float", "double": "float", "decimal": "float",
    "boolean": "bool", "array": "list", "map": "dict", "mapping": "dict", "json": "any", "tuple": "list", "set": "list",
}  # fmt: skip
_TOKEN: Final = re.compile(r"\s*([A-Za-z_]\w*|[\[\],|?]|\S)")
_LONGEST: Final = 200
_DEEPEST: Final = 20
_DEEPEST_VALUE: Final = 100


class TypeSyntaxError(ValueError):
    """A type string that isn't one. `offset` counts characters into the string."""

    def __init__(self, message: str, offset: int, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.suggestion = suggestion


def parse_type(text: str) -> Type:
    """`list[int] | null` and its like. Raises TypeSyntaxError."""
    if len(text) > _LONGEST:
        raise TypeSyntaxError(f"a type has at most {_LONGEST} characters", 0)
    return _Parser(text).whole()


class _Parser:
    """Recursive descent over the tokens of one type string."""

    def __init__(self, text: str) -> None:
        self.tokens = [(m.group(1), m.start(1)) for m in _TOKEN.finditer(text)]
        self.at = 0
        self.end = len(text)

    def peek(self) -> tuple[str, int]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("", self.end)

    def take(self) -> tuple[str, int]:
        token = self.peek()
        self.at += 1
        return token

    def expect(self, wanted: str) -> None:
        token, offset = self.take()
        if token != wanted:
            raise TypeSyntaxError(f"expected '{wanted}'" + (f", not '{token}'" if token else " at the end"), offset)

    def whole(self) -> Type:
        parsed = self.union(0)
        token, offset = self.peek()
        if token:
            raise TypeSyntaxError(f"unexpected '{token}' in a type", offset, _known())
        return parsed

    def union(self, depth: int) -> Type:
        parts: list[tuple[Type | None, int]] = [self.one(depth)]
        while self.peek()[0] in ("|", "?"):
            sign, offset = self.take()
            parts.append(self.one(depth) if sign == "|" else (None, offset))
        kinds = [kind for kind, _ in parts if kind is not None]
        if len(kinds) == 1:
            return kinds[0] if len(parts) == 1 else nullable(kinds[0])
        offset = parts[0][1] if not kinds else parts[-1][1]
        raise TypeSyntaxError("a union can only be a type and null", offset, "write 'str | null', or use 'any'")

    def one(self, depth: int) -> tuple[Type | None, int]:
        name, offset = self.take()
        if depth > _DEEPEST:
            raise TypeSyntaxError(f"a type nests at most {_DEEPEST} levels", offset)
        if name in ("null", "None"):
            return None, offset
        if name in ("str", "int", "float", "bool", "any"):
            return Simple(name), offset  # type: ignore[arg-type]  # the five names of SimpleName
        if name == "object":
            return ObjectOf(), offset
        if name == "list":
            return ListOf(self.argument(depth) if self.peek()[0] == "[" else ANY), offset
        if name == "dict":
            return DictOf(self.dict_value(depth) if self.peek()[0] == "[" else ANY), offset
        raise _unknown(name, offset)

    def argument(self, depth: int) -> Type:
        self.expect("[")
        inner = self.union(depth + 1)
        self.expect("]")
        return inner

    def dict_value(self, depth: int) -> Type:
        self.expect("[")
        offset = self.peek()[1]
        key = self.union(depth + 1)
        if self.peek()[0] == "]":
            raise TypeSyntaxError("a dict names its keys and its values", offset, "write 'dict[str, int]'")
        if key != STR:
            raise TypeSyntaxError(f"the keys of a dict are str, not {describe(key)}", offset, "write 'dict[str, …]'")
        self.expect(",")
        value = self.union(depth + 1)
        self.expect("]")
        return value


def _unknown(name: str, offset: int) -> TypeSyntaxError:
    if not name:
        return TypeSyntaxError("a type is missing", offset, _known())
    other = _OTHER_NAMES.get(name.lower())
    hint = f"did you mean '{other}'?" if other else did_you_mean(name, NAMES)
    return TypeSyntaxError(f"no type '{name}'", offset, hint or _known())


def _known() -> str:
    return "types: str, int, float, bool, dict, list, list[str], dict[str, int], object, any, and 'T | null'"


def nullable(kind: Type) -> Type:
    return kind if isinstance(kind, Nullable) or kind == ANY else Nullable(kind)


def without_null(kind: Type) -> Type:
    return kind.inner if isinstance(kind, Nullable) else kind


def describe(kind: Type) -> str:
    """The type as one would write it."""
    match kind:
        case Simple(name):
            return name
        case ListOf(element):
            return "list" if element == ANY else f"list[{describe(element)}]"
        case DictOf(value):
            return "dict" if value == ANY else f"dict[str, {describe(value)}]"
        case ObjectOf():
            return "object"
        case Nullable(inner):
            return f"{describe(inner)} | null"
        case _:
            assert_never(kind)


def type_of(value: Any) -> str:
    """How a value's type is called in messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "str"
        case list() | tuple():
            return "list"
        case dict():
            return "object"
        case _:
            return type(value).__name__


def accepts(target: Type, source: Type) -> bool:
    """Whether every value of `source` is a value of `target`, as far as types can tell; `any` fits both ways."""
    if ANY in (target, source) or target == source:
        return True
    match target, source:
        case Nullable(inner), _:
            return accepts(inner, without_null(source))
        case Simple("float"), Simple("int"):
            return True
        case ListOf(wanted), ListOf(given):
            return accepts(wanted, given)
        case DictOf(wanted), DictOf(given):
            return accepts(wanted, given)
        case (ObjectOf(None), DictOf() | ObjectOf()) | (DictOf(), ObjectOf(None)):
            return True
        case ObjectOf(wanted_fields), ObjectOf(given_fields):
            return given_fields is None or _accepts_fields(wanted_fields or {}, given_fields)
        case DictOf(wanted), ObjectOf(given_fields):
            return all(accepts(wanted, f.type) for f in (given_fields or {}).values())
        case _:
            return False


def _accepts_fields(wanted: Mapping[str, ObjectField], given: Mapping[str, ObjectField]) -> bool:
    if set(given) - set(wanted):
        return False
    return all(accepts(f.type, given[name].type) if name in given else not f.required for name, f in wanted.items())


def conform(kind: Type, value: Any, path: str, problems: list[str], *, complete: bool = False) -> Any:
    """`value` as the type wants it, with int widened to float and nothing else converted.

    Each mismatch appends a sentence that begins with the path (`profile.ages[2]: expected int, got str 'a'`).
    `complete`: every field of an object must be there, as in a model's reply, unless it says `required: false`
    through a default.
    """
    match kind:
        case Simple():
            return _conform_simple(kind, value, path, problems)
        case Nullable(inner):
            return None if value is None else conform(inner, value, path, problems, complete=complete)
        case ListOf(element) if isinstance(value, (list, tuple)):
            return [conform(element, v, f"{path}[{i}]", problems, complete=complete) for i, v in enumerate(value)]
        case DictOf(inner) if isinstance(value, Mapping):
            return {
                k: conform(inner, v, f"{path}.{k}", problems, complete=complete)
                for k, v in _items(value, path, problems)
            }
        case ObjectOf(fields) if isinstance(value, Mapping):
            return _conform_object(fields, value, path, problems, complete=complete)
        case ListOf() | DictOf() | ObjectOf():
            problems.append(_mismatch(kind, value, path))
            return value
        case _:
            assert_never(kind)


def _conform_simple(kind: Simple, value: Any, path: str, problems: list[str]) -> Any:
    match kind.name, value:
        case ("str", str()) | ("bool", bool()):
            return value
        case "int", int() if not isinstance(value, bool):
            return value
        case "float", int() | float() if not isinstance(value, bool):
            return _finite(value, path, problems)
        case "any", _:
            return _json_only(value, path, problems)
        case _:
            problems.append(_mismatch(kind, value, path))
            return value


def _finite(value: int | float, path: str, problems: list[str]) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        problems.append(f"{path}: {value if isinstance(value, float) else 'the number'} is no finite number")
    return number


def _json_only(value: Any, path: str, problems: list[str], depth: int = 0) -> Any:
    if depth > _DEEPEST_VALUE:
        problems.append(f"{path[:60]}…: nests deeper than {_DEEPEST_VALUE} levels")
        return None
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return _finite(value, path, problems)
        case list() | tuple():
            return [_json_only(v, f"{path}[{i}]", problems, depth + 1) for i, v in enumerate(value)]
        case Mapping():
            return {k: _json_only(v, f"{path}.{k}", problems, depth + 1) for k, v in _items(value, path, problems)}
        case _:
            problems.append(f"{path}: {type_of(value)} can't be stored as JSON")
            return value


def _items(value: Mapping[Any, Any], path: str, problems: list[str]) -> list[tuple[str, Any]]:
    problems.extend(f"{path}: the key {k!r} is no text" for k in value if not isinstance(k, str))
    return [(k, v) for k, v in value.items() if isinstance(k, str)]


def _conform_object(
    fields: Mapping[str, ObjectField] | None,
    value: Mapping[Any, Any],
    path: str,
    problems: list[str],
    *,
    complete: bool,
) -> Any:
    if fields is None:
        return _json_only(value, path, problems)
    given = dict(_items(value, path, problems))
    for extra in (name for name in given if name not in fields):
        hint = did_you_mean(extra, fields)
        problems.append(f"{path}.{extra}: no such field" + (f" ({hint})" if hint else ""))
    whole: dict[str, Any] = {}
    for name, f in fields.items():
        if name in given:
            whole[name] = conform(f.type, given[name], f"{path}.{name}", problems, complete=complete)
        elif f.has_default:
            whole[name] = f.default
        elif isinstance(f.type, Nullable):
            whole[name] = None
        elif f.required or complete:
            problems.append(f"{path}.{name}: missing")
    return whole


def _mismatch(kind: Type, value: Any, path: str) -> str:
    shown = repr(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    shown = shown if len(shown) <= 60 else f"{shown[:57]}…"
    given = f"{type_of(value)} {shown}".rstrip()
    return f"{path}: expected {describe(kind)}, got {given}"


def json_schema(kind: Type, description: str | None = None) -> dict[str, Any]:
    """The JSON Schema that a model is asked for: closed objects, every field required, as strict modes demand."""
    schema = _schema(kind)
    return {**schema, "description": description} if description else schema


def _schema(kind: Type) -> dict[str, Any]:
    match kind:
        case Simple("any"):
            return {}
        case Simple(name):
            return {"type": {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}[name]}
        case ListOf(element):
            return {"type": "array", "items": _schema(element)}
        case DictOf(value):
            return {"type": "object", "additionalProperties": True if value == ANY else _schema(value)}
        case ObjectOf(None):
            return {"type": "object", "additionalProperties": True}
        case ObjectOf(fields):
            return object_schema({n: (f.type, f.description) for n, f in (fields or {}).items()})
        case Nullable(inner):
            return {"anyOf": [_schema(inner), {"type": "null"}]}
        case _:
            assert_never(kind)


def object_schema(fields: Mapping[str, tuple[Type, str | None]]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: json_schema(kind, description) for name, (kind, description) in fields.items()},
        "required": list(fields),
        "additionalProperties": False,
    }
