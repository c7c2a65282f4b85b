"""Finds documents in a text: its fenced blocks, as CommonMark has them, that are YAML.

Format: https://spec.commonmark.org/0.31.2/#fenced-code-blocks
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_LABELS: Final = frozenset({"yaml", "yml"})
_DEEPEST: Final = 3
"""Spaces before a fence: with more, it is a part of something else."""
_SHORTEST: Final = 3
BEGINNING: Final = re.compile(r"^flow[ \t]*:", re.MULTILINE)
"""What a document has, and a block without a label only if it is one."""


@dataclass(frozen=True, slots=True)
class Block:
    """`text`: without the fences. `is_closed`: whether the fence at its end is there."""

    text: str
    is_closed: bool = True


@dataclass(frozen=True, slots=True)
class _Fence:
    indent: int
    character: str
    length: int
    info: str

    def is_closed_by(self, line: str) -> bool:
        fence = _fence(line)
        if fence is None or (fence.character, fence.info) != (self.character, ""):
            return False
        return fence.length >= self.length


def documents_in(text: str) -> list[Block]:
    """The blocks that are labelled yaml or yml, and those without a label that begin as documents do, in order."""
    blocks: list[Block] = []
    # Not at the other ends of lines that Python knows: they may stand in the text of a document.
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    for line in lines:
        fence = _fence(line)
        if fence is None or (fence.character == "`" and "`" in fence.info):
            continue
        block = _block(fence, lines)
        label = fence.info.partition(" ")[0].lower()
        if label in _LABELS or (not label and BEGINNING.search(block.text)):
            blocks.append(block)
    return blocks


def _block(fence: _Fence, lines: Iterator[str]) -> Block:
    """Takes the lines up to the end of the block."""
    inner: list[str] = []
    for line in lines:
        if fence.is_closed_by(line):
            return Block("".join(inner))
        spaces = len(line) - len(line.lstrip(" "))
        inner.append(f"{line[min(fence.indent, spaces) :]}\n")
    return Block("".join(inner), is_closed=False)


def _fence(line: str) -> _Fence | None:
    """Without a regular expression, whose time a line might multiply."""
    bare = line.lstrip(" ")
    character = bare[:1]
    info = bare.lstrip(character)
    length = len(bare) - len(info)
    if character not in ("`", "~") or length < _SHORTEST or len(line) - len(bare) > _DEEPEST:
        return None
    return _Fence(len(line) - len(bare), character, length, info.strip(" \t"))
