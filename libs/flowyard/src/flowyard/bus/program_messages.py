"""The messages by which executors have programs executed in sandboxes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from flowyard.bus import subjects
from flowyard.bus.messages import Announcement, BusMessage


class ProgramRequest(Announcement):
    """A request: execute this program, which the sandbox knows by name. `timeout`: seconds."""

    pattern: ClassVar = subjects.PROGRAM_RUN
    bodies: ClassVar = ("input",)

    program: str
    arguments: tuple[str, ...] = ()
    input: str = ""
    timeout: Annotated[float, Field(gt=0, le=20)]


class ProgramEnded(BusMessage):
    """The answer. `output`, `errors`: what it has written. `is_cut`: it has written more."""

    bodies: ClassVar = ("output", "errors")

    ending: Literal["done", "failed", "timeout", "unknown"]
    error: str = ""
    exit_code: int = 0
    output: str = ""
    errors: str = ""
    is_cut: bool = False
