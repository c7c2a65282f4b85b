"""A code node's step: its inputs to a sandbox, and its result into fields."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from flowyard.errors.steps import CodeError
from flowyard.language.code import RESULT
from flowyard.language.nodes import CodeNode
from flowyard.language.values.conform import conform
from flowyard.language.values.evaluating import evaluated
from flowyard.large_json import decoded, encoded
from flowyard.runs.events import CodePrinted
from flowyard.steps.code_runner import CodeCall
from flowyard.steps.reads import Reads
from flowyard.steps.running import RunningStep, Try

MOST_BYTES: Final = 768 * 1024
"""Of the inputs, and of the result, as JSON: both travel in messages of at most a megabyte."""


@dataclass(frozen=True, slots=True)
class CodeWork:
    node: CodeNode
    reads: Reads

    @classmethod
    def of(cls, node: CodeNode) -> CodeWork:
        return cls(node, Reads.of([text.value for text in node.texts()]))

    async def start(self, running: RunningStep) -> Try:
        values = await self.reads.evaluated(partial(_inputs, self.node, running), running.values)
        inputs = await encoded(values)
        if len(inputs) > MOST_BYTES:
            raise CodeError(f"the inputs of the code have {len(inputs):,} bytes as JSON, more than {MOST_BYTES:,}")
        return partial(self._execute, running, inputs)

    async def _execute(self, running: RunningStep, inputs: str) -> dict[str, Any]:
        try:
            ran = await running.context.run_code(CodeCall(self.node.code, inputs, self.node.limits, MOST_BYTES))
        except CodeError as error:
            _report(running, error.log)
            raise
        _report(running, ran.log)
        result = await decoded(ran.result)
        return await self.reads.evaluated(partial(_outputs, self.node, result), {RESULT: result})


def _report(running: RunningStep, log: str) -> None:
    if log:
        running.context.recorder.emit(CodePrinted(running.step, log))


def _inputs(node: CodeNode, running: RunningStep) -> dict[str, Any]:
    inputs: dict[str, Any] = evaluated(node.inputs, running.values.get, running.around)
    return inputs


def _outputs(node: CodeNode, result: Any) -> dict[str, Any]:
    """The fields that the result is for. Raises CodeError if it doesn't fit their types."""
    problems: list[str] = []
    if len(node.outputs) == 1 and not _is_object_of(node, result):
        only = node.outputs[0]
        values = {only.field: conform(only.type, result, RESULT, problems)}
    elif isinstance(result, dict):
        values = {
            output.field: conform(output.type, result.get(output.field), f"{RESULT}.{output.field}", problems)
            for output in node.outputs
        }
    else:
        names = ", ".join(output.field for output in node.outputs)
        raise CodeError(f"{RESULT} must be a dict with the keys {names}")
    if problems:
        raise CodeError("; ".join(problems))
    return values


def _is_object_of(node: CodeNode, result: Any) -> bool:
    """Whether the result of a node with one output is a dict with that key alone, and the output itself is no dict."""
    only = node.outputs[0]
    if not (isinstance(result, dict) and set(result) == {only.field}):
        return False
    problems: list[str] = []
    conform(only.type, result, RESULT, problems)
    return bool(problems)
