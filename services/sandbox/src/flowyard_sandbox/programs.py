"""Executes programs that the installation allows, each by itself in a confined process: see `program_launch.py`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, TypeVar

from flowyard.bus.program_messages import ProgramEnded, ProgramRequest

_MOST_OUTPUT: Final = 200_000
"""Bytes of each of the two outputs."""
_MEMORY: Final = 256 * 1024 * 1024
_PART: Final = 65_536
_Stream = TypeVar("_Stream", asyncio.StreamReader, asyncio.StreamWriter)


async def run_program(request: ProgramRequest, programs: Mapping[str, str]) -> ProgramEnded:
    """`programs`: paths by name."""
    path = programs.get(request.program)
    if path is None:
        return ProgramEnded(ending="unknown", error=f"this sandbox has no program '{request.program[:100]}'")
    if any("\0" in argument for argument in request.arguments):
        return ProgramEnded(ending="failed", error="an argument has a character that no argument can have")
    command = [sys.executable, "-I", "-B", "-m", "flowyard_sandbox.program_launch"]
    process = await asyncio.create_subprocess_exec(
        *command, path, str(_MEMORY), str(max(1, int(request.timeout))), request.program, *request.arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"LC_ALL": "C.UTF-8"}, cwd="/", start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(request.timeout):
            out, err, _ = await asyncio.gather(
                _output(_opened(process.stdout)),
                _output(_opened(process.stderr)),
                _feed(_opened(process.stdin), request.input.encode()),
            )
            code = await process.wait()
    except TimeoutError:
        return ProgramEnded(ending="timeout", error=f"it took longer than {request.timeout:g} s")
    finally:
        await _end(process)
    return ProgramEnded(ending="done", exit_code=code, output=out[0], errors=err[0], is_cut=out[1] or err[1])


async def _output(stream: asyncio.StreamReader) -> tuple[str, bool]:
    """The beginning of what is written there, and whether there was more. All is read, so that the program ends."""
    kept, is_cut = bytearray(), False
    while part := await stream.read(_PART):
        left = _MOST_OUTPUT - len(kept)
        kept += part[:left]
        is_cut = is_cut or len(part) > left
    return kept.decode("utf-8", "replace"), is_cut


async def _feed(stream: asyncio.StreamWriter, content: bytes) -> None:
    # A program needn't read all of it.
    with suppress(ConnectionError):
        stream.write(content)
        await stream.drain()
    stream.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _opened(stream: _Stream | None) -> _Stream:
    if stream is None:
        raise RuntimeError("a pipe of the program wasn't opened")
    return stream
