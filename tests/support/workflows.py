"""Documents and models for tests of the engine: the real one, with replies that a test writes down."""

from __future__ import annotations

import asyncio
import textwrap
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flowyard.graph.compile import Compiled, compile_workflow
from flowyard.graph.run import RunResult, run_workflow
from flowyard.language.canned import read_reply
from flowyard.language.load import load_text
from flowyard.language.nodes import PromptNode
from flowyard.language.workflow import Workflow
from flowyard.llm.calls import Model, ModelCall, ModelReply, OnToken, Usage
from flowyard.llm.scripted import ScriptedModel
from flowyard.runs.events import Event, StepStarted
from flowyard.steps.budget_gate import TermsOf, canned_terms
from flowyard.tools.registry import ToolRegistry

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """A run, and everything that could be seen of it. `sleeps`: the seconds that retries would have waited."""

    result: RunResult
    events: list[Event]
    calls: list[ModelCall]
    sleeps: list[float]

    @property
    def path(self) -> list[str]:
        """The nodes in the order in which their steps began."""
        return [event.step.node for event in self.events if isinstance(event, StepStarted)]

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    def prompts_of(self, node: str) -> list[str]:
        """The last message of each call that a node made."""
        return [call.messages[-1].text for call in self.calls if call.node == node]


class Recorded:
    """A model that keeps the calls and has another one answer them."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.calls: list[ModelCall] = []

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        self.calls.append(call)
        return await self.model.reply(call, on_token)


class Answering:
    """A model that answers with what a function makes of the call. The function may wait, and may raise."""

    def __init__(self, answer: Callable[[ModelCall], Awaitable[str | ModelReply]]) -> None:
        self.answer = answer

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        answer = await self.answer(call)
        return answer if isinstance(answer, ModelReply) else ModelReply(answer, Usage(), None)


class Hanging:
    """A model that never answers, and notes whether its calls were aborted. `called`: set by the last of `calls`."""

    def __init__(self, calls: int = 1) -> None:
        self.called = asyncio.Event()
        self.aborted: list[str] = []
        self._missing = calls

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        self._missing -= 1
        if self._missing <= 0:
            self.called.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.aborted.append(call.node)
            raise
        raise AssertionError("nobody sets that event")


def document(names: str, edges: str = "", *, fields: str = "", nodes: str = "", config: str = "") -> str:
    """A document whose nodes are `names`; each writes a text into the field of its own name.

    `fields`, `nodes` and `edges` are YAML that is added: fields as a mapping, nodes and edges as lists.
    """
    lines = ["flow: {name: test}", "state:", "  fields:"]
    lines += [f"    {name}: str" for name in names.split()]
    lines.append(_indented(fields, 4))
    lines.append("nodes:")
    lines += [f"  - {{id: {name}, prompt: 'do {name}', outputs: [{name}]}}" for name in names.split()]
    lines.append(_indented(nodes, 2))
    lines += ["edges:", _indented(edges, 2)] if edges else []
    lines += ["config:", "  llm: {provider: scripted}", _indented(config, 2)]
    return "\n".join(lines)


def _indented(text: str, by: int) -> str:
    return textwrap.indent(textwrap.dedent(text).strip("\n"), " " * by)


def load(text: str) -> Workflow:
    loaded = load_text(text, "test.yaml")
    assert loaded.workflow is not None, "\n".join(problem.render("test.yaml") for problem in loaded.problems)
    return loaded.workflow


def compiled(text: str) -> Compiled:
    return compile_workflow(load(text))


async def run(
    text: str,
    inputs: Mapping[str, Any] | None = None,
    replies: Mapping[str, Any] | None = None,
    *,
    model: Model | None = None,
    stream: bool = False,
    log_prompts: bool = False,
    chance: float = 0.0,
    clock: Callable[[], float] | None = None,
    terms: TermsOf | None = None,
    tools: ToolRegistry | None = None,
    change: Callable[[Workflow], Workflow] = lambda workflow: workflow,
) -> Outcome:
    """Runs a document. `replies` are written as in a document's tests; other nodes answer with their own names.

    `terms`: what models cost; without it they are free. `change`: of the workflow, before it is compiled.
    """
    graph = compile_workflow(change(load(text)))
    canned = {node: node for node in graph.workflow.nodes} | dict(replies or {})
    answering = model or ScriptedModel({node: read_reply(reply) for node, reply in canned.items()})
    recorded = Recorded(answering)
    events: list[Event] = []
    sleeps: list[float] = []

    async def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        await asyncio.sleep(0)

    result = await run_workflow(
        graph,
        inputs or {},
        run_id="run-1",
        model=recorded,
        emit=events.append,
        stream=stream,
        log_prompts=log_prompts,
        sleep=sleep,
        chance=lambda: chance,
        terms=terms or canned_terms,
        tools=tools,
        clock=clock or time.perf_counter,
    )
    return Outcome(result, events, recorded.calls, sleeps)


def prompt_node(workflow: Workflow, name: str) -> PromptNode:
    node = workflow.nodes[name]
    assert isinstance(node, PromptNode)
    return node
