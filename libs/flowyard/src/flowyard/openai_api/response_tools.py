"""The tools of a request of the responses API, as those of the chat API. Functions alone: others cost money that no
budget counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

_CHOICES: Final = ("none", "auto", "required")
_OF_FUNCTION: Final = ("name", "description", "parameters", "strict")
Problems: TypeAlias = list[dict[str, str]]


def read_offer(
    tools: Sequence[Any] | None, choice: Any, *, parallel: bool | None, problems: Problems
) -> dict[str, Any]:
    """`tools`, `tool_choice` and `parallel_tool_calls` in the chat API's format; empty if there are no tools.

    What is wrong is added to `problems`: `where` in the request, and a `message`.
    """
    functions = [_function(tool, i, problems) for i, tool in enumerate(tools or ())]
    mode, allowed = _choice(choice, problems)
    if allowed is not None:
        functions = [each for each in functions if each["name"] in allowed]
    if not functions:
        return {}
    offer: dict[str, Any] = {"tools": [{"type": "function", "function": each} for each in functions]}
    if mode is not None:
        offer["tool_choice"] = mode
    if parallel is not None:
        offer["parallel_tool_calls"] = parallel
    return offer


def _function(tool: Any, index: int, problems: Problems) -> dict[str, Any]:
    where = f"body.tools[{index}]"
    if not isinstance(tool, Mapping) or tool.get("type") != "function":
        problems.append({"where": f"{where}.type", "message": "only tools of type 'function' are supported"})
        return {"name": ""}
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        problems.append({"where": f"{where}.name", "message": "expected the name of a function"})
        return {"name": ""}
    return {name: tool[name] for name in _OF_FUNCTION if tool.get(name) is not None}


def _choice(choice: Any, problems: Problems) -> tuple[Any, frozenset[str] | None]:
    """The choice in the chat API's format, and the names of the tools that may be called; None: all."""
    match choice:
        case None | "none" | "auto" | "required":
            return choice, None
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}, None
        case {"type": "allowed_tools", "tools": list(tools)} if choice.get("mode", "auto") in _CHOICES:
            names = frozenset(str(each.get("name")) for each in tools if isinstance(each, Mapping))
            return choice.get("mode", "auto"), names
        case _:
            message = f"expected {', '.join(_CHOICES)}, a function, or allowed_tools"
            problems.append({"where": "body.tool_choice", "message": message})
            return None, None
