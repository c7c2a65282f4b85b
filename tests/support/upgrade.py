"""A database as an older version left it, with runs at which the new one goes on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

from support.executors import prompt_of
from support.wire.behaviour import Text
from support.wire.server import Request, WireServer

DUMP: Final = Path(__file__).parents[1] / "data" / "schema-0001.sql"
OUTPUTS: Final = {
    "01a2074a-c345-7950-8026-dcfdff9a366c": {"one": "old", "two": "new", "three": "new"},
    "01a2074a-c383-776a-8bb1-ce23a2dbd988": {"one": "old", "two": "new", "three": "new"},
    "01a2074a-c388-7536-9d1d-c98ab561996e": {"lines": ["old", "old", "new", "old"]},
    "01a2074a-e2b3-7cbb-90b4-18a789139d8b": {"one": "new", "two": "new", "three": "new"},
}
"""Of its runs by their ids: the one that waits, the two whose executor is dead, the one that is queued."""
_WHO: Final = ("waiting", "killed", "queued")
EXPECTED_PROMPTS: Final = Counter(
    ["First queued.", "Write c.", *(f"{step} {who}." for step in ("Second", "Third") for who in _WHO)]
)
"""What still has to be called: a model of Ollama."""


def reply(_request: Request) -> Text:
    return Text("new")


def counted_prompts(server: WireServer) -> Counter[str]:
    return Counter(prompt_of(request) for request in server.requests)
