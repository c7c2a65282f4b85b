"""One call of a tool: permitted, checked, made in time, and brought into the form of a result."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from flowyard.language.tools import ToolRules, ToolUse, why_denied, why_value_denied
from flowyard.large_json import out_of_the_loop
from flowyard.tools.arguments import InvalidArguments, check_arguments, prepare, read_arguments
from flowyard.tools.tool import MOST_CHARACTERS, Tool, ToolContext, ToolFailed, ToolResult

log = logging.getLogger(__name__)

_COMPACT: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_LONGEST_ERROR: Final = 2_000


async def call_tool(
    tool: Tool, use: ToolUse, arguments: Mapping[str, Any] | str, context: ToolContext, rules: ToolRules
) -> ToolResult:
    """Never raises for what the tool, or who has written the arguments, does wrong: the result says it.

    `arguments`: as a model has written them, or their values.
    """
    await prepare()
    try:
        if isinstance(arguments, str):
            text = arguments
            given = await out_of_the_loop(lambda: read_arguments(text, tool.schema), text, times=4)
        else:
            given = dict(arguments)
            await out_of_the_loop(lambda: check_arguments(given, tool.schema), given, times=4)
    except InvalidArguments as error:
        return ToolResult.failed(str(error), "invalid_arguments")
    if (why := why_denied(tool.facts, use, rules, given)) is not None:
        return ToolResult.failed(f"not permitted: {why}", "denied")
    context = replace(context, why_denied=partial(why_value_denied, tool.facts, use))
    try:
        async with asyncio.timeout(tool.seconds):
            value = await tool.run(given, context)
        return await _result(value)
    except ToolFailed as error:
        return ToolResult.failed(_shortened(str(error)))
    except TimeoutError:
        return ToolResult.failed(f"it took longer than {tool.seconds:g} s", "timeout")
    except Exception:
        # A tool may be anybody's code: its bug ends the call, and not the run.
        log.exception("a tool failed: a bug", extra={"tool": tool.name})
        return ToolResult.failed("a bug of the tool: see the executor's log")


async def _result(value: Any) -> ToolResult:
    """The value, if JSON can hold it and it isn't too large. Raises ToolFailed."""
    try:
        size = await out_of_the_loop(lambda: len(_COMPACT.encode(value)), value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolFailed(f"its result is no JSON: {error}") from error
    if size > MOST_CHARACTERS:
        raise ToolFailed(f"its result has {size:,} characters; the limit is {MOST_CHARACTERS:,}")
    return ToolResult(value)


def shown(result: ToolResult, most: int) -> str:
    """The result as a model gets it: a text as it is, anything else as JSON, an error as `{"error": …}`.

    It is cut, with a note, if it has more than `most` characters.
    """
    if result.outcome != "ok":
        return _COMPACT.encode({"error": result.error})
    text = result.value if isinstance(result.value, str) else _COMPACT.encode(result.value)
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[cut: {len(text) - most:,} of {len(text):,} characters are left out]"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}…"
