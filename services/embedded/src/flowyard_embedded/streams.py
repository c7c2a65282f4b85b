"""Standard output and standard error. The command line and the supervisor write to them with `put` and `say` only.

If the reader of a stream goes away, the work continues. On a terminal, control characters are made visible: text from
models and documents must not control it.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO

from flowyard.errors.base import FlowyardError

_BIDI: Final = {c: f"\\u{c:04x}" for c in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""They change the direction of the text after them, so that a diff could be read as another one."""
_CONTROLS: Final = _BIDI | {c: f"\\x{c:02x}" for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) not in "\n\t"}
_AS_JSON: Final = _BIDI | {c: f"\\u{c:04x}" for c in range(0x7F, 0xA0)}
"""The control characters that JSON doesn't escape."""


class UnwritableOutput(FlowyardError, code="unwritable_output"):
    """Nothing can be written to standard output, as on a full disk."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"can't write the output: {(error.strerror or str(error)).lower()}")


def make_safe() -> None:
    """Opens closed streams on the null device, and makes every character writable, such as a lone surrogate."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # `open` takes the lowest free number, which is the stream's own: no socket can get it later.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # open to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """The text with its control characters made visible (`\\x1b`): a model's reply must not control a terminal."""
    return text.translate(_CONTROLS)


def put(text: str = "", *, end: str = "\n", drawn: bool = False) -> None:
    """Writes to standard output; control characters are made visible if it is a terminal, unless the text is `drawn`.

    `drawn`: our own text, with colours.

    Raises UnwritableOutput.
    """
    with _written():
        sys.stdout.write((text if drawn or not sys.stdout.isatty() else printable(text)) + end)


def say(text: str = "", *, end: str = "\n", drawn: bool = False) -> None:
    """Writes to standard error, at once. After a failed write, all later text is dropped. `drawn`: as for `put`."""
    try:
        sys.stderr.write((printable(text) if sys.stderr.isatty() and not drawn else text) + end)
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
        # Half of the output is written: no other output may follow it.
        _silence(sys.stdout)
        raise
    except OSError as error:
        # The rest of the buffer must not raise again.
        _silence(sys.stdout)
        raise UnwritableOutput(error) from error


def _silence(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
