"""The bound of a prompt's tokens, against the tokenizers that LiteLLM brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall
from flowyard.llm.litellm_setup import litellm
from flowyard.steps.token_bounds import prompt_bound

OF_ANTHROPIC = Path(litellm.__file__).parent / "litellm_core_utils" / "tokenizers" / "anthropic_tokenizer.json"
TOKENIZERS = {"openai": None, "anthropic": litellm.create_tokenizer(OF_ANTHROPIC.read_text(encoding="utf-8"))}
RARE = st.text(st.characters(min_codepoint=0x20000, max_codepoint=0x3FFFF), min_size=80, max_size=100)
"""Tokenizers make several tokens of each of these characters."""
PROMPTS = st.lists(st.text(max_size=200) | RARE, min_size=1, max_size=4) | st.just([""] * 40)
FUNCTION = {"name": "t", "description": "\U00020000" * 100, "parameters": {"type": "object"}}


@pytest.fixture(autouse=True, scope="module")
def _tokens_are_counted() -> Iterator[None]:
    """Flowyard turns this off: the tokenizer may be another model's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(litellm, "disable_token_counter", False)
        yield


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("extra", [{}, {"tools": [{"type": "function", "function": FUNCTION}]}], ids=["plain", "tools"])
@given(texts=PROMPTS)
@settings(deadline=None, max_examples=50)
def test_no_prompt_has_more_tokens_than_its_bound(tokenizer: Any, extra: dict[str, Any], texts: list[str]) -> None:
    call = ModelCall(
        "a", ModelSettings("openai", "gpt-4", extra=extra), tuple(ChatMessage("user", text) for text in texts)
    )
    messages = [{"role": "user", "content": text} for text in texts]
    tokens = litellm.token_counter(model="gpt-4", custom_tokenizer=tokenizer, messages=messages, **extra)
    assert 0 < tokens <= prompt_bound(call)
