"""A run in memory: its prompts have the secrets, and none of its events does."""

from __future__ import annotations

import json
from dataclasses import replace

from flowyard.errors.steps import ModelRefused
from flowyard.llm.calls import ModelCall
from flowyard.runs.events import ModelCalled
from support.workflows import Answering, document, run

FIELDS = """
token: {type: str, required: true, secret: true}
items: {type: 'list[str]', default: [a, b]}
texts: list[str]
"""
SECRET = "s3crét-of-somebody"
ASKING = """
- {id: ask, prompt: 'Use {key}.', system: 'S {token}', inputs: {key: 'k={token}'}, outputs: [said]}
"""


async def test_prompts_have_the_secret_and_events_do_not() -> None:
    async def answer(call: ModelCall) -> str:
        return " ".join(message.text for message in call.messages)

    text = document("", fields=f"said: str\n{FIELDS.strip()}", nodes=ASKING)
    outcome = await run(text, {"token": SECRET}, model=Answering(answer), log_prompts=True)
    [call] = outcome.calls
    assert [message.content for message in call.messages] == [f"S {SECRET}", f"Use k={SECRET}."]
    assert SECRET not in repr(replace(call, messages=()))
    # What a reply says is the llm room's to mask; here nothing else says it either.
    assert outcome.result.outputs == {"said": "S *** Use k=***."}
    assert outcome.result.state["token"] == "***"
    [called] = outcome.of(ModelCalled)
    assert called.messages == ({"role": "system", "content": "S ***"}, {"role": "user", "content": "Use k=***."})
    assert SECRET not in json.dumps([repr(event) for event in outcome.events if event is not called])


async def test_json_that_spells_a_secret_oddly_is_masked_once_it_is_read() -> None:
    async def answer(_: ModelCall) -> str:
        return r'{"said": "x", "more": "s3cr\u00E9t-of-somebody"}'

    text = document(
        "", fields=f"said: str\nmore: str\n{FIELDS.strip()}", nodes=ASKING.replace("[said]", "[said, more]")
    )
    outcome = await run(text, {"token": SECRET}, model=Answering(answer), log_prompts=True)
    assert outcome.result.outputs == {"said": "x", "more": "***"}


async def test_each_item_of_a_map_has_the_secret() -> None:
    async def answer(call: ModelCall) -> str:
        return call.messages[-1].text

    node = "- {id: each, prompt: '{item} {token}', outputs: [texts]}"
    edges = """
    - {from: START, parallel: {items_field: items, target_node: each, collect_field: texts}}
    - {from: each, to: END}
    """
    outcome = await run(
        document("", edges, fields=FIELDS, nodes=node), {"token": SECRET}, model=Answering(answer), log_prompts=True
    )
    assert sorted(outcome.prompts_of("each")) == [f"a {SECRET}", f"b {SECRET}"]
    assert outcome.result.outputs == {"texts": ["a ***", "b ***"]}


async def test_a_name_that_means_something_else_in_a_node_is_no_secret() -> None:
    async def refuse(call: ModelCall) -> str:
        assert call.secrets == frozenset()
        raise ModelRefused("no", provider="p", model="m")

    node = "- {id: each, prompt: '{token}', outputs: [texts]}"
    edges = """
    - {from: START, parallel: {items_field: items, target_node: each, collect_field: texts, item: token}}
    - {from: each, to: END}
    """
    outcome = await run(
        document("", edges, fields=FIELDS, nodes=node), {"token": SECRET}, model=Answering(refuse), log_prompts=True
    )
    assert outcome.prompts_of("each")[0] == "a"


async def test_what_is_wrong_with_a_reply_is_reported_without_the_secret() -> None:
    async def answer(_: ModelCall) -> str:
        return r'{"said": "x", "s3cr\u00E9t-of-somebody": 1, "more": "s3cr\u00E9t-of-somebody"}'

    text = document(
        "",
        fields=f"said: str\nmore: int\n{FIELDS.strip()}",
        nodes=ASKING.replace("[said]", "[said, more]").replace(
            "outputs: [said, more]", "outputs: [said, more], retry: 1"
        ),
    )
    outcome = await run(text, {"token": SECRET}, model=Answering(answer), log_prompts=True)
    assert outcome.result.error is not None
    assert outcome.result.error.message == "***: no such field; more: expected int, got str '***'"
    shown = [repr(event) for event in outcome.events if not isinstance(event, ModelCalled)]
    assert SECRET not in json.dumps(shown, ensure_ascii=False)
    assert "u00E9t-of" not in json.dumps(shown)
