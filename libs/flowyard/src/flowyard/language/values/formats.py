"""Finds the texts in a value that are to have a format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowyard.language.values.types import DictOf, Limited, ListOf, Nullable, ObjectOf, Type


def has_format(kind: Type) -> bool:
    """Whether a value of the type may have such texts."""
    match kind:
        case Limited(inner, format=form):
            return form is not None or has_format(inner)
        case Nullable(inner) | ListOf(inner) | DictOf(inner):
            return has_format(inner)
        case ObjectOf(dict() as fields):
            return any(has_format(field.type) for field in fields.values())
        case _:
            return False


def formatted_texts(kind: Type, value: Any) -> Iterator[str]:
    """The texts of a value with a type whose limits say `format: workflow`, at any depth."""
    match kind, value:
        case Limited(format="workflow"), str():
            yield value
        case ((Limited(inner) | Nullable(inner)), _):
            yield from formatted_texts(inner, value)
        case ListOf(element), list():
            for each in value:
                yield from formatted_texts(element, each)
        case DictOf(inner), Mapping():
            for each in value.values():
                yield from formatted_texts(inner, each)
        case ObjectOf(dict() as fields), Mapping():
            for name in fields.keys() & value.keys():
                yield from formatted_texts(fields[name].type, value[name])
        case _:
            pass
