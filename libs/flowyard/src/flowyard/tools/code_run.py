"""`code.run`: executes Python in a sandbox, as a code node does. It can compute, and do nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from flowyard.errors.steps import CodeError
from flowyard.language.nodes import CodeLimits
from flowyard.language.tools import ToolFacts
from flowyard.tools.services import ToolServices
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

_MOST_CODE: Final = 65_536
_LONGEST_LOG: Final = 2_000
"""Characters of what is printed that a model gets."""

FACTS: Final = ToolFacts(
    name="code.run",
    description=(
        "Executes Python in a sandbox without files, network and other packages. The code sees the inputs as "
        "variables, and assigns what is wanted to result, as JSON. Returns result, and what was printed."
    ),
    parameters={
        "type": "object",
        "properties": {
            "code": {
                "type": "string",
                "minLength": 1,
                "maxLength": _MOST_CODE,
                "description": "Such as result = sum(numbers) / len(numbers).",
            },
            "inputs": {"type": "object", "description": "Values for the variables of the code."},
            "tier": {
                "type": "string",
                "enum": ["fast", "full"],
                "description": "fast (default): most of Python, in a millisecond; full: all of it with its library.",
            },
        },
        "required": ["code"],
        "additionalProperties": False,
    },
)


def tool(services: ToolServices) -> Tool:
    async def run(arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
        del context
        if services.run_code is None:
            raise ToolFailed("nothing executes code here: run the workflow on a stack with a sandbox")
        limits = CodeLimits(arguments.get("tier") or "fast")
        inputs = json.dumps(arguments.get("inputs") or {}, ensure_ascii=False)
        try:
            result, printed = await services.run_code(arguments["code"], inputs, limits)
        except CodeError as error:
            raise ToolFailed(_with_log(str(error), error.log)) from error
        return {"result": json.loads(result), "printed": printed[:_LONGEST_LOG]}

    return Tool(FACTS, run)


def _with_log(error: str, log: str) -> str:
    return f"{error}\nprinted before:\n{log[:_LONGEST_LOG]}" if log else error
