"""Every way to a model, each with a server that speaks its format: through LiteLLM, and directly.

A new way joins the tests of tests/unit/llm/test_wire_*.py with one line in PROVIDERS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final

from flowyard.language.nodes import ModelSettings
from support.wire.anthropic import anthropic_server
from support.wire.gemini import gemini_server
from support.wire.ollama import ollama_server
from support.wire.openai import openai_server
from support.wire.server import Script, WireServer

KEY: Final = "sk-sesame-0123456789"
ENVIRON: Final = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY, "GEMINI_API_KEY": KEY}
LITELLM: Final = frozenset({"openai", "ollama"})
"""Providers that LiteLLM calls in tests of it; outside of tests, they are called directly."""


@dataclass(frozen=True)
class Provider:
    """`key_header` and `key_value` are where and how the key travels; `needed`: settings of every call."""

    name: str
    model: str
    serve: Callable[[Script], AbstractAsyncContextManager[WireServer]]
    key_header: str
    key_value: str | None
    needed: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def settings(self, server: WireServer, **settings: Any) -> ModelSettings:
        usual = {"provider": self.name, "model": self.model, "api_base": server.url, **self.needed}
        return ModelSettings(**{**usual, **settings})


OPENAI: Final = Provider("openai", "gpt-4o-mini", openai_server, "authorization", f"Bearer {KEY}")
ANTHROPIC: Final = Provider("anthropic", "claude-sonnet-4-5", anthropic_server, "x-api-key", KEY)
GOOGLE: Final = Provider("google", "gemini-2.5-flash", gemini_server, "x-goog-api-key", KEY)
OLLAMA: Final = Provider("ollama", "llama3.2", ollama_server, "authorization", None)
DIRECT: Final = Provider(
    "hosted_vllm", "qwen3", openai_server, "authorization", f"Bearer {KEY}", {"api_key_env": "OPENAI_API_KEY"}
)
"""A server that speaks OpenAI's format, at an address of the document's: called without LiteLLM."""
PRICED: Final = (OPENAI, ANTHROPIC, GOOGLE, OLLAMA)
PROVIDERS: Final = (*PRICED, DIRECT)
