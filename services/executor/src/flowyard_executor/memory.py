"""How much memory this process uses, and may use before the kernel kills it."""

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
    """`limit`: in bytes; 0: that of the control group, else the machine's memory."""

    def __init__(self, limit: int = 0, *, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> None:
        self._proc = proc
        limited = [group for kind in _KINDS for group in kind.limited(proc, cgroups)]
        self._group = min(limited, key=lambda group: group.limit, default=None)
        self._limit = limit or (self._group.limit if self._group is not None else _machine_bytes(proc))

    def read(self) -> Memory:
        """What can't be measured counts as nothing."""
        used = self._resident()
        if self._group is not None:
            # Others of the group are killed with it.
            used = max(used, self._group.used)
        return Memory(used, self._limit)

    def _resident(self) -> int:
        fields = _text(self._proc / "self" / "statm").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else 0


@dataclass(frozen=True, slots=True)
class _Kind:
    """A version of control groups. `controllers`: in /proc/self/cgroup; `below`: where its groups are; then its files.

    `cache`: what memory.stat calls the part of the cache of files that the kernel drops before it kills anybody.
    """

    controllers: str
    below: str
    limit: str
    used: str
    cache: str

    def limited(self, proc: Path, cgroups: Path) -> list[_Group]:
        """This process's group and those around it, as far as they have a limit."""
        path = next((p for _, of, p in _own_groups(proc) if of == self.controllers), None)
        if path is None:
            return []
        root = cgroups / self.below
        # In a container, the root may be the process's own group, while its path is that of the host.
        group = root / path.lstrip("/")
        around = [each for each in (group, *group.parents) if each.is_relative_to(root)]
        known = [_Group(each, self, _number(each / self.limit)) for each in around]
        return [each for each in known if 0 < each.limit < _NO_LIMIT]


_KINDS: Final = (
    _Kind("", "", "memory.max", "memory.current", "inactive_file"),
    _Kind("memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
_NO_LIMIT: Final = 1 << 62
"""Version 1 writes a number above it, where version 2 writes `max`."""


@dataclass(frozen=True, slots=True)
class _Group:
    folder: Path
    kind: _Kind
    limit: int

    @property
    def used(self) -> int:
        fields = (line.split() for line in _text(self.folder / "memory.stat").splitlines())
        cache = next((int(value) for name, value in fields if name == self.kind.cache), 0)
        return _number(self.folder / self.kind.used) - cache


def _own_groups(proc: Path) -> list[list[str]]:
    """Number, controllers and path of each: `4:memory:/docker/1`, and `0::/docker/1` in version 2."""
    lines = _text(proc / "self" / "cgroup").splitlines()
    return [line.split(":", 2) for line in lines if line.count(":") > 1]


def _machine_bytes(proc: Path) -> int:
    for line in _text(proc / "meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _number(path: Path) -> int:
    """0 for `max`, and for what isn't there."""
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
