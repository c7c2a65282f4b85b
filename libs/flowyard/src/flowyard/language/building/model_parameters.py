"""Which parameters a model doesn't take, where that is known: a call with one of them is refused, or ignores it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_REASONING: Final = re.compile(r"(?:openai/)?(?:o[134](?:-|$)|gpt-5(?:-(?!chat)|$))")
"""OpenAI's first reasoning models, and their names at routers. Later ones take more of these parameters."""
_LATER: Final = re.compile(r"(?:openai/)?gpt-(?:5\.\d|[6-9])")
_FIXED_TEMPERATURE: Final = re.compile(rf"{_REASONING.pattern}|(?:openai/)?gpt-(?:5\.\d+-chat|5\.[5-9]|[6-9])")
_WITHOUT_STOP: Final = re.compile(r"(?:openai/)?(?:o3(?:-|$)|o4-mini|gpt-5)")
_CLAUDE: Final = re.compile(r"claude-(?:opus-(?:4-[7-9]|[5-9])|sonnet-[5-9]|haiku-[5-9]|fable|mythos)")
"""Anthropic's models since Opus 4.7, which choose by themselves."""
_GROK: Final = re.compile(r"grok-(?:4(?!.*non-reasoning)|3-mini|code)")
_OPENAI: Final = frozenset({"azure", "openai", "openrouter"})
_PENALTIES: Final = frozenset({"frequency_penalty", "presence_penalty"})
_PROBABILITIES: Final = frozenset({"logit_bias", "logprobs", "top_logprobs"})
_NEUTRAL: Final[Mapping[str, Any]] = {"top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False}
"""Values that change nothing, and are taken."""


def parameter_faults(
    provider: str, model: str, temperature: float | None, extra: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """The parameters that the model doesn't take, `temperature` or keys of `extra`, and why."""
    fault = _temperature_fault(provider, model, temperature) if temperature is not None else None
    if fault is not None:
        yield "temperature", fault
    names, message = _not_taken(provider, model)
    for name in extra:
        if name in names and extra[name] != _NEUTRAL.get(name, ...):
            yield name, message.format(name=name, model=model)


def _temperature_fault(provider: str, model: str, temperature: float) -> str | None:
    if provider in _OPENAI and _FIXED_TEMPERATURE.match(model) and temperature != 1:
        return f"the reasoning model '{model}' takes no temperature but 1"
    if provider == "anthropic" and _CLAUDE.match(model) and temperature != 1:
        return f"'{model}' takes no temperature but 1"
    if provider == "anthropic" and temperature > 1:
        return "Anthropic's models take a temperature from 0 to 1"
    if provider == "deepseek" and model == "deepseek-reasoner":
        return f"the temperature has no effect on the reasoning model '{model}'"
    return None


def _not_taken(provider: str, model: str) -> tuple[frozenset[str], str]:
    """Keys of `extra`, and the message about one of them."""
    message = "the reasoning model '{model}' takes no {name}"
    if provider in _OPENAI and _REASONING.match(model):
        stop = frozenset({"stop"}) if _WITHOUT_STOP.match(model) else frozenset()
        return _PENALTIES | _PROBABILITIES | {"top_p"} | stop, message
    if provider in _OPENAI and _LATER.match(model):
        return _PENALTIES | {"logit_bias", "stop"}, message
    if provider == "xai" and _GROK.match(model):
        return _PENALTIES | {"stop"}, message
    if provider == "deepseek" and model == "deepseek-reasoner":
        return _PENALTIES | {"top_p"}, "{name} has no effect on the reasoning model '{model}'"
    if provider == "anthropic":
        return _PENALTIES | _PROBABILITIES | {"seed"}, "Anthropic's models take no {name}"
    return frozenset(), message
