"""A run at the stack, watched from here to its end."""

from __future__ import annotations

import argparse
from typing import Final, assert_never

from flowyard.api.client import Client
from flowyard.api.following import Heard
from flowyard.api.history import EventView, TokenView
from flowyard.api.runs import RunView
from flowyard.errors import FlowyardError
from flowyard.runs.entries import decoded
from flowyard.runs.events import RunClaimed, RunQueued, RunWaiting, StepFailed, StepFinished, StepId, StepStarted, Token
from flowyard.runs.summary import RunSummary
from flowyard_cli import exits
from flowyard_cli.remote.stack import again
from flowyard_cli.show.format import seconds
from flowyard_cli.show.progress import Progress, open_progress
from flowyard_cli.show.result import print_result, result_as_data
from flowyard_embedded.streams import print_json, say

_CODES: Final = {"succeeded": exits.OK, "failed": exits.RUN_FAILED, "cancelled": exits.CANCELLED}
_REASONS: Final = {
    "executor_lost": "its executor was lost",
    "released": "its executor has started anew",
    "drained": "its executor stops",
    "woken": "its wait is over",
    "retried": "it is tried once more",
}


def watch(client: Client, args: argparse.Namespace, run: RunView, *, seen: int = 0) -> int:
    """Follows the run to its end and shows what it came to. `seen`: what has happened up to this event is no news.

    `args`: json, stream. Ctrl-C ends the watching, not the run.
    """
    summary = RunSummary(str(run.id), run.workflow)
    quiet = args.json and not args.stream
    if not quiet:
        say(f"{run.workflow}: run {run.id}")
    try:
        with open_progress(quiet=quiet, stream=args.stream) as progress:
            watched = Watched(summary, progress, quiet=quiet, seen=seen)
            for heard in client.follow(run.id, on_break=watched.lost):
                watched.hear(heard)
    except KeyboardInterrupt:
        return leave(args, run)
    return show_result(args, run, summary)


def result_of(client: Client, run: RunView) -> RunSummary:
    """Of a run that has ended, by what happened in it."""
    summary = RunSummary(str(run.id), run.workflow)
    with open_progress(quiet=True, stream=False) as progress:
        watched = Watched(summary, progress, quiet=True)
        for event in client.events(run.id):
            watched.hear(event)
    return summary


def show_result(args: argparse.Namespace, run: RunView, summary: RunSummary) -> int:
    """As a run in this process is shown."""
    if args.json:
        print_json({**result_as_data(summary), "revision": run.revision})
    else:
        print_result(summary)
    return _CODES[summary.status] if summary.status else exits.RUN_FAILED


def how_to_go_on(args: argparse.Namespace, run: RunView) -> None:
    say(f"  to follow it   {again(args, 'runs', 'follow', run.id)}")
    say(f"  to cancel it   {again(args, 'runs', 'cancel', run.id)}")


def leave(args: argparse.Namespace, run: RunView) -> int:
    if args.json:
        print_json({"run_id": str(run.id), "workflow": run.workflow, "status": "left"})
    else:
        say(f"flowyard: run {run.id} goes on")
        how_to_go_on(args, run)
    return exits.CANCELLED


class Watched:
    """Shows what is heard of a run, and sums it up."""

    def __init__(self, summary: RunSummary, progress: Progress, *, quiet: bool, seen: int = 0) -> None:
        self._summary = summary
        self._progress = progress
        self._quiet = quiet
        self._seen = seen
        self._open: set[StepId] = set()

    def hear(self, heard: Heard) -> None:
        match heard:
            case TokenView():
                step = StepId(heard.node, heard.visit, heard.item)
                # They travel apart from events: one that comes after its step's end has nobody to wait for it.
                if step in self._open:
                    self._progress.show(Token(step, heard.text))
            case EventView():
                self._event(heard)

    def lost(self, error: FlowyardError) -> None:
        if not self._quiet:
            say(f"flowyard: {error.message}; trying again, the run goes on meanwhile")

    def _event(self, view: EventView) -> None:
        event = decoded(view.type, view.data)
        is_news = view.seq > self._seen
        match event:
            case None:
                return
            case RunQueued() | RunClaimed() | RunWaiting():
                if is_news and not self._quiet and (line := _line(event)):
                    say(f"{self._summary.workflow}: {line}")
                return
            case StepStarted() if event.step in self._open:
                # Its executor was lost: it begins a second time, and ends once.
                pass
            case _:
                self._summary.add(event, view.at.timestamp())
        if isinstance(event, StepStarted):
            self._open.add(event.step)
        elif isinstance(event, (StepFinished, StepFailed)):
            self._open.discard(event.step)
        if is_news:
            self._progress.show(event)


def _line(event: RunQueued | RunClaimed | RunWaiting) -> str | None:
    """What happens to the run as a whole; None: nothing new, it was submitted or claimed for the first time."""
    match event:
        case RunClaimed():
            return f"taken up again by {event.executor or 'an executor'}" if event.attempt > 1 else None
        case RunQueued():
            return f"queued again: {_REASONS.get(event.reason, event.reason)}" if event.reason != "submitted" else None
        case RunWaiting():
            return f"waits for {seconds(event.seconds)}"
        case _:
            assert_never(event)
