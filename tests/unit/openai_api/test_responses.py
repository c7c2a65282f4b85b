"""Input items become messages; what is sent is what the spec of Open Responses describes."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import pytest

from flowyard.openai_api.errors import error_body
from flowyard.openai_api.replies import ChatAnswer, TokenUsage
from flowyard.openai_api.response_events import ResponseEvents
from flowyard.openai_api.response_items import InputItems, continued
from flowyard.openai_api.response_tools import read_offer
from flowyard.openai_api.responses import Echo, ResponseHead, run_of
from support.open_responses import checked_kinds, checked_response, problems_of

RUN: Final = UUID("019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20")
TOOL: Final[dict[str, Any]] = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
ECHO: Final = Echo("be short", "resp_x", [TOOL], {"type": "function", "name": "f"}, False, {"a": "b"}, True)  # noqa: FBT003
HEAD: Final = ResponseHead(RUN, "support", 1_700_000_000, ECHO.data)
CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


MESSAGE: Final = [
    "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
    "content_part.done", "output_item.done",
]  # fmt: skip
FUNCTION: Final = [
    "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
]  # fmt: skip
ANSWERS: Final = {
    "text": ChatAnswer("Hello", usage=TokenUsage(3, 4)),
    "calls": ChatAnswer("", "tool_calls", [CALL, CALL]),
    "text and call": ChatAnswer("Hello", "tool_calls", [CALL]),
    "cut off": ChatAnswer("Hello", "length"),
    "filtered": ChatAnswer("", "content_filter"),
    "refused": ChatAnswer("", refusal="I won't"),
    "empty": ChatAnswer(""),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("with_steps", [False, True], ids=["", "steps"])
def test_a_stream_ends_with_the_response_that_is_answered_without_one(answer: ChatAnswer, *, with_steps: bool) -> None:
    stream = ResponseEvents(HEAD)
    events = stream.begin()
    if with_steps:
        events += stream.steps("classify: question\n")
    events += stream.text(answer.text) if answer.text else []
    events += stream.end(answer, completed=1_700_000_009)
    kinds = checked_kinds(events)
    assert kinds[:2] == ["created", "in_progress"]
    last: Any = events[-2]
    steps = "classify: question\n" if with_steps else ""
    told = ChatAnswer(answer.text, answer.finish, answer.tool_calls, answer.refusal, steps, answer.usage)
    assert last["response"] == checked_response(HEAD.whole(told, completed=1_700_000_009))
    done = [event["item"] for event in events if isinstance(event, dict) and event["type"].endswith("item.done")]
    assert done == last["response"]["output"]
    added = [event for event in events if isinstance(event, dict) and event["type"].endswith("item.added")]
    assert [event["output_index"] for event in added] == list(range(len(done)))


def test_the_events_of_a_text_and_of_calls_come_in_their_order() -> None:
    stream = ResponseEvents(HEAD)
    answer = ChatAnswer("Hello", "tool_calls", [CALL])
    events = [
        *stream.begin(), *stream.text("Hel"), *stream.text("lo"), *stream.end(answer, completed=1),
    ]  # fmt: skip
    assert checked_kinds(events) == ["created", "in_progress", *MESSAGE, *FUNCTION, "completed"]
    # Whatever comes of other steps after the text has begun would change the numbers of the items.
    assert stream.steps("late") == []


def test_a_refusal_after_a_part_of_a_text_is_another_part() -> None:
    stream = ResponseEvents(HEAD)
    events = [*stream.begin(), *stream.text("Hel"), *stream.end(ChatAnswer("", refusal="No"), completed=1)]
    checked_kinds(events)
    last: Any = events[-2]
    assert [part["type"] for part in last["response"]["output"][0]["content"]] == ["output_text", "refusal"]


def test_a_failure_keeps_what_was_sent() -> None:
    stream = ResponseEvents(HEAD)
    events = [*stream.begin(), *stream.text("Hel"), *stream.fail(error_body("no money", "budget_exceeded", 402))]
    assert checked_kinds(events)[-1] == "failed"
    last: Any = events[-2]
    response = checked_response(last["response"])
    assert (response["status"], response["error"]) == ("failed", {"code": "budget_exceeded", "message": "no money"})
    assert (response["output"][0]["status"], response["output"][0]["content"][0]["text"]) == ("incomplete", "Hel")


def test_a_stream_that_is_broken_off_ends_with_an_error_and_no_response() -> None:
    stream = ResponseEvents(HEAD)
    begun = stream.begin()
    event: Any
    [event] = stream.break_off(error_body("over", "shutting_down", 503))
    assert problems_of(event, "ErrorStreamingEvent") == []
    assert (event["type"], event["sequence_number"]) == ("error", len(begun))
    # OpenAI's clients raise an exception for whatever has an error at this place.
    assert event["error"]["code"] == "shutting_down"


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [("text", "completed", None), ("cut off", "incomplete", "max_output_tokens"),
     ("filtered", "incomplete", "content_filter"), ("refused", "completed", None)],
)  # fmt: skip
def test_the_status_says_whether_the_answer_is_whole(name: str, status: str, reason: str | None) -> None:
    response = HEAD.whole(ANSWERS[name], completed=5)
    assert (response["status"], response["incomplete_details"]) == (status, reason and {"reason": reason})
    assert response["completed_at"] == (5 if status == "completed" else None)


def test_a_response_repeats_what_was_asked() -> None:
    response = checked_response(HEAD.resource("in_progress"))
    assert response["tools"] == [{**TOOL, "description": None}]
    assert (response["instructions"], response["previous_response_id"]) == ("be short", "resp_x")
    assert (response["parallel_tool_calls"], response["metadata"], response["store"]) == (False, {"a": "b"}, True)
    assert (
        checked_response(ResponseHead(RUN, "support", 1, Echo().data).resource("in_progress"))["tool_choice"] == "auto"
    )


def test_items_become_messages() -> None:
    items = InputItems.read(
        [
            {"role": "developer", "content": "be short"},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "see"},
                    {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
                    {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"},
                ],
            },
            {"type": "reasoning", "summary": []},
            {"role": "assistant", "content": [{"type": "output_text", "text": "well", "annotations": []}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "1"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]},
            {"type": "function_call", "call_id": "c3", "name": "f", "arguments": "{}"},
        ]
    )
    assert items.problems == []

    def call(number: str, name: str) -> dict[str, Any]:
        return {"id": number, "type": "function", "function": {"name": name, "arguments": "{}"}}

    assert items.messages == [
        {"role": "developer", "content": "be short"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "well"}],
            "tool_calls": [call("c1", "f"), call("c2", "g")],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "2"}]},
        {"role": "assistant", "content": None, "tool_calls": [call("c3", "f")]},
    ]
    assert InputItems.read("Hi").messages == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("item", "where"),
    [
        (1, "body.input[1]"),
        ({"role": "pirate", "content": "x"}, "body.input[1].role"),
        ({"role": "user", "content": None}, "body.input[1].content"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}, "body.input[1].content[0]"),
        ({"role": "user", "content": [{"type": "input_file", "file_url": "x"}]}, "body.input[1].content[0]"),
        ({"role": "user", "content": [{"type": "input_video"}]}, "body.input[1].content[0]"),
        ({"role": "user", "content": [1]}, "body.input[1].content[0]"),
        ({"role": "user", "content": [{"type": []}]}, "body.input[1].content[0]"),
        ({"role": [], "content": "x"}, "body.input[1].role"),
        ({"role": "assistant", "content": [{"type": "refusal"}]}, "body.input[1]"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "body.input[1]"),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "ftp://x"}]}, "body.input[1]"),
        ({"type": "item_reference", "id": "msg_1"}, "body.input[1]"),
        ({"type": "mcp_call"}, "body.input[1].type"),
        ({"type": ["x"]}, "body.input[1].type"),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "body.input[1]"),
        ({"type": "function_call", "call_id": "c", "arguments": "{}"}, "body.input[1]"),
        ({"type": "function_call", "call_id": "c", "name": "f"}, "body.input[1]"),
        ({"type": "function_call_output", "output": "x"}, "body.input[1]"),
        ({"type": "function_call_output", "call_id": "c"}, "body.input[1].output"),
    ],
)
def test_a_problem_of_an_item_has_its_place_in_the_input(item: Any, where: str) -> None:
    items = InputItems.read([{"role": "user", "content": "Hi"}, item])
    assert [problem["where"] for problem in items.problems] == [where]


def test_instructions_are_those_of_the_last_request_alone() -> None:
    earlier = [{"role": "system", "content": "old"}, {"role": "system", "content": "kept"}]
    new = [{"role": "user", "content": "Hi"}]
    said = [m["content"] for m in continued(earlier, new, dropped="old", instructions="new")]
    assert said == ["new", "kept", "Hi"]
    assert [m["content"] for m in continued(earlier, new, dropped=None, instructions=None)] == ["old", "kept", "Hi"]


FUNCTIONS: Final = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {}),
        ("required", {"tool_choice": "required"}),
        ({"type": "function", "name": "f"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ({"type": "allowed_tools", "mode": "required", "tools": [TOOL]}, {"tool_choice": "required"}),
    ],
)
def test_functions_are_offered_as_the_chat_api_has_them(choice: Any, expected: dict[str, Any]) -> None:
    problems: list[dict[str, str]] = []
    other = {"type": "function", "name": "other"}
    tools = [TOOL, other] if isinstance(choice, dict) and choice["type"] == "allowed_tools" else [TOOL]
    assert read_offer(tools, choice, parallel=None, problems=problems) == {"tools": FUNCTIONS, **expected}
    assert problems == []
    assert read_offer([TOOL], None, parallel=False, problems=problems)["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("tools", "choice", "where"),
    [
        ([TOOL, {"type": "web_search"}], None, "body.tools[1].type"),
        ([{"type": "mcp", "server_url": "x"}], None, "body.tools[0].type"),
        ([1], None, "body.tools[0].type"),
        ([{"type": "function"}], None, "body.tools[0].name"),
        ([TOOL], "sometimes", "body.tool_choice"),
        ([TOOL], {"type": "file_search"}, "body.tool_choice"),
        ([TOOL], {"type": "allowed_tools", "tools": [], "mode": []}, "body.tool_choice"),
        ([TOOL], [], "body.tool_choice"),
        ([{"type": [], "name": []}], None, "body.tools[0].type"),
    ],
)
def test_tools_that_would_be_executed_elsewhere_are_refused(tools: Any, choice: Any, where: str) -> None:
    problems: list[dict[str, str]] = []
    read_offer(tools, choice, parallel=None, problems=problems)
    assert [problem["where"] for problem in problems] == [where]


@pytest.mark.parametrize("wrong", ["", "resp_", str(RUN), f"chatcmpl-{RUN}", f"resp_{RUN.hex}", f"resp_resp_{RUN}"])
def test_an_id_of_a_response_is_that_of_its_run(wrong: str) -> None:
    assert run_of(HEAD.id) == RUN
    assert run_of(wrong) is None
