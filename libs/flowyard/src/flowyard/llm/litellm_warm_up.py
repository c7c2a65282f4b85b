"""Imports and builds early what LiteLLM otherwise does in its first call, within the call's timeout: half a second."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from flowyard.llm.litellm_setup import litellm

# LiteLLM and its dependencies import these inside of functions.
_LATE_IMPORTS: Final = (
    "anyio._backends._asyncio",
    "litellm._service_logger",
    "litellm.litellm_core_utils.default_encoding",
    "litellm.types.litellm_core_utils.streaming_chunk_builder_utils",
)
# Half of the time; all providers but these need it.
_OPENAI: Final = "openai.resources"
_WITHOUT_OPENAI: Final = frozenset({"anthropic", "gemini", "ollama_chat"})


def warm_up(provider: str) -> None:
    """Blocks for up to a second, without network. `provider`: LiteLLM's name. Raises any exception of LiteLLM."""
    for name in (*_LATE_IMPORTS, *(() if provider in _WITHOUT_OPENAI else (_OPENAI,))):
        import_module(name)
    # Always the same model: the imports are the same for all, but for some models LiteLLM sends a request.
    litellm.completion(
        model="openai/gpt-4o-mini",
        messages=[{"role": "user", "content": "warm-up"}],
        mock_response="ok",
        api_key="no-key",
    )
