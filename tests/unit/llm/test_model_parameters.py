"""The parameters that models are known not to take, next to LiteLLM's own data, so that the table doesn't go stale.

LiteLLM knows models that the table doesn't, and the other way round. Where both know a model and differ, a line below
says why: a difference without a line is a model that the table has to learn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from flowyard.language.building.model_parameters import parameter_faults
from support.lazily import litellm

PROVIDERS: Final = ("anthropic", "deepseek", "openai", "xai")
VALUES: Final[dict[str, Any]] = {
    "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": 1, "logit_bias": {"1": 1}, "logprobs": True,
    "top_logprobs": 2, "stop": ["x"], "seed": 1,
}  # fmt: skip

LITELLM_SENDS: Final = (
    # OpenAI's documentation: the reasoning models refuse these.
    ("openai", r"o[134]", {"logit_bias", "stop"}),
    # DeepSeek ignores them, and LiteLLM looks for refusals only.
    ("deepseek", r"deepseek-reasoner", {"temperature", "top_p", "presence_penalty", "frequency_penalty"}),
    # xAI's documentation: none of its reasoning models takes it.
    ("xai", r"grok-(4|code)", {"presence_penalty"}),
)
TABLE_LEAVES_OUT: Final = (
    # They are taken if the model doesn't reason, which the request may say.
    ("openai", r"gpt-(5\.\d|6)", {"top_p", "logprobs", "top_logprobs"}),
    ("openai", r"gpt-5-search-api", {"seed"}),
    # By xAI's documentation, only the models that reason don't take them.
    ("xai", r"grok-4.*non-reasoning", {"frequency_penalty", "stop"}),
)


def models() -> Iterator[tuple[str, str]]:
    for name, facts in litellm.model_cost.items():
        provider = facts.get("litellm_provider")
        if provider in PROVIDERS and facts.get("mode") == "chat":
            yield provider, name.removeprefix(f"{provider}/")


def not_taken(provider: str, model: str) -> set[str]:
    """By the table."""
    return {name for name, _ in parameter_faults(provider, model, 0.5, VALUES)}


def refused(provider: str, model: str) -> set[str]:
    """By LiteLLM."""
    taken = set(litellm.get_supported_openai_params(model, custom_llm_provider=provider))
    names = {name for name in VALUES if name not in taken}
    try:
        litellm.get_optional_params(model=model, custom_llm_provider=provider, temperature=0.5)
    except litellm.UnsupportedParamsError:
        names.add("temperature")
    return names


def explained(lines: tuple[tuple[str, str, set[str]], ...], provider: str, model: str) -> set[str]:
    return {name for of, pattern, names in lines if of == provider and re.match(pattern, model) for name in names}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_table_says_what_litellm_knows_of_the_models_that_both_know(provider: str) -> None:
    known = sorted({model for of, model in models() if of == provider})
    assert known
    wrong = {
        model: sorted(differing)
        for model in known
        if (
            differing := (
                not_taken(provider, model) - refused(provider, model) - explained(LITELLM_SENDS, provider, model)
            )
            | (refused(provider, model) - not_taken(provider, model) - explained(TABLE_LEAVES_OUT, provider, model))
        )
    }
    assert wrong == {}


@pytest.mark.parametrize("lines", [LITELLM_SENDS, TABLE_LEAVES_OUT])
def test_each_line_explains_a_difference_that_there_is(lines: tuple[tuple[str, str, set[str]], ...]) -> None:
    for provider, pattern, names in lines:
        known = [model for of, model in models() if of == provider and re.match(pattern, model)]
        differing = {name for model in known for name in not_taken(provider, model) ^ refused(provider, model)}
        assert names <= differing
