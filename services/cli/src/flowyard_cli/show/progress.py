"""A run's progress on standard error: live on a terminal, plain lines elsewhere, word by word with --stream."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol, assert_never

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from flowyard.errors.steps import InvalidOutput
from flowyard.runs import events
from flowyard.runs.events import Event, StepId
from flowyard_cli.show.format import money, plural, seconds
from flowyard_embedded.streams import printable, say

_HANDLED: Final = {
    "fail": "",
    "continue": " (the run goes on)",
    "goto": " (the run goes elsewhere)",
    "skip": " (the item is skipped)",
    "collect": " (the error is collected)",
}


class RunProgress(Protocol):
    def show(self, event: Event) -> None: ...


def shows_tokens(*, quiet: bool, stream: bool) -> bool:
    """Whether the progress that `open_progress` opens shows replies while they are written."""
    return stream or (not quiet and sys.stderr.isatty())


@contextmanager
def open_progress(*, quiet: bool, stream: bool) -> Iterator[RunProgress]:
    if quiet:
        yield NoProgress()
    elif stream:
        yield StreamedReplies()
    elif sys.stderr.isatty():
        console = Console(stderr=True)
        with Live(console=console, refresh_per_second=12, transient=True) as live:
            yield LiveProgress(live)
    else:
        yield ProgressLines()


class NoProgress:
    def show(self, event: Event) -> None:
        del event


class ProgressLines:
    """A line per event."""

    def show(self, event: Event) -> None:
        line = line_of(event)
        if line:
            say(line)


class StreamedReplies:
    """Replies word by word. Of steps that run at the same time, one is streamed; the others follow when it ends."""

    def __init__(self) -> None:
        self.shown: StepId | None = None
        self.waiting: dict[StepId, list[str]] = {}
        self._headed = False
        self._mid_line = False

    def show(self, event: Event) -> None:
        match event:
            case events.Token():
                self._token(event)
            case events.StepStarted() if self.shown is not None:
                pass
            case events.RetryScheduled():
                self._drop(event.step)
                self._write_line(line_of(event))
                self._next()
            case events.StepFinished() | events.StepFailed():
                self._end(event.step)
                self._write_line(line_of(event))
                self._next()
            case events.RunFinished():
                self._end_line()
            case _:
                self._write_line(line_of(event))

    def _token(self, token: events.Token) -> None:
        if self.shown is None:
            self.shown = token.step
        if token.step == self.shown:
            self._write(token.step, token.text)
        else:
            self.waiting.setdefault(token.step, []).append(token.text)

    def _write(self, step: StepId, text: str) -> None:
        if not self._headed:
            say(f"{step}:")
            self._headed = True
        if text:
            say(text, end="")
            self._mid_line = not text.endswith("\n")

    def _write_line(self, line: str | None) -> None:
        if line:
            self._end_line()
            say(line)

    def _end_line(self) -> None:
        """Later words of the shown step get a new header."""
        if self._mid_line:
            say()
        self._mid_line = self._headed = False

    def _drop(self, step: StepId) -> None:
        """The step's reply starts again from the beginning."""
        self.waiting.pop(step, None)
        if step == self.shown:
            self.shown = None

    def _end(self, step: StepId) -> None:
        if step == self.shown:
            self.shown = None
        elif step in self.waiting:
            self._end_line()
            self._write(step, "".join(self.waiting.pop(step)))

    def _next(self) -> None:
        if self.shown is None and self.waiting:
            self.shown = next(iter(self.waiting))
            self._write(self.shown, "".join(self.waiting.pop(self.shown)))


class LiveProgress:
    """Events scroll up; below them is a line for each running step: its time, and the end of its reply."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.running: dict[StepId, tuple[float, Spinner, list[str]]] = {}
        live.update(self)

    def show(self, event: Event) -> None:
        match event:
            case events.Token():
                if event.step in self.running:
                    self.running[event.step][2].append(event.text)
            case events.StepStarted():
                self.running[event.step] = (time.monotonic(), Spinner("dots"), [])
            case events.StepFinished() | events.StepFailed():
                self.running.pop(event.step, None)
                self._print(event)
            case events.RetryScheduled():
                if event.step in self.running:
                    self.running[event.step][2].clear()
                self._print(event)
            case events.RunFinished():
                self.running.clear()
            case _:
                self._print(event)

    def _print(self, event: Event) -> None:
        line = line_of(event)
        if line:
            self.live.console.print(Text(line, style="red" if isinstance(event, events.StepFailed) else ""))

    def __rich__(self) -> RenderableType:
        """Called several times a second."""
        now = time.monotonic()
        width = max(self.live.console.width - 2, 20)
        rows: list[RenderableType] = []
        for step, (since, spinner, words) in list(self.running.items()):
            tail = " ".join(printable("".join(words[-200:])).split())
            spinner.update(text=Text(_fit(f"{step} {seconds(now - since)}  ", tail, width), no_wrap=True))
            rows.append(spinner)
        return Group(*rows[-20:])


def _fit(head: str, tail: str, width: int) -> str:
    """`head` and as much of the end of `tail` as fits. Counted in cells: a Chinese character takes two."""
    room = width - cell_len(head) - 2
    if room < 1 or cell_len(tail) <= room:
        return head + (tail if room >= 1 else "")
    tail = tail[-room:]
    while cell_len(tail) > room - 1:
        tail = tail[1:]
    return f"{head}…{tail}"


def line_of(event: Event) -> str | None:
    """The event as a line; None if it isn't shown."""
    line = _line_of(event)
    return printable(line) if line else None


def _line_of(event: Event) -> str | None:
    match event:
        case events.RunStarted():
            return f"{event.workflow}: run {event.run_id}"
        case events.StepStarted():
            return f"{event.step}: started"
        case events.StepFinished():
            tokens = f", {plural(event.tokens_out, 'token')}" if event.tokens_out else ""
            cost = f", {money(event.cost_usd)}" if event.cost_usd else ""
            return f"{event.step}: done in {seconds(event.duration_s)}{tokens}{cost}"
        case events.StepFailed():
            failure = f"{event.error.message} [{event.error.code}]{_HANDLED[event.handled]}"
            return f"{event.step}: failed after {seconds(event.duration_s)}: {failure}"
        case events.RetryScheduled():
            when = f"in {seconds(event.delay_s)}" if event.delay_s else "now"
            # What a call failed with has been said; what was wrong with a reply hasn't.
            why = f"{event.error.message} [{event.error.code}], " if event.error.code == InvalidOutput.code else ""
            return f"{event.step}: {why}try {event.attempt} {when}"
        case events.RouteTaken():
            why = f"because {event.condition}" if event.condition else "default"
            return f"{event.node}: goes to {event.to} ({why})"
        case events.LoopTurned():
            reason = {"again": "again", "done": "done", "exhausted": "no turns left"}[event.outcome]
            return f"{event.node}: turn {event.turn} of {event.max_iterations}, {reason}, goes to {event.to}"
        case events.ModelWaiting():
            what = f"{event.provider}/{event.model}"
            if event.rate_limited:
                return f"{event.step}: waits to call {what}: calls are slowed down after a 429"
            return f"{event.step}: waits until the limit {event.limit} allows a call of {what}"
        case events.ModelCalled():
            return f"{event.step}: {event.error.message} [{event.error.code}]" if event.error else None
        case events.ToolCalled():
            failed = f": {event.error.message} [{event.error.code}]" if event.error is not None else ""
            return f"{event.step}: called {event.tool}{failed}"
        case events.ToolProgressed():
            of = f" of {event.total:g}" if event.total is not None else ""
            return f"{event.step}: {event.tool}: {event.done:g}{of}{f', {event.text}' if event.text else ''}"
        case events.CodePrinted():
            lines = event.text.rstrip("\n").split("\n")
            return f"{event.step}: printed " + "\n  ".join(lines if len(lines) == 1 else ["", *lines])
        case (
            events.RunQueued()
            | events.RunForked()
            | events.RunClaimed()
            | events.RunWaiting()
            | events.Token()
            | events.ModelReserved()
            | events.RunFinished()
        ):
            return None
        case _:
            assert_never(event)
