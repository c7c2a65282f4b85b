"""The chain as a DBOS workflow behind FastAPI. The route calls the workflow and returns its result.

DBOS' documentation recommends Postgres for production; DATABASE_URL names it. Its pool has 20 connections, which is
the default. Uvicorn uses uvloop. Nothing is logged below warnings.
"""

from __future__ import annotations

import os
import sys

import uvicorn
from chain import ask, plan, polish, write
from dbos import DBOS
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
ask_once = DBOS.step()(ask)


class Request(BaseModel):
    topic: str


@DBOS.workflow()
async def chain(topic: str) -> str:
    planned = await ask_once(plan(topic))
    draft = await ask_once(write(planned))
    return await ask_once(polish(draft))


@app.post("/runs")
async def run(request: Request) -> str:
    return await chain(request.topic)


if __name__ == "__main__":
    DBOS(config={"name": "chain", "system_database_url": os.environ["DATABASE_URL"], "log_level": "WARNING"})
    DBOS.launch()
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
