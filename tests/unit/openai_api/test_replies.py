"""The twelve details that clients need, as far as they are about the form of what is sent."""

from __future__ import annotations

import pytest

from flowyard.openai_api.errors import error_body, of_problem, status_of_run
from flowyard.openai_api.replies import ChatAnswer, Chunks, CompletionHead, TokenUsage

HEAD = CompletionHead("chatcmpl-1", "support", 1_700_000_000)
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def test_all_chunks_have_the_same_head_and_only_the_last_one_a_reason() -> None:
    chunks = Chunks(HEAD)
    stream = [chunks.first(), chunks.text("Hi"), chunks.last("stop")]
    assert {(c["id"], c["object"], c["created"], c["model"]) for c in stream} == {
        ("chatcmpl-1", "chat.completion.chunk", 1_700_000_000, "support")
    }
    assert [c["choices"][0]["finish_reason"] for c in stream] == [None, None, "stop"]
    assert [c["choices"][0]["delta"] for c in stream] == [{"role": "assistant", "content": ""}, {"content": "Hi"}, {}]
    assert not any("usage" in c for c in stream)


def test_with_usage_each_chunk_has_the_key_and_the_last_one_no_choice() -> None:
    chunks = Chunks(HEAD, with_usage=True)
    assert [c["usage"] for c in (chunks.first(), chunks.text("Hi"), chunks.last("stop"))] == [None, None, None]
    end = chunks.usage(TokenUsage(3, 4))
    assert (end["choices"], end["usage"]) == ([], {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})
    assert chunks.usage(None)["usage"] is None


def test_tool_calls_are_numbered_and_whole() -> None:
    chunks = Chunks(HEAD)
    deltas = [chunks.tool_call(CALL)["choices"][0]["delta"], chunks.tool_call(CALL)["choices"][0]["delta"]]
    assert deltas == [{"tool_calls": [{"index": i, **CALL}]} for i in (0, 1)]


def test_a_message_has_all_keys_that_clients_read() -> None:
    whole = HEAD.completion(ChatAnswer("Hi", usage=TokenUsage(1, 2)))
    [choice] = whole["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []}
    assert (choice["index"], choice["logprobs"], choice["finish_reason"]) == (0, None, "stop")
    assert whole["usage"]["total_tokens"] == 3


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (ChatAnswer("", finish="tool_calls", tool_calls=[CALL]), None),
        (ChatAnswer("I look", finish="tool_calls", tool_calls=[CALL]), "I look"),
        (ChatAnswer("", refusal="no"), None),
        (ChatAnswer(""), ""),
    ],
)
def test_only_a_message_without_text_and_with_something_else_has_no_content(
    answer: ChatAnswer, content: str | None
) -> None:
    message = HEAD.completion(answer)["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (content, answer.refusal)
    assert message.get("tool_calls", []) == list(answer.tool_calls)


def test_unknown_tokens_are_not_zero() -> None:
    assert TokenUsage.known(3, None) is None
    assert HEAD.completion(ChatAnswer("Hi"))["usage"] is None


def test_steps_are_shown_only_if_there_are_any() -> None:
    assert "reasoning_content" not in HEAD.completion(ChatAnswer("Hi"))["choices"][0]["message"]
    assert HEAD.completion(ChatAnswer("Hi", steps="plan: x"))["choices"][0]["message"]["reasoning_content"] == "plan: x"


def test_a_problem_becomes_an_error_of_openai_with_our_code_and_its_parameter() -> None:
    problem = {
        "type": "urn:x", "title": "t", "status": 422, "detail": "body.n: only one", "code": "invalid_request",
        "instance": "urn:y", "problems": [{"where": "body.n", "message": "only one"}],
    }  # fmt: skip
    status, body = of_problem(problem)
    assert status == 400
    assert body["error"] == {
        "message": "body.n: only one", "type": "invalid_request_error", "param": "n", "code": "invalid_request",
        "problems": problem["problems"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (402, "insufficient_quota"),
        (403, "permission_error"), (404, "invalid_request_error"), (409, "invalid_request_error"),
        (429, "rate_limit_error"), (500, "server_error"), (503, "server_error"),
    ],
)  # fmt: skip
def test_the_type_of_an_error_follows_its_status(status: int, kind: str) -> None:
    assert error_body("m", "c", status)["error"]["type"] == kind


def test_failures_of_runs_have_the_status_that_clients_expect() -> None:
    codes = ("budget_exceeded", "rate_limited", "timeout", "provider_error", "assertion_failed", "content_refused")
    assert [status_of_run(code) for code in codes] == [402, 429, 504, 502, 500, 400]
