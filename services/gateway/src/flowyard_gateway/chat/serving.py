"""What the routes of OpenAI's formats have in common: how an answer is waited for, streamed, and given up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, aclosing, suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from fastapi import Request, Response

from flowyard.control.cancel import cancel_run
from flowyard.control.listener import RunListener
from flowyard.control.submit import new_run_id
from flowyard.errors.requests import IllegalMove, InvalidRequest, UnknownRun
from flowyard.openai_api.errors import RETRY_HEADER
from flowyard.openai_api.requests import LONGEST_SESSION, SESSION_HEADER, session_name
from flowyard.openai_api.streams import StreamFormat
from flowyard.runs.run import Run
from flowyard.tasks import cancel
from flowyard.telemetry.logs import bind_run
from flowyard.web.requests import leave_to_run
from flowyard.web.slow_readers import PacedResponse
from flowyard.web.sse import Around, EventStream
from flowyard_gateway.answers import as_json
from flowyard_gateway.chat.answering import AnswerStream, ChatFault
from flowyard_gateway.chat.models import ChatModel
from flowyard_gateway.chat.turns import BegunTurn, ChatCall
from flowyard_gateway.parts import GatewayParts
from flowyard_gateway.submitting import wait_for

RUN_HEADER: Final = "x-flowyard-run-id"
_NOT_MAPPED: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
# Some of these clients take whatever is no comment for a piece of an answer.
_AROUND: Final = Around(opening=b"", heartbeat=b": keep-alive\n\n")
_JSON: Final = "application/json"
_SESSION: Final = re.compile(rf"[^\x00-\x1f\x7f\ud800-\udfff]{{1,{LONGEST_SESSION}}}")


async def ended(http: Request, parts: GatewayParts, model: ChatModel, call: ChatCall, begun: BegunTurn) -> Run:
    """The run when it has ended, or as it is when the client has waited long enough, or has closed the connection."""
    bind_run(begun.run_id)
    leave_to_run(http.scope, waited_s=parts.settings.wait_max_s)
    if model.chat.on_disconnect == "finish":
        return await wait_for(parts, begun.run_id, parts.settings.wait_max_s)
    waiting = asyncio.create_task(wait_for(parts, begun.run_id, parts.settings.wait_max_s))
    gone = asyncio.create_task(_disconnected(http))
    try:
        await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            await _cancel(parts, call, begun.run_id)
        return await waiting
    finally:
        await cancel((waiting, gone))


async def _disconnected(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def _cancel(parts: GatewayParts, call: ChatCall, run_id: UUID) -> None:
    with suppress(IllegalMove, UnknownRun):
        await cancel_run(parts.control, run_id, by=call.by)


def answered(call: ChatCall, begun: BegunTurn, result: Mapping[str, Any] | ChatFault) -> Response:
    """The response with the body of an answer, or with a fault."""
    headers = _headers(begun)
    if isinstance(result, ChatFault):
        is_cut_off = result.status == HTTPStatus.SERVICE_UNAVAILABLE
        if is_cut_off:
            headers["retry-after"] = "1"
        if not is_cut_off or call.key is None:
            # The run was retried already, as its document says; or it goes on, and another one would begin.
            headers[RETRY_HEADER] = "false"
        return PacedResponse(as_json(result.body), result.status, headers, _JSON)
    return PacedResponse(as_json(result), 200, headers, _JSON)


async def streamed(
    http: Request,
    parts: GatewayParts,
    model: ChatModel,
    call: ChatCall,
    *,
    begin: Callable[[UUID], Awaitable[BegunTurn]],
    format_of: Callable[[UUID], StreamFormat],
) -> Response:
    """`begin`: makes the run, with this id if it is new; `format_of`: what is sent of it."""
    with ExitStack() as stack:
        # Before the run is made: a stream that is refused starts nothing.
        stack.enter_context(parts.streams.opened(call.caller.key_id))
        # It listens before the run exists, so that nothing has to be read again.
        listener = stack.enter_context(_listen(parts, model, new_run_id()))
        begun = await begin(listener.run_id)
        if begun.run_id != listener.run_id:
            listener = stack.enter_context(_listen(parts, model, begun.run_id))
            listener.read_again()
        opened = stack.pop_all()
    bind_run(begun.run_id)
    leave_to_run(http.scope, waited_s=parts.settings.wait_max_s)
    key = http.headers["authorization"].partition(" ")[2].strip()
    stream = AnswerStream(parts, model, listener, key, format_of(begun.run_id))
    return EventStream(
        _until_disconnected(parts, call, stream),
        shutting_down=parts.shutting_down,
        metrics=parts.metrics.http,
        opened=opened,
        headers=_headers(begun),
        around=replace(_AROUND, at_shutdown=stream.at_shutdown),
    )


def _listen(parts: GatewayParts, model: ChatModel, run_id: UUID) -> AbstractContextManager[RunListener]:
    return parts.live.listen(run_id, after=0, only_end=not model.needs_events)


async def _until_disconnected(parts: GatewayParts, call: ChatCall, stream: AnswerStream) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(stream.events()) as events:
            async for event in events:
                yield event
    finally:
        cancels = stream.model.chat.on_disconnect == "cancel" and not parts.shutting_down.is_set()
        if cancels and not stream.has_ended:
            await _cancel(parts, call, stream.run_id)


def _headers(begun: BegunTurn) -> dict[str, str]:
    headers = {RUN_HEADER: str(begun.run_id)}
    return headers | {SESSION_HEADER: str(begun.session_id)} if begun.session_id is not None else headers


def mapped_headers(http: Request) -> dict[str, str]:
    """Those that documents may use."""
    return {name: value for name, value in http.headers.items() if name not in _NOT_MAPPED}


def named_session(headers: Mapping[str, str], metadata: Any, user: str | None) -> str | None:
    """The conversation that a request names; None: none. Raises InvalidRequest."""
    session = session_name(headers, metadata, user)
    if session is not None and _SESSION.fullmatch(session) is None:
        message = f"the name of a conversation has at most {LONGEST_SESSION} characters, and none to control a terminal"
        raise invalid("user" if session == user else "metadata", message)
    return session


def invalid(where: str, message: str) -> InvalidRequest:
    return InvalidRequest([{"where": f"body.{where}", "message": message}])
