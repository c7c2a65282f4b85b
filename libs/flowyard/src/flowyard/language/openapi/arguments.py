"""The parameters and the body of an operation as the arguments of a tool: one flat object."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from flowyard.language.openapi.references import References

Where: TypeAlias = Literal["path", "query", "header", "body", "whole body"]
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
BODY: Final = "body"
"""The argument that is the whole body, if its parts can't be arguments."""
_NOT_GIVEN: Final = frozenset({"Accept", "Authorization", "Content-Type"})
"""Headers that no parameter can be, says OpenAPI."""
_DROPPED: Final = frozenset({
    "xml", "example", "examples", "externalDocs", "discriminator", "deprecated", "readOnly", "writeOnly", "pattern",
    "patternProperties", "$schema", "$id", "$anchor",
})  # fmt: skip
_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")


class NoOperation(ValueError):
    """An operation can't be a tool. The text says why."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an argument goes, and under which name. `explode`: of a list, each value by itself."""

    where: Where
    name: str
    style: str = "form"
    explode: bool = True


@dataclass
class FlatArguments:
    """`media`: of the body; None: there is none."""

    properties: dict[str, Any] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    placed: dict[str, Placed] = field(default_factory=dict)
    media: str | None = None

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": self.properties,
            "required": self.required,
            "additionalProperties": False,
        }

    def add(self, name: str, schema: Any, placed: Placed, *, required: bool) -> None:
        self.properties[name] = schema
        self.placed[name] = placed
        if required:
            self.required.append(name)


def arguments_of(references: References, item: Mapping[str, Any], given: Mapping[str, Any]) -> FlatArguments:
    """`item`: the operation's path. Raises NoOperation, BadReference."""
    arguments = FlatArguments()
    for parameter in _parameters(references, item, given):
        _add_parameter(arguments, references, parameter)
    if (body := given.get("requestBody")) is not None:
        _add_body(arguments, references, references.resolved(body))
    return arguments


def _parameters(
    references: References, item: Mapping[str, Any], given: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """Those of the operation, and those of its path that it doesn't replace."""
    by_place: dict[tuple[str, str], Mapping[str, Any]] = {}
    for each in (*(item.get("parameters") or ()), *(given.get("parameters") or ())):
        parameter = references.resolved(each)
        by_place[str(parameter.get("in")), str(parameter.get("name"))] = parameter
    yield from by_place.values()


def _add_parameter(arguments: FlatArguments, references: References, given: Mapping[str, Any]) -> None:
    name, where, required = str(given.get("name")), given.get("in"), given.get("required") is True
    if where == "header" and name.title() in _NOT_GIVEN:
        return
    if where not in ("path", "query", "header"):
        if required:
            raise NoOperation(f"it needs '{name}' in a place that isn't known: {where}")
        return
    content: Mapping[str, Any] = next(iter((given.get("content") or {}).values()), {})
    schema = cleaned(references.inlined(given.get("schema") or content.get("schema") or {}))
    if given.get("description"):
        schema = {**schema, "description": str(given["description"])[:500]}
    style = str(given.get("style") or ("form" if where == "query" else "simple"))
    placed = Placed(where, name, style, explode=given.get("explode", style in ("form", "deepObject")) is True)
    short = _argument(name)
    if short in arguments.properties:
        short = f"{short}_{where}"
    arguments.add(short, schema, placed, required=required or where == "path")


def _add_body(arguments: FlatArguments, references: References, given: Mapping[str, Any]) -> None:
    media, content = _media(given.get("content") or {})
    schema, required = references.inlined(content.get("schema") or {}), given.get("required") is True
    arguments.media = media
    parts = _merged(schema)
    properties = {str(name): each for name, each in (parts.get("properties") or {}).items() if not _is_read_only(each)}
    names = {_argument(name) for name in properties}
    if not properties or names & arguments.properties.keys() or len(names) < len(properties):
        arguments.add(_free(arguments), cleaned(schema), Placed("whole body", BODY), required=required)
        return
    needed = parts.get("required") if required else None
    for name, each in properties.items():
        is_needed = isinstance(needed, list) and name in needed
        arguments.add(_argument(name), cleaned(each), Placed("body", name), required=is_needed)


def _free(arguments: FlatArguments) -> str:
    return BODY if BODY not in arguments.properties else "request_body"


def _media(content: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    for media, about in content.items():
        short = str(media).partition(";")[0].strip().lower()
        if short in (JSON, FORM) or short.endswith("+json") or short == "*/*":
            return (JSON if short == "*/*" else short), about if isinstance(about, Mapping) else {}
    raise NoOperation(f"its body is neither JSON nor a form: {', '.join(map(str, content)) or 'nothing'}")


def _merged(schema: Any) -> Mapping[str, Any]:
    """An object with its properties, also if it is put together of others."""
    if not isinstance(schema, Mapping):
        return {}
    if not isinstance(schema.get("allOf"), list):
        return {} if "oneOf" in schema or "anyOf" in schema else schema
    parts = [_merged(each) for each in (*schema["allOf"], {k: v for k, v in schema.items() if k != "allOf"})]
    if any(not part for part in parts[:-1]):
        return {}
    properties = {name: each for part in parts for name, each in (part.get("properties") or {}).items()}
    return {"properties": properties, "required": [name for part in parts for name in part.get("required") or ()]}


def _is_read_only(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("readOnly") is True


def _argument(name: str) -> str:
    """Models take no brackets and dots in the names of arguments."""
    return _NAME.sub("_", name).strip("_")[:64] or "value"


def cleaned(schema: Any) -> Any:
    """As JSON Schema, without what only OpenAPI knows, and without patterns, which may take for ever to be checked."""
    if isinstance(schema, list):
        return [cleaned(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties" and isinstance(value, Mapping):
            kept[key] = {str(name): cleaned(each) for name, each in value.items() if not _is_read_only(each)}
        elif key not in _DROPPED and key != "nullable" and not str(key).startswith("x-"):
            kept[str(key)] = value if key in ("enum", "default", "const") else cleaned(value)
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        # 3.0 says whether, 3.1 says the number.
        if isinstance(kept.get(exclusive), bool) and kept.pop(exclusive) and limit in kept:
            kept[exclusive] = kept.pop(limit)
    return {"anyOf": [kept, {"type": "null"}]} if schema.get("nullable") is True else kept
