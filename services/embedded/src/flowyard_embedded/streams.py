"""Standard output and standard error as the command line writes them: through `put` and `say`, and nothing else.

Whoever reads a stream may leave at any time; the work goes on without him. On a terminal, control characters are made
visible: what models and documents say must not steer it.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO

from flowyard.errors import FlowyardError

_CONTROLS: Final = {c: f"\\x{c:02x}" for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) not in "\n\t"}
_AS_JSON: Final = {c: f"\\u{c:04x}" for c in range(0x7F, 0xA0)}
"""The control characters that JSON lets stand as they are."""


class UnwritableOutput(FlowyardError):
    """Standard output takes nothing more, as on a full disk."""

    code = "unwritable_output"

    def __init__(self, error: OSError) -> None:
        super().__init__(f"can't write the output: {(error.strerror or str(error)).lower()}")


def make_safe() -> None:
    """Closed streams lead nowhere, and no character is unwritable (a lone surrogate, another encoding)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free number, so the one that was closed: no socket will ever be taken for a stream.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # open to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """The text with its control characters made visible (`\\x1b`): what a model says must not steer a terminal."""
    return text.translate(_CONTROLS)


def put(text: str = "", *, end: str = "\n", drawn: bool = False) -> None:
    """To standard output, verbatim if that is no terminal. `drawn` text is our own, with colours.

    Raises UnwritableOutput.
    """
    with _written():
        sys.stdout.write((text if drawn or not sys.stdout.isatty() else printable(text)) + end)


def say(text: str = "", *, end: str = "\n") -> None:
    """To standard error, at once. Silent from then on if that can't be written."""
    try:
        sys.stderr.write((printable(text) if sys.stderr.isatty() else text) + end)
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)


def print_json(data: Mapping[str, Any] | Sequence[Any]) -> None:
    """Raises UnwritableOutput."""
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    put(json.dumps(data, indent=2, ensure_ascii=not unicode).translate(_AS_JSON))


def flush() -> None:
    """Raises UnwritableOutput."""
    with _written():
        sys.stdout.flush()
    say(end="")


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _silence(sys.stdout)
    except KeyboardInterrupt:
        # Half an answer is out: another one must not follow it.
        _silence(sys.stdout)
        raise
    except OSError as error:
        # What is still in the buffer must not raise again.
        _silence(sys.stdout)
        raise UnwritableOutput(error) from error


def _silence(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
