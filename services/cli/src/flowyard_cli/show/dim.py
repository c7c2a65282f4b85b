"""Text that is less important than what it stands beside: dim where the terminal has colours."""

from __future__ import annotations

import os
import sys
from typing import Final, TextIO

from flowyard_embedded.streams import printable, say

_DIM: Final = "\x1b[2m"
_BOLD: Final = "\x1b[1m"
_PLAIN: Final = "\x1b[0m"


def has_colours(stream: TextIO) -> bool:
    """https://no-color.org: any value of NO_COLOR but the empty one forbids them."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def say_dim(text: str, *, end: str = "\n") -> None:
    """Writes to standard error."""
    if has_colours(sys.stderr):
        say(f"{_DIM}{printable(text)}{_PLAIN}", end=end, drawn=True)
    else:
        say(text, end=end)


def bold_prompt(text: str) -> str:
    """For `input`, on a terminal with colours. The marks let `readline` count only what takes room."""
    return f"\x01{_BOLD}\x02{text}\x01{_PLAIN}\x02"
