"""`shell.run`: executes a program, with arguments and without any shell, in a sandbox where it can only compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowyard.language.problems import suggest
from flowyard.language.tools import ToolFacts
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

_SECONDS: Final = 10

FACTS: Final = ToolFacts(
    name="shell.run",
    description="Executes a program, which reads its input and writes its output, and sees no files and no network.",
    parameters={
        "type": "object",
        "properties": {
            "program": {"type": "string", "minLength": 1, "maxLength": 64, "description": "The name of the program."},
            "arguments": {
                "type": "array",
                "maxItems": 100,
                "items": {"type": "string", "maxLength": 10_000},
                "description": "Each is passed on as it is: there is no shell, and nothing in it is special.",
            },
            "input": {"type": "string", "maxLength": 500_000, "description": "What the program reads."},
            "timeout": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 20,
                "description": f"Seconds that it may take; {_SECONDS} if left out.",
            },
        },
        "required": ["program"],
        "additionalProperties": False,
    },
    effects=frozenset({"runs"}),
    guarded="program",
)


def tool(services: ToolServices) -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
        del context
        name = arguments["program"]
        if not services.programs:
            raise ToolFailed("no programs may be executed: set FLOWYARD_SHELL_PROGRAMS")
        if name not in services.programs:
            raise ToolFailed(f"no program '{name}' ({suggest(name, services.programs, 'programs')})")
        if services.run_program is None:
            raise ToolFailed("programs are executed in the sandboxes of a stack, and there is none here")
        return await services.run_program(
            name, arguments.get("arguments", ()), arguments.get("input", ""), arguments.get("timeout", _SECONDS)
        )

    return Tool(FACTS, run)
