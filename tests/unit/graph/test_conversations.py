"""Prompt nodes that take a conversation, and answer with a message."""

from __future__ import annotations

from typing import Any

import pytest

from flowyard.llm.calls import ModelCall
from flowyard.llm.terms import FREE, Terms
from flowyard.runs.events import ModelCalled, Token
from support.workflows import Outcome, document, run

HELLO = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Hi", "tool_calls": None}
SYSTEM = {"role": "developer", "content": "Be kind"}
MORE = {"role": "user", "content": "How are you?"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def chat(options: str, *, reply: str = "str", config: str = "") -> str:
    fields = f"messages: {{type: 'list[message]', required: true}}\nreply: {reply}"
    return document(
        "", fields=fields, nodes=f"- {{id: a, history: messages, outputs: [reply]{options}}}", config=config
    )


async def shown(text: str, *messages: dict[str, Any], reply: Any = "ok") -> list[tuple[str, Any]]:
    outcome = await run(text, {"messages": list(messages)}, {"a": reply})
    assert outcome.result.status == "succeeded", outcome.result.error
    return [(message.role, message.content) for message in outcome.calls[0].messages]


async def test_the_conversation_is_shown_as_it_is() -> None:
    assert await shown(chat(""), HELLO, ANSWER, MORE) == [
        ("user", "Hello"),
        ("assistant", "Hi"),
        ("user", "How are you?"),
    ]


async def test_all_that_comes_from_the_system_is_one_message_before_it() -> None:
    text = chat(", system: 'Be brief about {messages[0].role}'")
    assert await shown(text, SYSTEM, HELLO) == [("system", "Be brief about system\n\nBe kind"), ("user", "Hello")]
    assert (await shown(chat(""), HELLO, SYSTEM))[0] == ("system", "Be kind")


async def test_a_prompt_is_the_last_message_and_examples_come_before_the_conversation() -> None:
    text = chat(", prompt: 'In short?', examples: [{inputs: {}, outputs: {reply: Like this}}]")
    assert await shown(text, HELLO, ANSWER) == [
        ("user", "In short?"),
        ("assistant", "Like this"),
        ("user", "Hello"),
        ("assistant", "Hi"),
        ("user", "In short?"),
    ]


async def test_a_prompt_alone_begins_a_conversation() -> None:
    assert await shown(chat(", prompt: Say hello")) == [("user", "Say hello")]


async def test_without_any_message_the_step_fails_and_no_model_is_called() -> None:
    outcome = await run(chat(""), {"messages": [SYSTEM]})
    assert outcome.result.error is not None
    assert outcome.result.error.code == "expression_error"
    assert outcome.result.error.message == "messages has no message yet, and the node has no prompt"
    assert outcome.calls == []


async def test_old_turns_are_left_out() -> None:
    text = document(
        "",
        fields="messages: {type: 'list[message]', required: true}\nreply: str",
        nodes="- {id: a, history: {from: state.messages, max_turns: 1, max_tokens: 100}, outputs: [reply]}",
    )
    assert await shown(text, SYSTEM, HELLO, ANSWER, MORE) == [("system", "Be kind"), ("user", "How are you?")]


async def test_a_schema_is_put_after_the_last_message_of_the_user() -> None:
    async def last_of(*messages: dict[str, Any]) -> Any:
        text = chat(", llm: {provider: openai, model: gpt-4o}", reply="int")
        outcome = await run(text, {"messages": list(messages)}, {"a": 7})
        assert outcome.result.outputs == {"reply": 7}
        return [message.content for message in outcome.calls[0].messages][len(messages) - 1 :]

    wish = "Reply with nothing but JSON that fits this schema:\n"
    [text] = await last_of(ANSWER, HELLO)
    assert text.startswith(f"Hello\n\n{wish}")
    [parts] = await last_of({"role": "user", "content": [IMAGE]})
    assert parts[0] == IMAGE
    assert parts[1]["text"].startswith(wish)
    answer, text = await last_of(HELLO, ANSWER)
    assert answer == "Hi"
    assert text.startswith(wish)


async def test_an_output_that_is_a_message_takes_the_models_text_and_streams_it() -> None:
    outcome = await run(chat("", reply="message"), {"messages": [HELLO]}, {"a": " I am fine. "}, stream=True)
    assert outcome.result.outputs == {"reply": {"role": "assistant", "content": "I am fine.", "tool_calls": None}}
    assert outcome.calls[0].schema is None
    assert "".join(token.text for token in outcome.of(Token)) == " I am fine. "


async def test_a_conversation_grows_where_messages_are_appended() -> None:
    text = document(
        "",
        fields="messages: {type: 'list[message]', default: [], reduce: append}",
        nodes="""
        - {id: ask, set: {messages: {role: user, content: 'What is {messages[0].content}?'}}}
        - {id: a, history: messages, outputs: [messages]}
        """,
    )
    outcome = await run(text, {"messages": [HELLO]}, {"a": "A word."})
    assert [message["content"] for message in outcome.result.outputs["messages"]] == [
        "Hello",
        "What is Hello?",
        "A word.",
    ]


async def test_an_empty_answer_is_sent_back() -> None:
    outcome = await run(chat("", reply="message"), {"messages": [HELLO]}, {"a": ["", "Now."]})
    assert outcome.result.outputs["reply"]["content"] == "Now."
    assert [(m.role, m.content) for m in outcome.calls[1].messages[1:]] == [
        ("assistant", "(empty)"),
        ("user", "Your reply can't be used: the reply is empty. Reply again."),
    ]


async def test_logs_show_what_images_and_calls_of_tools_were() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]
    outcome = await run(
        chat(""),
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Look"}, IMAGE]},
                {"role": "assistant", "content": None, "tool_calls": calls},
                {"role": "tool", "tool_call_id": "c", "content": "rain"},
            ]
        },
        log_prompts=True,
    )
    assert outcome.of(ModelCalled)[0].messages == (
        {"role": "user", "content": "Look\n[image: image/png, 4 characters]"},
        {"role": "assistant", "content": "[calls weather {}]"},
        {"role": "tool", "content": "rain"},
    )


async def test_a_secret_that_the_conversation_repeats_is_masked_in_logs() -> None:
    text = document(
        "",
        fields="""
        messages: {type: 'list[message]', required: true}
        key: {type: str, required: true, secret: true}
        a: message
        """,
        nodes="- {id: a, history: messages, prompt: 'The key is {key}', outputs: [a]}",
    )
    said = {"role": "user", "content": [{"type": "text", "text": "Is it sesame-1?"}, IMAGE]}
    outcome = await run(
        text, {"messages": [said], "key": "sesame-1"}, {"a": "It is sesame-1, assistant"}, log_prompts=True
    )
    assert outcome.calls[0].messages[-1].content == "The key is sesame-1"
    assert outcome.result.outputs["a"]["content"] == "It is ***, assistant"
    assert outcome.of(ModelCalled)[0].messages == (
        {"role": "user", "content": "Is it ***?\n[image: image/png, 4 characters]"},
        {"role": "user", "content": "The key is ***"},
    )


@pytest.mark.parametrize(("content", "is_made"), [("x" * 300, True), ("x" * 2000, False), ([IMAGE], False)])
async def test_a_budget_counts_the_conversation(content: Any, *, is_made: bool) -> None:
    async def terms(_: ModelCall, __: int) -> Terms:
        return Terms(FREE)

    outcome: Outcome = await run(
        chat("", config="budget: {tokens: 1000}"), {"messages": [{"role": "user", "content": content}]}, terms=terms
    )
    assert (outcome.result.status == "succeeded", len(outcome.calls) == 1) == (is_made, is_made)
    if not is_made:
        assert outcome.result.error is not None
        assert outcome.result.error.code == "budget_exceeded"
