"""Has programs executed in sandboxes, for the tool `shell.run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from flowyard.bus.connection import Bus
from flowyard.bus.program_messages import ProgramEnded, ProgramRequest
from flowyard.tools.tool import ToolFailed

_WAIT_S: Final = 5.0
"""For its turn, besides the time that the program takes."""
_MOST_BYTES: Final = 900_000
"""A message of NATS has at most a megabyte."""


class Programs:
    """The sandboxes that are connected to the same NATS as `bus`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def run(self, program: str, arguments: Sequence[str], given: str, seconds: float) -> dict[str, Any]:
        """How it has ended. Raises ToolFailed."""
        try:
            size = len(given.encode()) + sum(len(argument.encode()) for argument in arguments)
        except UnicodeEncodeError as error:
            raise ToolFailed("half a surrogate pair can't be an argument or an input") from error
        if size > _MOST_BYTES:
            raise ToolFailed(f"the arguments and the input have {size:,} bytes; the limit is {_MOST_BYTES:,}")
        request = ProgramRequest(program=program, arguments=tuple(arguments), input=given, timeout=seconds)
        ended = await self._bus.request(request, ProgramEnded, within_s=seconds + _WAIT_S)
        if ended is None:
            raise ToolFailed("no sandbox executes programs: one with FLOWYARD_SHELL_PROGRAMS must be there, and free")
        if ended.ending != "done":
            raise ToolFailed(ended.error)
        return {"exit_code": ended.exit_code, "output": ended.output, "errors": ended.errors, "is_cut": ended.is_cut}
