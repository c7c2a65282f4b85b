"""A command at a terminal, as its user has it: what it shows, and the keys that are typed."""

from __future__ import annotations

import asyncio
import os
import pty
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from support.cli import clean_environment
from support.forks import Fork, Order, start
from support.waiting import eventually

CTRL_C: Final = "\x03"
CTRL_D: Final = "\x04"
_WITHIN_S: Final = 20


@dataclass
class Terminal:
    """`shown`: all that was shown so far, with the escape sequences in it."""

    process: Fork
    _fd: int
    shown: str = ""
    _seen: int = 0
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    async def shows(self, text: str) -> None:
        """Returns when the text is shown, after what was waited for before."""
        async with asyncio.timeout(_WITHIN_S):
            while (at := self.shown.find(text, self._seen)) < 0:
                assert self.process.returncode is None, f"it ended without showing '{text}': {self.shown}"
                self._more.clear()
                await self._more.wait()
        self._seen = at + len(text)

    async def ended(self) -> int:
        """Its exit code."""
        async with asyncio.timeout(_WITHIN_S):
            code = await self.process.wait()
        assert "Traceback" not in self.shown, self.shown
        return code

    async def interrupted(self) -> int:
        """Its exit code. Ctrl-C is typed until it ends: Python misses one between its prompt and its wait for keys."""

        def has_ended() -> bool:
            if self.process.returncode is None:
                self.type(CTRL_C)
            return self.process.returncode is not None

        await eventually(has_ended, _WITHIN_S, pause_s=1.0)
        return await self.ended()

    def read(self) -> None:
        try:
            piece = os.read(self._fd, 65_536)
        except OSError:
            # Nobody has the other end any more.
            piece = b""
        if not piece:
            asyncio.get_running_loop().remove_reader(self._fd)
        self.shown += piece.decode(errors="replace")
        self._more.set()


@asynccontextmanager
async def at_a_terminal(*args: str, folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Terminal]:
    """`flowyard` with these arguments."""
    ours, its = pty.openpty()
    variables = {**clean_environment(environment), "TERM": "xterm"}
    process = await start("cli", Order(list(args), variables, str(folder)), terminal=its)
    os.close(its)
    terminal = Terminal(process, ours)
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, terminal.read)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        loop.remove_reader(ours)
        os.close(ours)
