"""References in templates and expressions, such as `profile.name` and `items[0]`: a field, and steps into its value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeAlias, assert_never

from flowyard.errors.steps import EvaluationError
from flowyard.language.problems import Severity, suggest
from flowyard.language.values.messages import FIELD_TYPES
from flowyard.language.values.types import (
    ANY,
    STR,
    Choice,
    DictOf,
    Limited,
    ListOf,
    Nullable,
    ObjectOf,
    Simple,
    Type,
    describe,
    is_text,
    type_of,
)

PathStep: TypeAlias = str | int
_MAX_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem inside a text. `offset`: its position in the text, in characters."""

    code: str
    message: str
    offset: int
    suggestion: str | None = None
    severity: Severity = "error"


def step_type(kind: Type, step: PathStep, offset: int) -> Type | Finding:
    """The type of the element that a step selects from a value of type `kind`."""
    match kind:
        case Nullable(inner) | Limited(inner):
            return step_type(inner, step, offset)
        case Simple("any") | ObjectOf(None):
            return ANY
        case Simple("message") if isinstance(step, str):
            known = FIELD_TYPES.get(step)
            return known or Finding(
                "unknown-field", f"a message has no '{step}'", offset, suggest(step, FIELD_TYPES, "fields")
            )
        case ObjectOf(fields) if isinstance(step, str):
            field = (fields or {}).get(step)
            if field:
                return field.type
            hint = suggest(step, fields or {}, "fields")
            return Finding("unknown-field", f"the object has no field '{step}'", offset, hint)
        case DictOf(value) if isinstance(step, str):
            return value
        case ListOf(element) if isinstance(step, int):
            return element
        case Simple() | Choice() if is_text(kind) and isinstance(step, int):
            return STR
        case Simple() | Choice() | ObjectOf() | DictOf() | ListOf():
            return _no_such_step(kind, step, offset)
        case _:
            assert_never(kind)


def _no_such_step(kind: Type, step: PathStep, offset: int) -> Finding:
    if isinstance(step, int):
        return Finding("wrong-step", f"a value of type {describe(kind)} has no [{step}]", offset)
    hint = "use [0], [1], …" if isinstance(kind, ListOf) else None
    return Finding("wrong-step", f"a value of type {describe(kind)} has no '.{step}'", offset, hint)


def take_step(value: Any, step: PathStep, path: Callable[[], str]) -> Any:
    """The element that a step selects from a value. `path`: the value's name, for a message. Raises EvaluationError."""
    if isinstance(step, str):
        if isinstance(value, Mapping):
            if step in value:
                return value[step]
            known = ", ".join(str(key)[:_MAX_SHOWN] for key in islice(value, 12)) or "nothing"
            raise EvaluationError(f"{path()} has no '{step}' (it has: {known})")
    elif isinstance(value, (list, str)):
        if -len(value) <= step < len(value):
            return value[step]
        raise EvaluationError(f"{path()}[{step}] is out of range: {path()} has {len(value)} items")
    shown = f"[{step}]" if isinstance(step, int) else repr(step)
    raise EvaluationError(f"{path()} is {type_of(value)}: it has no {shown}")


def show(root: str, steps: tuple[PathStep, ...], count: int) -> str:
    """The reference with its first `count` steps, as it is written in documents."""
    return root + "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps[:count])
