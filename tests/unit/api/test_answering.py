"""An answer is received piece by piece, each piece once, over as many connections as it takes."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from flowyard.api import examples
from flowyard.api.answering import AnswerChanged, OutgoingMessage, ReceivedAnswer
from flowyard.api.refusals import Refused, Unreachable
from unit.api.conftest import Say, Server, problem

RUN_ID = UUID(examples.SUMMARY["id"])
HEADERS = {"x-flowyard-run-id": str(RUN_ID), "x-flowyard-session-id": "s1"}
MESSAGE = OutgoingMessage(workflow="support", text="Hello", session="t1")
LAST = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
DONE = "[DONE]"


def said(text: str, key: str = "content") -> dict[str, Any]:
    return {"choices": [{"delta": {key: text}, "finish_reason": None}]}


def error(code: str) -> dict[str, Any]:
    return {"error": {"message": "no", "type": "server_error", "param": None, "code": code}}


def stream(*chunks: Any) -> Say:
    events = [chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks]
    text = ": keep-alive\n\n" + "".join(f"data: {event}\n\n" for event in events)
    return Say(200, text, "text/event-stream", HEADERS)


def received(answer: ReceivedAnswer) -> list[str]:
    return [piece.text for piece in answer.pieces()]


def test_an_answer_has_its_pieces_its_run_and_its_usage(server: Server) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}}
    server.answers = [stream(said("thinks", "reasoning_content"), said("On "), said("its way"), LAST, usage, DONE)]
    with server.client() as client:
        answer = ReceivedAnswer(client, MESSAGE)
        pieces = list(answer.pieces())
    assert [(piece.text, piece.is_answer) for piece in pieces] == [
        ("thinks", False), ("On ", True), ("its way", True)
    ]  # fmt: skip
    assert (answer.text, answer.run_id, answer.session_id, answer.finish) == ("On its way", RUN_ID, "s1", "stop")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5
    [(method, path, headers, _)] = server.seen
    assert (method, path, headers["x-flowyard-session-id"]) == ("POST", "/v1/chat/completions", "t1")


@pytest.mark.parametrize("end", [(), (error("shutting_down"),)], ids=["cut", "shutting down"])
def test_a_broken_answer_goes_on_with_the_same_run(server: Server, end: tuple[Any, ...]) -> None:
    step = said("step", "reasoning_content")
    server.answers = [
        stream(step, said("On "), said("its"), *end),
        problem(503, "unavailable"),
        stream(said("another step", "reasoning_content"), said("On"), said(" it"), said("s way"), LAST, DONE),
    ]
    with server.client() as client:
        assert received(ReceivedAnswer(client, MESSAGE)) == ["step", "On ", "its", " way"]
    assert len({headers["idempotency-key"] for _, _, headers, _ in server.seen}) == 1


def test_an_answer_that_begins_again_otherwise_is_no_answer(server: Server) -> None:
    server.answers = [stream(said("On its")), stream(said("Sorry"), LAST, DONE)]
    with server.client() as client, pytest.raises(AnswerChanged):
        received(ReceivedAnswer(client, MESSAGE))


def test_a_failed_run_is_an_error_with_its_code(server: Server) -> None:
    server.answers = [stream(said("On "), error("provider_error"))]
    with server.client() as client, pytest.raises(Refused) as failed:
        received(ReceivedAnswer(client, MESSAGE))
    assert (failed.value.code, failed.value.message) == ("provider_error", "no")


def test_a_refusal_in_openais_form_is_one_of_ours(server: Server) -> None:
    server.answers = [Say(409, error("session_busy"))]
    with server.client() as client, pytest.raises(Refused) as refused:
        received(ReceivedAnswer(client, MESSAGE))
    assert (refused.value.code, refused.value.status) == ("session_busy", 409)


def test_a_lost_gateway_is_reported_once_and_given_up(server: Server) -> None:
    server.answers = [Say(body=None)] * 9
    breaks: list[str] = []
    with server.client() as client:
        answer = ReceivedAnswer(client, MESSAGE, give_up_s=0.5, on_break=lambda lost: breaks.append(lost.code))
        with pytest.raises(Unreachable):
            received(answer)
    assert breaks == ["unreachable"]
