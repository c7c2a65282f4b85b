"""Progress of runs on standard error."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live

from flowyard.api.history import EventView, TokenView
from flowyard.runs.entries import encoded
from flowyard.runs.events import (
    Event,
    Failure,
    ModelCalled,
    ModelWaiting,
    RetryScheduled,
    RunFinished,
    StepFinished,
    StepId,
    StepStarted,
    Token,
)
from flowyard.runs.summary import RunSummary
from flowyard_cli.remote.watching import Watched
from flowyard_cli.show.progress import LiveProgress, StreamedReplies, line_of

A, B = StepId("a", 1), StepId("b", 1)
LIMITED = Failure("rate_limited", "slow down", "a")


def streamed(capsys: pytest.CaptureFixture[str], *events: Event) -> str:
    progress = StreamedReplies()
    for event in events:
        progress.show(event)
    return capsys.readouterr().err


def done(step: StepId) -> StepFinished:
    return StepFinished(step, 1.0, {}, 1, None, None, None)


def failed_call(step: StepId) -> ModelCalled:
    return ModelCalled(step, "openai", "gpt", 1.0, None, None, None, None, None, error=LIMITED)


def test_a_line_never_lands_in_the_middle_of_a_reply(capsys: pytest.CaptureFixture[str]) -> None:
    shown = streamed(capsys, Token(A, "Soft "), failed_call(B), Token(A, "rain"), done(A))
    assert shown == "a:\nSoft \nb: slow down [rate_limited]\na:\nrain\na: done in 1.0 s\n"


def test_a_branch_that_ends_first_does_not_garble_the_shown_one(capsys: pytest.CaptureFixture[str]) -> None:
    shown = streamed(capsys, Token(A, "Soft "), Token(B, "Snow"), done(B), Token(A, "rain"), done(A))
    assert shown == "a:\nSoft \nb:\nSnow\nb: done in 1.0 s\na:\nrain\na: done in 1.0 s\n"


def test_held_replies_come_when_it_is_their_turn(capsys: pytest.CaptureFixture[str]) -> None:
    shown = streamed(capsys, Token(A, "Rain"), Token(B, "Sn"), done(A), Token(B, "ow"), done(B))
    assert shown == "a:\nRain\na: done in 1.0 s\nb:\nSnow\nb: done in 1.0 s\n"


def test_a_retried_reply_begins_again(capsys: pytest.CaptureFixture[str]) -> None:
    shown = streamed(capsys, Token(A, "Ha"), RetryScheduled(A, 2, 0, LIMITED), Token(A, "Rain"), done(A))
    assert shown == "a:\nHa\na: try 2 now\na:\nRain\na: done in 1.0 s\n"


def test_held_words_of_a_failed_try_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    shown = streamed(
        capsys, Token(A, "Rain"), Token(B, "wrong"), RetryScheduled(B, 2, 0, LIMITED), Token(B, "Snow"), done(A)
    )
    assert "wrong" not in shown
    assert shown.endswith("a: done in 1.0 s\nb:\nSnow")


def test_the_end_of_a_run_ends_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert streamed(capsys, Token(A, "Ra"), RunFinished("cancelled", 1.0, {})) == "a:\nRa\n"


def test_streamed_replies_steer_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    StreamedReplies().show(Token(A, "\x1b[2J"))
    assert err.getvalue() == "a:\n\\x1b[2J"


def test_messages_steer_no_terminal() -> None:
    wrong = Failure("invalid_output", "\x1b[2J", "a")
    assert line_of(RetryScheduled(A, 2, 0, wrong)) == "a: \\x1b[2J [invalid_output], try 2 now"


def test_what_a_call_failed_with_is_shown_once() -> None:
    assert line_of(failed_call(A)) == "a: slow down [rate_limited]"
    assert line_of(RetryScheduled(A, 2, 1.5, LIMITED)) == "a: try 2 in 1.5 s"


@pytest.fixture
def live() -> LiveProgress:
    progress = LiveProgress(Live(console=Console(file=io.StringIO(), width=40)))
    progress.show(StepStarted(A))
    return progress


def drawn(live: LiveProgress) -> str:
    with live.live.console.capture() as captured:
        live.live.console.print(live.live.renderable)
    return captured.get()


def test_the_live_view_of_a_retried_step_begins_again(live: LiveProgress) -> None:
    live.show(Token(A, "wrong"))
    live.show(RetryScheduled(A, 2, 0, LIMITED))
    assert "wrong" not in drawn(live)


def test_the_live_view_steers_no_terminal(live: LiveProgress) -> None:
    live.show(Token(A, "\x1b[2J"))
    assert "\\x1b[2J" in drawn(live)


def test_the_live_view_shows_the_end_of_a_reply_in_wide_characters(live: LiveProgress) -> None:
    live.show(Token(A, "雨" * 50 + "。"))
    line = drawn(live).rstrip("\n")
    assert line.rstrip().endswith("雨。")
    assert "\n" not in line
    assert cell_len(line.rstrip()) <= 40


def test_words_that_come_before_the_start_of_their_step_are_shown_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    def word(text: str, offset: int) -> TokenView:
        return TokenView(node="a", visit=1, item=None, epoch=1, call=1, offset=offset, text=text)

    def stored(seq: int, event: Event) -> EventView:
        kind, data = encoded(event)
        return EventView(seq=seq, at=datetime(2026, 1, 1, tzinfo=UTC), type=kind, data=data)

    watched = Watched(RunSummary("1", "poem"), StreamedReplies(), quiet=False)
    start, end = stored(1, StepStarted(A)), stored(2, done(A))
    for message in (word("Soft ", 0), start, word("rain", 5), end, word("late", 9)):
        watched.apply(message)
    assert capsys.readouterr().err == "a: started\na:\nSoft rain\na: done in 1.0 s\n"


@pytest.mark.parametrize(
    ("limit", "rate_limited", "shown"),
    [
        ("openai:TEAM_KEY", False, "a: waits until the limit openai:TEAM_KEY allows a call of openai/m"),
        ("openai/m", True, "a: waits to call openai/m: calls are slowed down after a 429"),
    ],
)
def test_a_wait_names_its_limit_or_the_429(limit: str, shown: str, *, rate_limited: bool) -> None:
    assert line_of(ModelWaiting(A, "openai", "m", limit, rate_limited)) == shown
