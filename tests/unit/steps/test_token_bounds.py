"""The bound of a prompt's tokens, against the tokenizers that LiteLLM brings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import Message, ModelCall
from flowyard.llm.litellm_setup import litellm
from flowyard.steps.token_bounds import prompt_bound

TOOL = {"type": "function", "function": {"name": "t" * 60, "description": "d", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("extra", [{}, {"tools": [TOOL]}], ids=["plain", "with tools"])
@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4", "claude-3-5-haiku-20241022"])
@given(texts=st.lists(st.text(max_size=200), min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_no_prompt_has_more_tokens_than_its_bound(model: str, extra: dict[str, Any], texts: list[str]) -> None:
    call = ModelCall("a", ModelSettings("openai", model, extra=extra), tuple(Message("user", text) for text in texts))
    messages = [{"role": "user", "content": text} for text in texts]
    assert litellm.token_counter(model=model, messages=messages, **extra) <= prompt_bound(call)
