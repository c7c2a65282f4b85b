"""What steps need of whatever executes code: where that happens is decided by who makes their context."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

from flowyard.errors.steps import CodeCrashed, CodeError, CodeOutOfMemory, CodeTimeout, SandboxUnavailable
from flowyard.language.nodes import CodeLimits


@dataclass(frozen=True, slots=True)
class CodeCall:
    """`inputs`: an object of JSON, with the names that the code sees. `result`: most bytes of the result, as JSON."""

    code: str
    inputs: str
    limits: CodeLimits
    result: int


@dataclass(frozen=True, slots=True)
class CodeResult:
    """`result`: JSON. `log`: what the code has printed, perhaps only its beginning."""

    result: str
    log: str


RunCode: TypeAlias = Callable[[CodeCall], Coroutine[Any, Any, CodeResult]]
"""Executes code. Raises CodeError."""


async def no_sandbox(call: CodeCall) -> CodeResult:
    """Where nothing executes code."""
    del call
    raise SandboxUnavailable("code isn't executed here")


@dataclass(frozen=True, slots=True)
class CodeEnding:
    """What a sandbox answers. `ending`: how the code has ended. `line`: of the code, where it failed. `cut`: characters
    that are missing in the log.
    """

    ending: str
    result: str
    error: str
    line: int | None
    log: str
    cut: int


def code_result(call: CodeCall, ended: CodeEnding) -> CodeResult:
    """Raises CodeError."""
    printed, error = _storable(ended.log), _storable(ended.error)
    log = f"{printed}… ({ended.cut:,} more characters)" if ended.cut else printed
    where = f"line {ended.line}: " if ended.line is not None else ""
    match ended.ending:
        case "done":
            return CodeResult(ended.result, log)
        case "timeout":
            raise CodeTimeout(f"{where}the code took longer than {call.limits.timeout:g} s", log=log)
        case "memory":
            raise CodeOutOfMemory(f"{where}the code needed more than {call.limits.memory_mb} MB of memory", log=log)
        case "crashed":
            raise CodeCrashed(f"the process that executed the code has ended: {error}", log=log)
        case _:
            raise CodeError(f"{where}{error}", log=log)


def _storable(text: str) -> str:
    """Code can print, and raise, what Postgres and UTF-8 can't hold."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
