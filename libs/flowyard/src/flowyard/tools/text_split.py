"""`text.split`: cuts a long text into parts of a size, at paragraphs, lines, sentences or words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from flowyard.language.tools import ToolFacts
from flowyard.large_json import out_of_the_loop
from flowyard.tools.tool import Tool, ToolContext, ToolFailed

MOST_CHARACTERS: Final = 8_000_000
MOST_PARTS: Final = 10_000
_BREAKS: Final = (
    re.compile(r"\n\s*\n"),
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?…\u3002\uff01\uff1f])\s+"),
    re.compile(r"\s+"),
)
"""Where a text may be cut, the best first."""

FACTS: Final = ToolFacts(
    name="text.split",
    description="Cuts a text into parts: at a separator, or into parts of a size, at paragraphs, lines or sentences.",
    parameters={
        "type": "object",
        "properties": {
            "text": {"type": "string", "maxLength": MOST_CHARACTERS},
            "size": {
                "type": "integer",
                "minimum": 1,
                "maximum": 1_000_000,
                "description": "Most characters of a part; 2000 if neither size nor separator is given.",
            },
            "overlap": {
                "type": "integer",
                "minimum": 0,
                "maximum": 100_000,
                "description": "How many characters at the end of a part the next one begins with; 0 if left out.",
            },
            "separator": {
                "type": "string",
                "minLength": 1,
                "maxLength": 100,
                "description": "Cuts the text where this text is, and nowhere else. Not with size or overlap.",
            },
        },
        "required": ["text"],
        "additionalProperties": False,
    },
)


async def _run(arguments: Mapping[str, Any], context: ToolContext) -> list[str]:
    del context
    text, separator = arguments["text"], arguments.get("separator")
    if separator is not None:
        if "size" in arguments or "overlap" in arguments:
            raise ToolFailed("with 'separator', there can be no 'size' and no 'overlap'")
        if text.count(separator) >= MOST_PARTS:
            raise ToolFailed(f"the separator is there {MOST_PARTS:,} times or more")
        return [part for piece in text.split(separator) if (part := piece.strip())]
    size, overlap = arguments.get("size", 2_000), arguments.get("overlap", 0)
    if overlap * 2 > size:
        raise ToolFailed("'overlap' must be at most half of 'size'")
    # One too many shows that there are too many.
    return _few(await out_of_the_loop(lambda: list(islice(split(text, size, overlap), MOST_PARTS + 1)), text, times=8))


def _few(parts: list[str]) -> list[str]:
    if len(parts) > MOST_PARTS:
        raise ToolFailed(f"there would be more than {MOST_PARTS:,} parts: choose a larger size")
    return parts


def split(text: str, size: int, overlap: int) -> Iterator[str]:
    """Parts of at most `size` characters, none of them empty. Each begins up to `overlap` before the last one's end."""
    start = 0
    while start < len(text):
        end = _end(text, start, size)
        if part := text[start:end].strip():
            yield part
        if end >= len(text):
            return
        start = max(end - overlap, start + 1)


def _end(text: str, start: int, size: int) -> int:
    """Where the part that begins at `start` ends: as late as it can, but not in its first half."""
    if len(text) - start <= size:
        return len(text)
    least = start + size // 2 + 1
    for at in _BREAKS:
        ends = [match.end() for match in at.finditer(text, least, start + size)]
        if ends:
            return ends[-1]
    return start + size


TEXT_SPLIT: Final = Tool(FACTS, _run)
