"""How much memory this process may have, and has: what the kernel counts before it kills it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `limit`: 0 if it isn't known."""

    used: int
    limit: int

    @property
    def fraction(self) -> float:
        return self.used / self.limit if self.limit else 0.0

    def __str__(self) -> str:
        return f"{self.used >> 20:,} of {self.limit >> 20:,} MB of memory"


class MemoryMeter:
    """`limit`: in bytes; 0: that of the control group (version 2), else the machine's memory."""

    def __init__(self, limit: int = 0, *, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> None:
        self._proc = proc
        limited = _limited_group(proc, cgroups)
        self._group = limited[0] if limited is not None else None
        self._limit = limit or (limited[1] if limited is not None else _machine_bytes(proc))

    def read(self) -> Memory:
        """What can't be measured counts as nothing."""
        used = self._resident()
        if self._group is not None:
            # Others of the group are killed with it. The cache of files isn't counted, since the kernel drops it first.
            used = max(used, _number(self._group / "memory.current") - _inactive_file(self._group / "memory.stat"))
        return Memory(used, self._limit)

    def _resident(self) -> int:
        fields = _text(self._proc / "self" / "statm").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0


def _limited_group(proc: Path, cgroups: Path) -> tuple[Path, int] | None:
    """The group with the smallest limit, of this process's and those around it; None if none has a limit."""
    path = next((line[3:] for line in _text(proc / "self" / "cgroup").splitlines() if line.startswith("0::")), None)
    if path is None:
        return None
    group = cgroups / path.strip().lstrip("/")
    groups = [group, *group.parents]
    limits = [(_number(each / "memory.max"), each) for each in groups if each.is_relative_to(cgroups)]
    known = [(limit, each) for limit, each in limits if limit]
    if not known:
        return None
    limit, smallest = min(known, key=lambda item: item[0])
    return smallest, limit


def _machine_bytes(proc: Path) -> int:
    for line in _text(proc / "meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _inactive_file(stat: Path) -> int:
    fields = (line.split() for line in _text(stat).splitlines())
    return next((int(value) for name, value in fields if name == "inactive_file"), 0)


def _number(path: Path) -> int:
    """0 for `max`, and for what isn't there."""
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
