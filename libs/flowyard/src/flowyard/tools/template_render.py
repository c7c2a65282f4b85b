"""`template.render`: a text with placeholders, which given values replace, as in prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowyard.errors.steps import EvaluationError
from flowyard.language.problems import suggest
from flowyard.language.tools import ToolFacts
from flowyard.language.values.templates import MAX_LENGTH, MAX_PLACEHOLDERS, MAX_STEPS, Template, parse_template
from flowyard.threads import in_daemon_thread
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

FACTS: Final = ToolFacts(
    name="template.render",
    description="Replaces the placeholders in a text, such as {name} or {items[0].price}, by given values.",
    parameters={
        "type": "object",
        "properties": {
            "template": {
                "type": "string",
                "maxLength": MAX_LENGTH,
                "description": "A text with placeholders in single braces; {{ and }} are braces themselves.",
            },
            "values": {"type": "object", "description": "The values by name. What is no text is inserted as JSON."},
        },
        "required": ["template", "values"],
        "additionalProperties": False,
    },
)


async def _run(arguments: Mapping[str, Any], context: ToolContext) -> str:
    del context
    # In a thread: each of the placeholders may stand for values that take long to encode.
    return await in_daemon_thread(lambda: _render(arguments["template"], arguments["values"]))


def _render(text: str, values: Mapping[str, Any]) -> str:
    template = parse_template(text)
    _check_size(template)

    def look_up(name: str) -> Any:
        if name not in values:
            raise ToolFailed(f"no value for '{name}' ({suggest(name, values, 'values')}); for braces as text, {{{{")
        return values[name]

    try:
        return template.render(look_up)
    except EvaluationError as error:
        raise ToolFailed(str(error)) from error
    except RecursionError as error:
        raise ToolFailed("a value is nested too deeply") from error


def _check_size(template: Template) -> None:
    placeholders = list(template.placeholders)
    if len(placeholders) > MAX_PLACEHOLDERS:
        raise ToolFailed(f"the template has {len(placeholders):,} placeholders; the limit is {MAX_PLACEHOLDERS}")
    if any(len(each.steps) > MAX_STEPS for each in placeholders):
        raise ToolFailed(f"a placeholder takes more than {MAX_STEPS} steps")


TEMPLATE_RENDER: Final = Tool(FACTS, _run)
