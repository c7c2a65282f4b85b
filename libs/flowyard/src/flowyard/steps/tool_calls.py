"""The calls of tools of one step: each is made once, in time, recorded with its result, and reported."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from flowyard.errors.steps import ToolError
from flowyard.language.problems import suggest
from flowyard.language.tools import ToolUse, wire_name
from flowyard.llm.calls import ToolCall, ToolOffer
from flowyard.runs.events import Failure, ToolCalled, ToolProgressed
from flowyard.runs.run import Part
from flowyard.secrets.masking import Masker
from flowyard.steps.running import RunningStep
from flowyard.steps.tool_progress import CallProgress
from flowyard.tools.calling import call_tool, shown
from flowyard.tools.node_tools import NodeTools
from flowyard.tools.tool import RESULT_CHARACTERS, Tool, ToolContext, ToolFailed, ToolResult

AT_ONCE: Final = 8
"""How many calls of one reply are made at a time."""
MOST_KEPT: Final = 16_000_000
"""Characters of all results of a step under one claim, as they are kept."""
_LONGEST_NAME: Final = 100
_NO_NAME: Final = re.compile(r"[^\w.-]")
_UNKNOWN: Final = ToolResult.failed(
    "its outcome is unknown: the executor was lost while it was called, and it may be called only once", "unknown"
)


@dataclass(frozen=True, slots=True)
class ToolPlace:
    """Which of a step's calls it is. `question`: of the model, whose answer asks for it; `call`: its place there."""

    question: int
    call: int

    def key(self, step_key: str) -> str:
        """The idempotency key of the call. A question is answered once, so no two effects have the same."""
        return f"{step_key}/{self.question}.{self.call}"


class ToolCaller:
    """`tools`: of the node. `parts`: what earlier claims have recorded of the step."""

    def __init__(self, tools: NodeTools, running: RunningStep, masker: Masker, parts: Sequence[Part]) -> None:
        self._tools = tools
        self._uses = {wire_name(use.name): use for use in tools.uses}
        self._running = running
        self._masker = masker
        self._recorded = {ToolPlace(part.question, part.call): part for part in parts if part.tool is not None}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._room = MOST_KEPT

    async def results(self, calls: Sequence[ToolCall], question: int) -> list[ToolResult]:
        """The results of the calls of one reply, in its order. The reply is on disk."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._in_turn(call, ToolPlace(question, number)))
                    for number, call in enumerate(calls)
                ]
        except BaseExceptionGroup as errors:
            # What has ended the run here: the claim is lost.
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    def shown(self, call: ToolCall, result: ToolResult) -> str:
        """The result as the model gets it."""
        tool = self._tool(call.name)
        return shown(result, tool.result_characters if tool is not None else RESULT_CHARACTERS)

    async def _in_turn(self, call: ToolCall, place: ToolPlace) -> ToolResult:
        async with self._places:
            return await self.result(call.name, call.arguments, place)

    async def result(self, name: str, arguments: str | Mapping[str, Any], place: ToolPlace) -> ToolResult:
        """What the call has come to, under an earlier claim or now. `name`: as the model calls it, or its own."""
        recorded = self._recorded.get(place)
        if recorded is not None and recorded.has_ended and recorded.result is not None:
            return ToolResult.from_data(recorded.result)
        context, step, started = self._running.context, self._running.step, self._running.context.clock()
        use, tool = self._uses.get(wire_name(name)), self._tool(name)
        is_open = recorded is not None and not recorded.has_ended
        part = recorded.part if recorded is not None and is_open else self._running.next_part()
        # A model may write any name; that of a row can't have each character.
        own_name = use.name if use is not None else _NO_NAME.sub("?", name[:_LONGEST_NAME])
        call = ToolCalled(step, own_name, part, place.question, place.call, 0.0)
        if tool is None or use is None:
            known = [each.name for each in self._uses.values()]
            result = ToolResult.failed(f"no tool '{own_name}' ({suggest(own_name, known, 'tools')})", "unknown_tool")
        elif is_open:
            result = _UNKNOWN
        else:
            if tool.facts.once:
                await context.recorder.begin_tool(call)
            result = await self._made(tool, use, arguments, place)
        return self._report(call, result, started)

    async def _made(self, tool: Tool, use: ToolUse, arguments: str | Mapping[str, Any], place: ToolPlace) -> ToolResult:
        context = self._running.context
        progress = CallProgress(
            ToolProgressed(self._running.step, tool.name, place.question, place.call),
            context.recorder.emit,
            context.clock,
            self._masker.text,
        )
        about = ToolContext(key=place.key(self._running.key), now=context.now(), on_progress=progress.report)
        result = await call_tool(tool, use, arguments, about, context.tool_rules)
        progress.has_ended = True
        if not self._masker:
            return result
        error = self._masker.text(result.error) if result.error is not None else None
        return replace(result, value=self._masker.value(result.value, ()), error=error)

    def _tool(self, name: str) -> Tool | None:
        use = self._uses.get(wire_name(name))
        return self._tools.get(use.name) if use is not None else None

    def _report(self, call: ToolCalled, result: ToolResult, started: float) -> ToolResult:
        """The result, or why it can't be kept."""
        context, text = self._running.context, json.dumps(result.data)
        if len(text) > self._room:
            why = f"with it, the results of the step would have more than {MOST_KEPT:,} characters"
            result = ToolResult.failed(why)
            text = json.dumps(result.data)
        self._room -= len(text)
        context.recorder.emit(
            replace(
                call,
                duration_s=context.clock() - started,
                error=Failure(result.outcome, result.error, call.step.node) if result.error is not None else None,
                retries=self._running.tries - 1,
                result=text,
            )
        )
        return result


async def tools_of(uses: Sequence[ToolUse], running: RunningStep) -> NodeTools:
    """The tools of the node, as they are now. Raises ToolError for one that isn't there."""
    try:
        return await running.context.tools.of_node(uses)
    except ToolFailed as error:
        raise ToolError(str(error)) from error


def offer_of_tools(tools: NodeTools) -> ToolOffer:
    """What the model is told of the node's tools."""
    functions = []
    for facts in (tool.facts for use in tools.uses if (tool := tools.get(use.name)) is not None):
        function = {"name": facts.wire_name, "description": facts.description, "parameters": dict(facts.parameters)}
        functions.append({"type": "function", "function": function})
    return ToolOffer(tuple(functions))


def sent_back(call: ToolCall) -> ToolCall:
    """The call as the model gets it back: some libraries fail for arguments that are no JSON object."""
    try:
        is_object = isinstance(json.loads(call.arguments), dict)
    except (ValueError, RecursionError):
        is_object = False
    return call if is_object else replace(call, arguments="{}")
