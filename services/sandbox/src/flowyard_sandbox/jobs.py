"""What a worker is to do, and what it answers. Pure, and without anything of Flowyard's library: workers stay small."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, NoReturn, TypeAlias

Ending: TypeAlias = Literal["done", "failed", "timeout", "memory", "too_large", "crashed"]
_MOST_ERROR: Final = 2_000
"""Characters of an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeJob:
    """`inputs`: an object of JSON, with the names that the code sees. `timeout`: seconds.

    `memory`, `result`: most bytes. `log`: most characters of what it prints.
    """

    code: str
    inputs: str
    timeout: float
    memory: int
    log: int
    result: int

    def encoded(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CodeAnswer:
    """`result`: JSON. `line`: of the code, where it failed, from 1. `cut`: characters of the log that are left out.

    `is_spent`: the worker should do nothing else after this.
    """

    ending: Ending
    result: str = "null"
    error: str = ""
    line: int | None = None
    log: str = ""
    cut: int = 0
    is_spent: bool = False

    def with_log(self, log: Log) -> CodeAnswer:
        return replace(self, log=log.text, cut=log.cut)

    def as_result(self, checked: CodeAnswer) -> CodeAnswer:
        return replace(self, ending=checked.ending, result=checked.result, error=checked.error)

    def encoded(self) -> dict[str, Any]:
        return asdict(self)


class Log:
    """Keeps the first `most` characters of what is printed, and counts the rest."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._parts: list[str] = []
        self.cut = 0

    def write(self, text: str) -> None:
        kept = text[: self._left]
        if kept:
            self._parts.append(kept)
        self._left -= len(kept)
        self.cut += len(text) - len(kept)

    @property
    def text(self) -> str:
        return "".join(self._parts)


def failure(error: str, line: int | None = None) -> CodeAnswer:
    return CodeAnswer("failed", error=error[:_MOST_ERROR], line=line)


def checked_result(text: str, most: int) -> CodeAnswer:
    """The answer with this result, which comes from inside of a sandbox and may be anything."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if size > most:
        return CodeAnswer("too_large", error=f"the result has {size:,} bytes as JSON, more than {most:,}")
    try:
        json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        return failure(f"the result can't be JSON: {error}")
    return CodeAnswer("done", result=text)


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
