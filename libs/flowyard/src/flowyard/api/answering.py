"""Sends a message to a workflow that is a model, and receives the answer piece by piece.

A lost connection is opened again with the same Idempotency-Key: that leads to the same run, whose answer begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
from httpx_sse import EventSource, connect_sse
from pydantic import BaseModel

from flowyard.api.backoff import GIVE_UP_S, StreamBackoff
from flowyard.api.chat import ModelList, ModelView, UsageView
from flowyard.api.refusals import TEMPORARY, Refused, Unintelligible, problem_in, refusal, unreachable
from flowyard.api.transport import Transport
from flowyard.errors.base import FlowyardError
from flowyard.openai_api.replies import DONE
from flowyard.openai_api.requests import SESSION_HEADER, Messages

_COMPLETIONS: Final = "/v1/chat/completions"
_MODELS: Final = "/v1/models"
_RUN_HEADER: Final = "x-flowyard-run-id"
_READ_TIMEOUT_S: Final = 90.0
"""The head of an answer may wait for the end of the conversation's last one."""
_SHUTTING_DOWN: Final = "shutting_down"


class DeltaView(BaseModel):
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None


class ChunkChoiceView(BaseModel):
    delta: DeltaView = DeltaView()
    finish_reason: str | None = None


class ChunkView(BaseModel):
    """A piece of a streamed answer, in the format of OpenAI's chat API."""

    choices: list[ChunkChoiceView] = []
    usage: UsageView | None = None
    error: dict[str, Any] | None = None


class AnswerChanged(FlowyardError, code="answer_changed", status=502):
    """The answer began again, and otherwise than what was received before."""

    def __init__(self) -> None:
        super().__init__("the model was called again, and has answered otherwise than the beginning that was received")


@dataclass(frozen=True, slots=True)
class Piece:
    """`is_answer`: False for what is shown of the run's other steps."""

    text: str
    is_answer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMessage:
    """`session`: the name or the id of its conversation; None: it belongs to none. `metadata`: what the trigger maps
    to inputs. `history`: what was said before, with an answer in it, in place of what is stored of the conversation.
    """

    workflow: str
    text: str
    session: str | None = None
    metadata: Mapping[str, Any] | None = None
    history: Messages = ()

    @property
    def body(self) -> dict[str, Any]:
        messages = [*self.history, {"role": "user", "content": self.text}]
        body = {"model": self.workflow, "messages": messages, "stream": True, "stream_options": {"include_usage": True}}
        return body | ({"metadata": dict(self.metadata)} if self.metadata is not None else {})


def chat_workflows(transport: Transport) -> list[str]:
    """The names of those that the key may talk to."""
    return [model.id for model in transport.get(ModelList, _MODELS).data]


def chat_workflow(transport: Transport, name: str) -> ModelView:
    """Raises Refused with the code `model_not_found`."""
    return transport.get(ModelView, f"{_MODELS}/{quote(name, safe='')}")


class ReceivedAnswer:
    """The answer to one message. All but `text` is None until it is known.

    `on_break` is called when the connection is lost.
    """

    def __init__(
        self,
        transport: Transport,
        message: OutgoingMessage,
        *,
        give_up_s: float = GIVE_UP_S,
        on_break: Callable[[FlowyardError], None] = lambda _: None,
    ) -> None:
        self._transport = transport
        self._message = message
        self._once = str(uuid4())
        self._backoff = StreamBackoff(give_up_s, on_break)
        self._answer = _Text()
        self._shows_steps = True
        self.run_id: UUID | None = None
        self.session_id: str | None = None
        self.finish: str | None = None
        self.refusal: str | None = None
        self.usage: UsageView | None = None

    @property
    def text(self) -> str:
        return self._answer.received

    def pieces(self) -> Generator[Piece, None, None]:
        """The pieces as they come, each once.

        Raises Refused with the code of the request's refusal or of the run's failure; AnswerChanged, Unintelligible;
        Unreachable after some time without a connection.
        """
        while True:
            try:
                with self._connected() as source:
                    self._begin(source.response)
                    for sent in source.iter_sse():
                        self._backoff.received()
                        if sent.data == DONE:
                            return
                        if sent.data:
                            yield from self._pieces(self._transport.decode(ChunkView, sent.data))
                # Without its last event: the gateway has ended it.
                self._backoff.wait(None)
            except httpx.TransportError as error:
                self._backoff.wait(unreachable(self._transport.url, error))
            except FlowyardError as error:
                if error.status not in TEMPORARY or isinstance(error, (Unintelligible, AnswerChanged)):
                    raise
                self._backoff.wait(error)

    def _connected(self) -> AbstractContextManager[EventSource]:
        session = {} if self._message.session is None else {SESSION_HEADER: self._message.session}
        return connect_sse(
            self._transport.http,
            "POST",
            _COMPLETIONS,
            json=self._message.body,
            headers={"idempotency-key": self._once, **session},
            timeout=httpx.Timeout(_READ_TIMEOUT_S, connect=5),
        )

    def _begin(self, response: httpx.Response) -> None:
        if not response.is_success or not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.read()
            raise refusal(self._transport.url, response)
        self._backoff.connected()
        self._shows_steps = self.run_id is None
        self._answer.begin()
        self.run_id = _id_in(response.headers.get(_RUN_HEADER))
        self.session_id = response.headers.get(SESSION_HEADER)

    def _pieces(self, chunk: ChunkView) -> Iterator[Piece]:
        if chunk.error is not None:
            problem = problem_in({"error": {"code": "failed", "message": "it has no answer", **chunk.error}})
            code = chunk.error.get("code")
            raise Refused(problem or {}, status=503 if code == _SHUTTING_DOWN else 500)
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices:
            self.finish = choice.finish_reason or self.finish
            self.refusal = choice.delta.refusal or self.refusal
            # On another connection they begin again, and nothing says how much of them is known.
            if choice.delta.reasoning_content and self._shows_steps:
                yield Piece(choice.delta.reasoning_content, is_answer=False)
            if choice.delta.content and (new := self._answer.add(choice.delta.content)):
                yield Piece(new, is_answer=True)


@dataclass(slots=True)
class _Text:
    """`received`: over all connections. Each of them sends it from its beginning."""

    received: str = ""
    _again: str = field(default="")

    def begin(self) -> None:
        self._again = ""

    def add(self, text: str) -> str:
        """What is new of it. Raises AnswerChanged."""
        self._again += text
        if self.received.startswith(self._again):
            return ""
        if not self._again.startswith(self.received):
            raise AnswerChanged
        new = self._again[len(self.received) :]
        self.received = self._again
        return new


def _id_in(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None
