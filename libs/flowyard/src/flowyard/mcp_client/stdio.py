"""Talks to a program over its standard streams: a line is a message. Another process watches it, see `watcher.py`."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, cast

import anyio
import mcp_types as mcp
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage

from flowyard.language.mcp_servers import LocalServer
from flowyard.mcp_client import watcher
from flowyard.mcp_client.limits import MOST_LOG_LINES, MOST_MESSAGE, MOST_NOISE, Pace

log = logging.getLogger(__name__)

_INHERITED: Final = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")
_STOP_S: Final = 2.0
"""That a program has to end after its input was closed."""
_ENDED_S: Final = watcher.GRACE_S + 2
_LOG_LINE: Final = 500
_Incoming = MemoryObjectSendStream[SessionMessage | Exception]
OnEnd = Callable[[str], None]


def environment(server: LocalServer, environ: Mapping[str, str], resolved: Mapping[str, str]) -> dict[str, str]:
    """The variables of the program: a few of ours that tell nobody a secret, and those of its settings."""
    del server
    return {name: environ[name] for name in _INHERITED if name in environ} | dict(resolved)


@asynccontextmanager
async def stdio_transport(
    server: LocalServer, variables: Mapping[str, str], on_end: OnEnd
) -> AsyncIterator[TransportStreams]:
    """Starts the program, and ends it at the end. `on_end`: called with the reason when it can't be used any more.

    Raises OSError.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = await _start(server, variables, theirs)
        to_session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        outgoing, from_session = anyio.create_memory_object_stream[SessionMessage](0)
        talking = _Talk(server.name, process, on_end)
        tasks = [
            asyncio.create_task(work)
            for work in (talking.read(to_session), talking.write(from_session), talking.read_log())
        ]
        try:
            yield incoming, outgoing
        finally:
            outgoing.close()
            incoming.close()
            await _stop(process, ours, patience_s=0 if talking.is_broken else _STOP_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            to_session.close()
            from_session.close()


async def _start(server: LocalServer, variables: Mapping[str, str], leash: socket.socket) -> Process:
    # -I -S: neither the variables of the program nor installed packages are for the watcher.
    watch = [sys.executable, "-I", "-S", "-B", str(Path(watcher.__file__)), str(leash.fileno())]
    return await asyncio.create_subprocess_exec(
        *watch, server.command, *server.args,
        stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=MOST_MESSAGE, pass_fds=[leash.fileno()],
        env=dict(variables), cwd=server.cwd, start_new_session=True,
    )  # fmt: skip


async def _stop(process: Process, leash: socket.socket, *, patience_s: float) -> None:
    """The program's input is closed first, as the protocol says; then its watcher ends it."""
    stdin = cast("asyncio.StreamWriter", process.stdin)
    with suppress(OSError):
        stdin.close()
    for seconds in (patience_s, _ENDED_S):
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await process.wait()
        if process.returncode is not None:
            break
        leash.close()
    # What nobody has read keeps the pipes open, and so does a child that has left the program's group.
    transport: asyncio.SubprocessTransport = process._transport  # type: ignore[attr-defined]  # noqa: SLF001
    with suppress(ProcessLookupError):
        transport.close()


class _Talk:
    def __init__(self, name: str, process: Process, on_end: OnEnd) -> None:
        self._name = name
        self._process = process
        self._on_end = on_end
        self._last_line = ""
        self.is_broken = False
        """It runs, but can't be talked to."""

    async def read(self, to_session: _Incoming) -> None:
        stdout, pace, noise = cast("asyncio.StreamReader", self._process.stdout), Pace(), 0
        why = ""
        async with to_session:
            while not why:
                try:
                    line = await stdout.readline()
                except ValueError:
                    why = f"it has sent a message of more than {MOST_MESSAGE:,} bytes"
                    break
                if not line:
                    why = await self._why_ended()
                elif (message := _message(line)) is not None:
                    await pace.next()
                    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                        await to_session.send(message)
                elif line.lstrip().startswith(b"{"):
                    # Perhaps the answer that somebody waits for.
                    why = "it has sent a message that can't be read"
                elif line.strip():
                    noise += 1
                    why = "its output is something else than messages" if noise > MOST_NOISE else ""
            self.is_broken = self._process.returncode is None
            self._on_end(why)

    async def write(self, from_session: MemoryObjectReceiveStream[SessionMessage]) -> None:
        stdin = cast("asyncio.StreamWriter", self._process.stdin)
        async with from_session:
            async for each in from_session:
                stdin.write(each.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                # Its end is noticed where its output is read.
                with suppress(OSError):
                    await stdin.drain()

    async def read_log(self) -> None:
        """Must be read: a full pipe would block the program."""
        stderr, lines = cast("asyncio.StreamReader", self._process.stderr), 0
        rest = b""
        while chunk := await stderr.read(65_536):
            *whole, rest = (rest + chunk).split(b"\n")
            rest = rest[:_LOG_LINE]
            for line in whole:
                self._last_line = line[:_LOG_LINE].decode(errors="replace").strip() or self._last_line
                lines += 1
                if lines <= MOST_LOG_LINES:
                    log.info("a server of MCP logs", extra={"server": self._name, "line": self._last_line})
                elif lines == MOST_LOG_LINES + 1:
                    log.warning("a server of MCP logs too much: the rest is dropped", extra={"server": self._name})

    async def _why_ended(self) -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(_ENDED_S):
                await self._process.wait()
        code = self._process.returncode
        how = f"it has ended with {code}" if code is not None else "it has closed its output"
        return f"{how}: {self._last_line}" if self._last_line else how


def _message(line: bytes) -> SessionMessage | None:
    """None for a line that is no message: some programs print to where their messages go."""
    try:
        return SessionMessage(mcp.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        return None
