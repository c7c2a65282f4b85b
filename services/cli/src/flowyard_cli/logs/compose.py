"""The logs of containers, as `docker compose` tells them."""

from __future__ import annotations

import subprocess
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from flowyard_cli.logs.line import Line, Wanted, dated, parsed
from flowyard_cli.logs.source import Hear, NoLogs

_SPARE: Final = 10
"""So many lines are read for each that is to be shown: some aren't wanted."""
_ERASE: Final = "\x1b[2K"
"""Told not to, docker compose erases the terminal's line all the same."""


class _Told(NamedTuple):
    """What a container has said, and when by docker's clock."""

    container: str
    at: str
    text: str


class Compose:
    """A Source. `project`: empty is that of $COMPOSE_PROJECT_NAME, or of the directory."""

    def __init__(self, project: str) -> None:
        mine = ["--project-name", project] if project else []
        self.where = " ".join(["docker compose", *mine, "logs"])
        self._command = ["docker", "compose", *mine, "logs", "--no-color", "--timestamps"]
        self.names: set[str] = set()
        self._last = ""
        self._seen: set[_Told] = set()

    def newest(self, wanted: Wanted, most: int | None) -> Sequence[Line]:
        found: dict[str, deque[Line]] = defaultdict(lambda: deque(maxlen=most))
        some = ["--tail", str(_SPARE * most)] if most else []
        for told in _told([*self._command, *some]):
            self._remember(told)
            self.names.add(told.container)
            if (line := _line(told, wanted)) is not None:
                found[line.name].append(line)
        if not self._seen:
            raise NoLogs(f"`{self.where}` tells none: is this the project's name?")
        return [line for lines in found.values() for line in dated(lines)]

    def follow(self, wanted: Wanted, hear: Hear, stop: threading.Event) -> None:
        for told in _told([*self._command, "--follow", "--since", self._last], stop):
            # What bears the last line's time may be that line.
            if told not in self._seen and (line := _line(told, wanted)) is not None:
                hear(line)

    def _remember(self, told: _Told) -> None:
        if told.at > self._last:
            self._last = told.at
            self._seen.clear()
        if told.at == self._last:
            self._seen.add(told)


def _line(told: _Told, wanted: Wanted) -> Line | None:
    if not told.text or not wanted.may_hold(told.text):
        return None
    line = parsed(told.container, told.text, _time(told.at))
    return line if wanted.wants(line) else None


def _split(text: str) -> _Told:
    """`executor-1  | 2026-11-23T06:48:00.123456789Z {…}`"""
    name, _, rest = text.removeprefix(_ERASE).partition("| ")
    at, _, told = rest.partition(" ")
    return _Told(name.strip(), at, told)


def _time(at: str) -> datetime | None:
    try:
        return datetime.fromisoformat(at)
    except ValueError:
        return None


def _told(command: Sequence[str], stop: threading.Event | None = None) -> Iterator[_Told]:
    """The lines that it prints, to its end or until `stop`. Raises NoLogs."""
    try:
        process = subprocess.Popen(  # noqa: S603  # words of ours, and the project's name
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise NoLogs(f"docker can't be started here: {(error.strerror or str(error)).lower()}") from error
    with process:
        if stop is not None:
            threading.Thread(target=_end_after, args=(stop, process), daemon=True).start()
        assert process.stdout is not None  # noqa: S101  # asked for
        assert process.stderr is not None  # noqa: S101  # asked for
        for text in process.stdout:
            yield _split(text.rstrip("\n"))
        said = process.stderr.read().strip().splitlines()
    if process.returncode and not (stop and stop.is_set()):
        raise NoLogs(f"docker compose says: {said[-1] if said else f'exit code {process.returncode}'}")


def _end_after(stop: threading.Event, process: subprocess.Popen[str]) -> None:
    stop.wait()
    process.terminate()
