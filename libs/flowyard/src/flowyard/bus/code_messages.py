"""The messages between executors and sandboxes. Sandboxes share the requests, and each executes its own in order."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from flowyard.bus import subjects
from flowyard.bus.messages import Announcement, BusMessage

JOB_ID = r"^[0-9a-f]{32}$"


class CodeRequest(Announcement):
    """A request: execute this. `timeout`: seconds. `memory_mb`: megabytes. `result`: most bytes. `inputs`: JSON.

    It is answered within a second by how it has ended, or by where it waits: then `CodeFollow` has to be sent again and
    again, else the sandbox drops it.
    """

    pattern: ClassVar = subjects.CODE_RUN
    bodies: ClassVar = ("code", "inputs")

    job: Annotated[str, Field(pattern=JOB_ID)]
    tier: Literal["fast", "full"]
    timeout: Annotated[float, Field(gt=0)]
    memory_mb: Annotated[int, Field(gt=0)]
    result: Annotated[int, Field(gt=0)]
    code: str
    inputs: str


class CodeFollow(Announcement):
    """A request to one sandbox: what has become of the job? Answered after a few seconds, or when it has ended."""

    pattern: ClassVar = subjects.ANY_SANDBOX
    id_field: ClassVar = "sandbox"

    sandbox: str
    job: Annotated[str, Field(pattern=JOB_ID)]


class CodeStop(Announcement):
    """Nobody waits for this job any more."""

    pattern: ClassVar = subjects.CODE_STOP

    job: Annotated[str, Field(pattern=JOB_ID)]


class CodeState(BusMessage):
    """The answer. `state`: `busy`: this sandbox has too much to do; `gone`: it hasn't this job, or not any more: it can
    be sent again. `ending`, `error`, `line`, `cut`, `result` and `log`: once it has ended, see CodeEnding.
    """

    bodies: ClassVar = ("result", "log")

    sandbox: Annotated[str, Field(pattern=subjects.NAME)]
    state: Literal["waiting", "running", "ended", "busy", "gone"]
    ending: str = ""
    error: str = ""
    line: int | None = None
    cut: int = 0
    result: str = ""
    log: str = ""


class SandboxAlive(Announcement):
    """A sandbox's heartbeat. `fault`: why it can't execute code of some tier. `waiting`, `running`: jobs.

    `leaving`: it is the last one.
    """

    pattern: ClassVar = subjects.SANDBOXES

    name: str
    sandbox: str
    version: str
    workers: int
    waiting: int
    running: int
    fault: str = ""
    leaving: bool = False
