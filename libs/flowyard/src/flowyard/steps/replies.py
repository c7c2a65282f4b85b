"""What a node asks of a model, and a model's reply → the node's outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from flowyard.errors.steps import InvalidOutput
from flowyard.exact_json import json_fault
from flowyard.language.nodes import Output, PromptNode
from flowyard.language.values.conform import conform
from flowyard.language.values.json_schema import object_schema
from flowyard.language.values.types import (
    STR,
    Choice,
    DictOf,
    Limited,
    ListOf,
    Nullable,
    ObjectOf,
    Simple,
    Type,
    core,
    is_text,
    without_null,
)
from flowyard.llm.calls import ToolCall
from flowyard.llm.reasoning import split_reasoning
from flowyard.steps.json_in_text import UnclearJson, parse, values_in

_SHOWN: Final = 5
_EXACT: Final = 2**53
"""Below it, a float is the integer that was written."""


def reply_schema(node: PromptNode) -> Mapping[str, Any] | None:
    """The JSON Schema of the reply, or None where the reply is the text itself."""
    if node.reply_as != "object":
        return None
    return object_schema({o.field: (o.type, o.description) for o in node.outputs})


def read_reply(node: PromptNode, text: str, calls: Sequence[ToolCall] = ()) -> dict[str, Any]:
    """The node's outputs out of a reply. Raises InvalidOutput with what is wrong, and keeps the reply.

    `calls`: of tools, which belong to an output that is a message; elsewhere nobody could make them.
    """
    _, bare = split_reasoning(text)
    if not bare and not (calls and node.reply_as == "message"):
        raise InvalidOutput("the reply has no text: it calls tools" if calls else "the reply is empty", reply=text)
    if node.reply_as != "object":
        output = node.outputs[0]
        problems: list[str] = []
        reply = bare if node.reply_as == "text" else _message(bare, calls)
        value = conform(output.type, reply, output.field, problems)
        _refuse_problems(problems, text)
        return {output.field: value}
    try:
        return _read_object(node, bare, text)
    except RecursionError as error:
        raise InvalidOutput("the reply is nested too deeply", reply=text) from error


def _message(text: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    return {"role": "assistant", "content": text or None, "tool_calls": [call.data for call in calls] or None}


def _read_object(node: PromptNode, bare: str, reply: str) -> dict[str, Any]:
    """Of several values in the reply, the one that fits is meant."""
    unclear: list[Any] = []
    try:
        values, error = [parse(bare)], None
    except UnclearJson as why:
        raise InvalidOutput(f"the reply can't be read: {why}", reply=reply) from why
    except ValueError as no_json:
        (values, unclear), error = _values_in(node, bare, reply), no_json
    readings = [_read_value(node, value) for value in values]
    fitting = [outputs for outputs, problems in readings if not problems] or _bare_text(node, bare)
    others = [outputs for outputs, problems in (_read_value(node, value) for value in unclear) if not problems]
    if fitting and all(outputs == fitting[0] for outputs in (*fitting, *others)):
        return fitting[0]
    if len(readings) == 1 and not fitting:
        _refuse_problems(readings[0][1], reply)
    if others and not readings:
        raise InvalidOutput("the reply mentions JSON, but not as its answer: write nothing but the JSON", reply=reply)
    if readings:
        count = len(readings) + len(others)
        raise InvalidOutput(f"the reply has {count} JSON values: write only the one that is meant", reply=reply)
    problems = _read_value(node, bare)[1]
    if len(node.outputs) == 1 and not bare.startswith(("{", "[")):
        # The type says more about what is wrong, unless a text would fit it.
        _refuse_problems(problems, reply)
    fault = json_fault(error) if error is not None else "it has no value"
    raise InvalidOutput(f"the reply is no JSON: {fault}", reply=reply) from error


def _values_in(node: PromptNode, bare: str, reply: str) -> tuple[list[Any], list[Any]]:
    try:
        return values_in(bare, {output.field for output in node.outputs})
    except ValueError as error:
        raise InvalidOutput(f"the reply can't be read: {error}", reply=reply) from error


def _bare_text(node: PromptNode, bare: str) -> list[dict[str, Any]]:
    """The reply itself as the only output, if that is a text of a certain form: prose doesn't have it."""
    kind = without_null(node.outputs[0].type)
    if len(node.outputs) > 1 or not is_text(core(kind)) or kind == STR:
        return []
    outputs, problems = _single(node, bare)
    return [] if problems else [outputs]


def _read_value(node: PromptNode, value: Any) -> tuple[dict[str, Any], list[str]]:
    """The node's outputs out of a JSON value, and what is wrong with it."""
    return _single(node, value) if len(node.outputs) == 1 else _several(node, value)


def _single(node: PromptNode, data: Any) -> tuple[dict[str, Any], list[str]]:
    """One output takes the reply itself, or an object that holds nothing else."""
    output = node.outputs[0]
    named = isinstance(data, dict) and output.field in data
    wrapped = named and len(data) == 1
    if named and not wrapped and not _has_field(output.type, output.field):
        return {}, [f"{name}: no such field" for name in data if name != output.field]
    if data == reply_schema(node):
        return {}, ["it is the schema, and not a value that fits it"]
    problems: list[str] = []
    value = _typed(output, data[output.field] if wrapped else data, problems)
    if problems and wrapped:
        unwrapped: list[str] = []
        value = _typed(output, data, unwrapped)
        problems = problems if unwrapped else []
    return {output.field: value}, problems


def _has_field(kind: Type, name: str) -> bool:
    match core(without_null(kind)):
        case ObjectOf(dict() as fields):
            return name in fields
        case _:
            return False


def _several(node: PromptNode, data: Any) -> tuple[dict[str, Any], list[str]]:
    names = [o.field for o in node.outputs]
    if isinstance(data, str):
        # An object that was made a text once more.
        with suppress(ValueError):
            data = parse(data)
    if not isinstance(data, dict):
        return {}, [f"expected an object with {', '.join(names)}"]
    problems = [f"{name}: no such field" for name in data if name not in names]
    problems += [f"{name}: missing" for name in names if name not in data]
    return {o.field: _typed(o, data[o.field], problems) for o in node.outputs if o.field in data}, problems


def _typed(output: Output, value: Any, problems: list[str]) -> Any:
    return conform(output.type, as_meant(output.type, value), output.field, problems, complete=True)


def as_meant(kind: Type, value: Any) -> Any:
    """The value in the type's own form, where a model wrote another one: `7.0` for an int, `"True"` for a bool, a
    choice in another case, and the JSON of a list or an object as a text. Inputs are read more strictly.
    """
    match kind, value:
        case Nullable(inner), _:
            return None if value is None else as_meant(inner, value)
        case Limited(inner), _:
            return as_meant(inner, value)
        case Choice(values), str():
            return _chosen(values, value)
        case Simple("int"), float() if value.is_integer() and abs(value) < _EXACT:
            return int(value)
        case Simple("bool"), str() if value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        case ListOf() | DictOf() | ObjectOf(), str():
            try:
                parsed = parse(value)
            except ValueError:
                return value
            return as_meant(kind, parsed) if isinstance(parsed, list | dict) else value
        case ListOf(element), list():
            return [as_meant(element, each) for each in value]
        case DictOf(inner), dict():
            return {name: as_meant(inner, each) for name, each in value.items()}
        case ObjectOf(dict() as fields), dict():
            return {n: as_meant(fields[n].type, each) if n in fields else each for n, each in value.items()}
        case _:
            return value


def _chosen(values: tuple[str, ...], text: str) -> str:
    """The choice that a text means if its case and the space around it don't count; the text itself if unclear."""
    bare = text.strip().casefold()
    meant = [] if text in values else [value for value in values if value.casefold() == bare]
    return meant[0] if len(meant) == 1 else text


def _refuse_problems(problems: list[str], reply: str) -> None:
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InvalidOutput("; ".join(problems[:_SHOWN]) + more, reply=reply)


def correction(node: PromptNode, error: InvalidOutput) -> str:
    """The message to the model about a reply that doesn't fit."""
    schema = reply_schema(node)
    if schema is None:
        return f"Your reply can't be used: {error}. Reply again."
    return (
        f"Your reply can't be used: {error}. Reply again, with nothing but JSON that fits this schema:\n"
        f"{json.dumps(schema, ensure_ascii=False)}"
    )
