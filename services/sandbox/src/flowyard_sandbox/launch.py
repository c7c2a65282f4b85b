"""Starts Monty's interpreter, which may then open no file but its own program and the C library.

`fast.py` makes the library of Monty execute this in place of its own program.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from itertools import product
from pathlib import Path
from typing import Final

from flowyard_sandbox.confine import confine, end_with_parent

_LIBRARIES: Final = ("libc.so.6", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1")
_LOADERS: Final = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/etc/ld.so.cache")


def main() -> None:
    monty = Path(sysconfig.get_path("scripts")) / "monty"
    places = [f"{root}/{sysconfig.get_config_var('MULTIARCH')}" for root in ("/lib", "/usr/lib")]
    folders = [*places, "/lib", "/usr/lib", "/lib64", "/usr/lib64"]
    libraries = [Path(folder) / name for folder, name in product(folders, _LIBRARIES)]
    end_with_parent()
    confine(programs=[monty], libraries=[*libraries, *map(Path, _LOADERS)])
    os.execv(monty, [str(monty), *sys.argv[1:]])  # noqa: S606  # there is no shell, and the program is our own
