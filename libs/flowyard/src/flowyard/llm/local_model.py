"""`provider: local`: a small model on this machine, without a key. A child process serves each GGUF file."""

from __future__ import annotations

import asyncio
import secrets
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, cast

import aiohttp

from flowyard.language.nodes import ModelSettings
from flowyard.llm import failures
from flowyard.llm.calls import COMPLETE, JsonSchema, ModelCall, ModelReply, OnToken
from flowyard.llm.local_files import find_model_file
from flowyard.llm.openai_wire import Endpoint, chat
from flowyard.llm.terms import LOCAL_SCHEMA_TOKENS, LOCAL_TEXT_TOKENS

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 5.0
MAX_CHARACTERS: Final = 200
MAX_ITEMS: Final = 8
PARALLEL_CALLS: Final = 4
"""Calls that a server processes at the same time. They share the context's memory, so more cost almost nothing."""


@dataclass(frozen=True, slots=True)
class ModelServer:
    process: Process
    endpoint: Endpoint
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARALLEL_CALLS))


class LocalModel:
    """Starts the server of a file at the first call, and again if it has exited."""

    def __init__(self, session: aiohttp.ClientSession, stack: AsyncExitStack, reply_limit: int) -> None:
        self._session = session
        self._reply_limit = reply_limit
        self._stack = stack
        self._servers: dict[Path, ModelServer] = {}
        self._starting = asyncio.Lock()

    async def reply(self, call: ModelCall, on_token: OnToken | None = None) -> ModelReply:
        server = await self._server(call.settings)
        tokens = LOCAL_TEXT_TOKENS if call.schema is None else LOCAL_SCHEMA_TOKENS
        request = replace(call, schema=bounded(call.schema)) if call.schema is not None else call
        # The call's timeout doesn't include the wait for a slot.
        async with server.slots:
            reply, _ = await chat(self._session, server.endpoint, request, on_token, max_tokens=tokens)
        # A tiny model may never stop by itself: where only our own limit ends a reply, that is its end.
        ending = reply.ending if call.settings.max_tokens not in (None, tokens) else COMPLETE
        return replace(reply, cost_usd=Decimal(0), ending=ending)

    async def prepare(self, settings: ModelSettings) -> None:
        """Starts the server, which takes seconds for a large file. Raises ModelError."""
        await self._server(settings)

    async def _server(self, settings: ModelSettings) -> ModelServer:
        file = find_model_file(settings)
        async with self._starting:
            server = self._servers.get(file)
            if server is None or server.process.returncode is not None:
                server = await self._stack.enter_async_context(_serve(file, settings, self._reply_limit))
                self._servers[file] = server
        return server


@asynccontextmanager
async def open_local_model(session: aiohttp.ClientSession, reply_limit: int) -> AsyncIterator[LocalModel]:
    """`reply_limit`: most bytes of a reply."""
    async with AsyncExitStack() as stack:
        yield LocalModel(session, stack, reply_limit)


@asynccontextmanager
async def _serve(file: Path, settings: ModelSettings, reply_limit: int) -> AsyncIterator[ModelServer]:
    # A new session, so that Ctrl-C in the terminal stops only us. -P: no modules from the current folder.
    command = (sys.executable, "-P", "-m", "flowyard.llm.local_server", str(file), str(PARALLEL_CALLS))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
    )
    log: deque[str] = deque(maxlen=1)
    log_reader = asyncio.create_task(_read_log(process, log))
    key = secrets.token_urlsafe()
    try:
        url = await _start(process, key, settings)
        if not url:
            await log_reader
            why = log[-1] if log else "it logged nothing"
            raise failures.never_sent(settings, f"the local server didn't start: {why}")
        yield ModelServer(process, Endpoint(f"{url}/v1", file.name, key, reply_limit=reply_limit))
    finally:
        await _stop(process)
        await log_reader


async def _start(process: Process, key: str, settings: ModelSettings) -> str:
    """The server's URL, or "" if the process exited instead."""
    stdin, stdout = cast("StreamWriter", process.stdin), cast("StreamReader", process.stdout)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            stdin.write(f"{key}\n".encode())
            return (await stdout.readline()).decode().strip()
    except TimeoutError as error:
        raise failures.never_sent(settings, f"the local server didn't start within {START_TIMEOUT_S:g} s") from error


async def _read_log(process: Process, log: deque[str]) -> None:
    """Keeps the last line that the server logged. It must be read: a full pipe would block the server."""
    stderr = cast("StreamReader", process.stderr)
    while chunk := await stderr.read(65536):
        log.extend(line for line in chunk.decode(errors="replace").splitlines() if line.strip())


async def _stop(process: Process) -> None:
    cast("StreamWriter", process.stdin).close()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()


def bounded(schema: JsonSchema) -> dict[str, Any]:
    """The schema with a maximum for each string and list that has none. All that fits it fits the given one, too.

    A tiny model otherwise fills one string until it has no tokens left.
    """
    return {str(name): _bounded(value) for name, value in schema.items()} | _bounds(schema)


def _bounded(value: Any) -> Any:
    match value:
        case Mapping():
            return bounded(value)
        case list() | tuple():
            return [_bounded(each) for each in value]
        case _:
            return value


def _bounds(schema: JsonSchema) -> dict[str, int]:
    """Bounds a bare `type` only: an enum is finite, and a pattern has its own length."""
    match schema.get("type"):
        case "string" if not schema.keys() & {"enum", "const", "pattern", "format", "maxLength"}:
            return {"maxLength": max(MAX_CHARACTERS, schema.get("minLength", 0))}
        case "array" if "maxItems" not in schema:
            return {"maxItems": max(MAX_ITEMS, schema.get("minItems", 0))}
        case _:
            return {}
