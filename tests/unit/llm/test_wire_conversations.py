"""Images, tools and calls of tools over the wire, to and from each provider."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowyard.errors.steps import ContentRefused, ModelRefused, ProviderError
from flowyard.language.nodes import ModelSettings
from flowyard.llm.attachments import refuse_unsendable
from flowyard.llm.calls import ChatMessage, ModelCall, ToolCall, ToolOffer
from flowyard.llm.models import Models, open_models
from support.wire.behaviour import Odd, Raw, Status, Text
from support.wire.providers import ANTHROPIC, DIRECT, ENVIRON, GOOGLE, LITELLM, OLLAMA, OPENAI, Provider

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Now", "parameters": PARAMETERS}}
OFFER = ToolOffer((TOOL,))
OSLO = {"city": "Oslo", "days": [1, 2]}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
ADDRESS = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
DATA = "JVBERi0xLjQK"
FILE = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{DATA}", "filename": "a.pdf"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}}
LOOK = ChatMessage("user", ({"type": "text", "text": "What is this?"}, IMAGE))
AFTER_A_CALL = (
    ChatMessage("user", "Weather in Oslo?"),
    ChatMessage("assistant", None, (ToolCall("call_7", "weather", '{"city": "Oslo"}'),)),
    ChatMessage("tool", "rain", tool_call_id="call_7"),
)


def call_of(
    settings: ModelSettings,
    *messages: ChatMessage,
    offer: ToolOffer | None = None,
    secrets: frozenset[str] = frozenset(),
) -> ModelCall:
    return ModelCall("a", settings, messages or (ChatMessage("user", "Hi"),), offer=offer, secrets=secrets)


def ignore(_: str) -> None:
    """A token that nobody waits for."""


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("text", ["", "Let me look"])
async def test_calls_of_tools_come_back_whole(provider: Provider, models: Models, text: str, *, streamed: bool) -> None:
    tokens: list[str] = []
    behaviour = Text(text, calls=(("weather", OSLO), ("time", {})))
    async with provider.serve([behaviour]) as server:
        reply = await models.reply(call_of(provider.settings(server), offer=OFFER), tokens.append if streamed else None)
    assert [(call.name, json.loads(call.arguments)) for call in reply.tool_calls] == [("weather", OSLO), ("time", {})]
    assert len({call.id for call in reply.tool_calls}) == 2
    assert all(call.id for call in reply.tool_calls)
    assert reply.text == text
    assert "".join(tokens) == (text if streamed else "")
    assert reply.ending.how == "stop"


async def test_tools_travel_in_the_providers_own_form(provider: Provider, models: Models) -> None:
    async with provider.serve([Text("sunny")]) as server:
        reply = await models.reply(
            call_of(provider.settings(server), offer=ToolOffer((TOOL,), "required", parallel=False))
        )
    assert reply.tool_calls == ()
    body = server.requests[0].body
    assert "weather" in json.dumps(body["tools"])
    if provider in (OPENAI, DIRECT):
        assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == ([TOOL], "required", False)
    if provider is OLLAMA:
        assert "parallel_tool_calls" not in body
    if provider is ANTHROPIC:
        assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


async def test_a_document_can_offer_tools_itself(provider: Provider, models: Models) -> None:
    async with provider.serve([Text("", calls=(("weather", OSLO),))]) as server:
        reply = await models.reply(call_of(provider.settings(server, extra={"tools": [TOOL]})))
    assert "weather" in json.dumps(server.requests[0].body["tools"])
    assert [call.name for call in reply.tool_calls] == ["weather"]


async def test_without_an_offer_no_tools_are_sent(provider: Provider, models: Models) -> None:
    async with provider.serve([Text("sunny")]) as server:
        await models.reply(call_of(provider.settings(server)))
    assert not server.requests[0].body.keys() & {"tools", "tool_choice", "parallel_tool_calls"}


async def test_results_of_tools_travel_with_their_calls(provider: Provider, models: Models) -> None:
    async with provider.serve([Text("It rains")]) as server:
        await models.reply(call_of(provider.settings(server), *AFTER_A_CALL, offer=OFFER))
    body = server.requests[0].body
    if provider in (OPENAI, DIRECT):
        called, result = body["messages"][1:]
        assert called.pop("content", None) is None
        assert called == {"role": "assistant", "tool_calls": [AFTER_A_CALL[1].tool_calls[0].data]}
        assert result == {"role": "tool", "content": "rain", "tool_call_id": "call_7"}
    sent = json.dumps(body)
    assert all(part in sent for part in ("rain", "Oslo", "weather"))


async def test_images_travel_in_the_providers_own_form(provider: Provider, models: Models) -> None:
    async with provider.serve([Text("A dot")]) as server:
        await models.reply(call_of(provider.settings(server), LOOK))
    assert _image_in(provider, server.requests[0].body) == PIXEL


def _image_in(provider: Provider, body: Any) -> str:
    """Base64, without what says its type."""
    if provider is ANTHROPIC:
        return str(body["messages"][0]["content"][1]["source"]["data"])
    if provider is GOOGLE:
        return next(str(part["inline_data"]["data"]) for part in body["contents"][0]["parts"] if "inline_data" in part)
    if provider is OLLAMA:
        return str(body["messages"][0]["images"][0])
    return str(body["messages"][0]["content"][1]["image_url"]["url"]).partition(",")[2]


@pytest.mark.parametrize("part", [FILE, AUDIO], ids=["file", "audio"])
async def test_a_part_is_sent_or_refused_and_never_left_out(
    provider: Provider, models: Models, part: dict[str, Any]
) -> None:
    refused = {(OLLAMA.name, "file"), (OLLAMA.name, "input_audio"), (ANTHROPIC.name, "input_audio")}
    async with provider.serve([Text("A page")]) as server:
        call = call_of(provider.settings(server), ChatMessage("user", (part,)))
        if (provider.name, part["type"]) in refused:
            with pytest.raises(ContentRefused, match=f"{provider.name} takes no (files|audio) here"):
                await models.reply(call)
        else:
            await models.reply(call)
    assert [DATA in json.dumps(request.body) for request in server.requests] == (
        [] if (provider.name, part["type"]) in refused else [True]
    )


async def test_a_model_that_takes_no_images_is_clear_about_it(provider: Provider, models: Models) -> None:
    async with provider.serve([Status(400, message="this model takes no image")]) as server:
        with pytest.raises(ContentRefused, match=r"not accepted \(400\): .*this model takes no image"):
            await models.reply(call_of(provider.settings(server), LOOK))


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "no luck", ContentRefused),
        (404, "No endpoints found that support image input", ContentRefused),
        (500, "image input is not supported - hint: you may need to provide the mmproj", ContentRefused),
        (404, "no such model", ModelRefused),
        (500, "no luck", ProviderError),
        (401, "a key for images", ModelRefused),
        (500, "tools param requires --jinja flag", ContentRefused),
    ],
)
async def test_which_errors_are_about_an_image(
    models: Models, status: int, message: str, kind: type[Exception]
) -> None:
    async with DIRECT.serve([Status(status, message=message)]) as server:
        with pytest.raises(kind) as refused:
            await models.reply(call_of(DIRECT.settings(server), LOOK))
        with pytest.raises(kind) as of_tools:
            await models.reply(call_of(DIRECT.settings(server), offer=OFFER))
        with pytest.raises((ModelRefused, ProviderError)) as without:
            await models.reply(call_of(DIRECT.settings(server), ChatMessage("user", "An image of what?")))
    assert (type(refused.value) is ContentRefused) == (kind is ContentRefused)
    assert type(of_tools.value) is type(refused.value)
    assert not isinstance(without.value, ContentRefused)


async def test_the_address_of_an_image_is_never_fetched_from_here(provider: Provider, models: Models) -> None:
    message = ChatMessage("user", (ADDRESS,))
    async with provider.serve([Text("A dot")]) as server:
        with pytest.raises(ContentRefused, match="has to be sent itself"):
            await models.reply(call_of(provider.settings(server), message))
    assert server.requests == []


@pytest.mark.parametrize(
    ("settings", "is_direct", "is_sent"),
    [
        (ModelSettings("openai", "m"), True, True),
        (ModelSettings("openai", "m", api_base="https://api.openai.com/v1/"), True, True),
        (ModelSettings("openai", "m"), False, False),
        (ModelSettings("openai", "m", api_base="https://proxy.example.com/v1"), True, False),
        (ModelSettings("hosted_vllm", "m"), True, False),
        (ModelSettings("openai_like", "m"), True, False),
        (ModelSettings("ollama", "m"), True, False),
    ],
)
def test_addresses_are_sent_to_hosted_providers_alone(
    settings: ModelSettings, *, is_direct: bool, is_sent: bool
) -> None:
    messages = [ChatMessage("user", "Hi"), ChatMessage("user", (ADDRESS,))]
    if is_sent:
        refuse_unsendable(settings, messages, is_direct=is_direct)
        return
    with pytest.raises(ContentRefused, match="has to be sent itself"):
        refuse_unsendable(settings, messages, is_direct=is_direct)


def test_a_provider_of_which_nothing_is_known_gets_no_images() -> None:
    with pytest.raises(ContentRefused, match="cohere takes no images here: they would be left out"):
        refuse_unsendable(ModelSettings("cohere", "m"), [LOOK], is_direct=False)
    refuse_unsendable(ModelSettings("scripted", "m"), [LOOK, ChatMessage("user", (ADDRESS,))], is_direct=False)


def test_the_local_model_takes_texts_alone() -> None:
    refuse_unsendable(
        ModelSettings("local", "m"), [ChatMessage("user", ({"type": "text", "text": "x"},))], is_direct=True
    )
    with pytest.raises(ContentRefused, match="takes texts alone, and no images"):
        refuse_unsendable(ModelSettings("local", "m"), [LOOK], is_direct=True)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_secret_is_masked_in_what_tools_are_called_with(
    provider: Provider, models: Models, *, streamed: bool
) -> None:
    async with provider.serve([Text("", calls=(("weather", {"city": 'se"same', "n": 1}),))]) as server:
        reply = await models.reply(
            call_of(provider.settings(server), offer=OFFER, secrets=frozenset({'se"same'})),
            ignore if streamed else None,
        )
    assert json.loads(reply.tool_calls[0].arguments) == {"city": "***", "n": 1}


async def test_odd_calls_are_an_error_of_the_provider(models: Models) -> None:
    for calls in ([{"function": "f"}], ["f"], [{"id": "a", "function": {"arguments": "{}"}}]):
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        async with DIRECT.serve([Odd({"choices": [{"message": message, "finish_reason": "tool_calls"}]})]) as server:
            with pytest.raises(ProviderError):
                await models.reply(call_of(DIRECT.settings(server), offer=OFFER))


def stream_of(*deltas: Any, reason: str | None = "tool_calls") -> Raw:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    ends = [{"index": 0, "delta": {}, "finish_reason": reason}] if reason else []
    choices = [*({"index": 0, "delta": delta, "finish_reason": None} for delta in deltas), *ends]
    events = [f"data: {json.dumps({**head, 'choices': [choice]})}\n\n" for choice in choices]
    return Raw("".join([*events, *(["data: [DONE]\n\n"] if reason else [])]).encode())


@pytest.mark.parametrize("way", [OPENAI, DIRECT], ids=["litellm", "direct"])
@pytest.mark.parametrize(
    ("deltas", "made"),
    [
        (
            [{"id": "a", "function": {"name": "f", "arguments": "{"}}, {"function": {"arguments": "}"}}],
            [("a", "f", "{}")],
        ),
        (
            [
                {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
                {"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}},
            ],
            [("a", "f", "{}"), ("b", "g", "{}")],
        ),
        ([{"index": 1, "id": "a", "type": None, "function": {"name": "f", "arguments": None}}], [("a", "f", "{}")]),
    ],
    ids=["no index", "one index", "no arguments"],
)
async def test_servers_that_number_calls_in_other_ways(
    models: Models, way: Provider, deltas: list[Any], made: list[tuple[str, str, str]]
) -> None:
    async with way.serve([stream_of(*({"tool_calls": [delta]} for delta in deltas))]) as server:
        reply = await models.reply(call_of(way.settings(server), offer=OFFER), ignore)
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == made


@pytest.mark.parametrize("way", [OPENAI, DIRECT], ids=["litellm", "direct"])
async def test_a_stream_that_breaks_off_within_a_call_is_no_reply(models: Models, way: Provider) -> None:
    begun = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"ci'}}]}
    async with way.serve([stream_of(begun, reason=None)]) as server:
        with pytest.raises(ProviderError, match="in the middle of the reply"):
            await models.reply(call_of(way.settings(server), offer=OFFER), ignore)


ODD_PIECES: list[list[Any]] = [
    ["f"],
    [{"index": 0, "function": "f"}],
    [{"index": 0, "id": "a", "function": {"arguments": "{}"}}],
]


@pytest.mark.parametrize("odd", ODD_PIECES, ids=["a text", "a name alone", "no name"])
async def test_odd_pieces_of_calls_are_an_error_of_the_provider(models: Models, odd: list[Any]) -> None:
    async with DIRECT.serve([stream_of({"tool_calls": odd})]) as server:
        with pytest.raises(ProviderError):
            await models.reply(call_of(DIRECT.settings(server), offer=OFFER), ignore)


@pytest.mark.parametrize("odd", ODD_PIECES, ids=["a text", "a name alone", "no name"])
async def test_odd_pieces_never_become_calls_through_litellm(models: Models, odd: list[Any]) -> None:
    """It leaves some of them out by itself; then the reply is empty, and the step tries again."""
    async with OPENAI.serve([stream_of({"tool_calls": odd})]) as server:
        try:
            reply = await models.reply(call_of(OPENAI.settings(server), offer=OFFER), ignore)
        except ProviderError:
            return
    assert (reply.text, reply.tool_calls) == ("", ())


async def test_calls_beyond_the_limit_of_a_reply_are_refused() -> None:
    piece = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "x" * 600}}]}
    for way in (OPENAI, DIRECT):
        async with (
            open_models(ENVIRON, litellm=LITELLM, reply_limit=1000) as models,
            way.serve([stream_of(piece, piece)]) as server,
        ):
            with pytest.raises(ProviderError, match="larger than 1,000 bytes"):
                await models.reply(call_of(way.settings(server), offer=OFFER), ignore)


async def test_a_reply_that_is_cut_off_in_a_call_is_no_reply(provider: Provider, models: Models) -> None:
    async with provider.serve([Text("Let", ending="length")]) as server:
        reply = await models.reply(call_of(provider.settings(server), offer=OFFER), ignore)
    assert reply.ending.how == "length"


def test_an_offer_with_nothing_more_is_only_its_tools() -> None:
    everything: dict[str, Any] = ToolOffer((TOOL,), {"type": "function"}, parallel=True).parameters
    assert OFFER.parameters == {"tools": [TOOL]}
    assert everything == {"tools": [TOOL], "tool_choice": {"type": "function"}, "parallel_tool_calls": True}
