"""The command line as its user has it: a process of its own, its output, its exit code.

Processes are forks (see `forks`), which have done their imports, and run the same `main` as the script does.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from flowyard_cli.main import run_command
from support.forks import Fork, Order, start
from support.servers import in_its_own_loop

SCRIPTED = """\
flow: {name: haiku}
state:
  fields:
    topic: {type: str, required: true}
    n: {type: int, default: 1}
    poem: str
    mood: str
nodes:
  - {id: write, prompt: "Write {n} haiku about {topic}.", outputs: [poem]}
  - {id: judge, prompt: "The mood of {poem}?", outputs: [mood]}
config:
  llm: {provider: scripted}
tests:
  - name: rain
    inputs: {topic: rain}
    replies: {write: Soft rain on the roof, judge: calm}
    expect: {outputs: {mood: calm}}
"""

_WITHIN_S: Final = 120


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class CommandLine:
    """Of somebody with a key of a running stack, who is in `folder`, with these variables."""

    folder: Path
    environment: Mapping[str, str]

    async def __call__(self, *args: str, **env: str) -> Ended:
        return await asyncio.to_thread(in_process, args, {**self.environment, **env}, self.folder)

    async def output(self, *args: str, **env: str) -> str:
        """Of a command that succeeds."""
        ended = await self(*args, **env)
        assert ended.code == 0, ended.err
        return ended.out

    async def data(self, *args: str, **env: str) -> Any:
        """What it prints with `--json`."""
        return json.loads(await self.output(*args, "--json", **env))


def flowyard(*args: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = "") -> Ended:
    """Runs one command to its end. Fails the test if anything looks like a traceback."""
    source, into = os.pipe()
    os.set_blocking(into, False)
    assert os.write(into, stdin.encode()) == len(stdin.encode()), "more than a pipe holds"
    os.close(into)
    try:
        order = Order(list(args), clean_environment(env), str(cwd))
        return in_its_own_loop(_to_its_end(order, source))
    finally:
        os.close(source)


def fresh_flowyard(*args: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    """As `flowyard`, with its own start and imports."""
    command = [sys.executable, "-m", "flowyard_cli", *args]
    environment = clean_environment(env)
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=_WITHIN_S, check=False
    )
    return _checked(Ended(done.returncode, done.stdout, done.stderr))


async def begin_flowyard(*args: str, cwd: Path, env: Mapping[str, str] | None = None) -> Fork:
    """A command that has begun."""
    return await start("cli", Order(list(args), clean_environment(env), str(cwd)))


async def _to_its_end(order: Order, stdin: int) -> Ended:
    process = await start("cli", order, stdin=stdin)
    try:
        async with asyncio.timeout(_WITHIN_S):
            out, err = await process.communicate()
    finally:
        process.kill()
    return _checked(Ended(await process.wait(), out.decode(), err.decode()))


def _checked(ended: Ended) -> Ended:
    assert "Traceback" not in ended.err + ended.out, ended.err
    return ended


def in_process(args: Sequence[str], env: Mapping[str, str], folder: Path) -> Ended:
    """As `flowyard`, in this process, which is quicker; one at a time."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, clean_environment(env), clear=True),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = run_command(list(args))
    assert "internal error" not in err.getvalue(), err.getvalue()
    return Ended(code, out.getvalue(), err.getvalue())


def clean_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without anybody's keys."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_TOKEN"))}
    return {**kept, **(env or {})}
