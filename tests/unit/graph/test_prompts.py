"""What a model receives, and what is kept of its calls."""

from __future__ import annotations

import pytest

from flowyard.llm.calls import ModelCall, ModelReply, Usage
from flowyard.runs.events import ModelCalled
from support.workflows import Answering, document, run


def _one(fields: str, outputs: str = "p", options: str = "") -> str:
    node = f"- {{id: a, prompt: 'go', outputs: [{outputs}]{options}}}"
    return document("", fields=fields, nodes=node)


async def test_a_value_with_braces_is_not_expanded_again() -> None:
    text = document(
        "",
        fields="topic: {type: str, required: true}\nsecret: {type: str, default: hidden}\na: str\nb: str",
        nodes="""
        - {id: a, prompt: 'about {topic}', outputs: [a]}
        - {id: b, prompt: 'again {local}', inputs: {local: '{a} {topic}'}, outputs: [b]}
        """,
    )
    outcome = await run(text, {"topic": "{secret} {{x}} {"}, {"a": "{secret}"})
    assert outcome.prompts_of("a") == ["about {secret} {{x}} {"]
    assert outcome.prompts_of("b") == ["again {secret} {secret} {{x}} {"]


async def test_local_inputs_keep_their_types_and_hide_fields() -> None:
    text = document(
        "",
        fields="xs: {type: 'list[str]', default: [a, b]}\na: str",
        nodes="- {id: a, prompt: '{first} of {n} {xs}', inputs: {first: '{xs[0]}', n: 2, xs: mine}, outputs: [a]}",
    )
    assert (await run(text)).prompts_of("a") == ["a of 2 mine"]


async def test_system_and_examples_come_before_the_question() -> None:
    text = document(
        "",
        fields="x: {type: str, default: now}\np: int",
        nodes="""
        - id: a
          system: 'Be brief about {x}'
          prompt: 'What is {x}?'
          outputs: [p]
          examples: [{inputs: {x: one}, outputs: {p: 1}}]
        """,
    )
    outcome = await run(text, replies={"a": "7"})
    assert [(m.role, m.content) for m in outcome.calls[0].messages] == [
        ("system", "Be brief about now"),
        ("user", "What is one?"),
        ("assistant", '{"p": 1}'),
        ("user", "What is now?"),
    ]


@pytest.mark.parametrize("installation", [True, False])
@pytest.mark.parametrize(
    ("document", "may"), [("", True), (", log_prompts: true", True), (", log_prompts: false", False)]
)
async def test_prompts_are_kept_if_the_installation_says_so_and_the_node_doesnt_refuse(
    document: str, *, may: bool, installation: bool
) -> None:
    outcome = await run(_one("p: str", options=document), replies={"a": "x"}, log_prompts=installation)
    called = outcome.of(ModelCalled)[0]
    kept = (({"role": "user", "content": "go"},), "x") if may and installation else (None, None)
    assert (called.messages, called.reply) == kept


async def test_what_the_model_reasoned_is_kept_with_its_reply() -> None:
    async def answer(_: ModelCall) -> ModelReply:
        return ModelReply("x", Usage(3, 2), None, reasoning="hm")

    for logs, kept in ((True, "hm"), (False, None)):
        outcome = await run(_one("p: str"), model=Answering(answer), log_prompts=logs)
        assert outcome.of(ModelCalled)[0].reasoning == kept


async def test_a_nodes_own_model_is_called() -> None:
    outcome = await run(_one("p: str", options=", llm: {provider: openai, model: gpt-9}"), replies={"a": "x"})
    assert str(outcome.calls[0].settings) == "openai/gpt-9"
    (called,) = outcome.of(ModelCalled)
    assert (called.provider, called.model) == ("openai", "gpt-9")
