"""Documents on their way to the stack, and what it says about them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flowyard.language.problems import Position, Problem
from flowyard.language.reading.source import MAX_BYTES
from flowyard_cli.reading import UnreadableFile


class Document(NamedTuple):
    """`file`: what it is called by."""

    file: str
    text: bytes


def read_text(file: str) -> Document:
    """`-` is standard input. Raises UnreadableFile."""
    name = "<stdin>" if file == "-" else str(Path(file))
    try:
        # One byte more than allowed is enough to be told so, even if the file has no end.
        if file == "-":
            return Document(name, sys.stdin.buffer.read(MAX_BYTES + 1))
        with Path(file).open("rb") as opened:
            return Document(name, opened.read(MAX_BYTES + 1))
    except OSError as error:
        raise UnreadableFile(name, error) from error


def rendered(problem: Mapping[str, Any], file: str) -> str:
    """As `flowyard validate` prints it."""
    position = Position(problem["line"], problem["column"])
    found = Problem(problem["code"], problem["message"], position, problem["suggestion"], problem["severity"])
    return found.render(file)
