"""Types of fields: parses them from text, formats and compares them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, assert_never, get_args

from flowyard.language.problems import did_you_mean

TextFormat: TypeAlias = Literal["workflow"]
SimpleName: TypeAlias = Literal["str", "int", "float", "bool", "date", "datetime", "message", "any"]


@dataclass(frozen=True, slots=True)
class Simple:
    name: SimpleName


@dataclass(frozen=True, slots=True)
class Choice:
    """A text that is one of these."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limited:
    """A number between `least` and `most`, a list with so many elements, or a text that fits `pattern` as a whole.

    `format`: of what a model writes as the text; other values aren't checked for it.
    """

    inner: Type
    least: float | None = None
    most: float | None = None
    pattern: str | None = None
    format: TextFormat | None = None


@dataclass(frozen=True, slots=True)
class ListOf:
    element: Type


@dataclass(frozen=True, slots=True)
class DictOf:
    """A mapping from texts to values of one type."""

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
    """A mapping with known fields. `fields`: None if any are allowed."""

    fields: Mapping[str, ObjectField] | None = None


@dataclass(frozen=True, slots=True)
class Nullable:
    inner: Type


Type: TypeAlias = Simple | Choice | ListOf | DictOf | ObjectOf | Nullable | Limited

STR: Final = Simple("str")
INT: Final = Simple("int")
FLOAT: Final = Simple("float")
BOOL: Final = Simple("bool")
ANY: Final = Simple("any")
DATE: Final = Simple("date")
DATETIME: Final = Simple("datetime")
MESSAGE: Final = Simple("message")
"""Of a conversation, as in OpenAI's chat format: see `values/messages.py`."""

NAMES: Final = ("str", "int", "float", "bool", "date", "datetime", "dict", "list", "object", "message", "any")
_SYNONYMS: Final = {
    "string": "str", "text": "str", "integer": "int", "number": "float", "double": "float", "decimal": "float",
    "boolean": "bool", "array": "list", "map": "dict", "mapping": "dict", "json": "any", "tuple": "list", "set": "list",
    "timestamp": "datetime",
}  # fmt: skip
_TOKEN: Final = re.compile(r"\s*('[^']+'|\"[^\"]+\"|[A-Za-z_]\w*|[\[\],|?]|\S)")
_KNOWN_TYPES: Final = (
    "types: str, int, float, bool, date, datetime, dict, list, list[str], dict[str, int], object, message, any, "
    "'a' | 'b', "
    "and 'T | null'"
)
_MAX_LENGTH: Final = 2_000
_MAX_DEPTH: Final = 20


class TypeSyntaxError(ValueError):
    """A text isn't a type. `offset`: of the mistake, in characters."""

    def __init__(self, message: str, offset: int, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.suggestion = suggestion


def parse_type(text: str) -> Type:
    """Parses a type such as `list[int] | null`. Raises TypeSyntaxError."""
    if len(text) > _MAX_LENGTH:
        raise TypeSyntaxError(f"a type has at most {_MAX_LENGTH} characters", 0)
    return _Parser(text).parse()


class _Parser:
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

    def expect(self, expected: str) -> None:
        token, offset = self.take()
        if token != expected:
            raise TypeSyntaxError(f"expected '{expected}'" + (f", not '{token}'" if token else " at the end"), offset)

    def parse(self) -> Type:
        parsed = self.union(0)
        token, offset = self.peek()
        if token:
            raise TypeSyntaxError(f"unexpected '{token}' in a type", offset, _KNOWN_TYPES)
        return parsed

    def union(self, depth: int) -> Type:
        parts: list[tuple[Type | None, int]] = [self.term(depth)]
        while self.peek()[0] in ("|", "?"):
            sign, offset = self.take()
            kind, at = self.term(depth) if sign == "|" else (None, offset)
            if isinstance(kind, Choice) and any(kind == other for other, _ in parts):
                raise TypeSyntaxError(f"{describe(kind)} is listed twice", at, "remove one of the two")
            parts.append((kind, at))
        kinds = _joined([kind for kind, _ in parts if kind is not None])
        if len(kinds) == 1:
            return nullable(kinds[0]) if any(kind is None for kind, _ in parts) else kinds[0]
        offset = parts[0][1] if not kinds else parts[-1][1]
        raise TypeSyntaxError(
            "a union can only be a type and null, or texts", offset, "write 'str | null', or use 'any'"
        )

    def term(self, depth: int) -> tuple[Type | None, int]:
        name, offset = self.take()
        if depth > _MAX_DEPTH:
            raise TypeSyntaxError(f"a type nests at most {_MAX_DEPTH} levels", offset)
        if name in ("null", "None"):
            return None, offset
        if name in get_args(SimpleName):
            return Simple(name), offset  # type: ignore[arg-type]  # one of the names of SimpleName
        if len(name) > 1 and name[0] in "'\"":
            return Choice((name[1:-1],)), offset
        if name == "object":
            return ObjectOf(), offset
        if name == "list":
            return ListOf(self.argument(depth) if self.peek()[0] == "[" else ANY), offset
        if name == "dict":
            return DictOf(self.dict_value(depth) if self.peek()[0] == "[" else ANY), offset
        if not name:
            raise TypeSyntaxError("a type is missing", offset, _KNOWN_TYPES)
        other = _SYNONYMS.get(name.lower())
        hint = f"did you mean '{other}'?" if other else did_you_mean(name, NAMES)
        raise TypeSyntaxError(f"no type '{name}'", offset, hint or _KNOWN_TYPES)

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


def _joined(kinds: list[Type]) -> list[Type]:
    """Several texts are one choice."""
    values = [value for kind in kinds if isinstance(kind, Choice) for value in kind.values]
    return [Choice(tuple(values))] if values and len(values) == len(kinds) else kinds


def nullable(kind: Type) -> Type:
    """The type that also allows null."""
    return kind if isinstance(kind, Nullable) or kind == ANY else Nullable(kind)


def without_null(kind: Type) -> Type:
    return kind.inner if isinstance(kind, Nullable) else kind


def core(kind: Type) -> Type:
    """The type without null, and without limits of its own."""
    while isinstance(kind, Nullable | Limited):
        kind = kind.inner
    return kind


def unlimited(kind: Type) -> Type:
    """The type without limits at any depth: they concern values, not what can be done with them."""
    match kind:
        case Limited(inner):
            return unlimited(inner)
        case Nullable(inner):
            return Nullable(unlimited(inner))
        case ListOf(element):
            return ListOf(unlimited(element))
        case DictOf(value):
            return DictOf(unlimited(value))
        case ObjectOf(dict() as fields):
            return ObjectOf({name: replace(f, type=unlimited(f.type)) for name, f in fields.items()})
        case _:
            return kind


def is_text(kind: Type) -> bool:
    """Whether all values are texts: str, a choice, a date or a datetime."""
    return isinstance(kind, Choice) or kind in (STR, DATE, DATETIME)


def describe(kind: Type) -> str:
    """The type as it is written in documents."""
    match kind:
        case Simple(name):
            return name
        case Choice(values):
            return " | ".join(f'"{value}"' if "'" in value else f"'{value}'" for value in values)
        case Limited(inner):
            return describe(inner)
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
    """The name of a value's type in messages."""
    name = type(value).__name__
    return {"NoneType": "null", "tuple": "list", "dict": "object"}.get(name, name)


def accepts(target: Type, source: Type) -> bool:
    """Whether all values of type `source` are values of type `target`. `any` is compatible with every type."""
    if ANY in (target, source) or target == source:
        return True
    match target, source:
        case Limited(inner), _:
            return accepts(inner, source)
        case _, Limited(inner):
            return accepts(target, inner)
        case Nullable(inner), _:
            return accepts(inner, without_null(source))
        case Simple("str"), _:
            return is_text(source)
        case Choice(values), Choice(given):
            return set(given) <= set(values)
        case Simple("float"), Simple("int"):
            return True
        case (ListOf(expected), ListOf(given)) | (DictOf(expected), DictOf(given)):
            return accepts(expected, given)
        case (ObjectOf(None), DictOf() | ObjectOf()) | (DictOf(), ObjectOf(None)):
            return True
        case (Simple("message"), ObjectOf(None) | DictOf(Simple("any"))) | (
            ObjectOf(None) | DictOf(Simple("any")),
            Simple("message"),
        ):
            return True
        case ObjectOf(wanted_fields), ObjectOf(given_fields):
            return given_fields is None or _accepts_fields(wanted_fields or {}, given_fields)
        case DictOf(expected), ObjectOf(given_fields):
            return all(accepts(expected, f.type) for f in (given_fields or {}).values())
        case _:
            return False


def may_hold(target: Type, source: Type) -> bool:
    """Whether a value of type `source` can be one of type `target`: a str can be a choice or a date."""
    if not (is_text(core(target)) and core(source) == STR):
        return accepts(target, source)
    return isinstance(target, Nullable) or not isinstance(source, Nullable)


def narrowed(kind: Type, given: Type) -> Type:
    """The type of the values of `kind` that have the type `given`, too: what one leaves open, the other says."""
    if kind == given:
        return kind
    match kind, given:
        case (Simple("any"), _) | (ObjectOf(None), DictOf() | ObjectOf()) | (DictOf(Simple("any")), ObjectOf(dict())):
            return given
        case Nullable(inner), _:
            both = narrowed(inner, without_null(given))
            return nullable(both) if isinstance(given, Nullable) else both
        case Limited(inner), _:
            return replace(kind, inner=narrowed(inner, given))
        case _, Limited(inner):
            return replace(given, inner=narrowed(kind, inner))
        case (ListOf(inner), ListOf(part)) | (DictOf(inner), DictOf(part)):
            both = narrowed(inner, part)
            return ListOf(both) if isinstance(kind, ListOf) else DictOf(both)
        case _:
            return kind if accepts(given, kind) else given


def _accepts_fields(expected: Mapping[str, ObjectField], given: Mapping[str, ObjectField]) -> bool:
    if set(given) - set(expected):
        return False
    return all(accepts(f.type, given[name].type) if name in given else not f.required for name, f in expected.items())
