"""What LiteLLM imports and builds in its first call, done before: half a second that would count against a timeout."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from flowyard.llm.litellm_setup import litellm

# Imported inside of functions of LiteLLM and of what it uses.
_LATE: Final = (
    "anyio._backends._asyncio",
    "litellm._service_logger",
    "litellm.litellm_core_utils.default_encoding",
    "litellm.types.litellm_core_utils.streaming_chunk_builder_utils",
)
# Half of the whole, and needed by all but these.
_OPENAI: Final = "openai.resources"
_WITHOUT_OPENAI: Final = frozenset({"anthropic", "gemini", "ollama_chat"})


def warm_up(provider: str) -> None:
    """Blocks for up to a second; no network. `provider` is LiteLLM's name. Raises whatever LiteLLM raises."""
    for name in (*_LATE, *(() if provider in _WITHOUT_OPENAI else (_OPENAI,))):
        import_module(name)
    # Always of the same model: what it imports is the same for all, but for some LiteLLM would ask the network.
    litellm.completion(
        model="openai/gpt-4o-mini",
        messages=[{"role": "user", "content": "warm-up"}],
        mock_response="ok",
        api_key="no-key",
    )
