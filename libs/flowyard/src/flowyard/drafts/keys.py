"""Describes the keys of documents in few words, a line each, from their JSON Schema: for the prompt of a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

_SHORT: Final = {
    "string": "text",
    "integer": "int",
    "number": "number",
    "boolean": "bool",
    "object": "mapping",
    "array": "list",
}
_PATTERN: Final = "text"

Schema = Mapping[str, Any]


def described_keys(schema: Schema, *, without: Collection[str] = ()) -> str:
    """`name* type = default. What it means.`, indented by depth; `*`: required. A shape is described where it first is.

    `without`: keys that are left out, as paths such as `config.storage`; deprecated ones always are.
    """
    return "\n".join(_Describing(schema["$defs"], frozenset(without)).lines(schema, ()))


class _Describing:
    def __init__(self, shapes: Mapping[str, Schema], without: frozenset[str]) -> None:
        self.shapes = shapes
        self.without = without
        self.described: dict[str, str] = {}

    def lines(self, shape: Schema, path: tuple[str, ...]) -> Iterator[str]:
        """The lines of the keys of a mapping."""
        required = shape.get("required", ())
        for name, key in shape.get("properties", {}).items():
            here = (*path, name)
            if key.get("deprecated") or ".".join(here) in self.without:
                continue
            yield self.line(name, key, here, is_required=name in required)
            yield from self.inner(key, here)

    def line(self, name: str, key: Schema, path: tuple[str, ...], *, is_required: bool) -> str:
        default = key.get("default")
        given = f" = {_shown(default)}" if default is not None else ""
        kind = " | ".join(dict.fromkeys(self.kinds(key)))
        about = f". {key['description'].rstrip('.')}" if "description" in key else ""
        return f"{' ' * (len(path) - 1)}{name}{'*' if is_required else ''}: {kind}{given}{about}"

    def kinds(self, key: Schema) -> Iterator[str]:
        """The types of a value, in words."""
        match key:
            case {"enum": values}:
                yield " | ".join(_shown(value) for value in values if value is not None)
            case {"const": value}:
                yield _shown(value)
            case {"$ref": str(name)}:
                shape = name.rpartition("/")[2]
                yield f"as {self.described[shape]}" if shape in self.described else "mapping"
            case {"anyOf": kinds} | {"oneOf": kinds}:
                for kind in kinds:
                    if kind != {"type": "null"}:
                        yield from self.kinds(kind)
            case {"type": "array", "items": items}:
                yield f"list of {' | '.join(dict.fromkeys(self.kinds(items)))}"
            case {"type": "object", "additionalProperties": dict() as values} if values:
                yield f"mapping to {' | '.join(dict.fromkeys(self.kinds(values)))}"
            case {"type": str(name)}:
                yield _SHORT[name]
            case _:
                yield "any"

    def inner(self, key: Schema, path: tuple[str, ...]) -> Iterator[str]:
        """The lines of the shapes that a value may have, unless they were described before."""
        match key:
            case {"$ref": str(name)}:
                shape = name.rpartition("/")[2]
                if shape not in self.described:
                    self.described[shape] = ".".join(path)
                    yield from self.lines(self.shapes[shape], path)
            case {"anyOf": kinds} | {"oneOf": kinds}:
                for kind in kinds:
                    yield from self.inner(kind, path)
            case {"items": dict() as items}:
                yield from self.inner(items, path)
            case {"additionalProperties": dict() as values}:
                yield from self.inner(values, path)
            case _:
                pass


def _shown(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
