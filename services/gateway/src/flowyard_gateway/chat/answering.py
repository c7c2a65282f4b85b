"""The answer to a request of the chat API, out of its run: as a whole, or piece by piece while the run goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any, Final, NamedTuple
from uuid import UUID

from flowyard.bus.messages import RunTokens
from flowyard.control.listener import RunListener
from flowyard.errors.base import FlowyardError
from flowyard.openai_api.answer_text import AnswerText
from flowyard.openai_api.errors import error_body, status_of_run
from flowyard.openai_api.history import answer_message
from flowyard.openai_api.replies import ChatAnswer, FinishReason, TokenUsage
from flowyard.openai_api.streams import Data, StreamFormat
from flowyard.runs.events import Failure
from flowyard.runs.run import Entry, Run
from flowyard.web.sse import ServerEvent
from flowyard_gateway.answers import as_json
from flowyard_gateway.chat.models import ChatModel
from flowyard_gateway.parts import GatewayParts

_CHECK_EVERY_S: Final = 0.5
"""How often a stream checks the key that it was opened with."""
_CUT: Final[Mapping[str, FinishReason]] = {"reply_cut_off": "length", "filtered": "content_filter"}
_REFUSED: Final = "refused"
_LONGEST_STEP: Final = 2_000
"""Characters that are shown of a step's outputs."""
_PAGE: Final = 500


class ChatFault(NamedTuple):
    """Why there is no answer: an error in OpenAI's form."""

    status: int
    body: dict[str, Any]


_REVOKED: Final = ("unauthorized", "the API key was revoked, or has expired")
_CHANGED: Final = "the model was called again, and has answered otherwise than the beginning that was sent"


async def answer_of(parts: GatewayParts, model: ChatModel, run: Run) -> ChatAnswer | ChatFault:
    """The answer of a run, or why it has none."""
    if run.is_open and parts.shutting_down.is_set():
        return _shutting_down(run.id)
    if run.is_open:
        message = f"run {run.id} hasn't ended yet, and goes on: read its result with GET /v1/runs/{run.id}"
        return _fault(504, "run_not_ended", message)
    usage = TokenUsage.known(run.spending.tokens_in, run.spending.tokens_out)
    steps = await _shown_steps(parts, model, run) if model.chat.show_steps else ""
    if run.error is not None:
        return _of_failure(model, run.error, usage, steps)
    if run.status == "cancelled":
        return _fault(409, "run_cancelled", f"run {run.id} was cancelled")
    return read_answer(await _output(parts, run, model.chat.output), usage, steps)


def read_answer(output: Any, usage: TokenUsage | None = None, steps: str = "") -> ChatAnswer:
    """`output`: that of the run which has the answer."""
    message = answer_message(output) or {}
    calls = message.get("tool_calls") or ()
    text = message.get("content")
    return ChatAnswer(
        text=text if isinstance(text, str) else "",
        finish="tool_calls" if calls else "stop",
        tool_calls=calls,
        steps=steps,
        usage=usage,
    )


def _of_failure(model: ChatModel, error: Failure, usage: TokenUsage | None, steps: str) -> ChatAnswer | ChatFault:
    """A reply that was cut off, filtered or refused is an answer, too, as OpenAI's own are."""
    if error.node == model.chat.answer and error.code == _REFUSED:
        return ChatAnswer("", refusal=error.message, steps=steps, usage=usage)
    if error.node == model.chat.answer and error.code in _CUT:
        return ChatAnswer(error.reply or "", finish=_CUT[error.code], steps=steps, usage=usage)
    where = f" (node '{error.node}')" if error.node is not None else ""
    return _fault(status_of_run(error.code), error.code, f"{error.message}{where}")


async def _output(parts: GatewayParts, run: Run, name: str) -> Any:
    if name in run.large_outputs:
        return json.loads(await parts.control.runs.large_outputs.value(run.id, name, None))
    return (run.outputs or {}).get(name)


def _fault(status: int, code: str, message: str) -> ChatFault:
    return ChatFault(status, error_body(message, code, status))


def _shutting_down(run_id: UUID) -> ChatFault:
    message = f"the service shuts down; run {run_id} goes on: read its result with GET /v1/runs/{run_id}"
    return _fault(503, "shutting_down", message)


async def _shown_steps(parts: GatewayParts, model: ChatModel, run: Run) -> str:
    texts, after, more = [], 0, True
    while more:
        entries, more = await parts.control.history.page(run.id, after=after, most=_PAGE)
        texts += [shown_step(model, entry) for entry in entries]
        more = more and bool(entries)
        after = entries[-1].seq if entries else after
    return "".join(texts)


def shown_step(model: ChatModel, entry: Entry) -> str:
    """What is shown of a step that has ended; empty if it is another event, or the answer."""
    node = model.live.workflow.nodes.get(entry.data["node"]) if entry.type == "step.finished" else None
    if node is None or node.id == model.chat.answer:
        return ""
    outputs = entry.data.get("outputs") or {}
    text = "; ".join(value if isinstance(value, str) else as_json(value).decode() for value in outputs.values())
    text = f"{text[:_LONGEST_STEP]}…" if len(text) > _LONGEST_STEP else text
    return f"{node.name or node.id}: {text}\n"


@dataclass(slots=True)
class AnswerStream:
    """The events of one answer. `key`: with which the stream was opened; `listener`: of the run that answers."""

    parts: GatewayParts
    model: ChatModel
    listener: RunListener
    key: str
    format: StreamFormat
    has_ended: bool = False
    """Whether the client has got all that there is, so that nothing is to be cancelled."""
    _text: AnswerText = field(default_factory=AnswerText)
    _draft: tuple[int, int] = (0, 0)
    """The epoch and the call of the reply that is shown, if it may still be replaced."""

    async def events(self) -> AsyncGenerator[bytes, None]:
        for data in self.format.begin():
            yield _event(data)
        checked_at, run = monotonic(), None
        async with aclosing(self._items()) as items:
            async for item in items:
                if monotonic() - checked_at > _CHECK_EVERY_S:
                    if not await self.parts.callers.is_valid(self.key):
                        self.has_ended = True
                        yield self._broken_off(_fault(401, *_REVOKED))
                        return
                    checked_at = monotonic()
                if isinstance(item, Run):
                    run = item
                    break
                for data in self._of_item(item):
                    yield _event(data)
        try:
            run = run or await self.parts.control.runs.get(self.run_id)
            if run.is_open:
                # No run is followed to its end while the service shuts down.
                yield self.at_shutdown()
                return
            answer = await answer_of(self.parts, self.model, run)
        except FlowyardError as error:
            answer = _fault(error.status, error.code, error.message)
        self.has_ended = True
        for data in self._rest(answer):
            yield _event(data)

    def _items(self) -> AsyncGenerator[Entry | RunTokens | Run, None]:
        """What comes of the run: its events only if they are needed, since they are read from Postgres."""
        if self.model.needs_events:
            tokens = self.model.chat.is_live or self.model.chat.show_steps
            return self.parts.live.follow(self.listener, tokens=tokens)
        return self.parts.live.stream_to_end(self.listener, tokens=self.model.chat.is_live)

    @property
    def run_id(self) -> UUID:
        return self.listener.run_id

    def at_shutdown(self) -> bytes:
        """The end of a stream that has to end before its answer."""
        return self._broken_off(_shutting_down(self.run_id))

    def _broken_off(self, fault: ChatFault) -> bytes:
        return b"".join(_event(data) for data in self.format.break_off(fault.body))

    def _of_item(self, item: Entry | RunTokens) -> list[Data]:
        if isinstance(item, RunTokens):
            is_answer = item.node == self.model.chat.answer
            if is_answer and not self.model.chat.is_live:
                return self._of_draft(item)
            new = self._text.add(item.text, epoch=item.epoch, call=item.call) if is_answer else ""
            return self.format.text(new) if new else []
        steps = shown_step(self.model, item) if self.model.chat.show_steps else ""
        if steps:
            return self.format.steps(steps)
        is_answer = item.type == "step.finished" and item.data["node"] == self.model.chat.answer
        if is_answer and self.model.chat.is_live and self.model.chat.output in item.data["outputs"]:
            whole = read_answer(item.data["outputs"][self.model.chat.output]).text
            missing = self._text.finish(whole)
            return self.format.text(missing) if missing else []
        return []

    def _of_draft(self, item: RunTokens) -> list[Data]:
        """A reply that may still be corrected is no answer yet: while it is written, it is shown as a step."""
        begun, self._draft = self._draft, max(self._draft, (item.epoch, item.call))
        if (item.epoch, item.call) < begun:
            return []
        again = "\n\n" if begun not in ((0, 0), self._draft) else ""
        return self.format.draft(again + item.text)

    def _rest(self, answer: ChatAnswer | ChatFault) -> list[Data]:
        """What is missing when the run has ended."""
        if isinstance(answer, ChatFault):
            return self.format.fail(answer.body)
        is_part = answer.finish in ("length", "content_filter") and bool(self._text.sent)
        missing = "" if is_part or answer.refusal is not None else self._text.finish(answer.text)
        if missing is None:
            return self.format.break_off(error_body(_CHANGED, "answer_changed", 502))
        events = self.format.text(missing) if missing else []
        return [*events, *self.format.end(answer, completed=int(time()))]


def _event(data: Data) -> bytes:
    if isinstance(data, str):
        return ServerEvent(data).encode()
    return ServerEvent(as_json(data).decode(), event=data.get("type")).encode()
