"""What a node asks of a model, and a model's reply → the node's outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from flowyard.errors.steps import InvalidOutput
from flowyard.language.nodes import PromptNode
from flowyard.language.values.conform import conform
from flowyard.language.values.json_schema import object_schema

_FENCE: Final = "```"
_SHOWN: Final = 5


def reply_schema(node: PromptNode) -> Mapping[str, Any] | None:
    """The JSON Schema of the reply, or None where the reply is the text itself."""
    if node.reply_as == "text":
        return None
    return object_schema({o.field: (o.type, o.description) for o in node.outputs})


def read_reply(node: PromptNode, text: str) -> dict[str, Any]:
    """The node's outputs out of a reply. Raises InvalidOutput with what is wrong, and keeps the reply."""
    if node.reply_as == "text":
        if not text.strip():
            raise InvalidOutput("the reply is empty", reply=text)
        output = node.outputs[0]
        problems: list[str] = []
        value = conform(output.type, text.strip(), output.field, problems)
        _refuse_problems(problems, text)
        return {output.field: value}
    bare = _unfenced(text)
    try:
        data = json.loads(bare, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        if len(node.outputs) == 1 and text.strip() and not bare.lstrip().startswith(("{", "[")):
            return _single(node, text.strip(), text)
        detail = f"the reply is no JSON: {error}" if text.strip() else "the reply is empty"
        raise InvalidOutput(detail, reply=text) from error
    try:
        return _single(node, data, text) if len(node.outputs) == 1 else _several(node, data, text)
    except RecursionError as error:
        raise InvalidOutput("the reply is nested too deeply", reply=text) from error


def _unfenced(text: str) -> str:
    """What stands between the fences, for a reply that is one fenced block."""
    bare = text.strip()
    if not (bare.startswith(_FENCE) and bare.endswith(_FENCE)):
        return text
    info, newline, body = bare.removeprefix(_FENCE).removesuffix(_FENCE).partition("\n")
    return body if newline and (not info.strip() or info.strip().isalpha()) else text


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _single(node: PromptNode, data: Any, reply: str) -> dict[str, Any]:
    """One output takes the reply itself, or an object that holds nothing else."""
    output = node.outputs[0]
    wrapped = isinstance(data, dict) and data.keys() == {output.field}
    problems: list[str] = []
    value = conform(output.type, data[output.field] if wrapped else data, output.field, problems, complete=True)
    if problems and wrapped:
        unwrapped: list[str] = []
        value = conform(output.type, data, output.field, unwrapped, complete=True)
        problems = problems if unwrapped else []
    _refuse_problems(problems, reply)
    return {output.field: value}


def _several(node: PromptNode, data: Any, reply: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidOutput(f"expected an object with {', '.join(o.field for o in node.outputs)}", reply=reply)
    names = [o.field for o in node.outputs]
    problems = [f"{name}: no such field" for name in data if name not in names]
    problems += [f"{name}: missing" for name in names if name not in data]
    values = {
        o.field: conform(o.type, data[o.field], o.field, problems, complete=True)
        for o in node.outputs
        if o.field in data
    }
    _refuse_problems(problems, reply)
    return values


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
