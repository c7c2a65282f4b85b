"""The command line as its user has it: a process of its own, its output, its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    err: str


def flowyard(*args: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = "") -> Ended:
    """Runs one command to its end. Fails the test if anything looks like a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "flowyard_cli", *args],
        cwd=cwd,
        env=clean_environment(env),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def clean_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without anybody's keys."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_TOKEN"))}
    return {**kept, **(env or {})}
