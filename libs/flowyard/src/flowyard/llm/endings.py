"""How a reply ended: a provider's reason as ours, and the error for a reply that can't be used. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, assert_never

from flowyard.errors.steps import ReplyCutOff, ReplyFiltered, ReplyRefused, UnusableReply
from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import COMPLETE, ModelReply, Origin, ReplyEnding, Usage
from flowyard.llm.failures import brief
from flowyard.llm.reasoning import Reasoning
from flowyard.llm.streamed_text import whole_text

CUT_OFF: Final = frozenset({
    "length", "max_output_tokens", "max_tokens", "model_context_window_exceeded", "model_length", "MAX_TOKENS",
})  # fmt: skip
BROKEN: Final = frozenset({
    "abort", "error", "insufficient_system_resource", "network_error", "pause_turn",
    "ERROR", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE", "TOO_MANY_TOOL_CALLS",
    "UNEXPECTED_TOOL_CALL",
})  # fmt: skip
"""What vLLM, OpenRouter, DeepSeek, Zhipu, Anthropic, Cohere and Google name as reason if a reply breaks off."""
_REFUSED: Final = frozenset({"refusal"})
_FILTERED: Final = frozenset({"content_filter", "sensitive"})
_FILTERS: Final = frozenset({
    "content_filtered", "guardrail_intervened",
    "BLOCKLIST", "IMAGE_SAFETY", "LANGUAGE", "PROHIBITED_CONTENT", "RECITATION", "SAFETY", "SPII",
})  # fmt: skip
"""Reasons of Bedrock and Google that name their filter. Proxies in OpenAI's format may pass them on as they are."""
_MOST_NAME: Final = 200
"""Most characters of the name of a model, and of the id of an answer."""
_THINKS: Final = ("<think>", "<thinking>", "<reasoning>")


@dataclass(slots=True)
class Outcome:
    """What an answer says about how its reply ended, collected from its pieces.

    `reason`: OpenAI's `finish_reason`, or one of Anthropic's. `refusal`: the model's words. `filters`: why a filter
    blocked it. `was_prompt`: it blocked the prompt. `reasoning`: what the model wrote of it outside of the text.
    `model`, `id`: see Origin.
    """

    reason: str | None = None
    refusal: str = ""
    filters: str = ""
    was_prompt: bool = False
    reasoning: Reasoning = field(default_factory=Reasoning)
    model: str | None = None
    id: str | None = None

    def identify(self, model: object, id_: object) -> None:
        """`model`, `id_`: as an answer, or a piece of it, has them. The first ones count."""
        self.model = self.model or _name(model)
        self.id = self.id or _name(id_)

    def origin(self) -> Origin:
        return Origin(self.model, self.id, _name(self.reason))

    def ending(self, text: str) -> ReplyEnding:
        """`text`: of the reply."""
        if self.refusal or self.reason in _REFUSED:
            return ReplyEnding("refused", whole_text(self.refusal or text))
        if self.reason in _FILTERED:
            return ReplyEnding("filtered", self.filters, was_prompt=self.was_prompt)
        if self.reason in _FILTERS:
            return ReplyEnding("filtered", self.filters or self.reason)
        if self.reason not in CUT_OFF:
            return COMPLETE
        start = text.lstrip()
        in_text = any(start.startswith(tag) and tag.replace("<", "</") not in start for tag in _THINKS)
        return ReplyEnding("length", only_reasoned=in_text or (self.reasoning.is_there and not start))


def stopped_in_the_middle(reason: str) -> str:
    """`reason`: one of BROKEN."""
    return f"the provider stopped in the middle of the reply: {reason}"


def _name(value: object) -> str | None:
    """None if it is no name: providers send anything."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= _MOST_NAME else None


def unusable(reply: ModelReply, settings: ModelSettings, *, is_budget: bool) -> UnusableReply | None:
    """The error for a reply that was cut off, refused or filtered, else None.

    `settings`: of the call. `is_budget`: its `max_tokens` is a limit of the budget, not of the document.
    """
    ending = reply.ending
    kind: type[UnusableReply]
    match ending.how:
        case "stop":
            return None
        case "length":
            kind, detail = ReplyCutOff, _cut_off(ending, reply.usage, settings, is_budget=is_budget)
        case "refused":
            kind, detail = ReplyRefused, f"the model refused to answer: {ending.why}"
        case "filtered":
            what = "prompt" if ending.was_prompt else "reply"
            kind, detail = ReplyFiltered, f"a content filter blocked the {what}: {ending.why}"
        case _:
            assert_never(ending.how)
    return kind(brief(detail.removesuffix(": ")), provider=settings.provider, model=settings.model, reply=reply.text)


def _cut_off(ending: ReplyEnding, usage: Usage, settings: ModelSettings, *, is_budget: bool) -> str:
    if settings.max_tokens is not None:
        limit = f"{settings.max_tokens} tokens, {'the limit that the budget sets' if is_budget else 'its max_tokens'}"
    else:
        limit = f"{usage.tokens_out} tokens, the model's own limit" if usage.tokens_out else "the model's own limit"
    return f"the reply was cut off at {limit}{'; reasoning took all of them' if ending.only_reasoned else ''}"
