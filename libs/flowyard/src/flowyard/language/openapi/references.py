"""Schemas without references: what each of them refers to is put in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

MOST_VALUES: Final = 5_000
"""Values in a schema without references: each use of a shape counts."""
DEEPEST: Final = 40
_OPAQUE: Final = frozenset({"default", "example", "examples", "enum", "const"})
"""Keys whose values are no schemas."""


class BadReference(ValueError):
    """What is referred to isn't there, or can't be put in place. The text says why."""


class References:
    """Of one document, which is what `#` stands for."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def target(self, reference: Any) -> Any:
        """What it refers to. Raises BadReference for another document: none is read."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise BadReference(f"'{str(reference)[:100]}' refers to another document: put it into this one")
        target: Any = self._document
        for step in reference[1:].split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(target, list):
                target = target[int(key)] if key.isdecimal() and int(key) < len(target) else None
            else:
                target = target.get(key) if isinstance(target, Mapping) else None
        if target is None:
            raise BadReference(f"'{reference[:100]}' refers to nothing")
        return target

    def resolved(self, value: Any) -> Mapping[str, Any]:
        """The object, or what it refers to, also over several references. Raises BadReference."""
        for _ in range(DEEPEST):
            if not isinstance(value, Mapping):
                raise BadReference("there should be an object")
            if "$ref" not in value:
                return value
            value = self.target(value["$ref"])
        raise BadReference("references refer to each other")

    def inlined(self, schema: Any) -> Any:
        """The schema without references; a shape in itself becomes one that anything fits. Raises BadReference."""
        return _Inlining(self).value(schema, ())


class _Inlining:
    def __init__(self, references: References) -> None:
        self._references = references
        self._left = MOST_VALUES

    def value(self, schema: Any, within: tuple[str, ...], depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0:
            raise BadReference(f"it has more than {MOST_VALUES:,} values, with what it refers to")
        if depth > DEEPEST:
            raise BadReference(f"it is nested more than {DEEPEST} deep")
        if isinstance(schema, list):
            return [self.value(each, within, depth + 1) for each in schema]
        if not isinstance(schema, Mapping):
            return schema
        if isinstance(reference := schema.get("$ref"), str):
            extra = {key: each for key, each in schema.items() if key != "$ref"}
            if reference in within:
                return extra
            target = self._references.target(reference)
            if not isinstance(target, Mapping):
                raise BadReference(f"'{reference[:100]}' is no schema")
            return self.value({**target, **extra}, (*within, reference), depth + 1)
        return {key: self._of(key, each, within, depth + 1) for key, each in schema.items() if key != "$defs"}

    def _of(self, key: str, value: Any, within: tuple[str, ...], depth: int) -> Any:
        if key == "properties" and isinstance(value, Mapping):
            # Names, of which any may be the same as a key of schemas.
            return {name: self.value(each, within, depth + 1) for name, each in value.items()}
        return value if key in _OPAQUE else self.value(value, within, depth)
