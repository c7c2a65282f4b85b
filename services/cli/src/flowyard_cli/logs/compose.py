"""The logs of containers, from `docker compose logs`."""

from __future__ import annotations

import subprocess
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from flowyard_cli.logs.line import LineFilter, LogLine, NoLogs, OnLine, dated, decode_line

_SPARE: Final = 10
"""How many lines are read for each line to show: some don't match the filter."""
_ERASE: Final = "\x1b[2K"
"""docker compose writes this even with --no-color."""


class _ContainerLine(NamedTuple):
    """A line of a container. `at`: by docker's clock."""

    container: str
    at: str
    text: str


class ContainerLogs:
    """A Source. `project`: empty for that of $COMPOSE_PROJECT_NAME, or of the directory."""

    def __init__(self, project: str) -> None:
        option = ["--project-name", project] if project else []
        self.where = " ".join(["docker compose", *option, "logs"])
        self._command = ["docker", "compose", *option, "logs", "--no-color", "--timestamps"]
        self.names: set[str] = set()
        self._last = ""
        self._seen: set[_ContainerLine] = set()

    def newest(self, line_filter: LineFilter, most: int | None) -> Sequence[LogLine]:
        newest: dict[str, deque[LogLine]] = defaultdict(lambda: deque(maxlen=most))
        tail = ["--tail", str(_SPARE * most)] if most else []
        for output in _output([*self._command, *tail]):
            self._remember(output)
            self.names.add(output.container)
            if (line := _line(output, line_filter)) is not None:
                newest[line.name].append(line)
        if not self._seen:
            raise NoLogs(f"`{self.where}` prints none: is this the name of the project?")
        return [line for lines in newest.values() for line in dated(lines)]

    def follow(self, line_filter: LineFilter, on_line: OnLine, stop: threading.Event) -> None:
        for output in _output([*self._command, "--follow", "--since", self._last], stop):
            # A line with the time of the last line may be that line.
            if output not in self._seen and (line := _line(output, line_filter)) is not None:
                on_line(line)

    def _remember(self, line: _ContainerLine) -> None:
        if line.at > self._last:
            self._last = line.at
            self._seen.clear()
        if line.at == self._last:
            self._seen.add(line)


def _line(output: _ContainerLine, line_filter: LineFilter) -> LogLine | None:
    if not output.text or not line_filter.may_match(output.text):
        return None
    line = decode_line(output.container, output.text, _time(output.at))
    return line if line_filter.matches(line) else None


def _split(text: str) -> _ContainerLine:
    """`executor-1  | 2026-11-23T06:48:00.123456789Z {…}`"""
    name, _, rest = text.removeprefix(_ERASE).partition("| ")
    at, _, content = rest.partition(" ")
    return _ContainerLine(name.strip(), at, content)


def _time(at: str) -> datetime | None:
    try:
        return datetime.fromisoformat(at)
    except ValueError:
        return None


def _output(command: Sequence[str], stop: threading.Event | None = None) -> Iterator[_ContainerLine]:
    """The lines that the command prints, to its end or until `stop`. Raises NoLogs."""
    try:
        process = subprocess.Popen(  # noqa: S603  # fixed words, and the project's name
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
        assert process.stdout is not None  # noqa: S101  # a pipe, as set above
        assert process.stderr is not None  # noqa: S101  # a pipe, as set above
        for text in process.stdout:
            yield _split(text.rstrip("\n"))
        errors = process.stderr.read().strip().splitlines()
    if process.returncode and not (stop and stop.is_set()):
        raise NoLogs(f"docker compose failed: {errors[-1] if errors else f'exit code {process.returncode}'}")


def _end_after(stop: threading.Event, process: subprocess.Popen[str]) -> None:
    stop.wait()
    process.terminate()
