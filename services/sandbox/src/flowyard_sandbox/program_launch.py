"""Becomes a program that may only compute: no file but its own and the libraries of the system, no network, no child.

Arguments: PATH MEMORY CPU_S NAME [ARGUMENT …]. It reads its input, and writes its outputs: pipes that it was given.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NoReturn

from flowyard_sandbox.confine import confine, end_with_parent, limit_resources

REFUSED: Final = 126
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")


def main() -> None:
    path, memory, cpu_s, *arguments = sys.argv[1:]
    program = Path(path)
    end_with_parent()
    limit_resources(memory=int(memory), cpu_s=int(cpu_s))
    confined = confine(programs=[program], libraries=[Path(each) for each in _LIBRARIES])
    if not confined.landlock or not confined.seccomp:
        _refuse("this system can't confine programs: Linux has Landlock since 5.13")
    try:
        os.execv(program, arguments)  # noqa: S606  # there is no shell, and the program is one that a setting names
    except OSError as error:
        _refuse(f"it can't be started: {error.strerror}")


def _refuse(why: str) -> NoReturn:
    os.write(sys.stderr.fileno(), f"{why}\n".encode())
    os._exit(REFUSED)


if __name__ == "__main__":
    main()
