"""Follows a run of the stack to its end, and shows its progress and its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from flowyard.api.client import Client
from flowyard.api.following import StreamItem
from flowyard.api.history import EventView, TokenView
from flowyard.api.runs import RunView
from flowyard.errors.base import FlowyardError
from flowyard.runs.entries import decoded
from flowyard.runs.events import (
    RunClaimed,
    RunForked,
    RunQueued,
    RunWaiting,
    StepFailed,
    StepFinished,
    StepId,
    StepStarted,
    Token,
)
from flowyard.runs.large_values import large_outputs
from flowyard.runs.summary import RunSummary
from flowyard_cli import exits
from flowyard_cli.grammar import StackArgs, WatchArgs
from flowyard_cli.remote.stack import again
from flowyard_cli.show.format import plural, seconds
from flowyard_cli.show.progress import RunProgress, open_progress, shows_tokens
from flowyard_cli.show.result import print_result, result_as_data
from flowyard_cli.show.tables import as_data
from flowyard_embedded.streams import print_json, put, say

_CODES: Final = {"succeeded": exits.OK, "failed": exits.RUN_FAILED, "cancelled": exits.CANCELLED}
_REASONS: Final = {
    "executor_lost": "its executor was lost",
    "released": "its executor has restarted",
    "drained": "its executor is shutting down",
    "woken": "its wait is over",
    "retried": "it is retried",
}


def watch(client: Client, args: WatchArgs, run: RunView, *, seen: int = 0) -> int:
    """Follows the run to its end and shows its result. Returns the exit code. Ctrl-C leaves the run running.

    `seen`: events up to this number are not shown.
    """
    summary = RunSummary(str(run.id), run.workflow)
    quiet, tokens = args.json and not args.stream, wants_tokens(args)
    if not quiet:
        say(f"{run.workflow}: run {run.id}")
    try:
        with open_progress(quiet=quiet, stream=args.stream) as progress:
            watched = Watched(summary, progress, quiet=quiet, seen=seen)
            for message in client.follow(run.id, tokens=tokens, on_break=watched.connection_lost):
                watched.apply(message)
        watched.add_large_outputs(client, run)
    except KeyboardInterrupt:
        return leave(args, run)
    return show_result(args, run, summary)


def wants_tokens(args: WatchArgs) -> bool:
    """Whether replies are shown while they are written."""
    return shows_tokens(quiet=args.json, stream=args.stream)


def result_of(client: Client, run: RunView) -> RunSummary:
    """The summary of a run that has ended, made from its events."""
    summary = RunSummary(str(run.id), run.workflow)
    with open_progress(quiet=True, stream=False) as progress:
        watched = Watched(summary, progress, quiet=True)
        for event in client.events(run.id):
            watched.apply(event)
    watched.add_large_outputs(client, run)
    return summary


def show_result(args: StackArgs, run: RunView, summary: RunSummary) -> int:
    """Shows the result as that of a run in this process. Returns the exit code."""
    if args.json:
        print_json({**result_as_data(summary), "revision": run.revision})
    else:
        print_result(summary)
    return _CODES[summary.status] if summary.status else exits.RUN_FAILED


def show_submitted(args: StackArgs, run: RunView) -> int:
    """Prints the id of a run that isn't watched. Returns the exit code."""
    if args.json:
        print_json(as_data(run))
    else:
        put(str(run.id))
        print_next_commands(args, run)
    return exits.OK


def print_next_commands(args: StackArgs, run: RunView) -> None:
    say(f"  to follow it   {again(args, 'runs', 'follow', run.id)}")
    say(f"  to cancel it   {again(args, 'runs', 'cancel', run.id)}")


def leave(args: StackArgs, run: RunView) -> int:
    if args.json:
        print_json({"run_id": str(run.id), "workflow": run.workflow, "status": "left"})
    else:
        say(f"flowyard: run {run.id} goes on")
        print_next_commands(args, run)
    return exits.CANCELLED


class Watched:
    """Shows the events of a run, and adds them to its summary."""

    def __init__(self, summary: RunSummary, progress: RunProgress, *, quiet: bool, seen: int = 0) -> None:
        self._summary = summary
        self._progress = progress
        self._quiet = quiet
        self._seen = seen
        self._open: set[StepId] = set()
        self._ended: set[StepId] = set()
        self._early: dict[StepId, list[Token]] = {}
        self._large_outputs: Mapping[str, int] = {}

    def add_large_outputs(self, client: Client, run: RunView) -> None:
        """Gets what was too large for the event of the run's end."""
        self._summary.outputs = client.outputs_of(run.id, self._summary.outputs, self._large_outputs)

    def apply(self, message: StreamItem) -> None:
        match message:
            case TokenView():
                self._token(Token(_step(message), message.text, message.call, message.offset or 0))
            case EventView():
                self._event(message)

    def connection_lost(self, error: FlowyardError) -> None:
        if not self._quiet:
            say(f"flowyard: {error.message}; trying again, the run continues meanwhile")

    def _token(self, token: Token) -> None:
        # Tokens and events come by different ways: a token may arrive before its step's start, and after its end.
        if token.step in self._open:
            self._progress.show(token)
        elif token.step not in self._ended:
            self._early.setdefault(token.step, []).append(token)

    def _event(self, view: EventView) -> None:
        event = decoded(view.type, view.data)
        self._large_outputs = large_outputs(view.data)
        is_news = view.seq > self._seen
        match event:
            case None:
                return
            case RunQueued() | RunForked() | RunClaimed() | RunWaiting():
                if is_news and not self._quiet and (line := _line(event)):
                    say(f"{self._summary.workflow}: {line}")
                return
            case StepStarted() if event.step in self._open:
                # A step whose executor was lost starts a second time, and ends only once.
                pass
            case _:
                self._summary.add(event, view.at.timestamp())
        if isinstance(event, StepStarted):
            self._open.add(event.step)
        elif isinstance(event, (StepFinished, StepFailed)):
            self._open.discard(event.step)
            self._ended.add(event.step)
        if is_news:
            self._progress.show(event)
        if isinstance(event, StepStarted):
            for token in self._early.pop(event.step, ()):
                self._progress.show(token)


def _step(token: TokenView) -> StepId:
    return StepId(token.node, token.visit, token.item)


def _line(event: RunQueued | RunForked | RunClaimed | RunWaiting) -> str | None:
    """The line for an event of the run as a whole; None if it was submitted, or claimed for the first time."""
    match event:
        case RunClaimed():
            return f"continued by {event.executor or 'an executor'}" if event.attempt > 1 else None
        case RunQueued():
            return f"queued again: {_REASONS.get(event.reason, event.reason)}" if event.reason != "submitted" else None
        case RunForked():
            leaves_at = f", executes {', '.join(event.leaves_at)} first" if event.leaves_at else ""
            return f"forked from {event.origin}: keeps {plural(event.kept, 'step')}{leaves_at}"
        case RunWaiting():
            return f"waits for {seconds(event.seconds)}"
        case _:
            assert_never(event)
