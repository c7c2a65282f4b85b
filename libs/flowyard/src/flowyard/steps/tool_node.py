"""A tool node's step: its arguments, one call, its result as the node's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowyard.errors.steps import EvaluationError, ToolError
from flowyard.language.nodes import ToolNode
from flowyard.language.values.conform import conform
from flowyard.language.values.evaluating import evaluated
from flowyard.secrets.masking import Masker
from flowyard.steps.reads import Reads
from flowyard.steps.running import RunningStep
from flowyard.steps.tool_calls import ToolCaller, ToolPlace, tools_of
from flowyard.tools.node_tools import NodeTools
from flowyard.tools.tool import ToolResult


@dataclass(frozen=True, slots=True)
class ToolWork:
    node: ToolNode
    reads: Reads

    @classmethod
    def of(cls, node: ToolNode) -> ToolWork:
        return cls(node, Reads.of([text.value for text in node.texts()]))

    async def start(self, running: RunningStep) -> ToolTry:
        parts = await running.context.recorder.parts_before(running.step)
        # A call that has failed is followed by another one, which has its own key: its outcome is known.
        failed = sum(part.has_ended and not _is_result(part.result) for part in parts)
        is_done = any(part.has_ended and _is_result(part.result) for part in parts)
        # What has been called isn't needed any more, and may be gone.
        tools = NodeTools() if is_done else await tools_of([self.node.tool], running)
        caller = ToolCaller(tools, running, Masker(()), parts)
        values = self.node.arguments, running.values.get, running.around
        arguments = await self.reads.evaluated(lambda: evaluated(*values), running.values)
        return ToolTry(self.node, caller, arguments, failed)


def _is_result(result: Any) -> bool:
    return result is not None and ToolResult.from_data(result).outcome == "ok"


class ToolTry:
    """Called for each try of a step."""

    def __init__(self, node: ToolNode, caller: ToolCaller, arguments: Mapping[str, Any], failed: int) -> None:
        self._node = node
        self._caller = caller
        self._arguments = arguments
        self._failed = failed

    async def __call__(self) -> dict[str, Any]:
        name = self._node.tool.name
        result = await self._caller.result(name, self._arguments, ToolPlace(self._failed, 0))
        if result.outcome != "ok":
            self._failed += 1
            raise ToolError(f"{name}: {result.error}")
        return outputs_of(self._node, result.value)


def outputs_of(node: ToolNode, value: Any) -> dict[str, Any]:
    """One output takes the result itself; several take the values of an object. Raises EvaluationError."""
    if len(node.outputs) == 1:
        values = {node.outputs[0].field: value}
    elif not isinstance(value, Mapping) and node.outputs:
        raise EvaluationError(f"the result of {node.tool.name} is no object, so it can't go to several outputs")
    else:
        values = {output.field: value.get(output.field) for output in node.outputs}
    problems: list[str] = []
    outputs = {
        output.field: conform(output.type, values[output.field], output.field, problems) for output in node.outputs
    }
    if problems:
        raise EvaluationError(f"the result of {node.tool.name} doesn't fit: {'; '.join(problems)}")
    return outputs
