"""The bound of a prompt's tokens, against the tokenizers that LiteLLM brings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flowyard.language.nodes import ModelSettings
from flowyard.llm.calls import ChatMessage, ModelCall, ToolCall
from flowyard.steps.token_bounds import estimated_tokens, prompt_bound
from support.lazily import litellm

RARE = st.text(st.characters(min_codepoint=0x20000, max_codepoint=0x3FFFF), min_size=80, max_size=100)
"""Tokenizers make several tokens of each of these characters."""
PROMPTS = st.lists(st.text(max_size=200) | RARE, min_size=1, max_size=4) | st.just([""] * 40)
FUNCTION = {"name": "t", "description": "\U00020000" * 100, "parameters": {"type": "object"}}


SAMPLES = yaml.safe_load((Path(__file__).parents[2] / "data" / "languages.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """None: LiteLLM's own choice, which is OpenAI's."""
    if request.param == "openai":
        return None
    file = Path(litellm.__file__).parent / "litellm_core_utils" / "tokenizers" / "anthropic_tokenizer.json"
    return litellm.create_tokenizer(file.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True, scope="module")
def _tokens_are_counted() -> Iterator[None]:
    """Flowyard turns this off: the tokenizer may be another model's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowyard.llm.litellm_setup.litellm.disable_token_counter", False)
        yield


@pytest.mark.parametrize("tokenizer", ["openai", "anthropic"], indirect=True)
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


@pytest.mark.parametrize("tokenizer", ["openai", "anthropic"], indirect=True)
@pytest.mark.parametrize("language", SAMPLES)
def test_the_estimate_of_prose_and_code_is_near(tokenizer: Any, language: str) -> None:
    text = SAMPLES[language]
    tokens = _tokens(tokenizer, text)
    least, most = (0.5, 1.0) if language in ("emoji", "numbers") else (0.75, 1.45)
    assert least <= (estimated_tokens(ChatMessage("user", text)) - 4) / tokens <= most


def _tokens(tokenizer: Any, text: str) -> int:
    """Without those of the message around it."""
    counts = [
        litellm.token_counter(model="gpt-4", custom_tokenizer=tokenizer, messages=[{"role": "user", "content": each}])
        for each in (text, "")
    ]
    return int(counts[0] - counts[1])


def test_images_and_files_have_bounds_and_estimates_of_their_own() -> None:
    url = f"data:image/png;base64,{'A' * 90_000}"
    small = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    large = {"type": "image_url", "image_url": {"url": url}}
    file = {"type": "file", "file": {"file_data": url}}
    text = {"type": "text", "text": "What is this?"}
    estimates = [estimated_tokens(ChatMessage("user", (part,))) for part in (small, large, file, text)]
    assert estimates == [89, 1104, 5633, 8]
    none = prompt_bound(_call(ChatMessage("user", "")))
    bounds = [prompt_bound(_call(ChatMessage("user", (part,)))) - none for part in (small, large, file, text)]
    assert bounds == [50_000, 50_000, 100_000, 13]


def test_calls_of_tools_and_names_are_counted() -> None:
    call = ToolCall("c1", "weather", '{"city": "Oslo"}')
    plain, more = ChatMessage("assistant", "Hi"), ChatMessage("assistant", "Hi", (call,), name="ann")
    data = json.dumps([call.data])
    assert prompt_bound(_call(more)) - prompt_bound(_call(plain)) == len(data) + len("ann")
    assert estimated_tokens(more) - estimated_tokens(plain) == 3 + 5
    result = ChatMessage("tool", "rain", tool_call_id="c1")
    assert prompt_bound(_call(result)) - prompt_bound(_call(ChatMessage("tool", "rain"))) == 2


def _call(message: ChatMessage) -> ModelCall:
    return ModelCall("a", ModelSettings("openai", "gpt-4"), (message,))
