"""The chain as a LangGraph with its stock Postgres saver, behind FastAPI. The route runs the graph to its end.

The pool has what the saver's documentation asks for. DURABILITY is that of each run: `sync` stores a step before the
next begins, as the others here do; `async`, which is LangGraph's default, while the next runs. Unlike the others,
nobody continues a run whose process has died.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypedDict
from uuid import uuid4

import uvicorn
from chain import ask, plan, polish, write
from fastapi import FastAPI
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel


class State(TypedDict, total=False):
    topic: str
    plan: str
    draft: str
    final: str


class Request(BaseModel):
    topic: str


def node(prompt: Callable[[str], str], reads: str, writes: str) -> Callable[[State], Awaitable[Any]]:
    async def step(state: State) -> Any:
        return {writes: await ask(prompt(state[reads]))}  # type: ignore[literal-required]

    return step


def graph() -> Any:
    graph: Any = StateGraph(State)
    graph.add_node("think", node(plan, "topic", "plan"))
    graph.add_node("write", node(write, "plan", "draft"))
    graph.add_node("polish", node(polish, "draft", "final"))
    for source, target in ((START, "think"), ("think", "write"), ("write", "polish"), ("polish", END)):
        graph.add_edge(source, target)
    return graph


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(os.environ["DATABASE_URL"], min_size=20, max_size=20, kwargs=settings) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        app.state.graph = graph().compile(checkpointer=saver)
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/runs")
async def run(request: Request) -> str:
    config = {"configurable": {"thread_id": str(uuid4())}}
    state = await app.state.graph.ainvoke({"topic": request.topic}, config, durability=os.environ["DURABILITY"])
    final: str = state["final"]
    return final


if __name__ == "__main__":
    # The clients keep their connections while the floor has its turn.
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        timeout_keep_alive=60,
        access_log=False,
        log_level="warning",
    )
