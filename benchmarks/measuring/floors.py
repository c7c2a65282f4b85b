"""What the same work costs without Flowyard, in this process: nothing stored, nothing checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypedDict

import aiohttp
from langgraph.graph import END, START, StateGraph

from measuring.load import STEPS, Once
from measuring.model import Model

TOPIC: Final = "a text of about two hundred bytes, as the state of a small run has it: " + "x" * 130


class State(TypedDict, total=False):
    topic: str
    plan: str
    draft: str
    final: str


def bare_langgraph(session: aiohttp.ClientSession, model_url: str) -> Once:
    """The chain, compiled once, and the same calls by aiohttp: no durability, no checks, no events."""

    def node(name: str, reads: str, writes: str) -> Callable[[State], Awaitable[Any]]:
        async def ask(state: State) -> Any:
            prompt = f"{name} {state[reads]}."  # type: ignore[literal-required]
            body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
            async with session.post(f"{model_url}/chat/completions", json=body) as answer:
                return {writes: (await answer.json())["choices"][0]["message"]["content"]}

        return ask

    graph: Any = StateGraph(State)
    graph.add_node("think", node("Plan", "topic", "plan"))
    graph.add_node("write", node("Write", "plan", "draft"))
    graph.add_node("polish", node("Polish", "draft", "final"))
    for source, target in ((START, "think"), ("think", "write"), ("write", "polish"), ("polish", END)):
        graph.add_edge(source, target)
    compiled = graph.compile()

    async def once() -> None:
        await compiled.ainvoke({"topic": TOPIC})

    return once


def bare_litellm(model: Model) -> Once:
    """As many calls as the chain has, by LiteLLM and nothing else."""
    # Takes seconds, and few measurements need it.
    from flowyard.llm.litellm_setup import litellm  # noqa: PLC0415

    async def once() -> None:
        for _ in range(STEPS):
            messages = [{"role": "user", "content": f"Plan {TOPIC}."}]
            await litellm.acompletion("hosted_vllm/m", messages, api_base=model.url, api_key="no-key")

    return once
