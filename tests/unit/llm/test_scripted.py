from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flowyard.errors.requests import InvalidInputs
from flowyard.errors.steps import (
    ModelError,
    ModelRefused,
    ModelTimeout,
    ProviderError,
    RateLimited,
    ReplyCutOff,
    ReplyFiltered,
    ReplyRefused,
)
from flowyard.language.canned import read_reply
from flowyard.language.nodes import ModelSettings
from flowyard.language.workflow import ErrorReply, ToolReply
from flowyard.llm.calls import ChatMessage, ModelCall, ModelReply, Usage
from flowyard.llm.models import open_models
from flowyard.llm.scripted import Replies, ScriptedModel, load_replies


def call_of(node: str = "write") -> ModelCall:
    return ModelCall(node, ModelSettings("scripted", "canned"), (ChatMessage("user", "Hello?"),))


async def test_one_reply_answers_every_call() -> None:
    model = ScriptedModel({"write": "hi"})
    assert [(await model.reply(call_of())).text for _ in range(3)] == ["hi", "hi", "hi"]


async def test_several_replies_are_used_up_in_order() -> None:
    model = ScriptedModel({"write": ("one", "two"), "check": "ok"})
    assert [(await model.reply(call_of())).text for _ in range(2)] == ["one", "two"]
    assert (await model.reply(call_of("check"))).text == "ok"
    with pytest.raises(ModelRefused, match=r"no canned reply left for node 'write' \(call 3\)"):
        await model.reply(call_of())


async def test_the_error_for_a_node_without_a_reply_shows_what_to_add() -> None:
    with pytest.raises(ModelRefused, match=r"node 'wirte' \(did you mean 'write'\?\): add 'wirte: <reply>'"):
        await ScriptedModel({"write": "hi"}).reply(call_of("wirte"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("rate_limited", RateLimited),
        ("timeout", ModelTimeout),
        ("provider_error", ProviderError),
        ("model_refused", ModelRefused),
        ("reply_cut_off", ReplyCutOff),
        ("refused", ReplyRefused),
        ("filtered", ReplyFiltered),
    ],
)
async def test_a_canned_error_is_raised(code: str, expected: type[ModelError]) -> None:
    with pytest.raises(ModelError) as caught:
        await ScriptedModel({"write": ErrorReply(code)}).reply(call_of())
    assert type(caught.value) is expected
    assert caught.value.code == code


async def test_a_canned_invalid_output_is_a_reply_that_fits_nothing() -> None:
    assert (await ScriptedModel({"write": ErrorReply("invalid_output")}).reply(call_of())).text == ""


async def test_tokens_are_unknown_and_the_cost_is_none_of_money() -> None:
    reply = await ScriptedModel({"write": "hi"}).reply(call_of())
    assert reply == ModelReply("hi", Usage(), Decimal(0), None)


async def test_a_reply_is_streamed_word_by_word() -> None:
    words: list[str] = []
    reply = await ScriptedModel({"write": "Hello,  big\nworld "}).reply(call_of(), words.append)
    assert words == ["Hello,  ", "big\n", "world "]
    assert reply.text == "".join(words)
    assert reply.first_token_s is not None


def tool_call(id_: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("value", "reply"),
    [
        ("text", "text"),
        ({"category": "bug"}, '{"category": "bug"}'),
        ({"error": "timeout"}, ErrorReply("timeout")),
        ({"error": "timeout", "more": 1}, '{"error": "timeout", "more": 1}'),
        (["a", {"n": 1}, {"error": "invalid_output"}], ("a", '{"n": 1}', ErrorReply("invalid_output"))),
        ([["x"]], ('["x"]',)),
        (5, "5"),
        (True, "true"),
        (
            {"tool_calls": [{"name": "f", "arguments": {"n": 1}}]},
            ToolReply("", (tool_call("call_1", "f", '{"n": 1}'),)),
        ),
        (
            {"text": "hm", "tool_calls": [{"name": "f"}, {"id": "x", "name": "g"}]},
            ToolReply("hm", (tool_call("call_1", "f", "{}"), tool_call("x", "g", "{}"))),
        ),
        ({"tool_calls": []}, '{"tool_calls": []}'),
        ({"tool_calls": [{"name": "f"}], "more": 1}, '{"tool_calls": [{"name": "f"}], "more": 1}'),
    ],
)
def test_a_value_is_read_as_replies(value: Any, reply: Any) -> None:
    assert read_reply(value) == reply


@pytest.mark.parametrize("call", ["f", {}, {"name": ""}, {"name": "f", "arguments": "{}"}, {"name": "f", "x": 1}])
def test_what_is_no_call_of_a_tool_is_reported(call: Any) -> None:
    with pytest.raises(ValueError, match=r"call 2 of 'tool_calls' must be \{name: …, arguments: \{…\}\}"):
        read_reply({"tool_calls": [{"name": "f"}, call]})
    with pytest.raises(ValueError, match="'text' with 'tool_calls' must be text"):
        read_reply({"tool_calls": [{"name": "f"}], "text": 1})


def test_an_unknown_error_code_is_reported() -> None:
    with pytest.raises(ValueError, match=r"no error code 'rate_limit' \(did you mean 'rate_limited'\?\)"):
        read_reply({"error": "rate_limit"})


def test_replies_are_loaded_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "replies.yaml"
    file.write_text("write: hi\ncheck:\n  - error: rate_limited\n  - {ok: true}\n")
    expected: Replies = {"write": "hi", "check": (ErrorReply("rate_limited"), '{"ok": true}')}
    assert load_replies(file) == expected


def test_replies_are_read_as_documents_are(tmp_path: Path) -> None:
    file = tmp_path / "replies.yaml"
    file.write_text("day: 2026-13-45\ncount: 0o17\nquoted: 'no'\n", encoding="utf-8-sig")
    assert load_replies(file) == {"day": "2026-13-45", "count": "15", "quoted": "no"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", ":1:1: expected a mapping of node to reply"),
        ("", ":1:1: expected a mapping of node to reply"),
        ("write: [", ":1:9: "),
        ("write: {error: nope}", ":1:8: write: no error code 'nope'"),
        ("write:", ":1:7: write: the reply is empty"),
        ("write: a\nwrite: b", ":2:1: the key 'write' is used twice"),
        ("write: yes", ":1:8: 'yes' without quotes"),
        ("write: " + 3000 * "[", ":1:67: the document nests deeper"),
        ("write: " + 1_000_000 * "x", ":1:1: the document has 1,000,001 bytes"),
    ],
    ids=lambda value: value[:12],
)
def test_a_broken_file_is_reported_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "replies.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInputs) as caught:
        load_replies(file)
    assert caught.value.problems[0].startswith(f"{file}{message}")


def test_every_broken_reply_of_a_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "replies.yaml"
    file.write_text("a: {error: nope}\nb: yes\nc:\n")
    with pytest.raises(InvalidInputs) as caught:
        load_replies(file)
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["1", "2", "3"]


def test_a_file_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputs, match="No such file"):
        load_replies(tmp_path / "replies.yaml")


async def test_models_hand_scripted_calls_to_the_script() -> None:
    async with open_models({}, scripted=ScriptedModel({"write": "hi"})) as models:
        assert (await models.reply(call_of())).text == "hi"
    async with open_models({}) as models:
        with pytest.raises(ModelRefused, match="there are no canned replies"):
            await models.reply(call_of())
