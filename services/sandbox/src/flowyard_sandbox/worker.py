"""A worker process, which executes one job after the other. The pool starts it.

Arguments: TIER SOCKET MEMORY CPU_S [COMPILED]. It opens and imports everything first, then gives up all of its rights,
and only then says that it is ready.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
from pathlib import Path
from typing import Final, Protocol

from flowyard_sandbox.confine import confine, end_with_parent, limit_resources
from flowyard_sandbox.frames import receive, send
from flowyard_sandbox.jobs import CodeAnswer, CodeJob

_SPENT_FRACTION: Final = 0.5
"""Of the CPU time that it may have in its life: then it asks to be replaced, before the kernel ends it."""


class Tier(Protocol):
    def run(self, job: CodeJob) -> CodeAnswer: ...


def main() -> None:
    tier, number, memory, cpu_s, *files = sys.argv[1:]
    end_with_parent()
    with socket.socket(fileno=int(number)) as connection:
        try:
            _serve(connection, _tier(tier, files, memory=int(memory), cpu_s=int(cpu_s)), cpu_s=int(cpu_s))
        except BaseException as error:  # noqa: BLE001  # the top of the process
            send(connection, {"broken": f"{type(error).__name__}: {error}"[:2000]})
            os._exit(1)
    # At once: Monty's library sometimes aborts when its interpreter ends.
    os._exit(0)


def _tier(name: str, files: list[str], *, memory: int, cpu_s: int) -> Tier:
    limit_resources(memory=memory, cpu_s=cpu_s)
    # Inline: each tier has a library of its own, which takes memory.
    if name == "fast":
        from flowyard_sandbox.fast import FastTier  # noqa: PLC0415

        return FastTier()
    from flowyard_sandbox.full import FullTier  # noqa: PLC0415

    return FullTier(Path(files[0]))


def _serve(connection: socket.socket, tier: Tier, *, cpu_s: int) -> None:
    confined = confine()
    send(connection, {"landlock": confined.landlock, "seccomp": confined.seccomp})
    while (message := receive(connection)) is not None:
        answer = tier.run(CodeJob(**message)).encoded()
        answer["is_spent"] = answer["is_spent"] or _cpu_s() > cpu_s * _SPENT_FRACTION
        send(connection, answer)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
