from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
from pydantic_settings import BaseSettings

from flowyard.access import Scope
from flowyard.storage.database import Database
from flowyard.storage.keys import Keys


@dataclass(frozen=True)
class Service:
    """A running one. `keys`: by scope, the text of a key. `ending`: set to shut it down."""

    client: httpx.AsyncClient
    keys: Mapping[Scope, str]
    ending: asyncio.Event

    def client_with(self, authorization: str | None) -> httpx.AsyncClient:
        headers = {"authorization": authorization} if authorization is not None else {}
        return httpx.AsyncClient(base_url=self.client.base_url, timeout=10, headers=headers)

    def as_one_who_may(self, scope: Scope) -> httpx.AsyncClient:
        return self.client_with(f"Bearer {self.keys[scope]}")


@asynccontextmanager
async def serving(
    run: Callable[..., Coroutine[Any, Any, None]], database: Database, *, scope: Scope
) -> AsyncIterator[Service]:
    """On a free port. `run`: the service's own, with its settings. `scope`: what the `client` may do."""
    ending, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    scopes: tuple[Scope, ...] = ("read", "run", "write", "admin")
    keys = {each: (await Keys(database).create(each, frozenset({each})))[1] for each in scopes}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run(ending, on_listening=port.set_result))
        url, headers = f"http://127.0.0.1:{await port}", {"authorization": f"Bearer {keys[scope]}"}
        async with httpx.AsyncClient(base_url=url, timeout=10, headers=headers) as client:
            yield Service(client, keys, ending)
        ending.set()


def starter(
    run: Callable[..., Coroutine[Any, Any, None]],
    settings: type[BaseSettings],
    database: Database,
    *,
    scope: Scope,
    database_url: str,
    nats_url: str,
) -> Callable[..., AbstractAsyncContextManager[Service]]:
    """Starts a service on a free port, as often as it is called; its arguments are further settings."""

    @asynccontextmanager
    async def start(**given: Any) -> AsyncIterator[Service]:
        urls = {"database_url": database_url, "nats_url": nats_url, "port": 0}
        running = settings.model_validate({**urls, **given})
        async with serving(partial(run, running), database, scope=scope) as service:
            yield service

    return start
