"""Shows one answer as it comes, and what it cost."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from flowyard.api.answering import Piece, ReceivedAnswer
from flowyard.api.client import Client
from flowyard.api.refusals import Refused
from flowyard.api.runs import RunView
from flowyard.errors.base import FlowyardError
from flowyard.errors.requests import IllegalMove
from flowyard_cli.show.dim import say_dim
from flowyard_cli.show.format import UNKNOWN, plural
from flowyard_cli.show.views import cost, took
from flowyard_embedded.streams import flush, put, say

Showing: TypeAlias = Literal["answer", "steps", "drafts", "nothing"]
"""What is printed of an answer: itself; also what other steps write, dimmed, on standard error; also its drafts, which
are shown as steps, and the answer only if it isn't the last of them; or nothing.
"""
_REMARKS: Final[Mapping[str, str]] = {
    "length": "cut off: the reply has reached max_tokens",
    "content_filter": "cut off by the provider's filter",
}


def show_answer(client: Client, answer: ReceivedAnswer, *, showing: Showing = "answer") -> None:
    """Prints the answer piece by piece, and a new line after it. Ctrl-C cancels its run.

    Raises KeyboardInterrupt once the run is cancelled, and what `pieces` raises.
    """
    shown = _Shown(showing)
    try:
        with closing(answer.pieces()) as pieces:
            for piece in pieces:
                shown.show(piece)
    except KeyboardInterrupt:
        shown.end()
        _cancel(client, answer)
        raise
    except FlowyardError:
        shown.end()
        raise
    shown.end()
    if answer.refusal is not None:
        say(f"flowyard: the model has refused to answer: {answer.refusal}")
    elif remark := _REMARKS.get(answer.finish or ""):
        say(f"flowyard: {remark}")


def connection_lost(error: FlowyardError) -> None:
    say(f"flowyard: {error.message}; trying again")


def facts_of(client: Client, answer: ReceivedAnswer) -> str:
    """How long the answer took, its tokens and cost, and its run. Raises what Client raises."""
    return ", ".join(_facts(client.run(answer.run_id))) if answer.run_id is not None else UNKNOWN


def answer_as_data(client: Client, workflow: str, answer: ReceivedAnswer) -> dict[str, Any]:
    run = client.run(answer.run_id) if answer.run_id is not None else None
    return {
        "workflow": workflow,
        "session_id": answer.session_id,
        "run_id": str(answer.run_id) if answer.run_id is not None else None,
        "answer": answer.text,
        "refusal": answer.refusal,
        "finish_reason": answer.finish,
        "tokens": answer.usage.total_tokens if answer.usage is not None else None,
        "cost_usd": run.spending.cost_usd if run is not None else None,
    }


def _facts(run: RunView) -> Iterator[str]:
    yield took(run)
    spent = run.spending
    if spent.calls != 1:
        yield plural(spent.calls, "model call")
    known = spent.tokens_in is not None and spent.tokens_out is not None
    yield plural((spent.tokens_in or 0) + (spent.tokens_out or 0), "token") if known else f"tokens {UNKNOWN}"
    yield cost(spent) if spent.cost_usd is not None else f"cost {UNKNOWN}"
    yield f"run {run.id}"


def _put(text: str) -> None:
    # Ctrl-C in the middle of a write would end all output of the process: it counts after the write.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        put(text, end="")
        flush()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _cancel(client: Client, answer: ReceivedAnswer) -> None:
    if answer.run_id is None:
        say("flowyard: interrupted while the message was sent: it may still be answered")
        return
    try:
        client.cancel(answer.run_id)
    except FlowyardError as error:
        if isinstance(error, Refused) and error.code == IllegalMove.code:
            return
        say(f"flowyard: run {answer.run_id} couldn't be cancelled: {error.message}")
    else:
        say_dim("cancelled")


@dataclass(slots=True)
class _Shown:
    """`steps`: what was shown of them. `is_mid_line`: whether the next text stands behind another one."""

    showing: Showing
    steps: str = ""
    is_mid_line: bool = False

    def show(self, piece: Piece) -> None:
        if self.showing == "nothing" or not piece.text:
            return
        if piece.is_answer:
            self._answer(piece.text)
        elif self.showing == "steps":
            say_dim(piece.text, end="")
            self._add_step(piece.text)
        elif self.showing == "drafts":
            _put(piece.text)
            self._add_step(piece.text)

    def end(self) -> None:
        if self.is_mid_line:
            _put("\n")
        self.is_mid_line = False

    def _add_step(self, text: str) -> None:
        self.steps += text
        self.is_mid_line = not text.endswith("\n")

    def _answer(self, text: str) -> None:
        if self.steps and self.is_mid_line:
            self.end()
        drafts, self.steps = self.steps, ""
        # An answer with drafts comes as a whole, and mostly is the last draft.
        if self.showing != "drafts" or not drafts.rstrip().endswith(text.rstrip()):
            _put(text)
            self.is_mid_line = not text.endswith("\n")
