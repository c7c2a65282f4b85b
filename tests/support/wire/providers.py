"""The four providers that most documents name, each with a server that speaks its format."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from flowyard.language.nodes import ModelSettings
from support.wire.anthropic import anthropic_server
from support.wire.gemini import gemini_server
from support.wire.ollama import ollama_server
from support.wire.openai import openai_server
from support.wire.server import Script, WireServer

KEY: Final = "sk-sesame-0123456789"
ENVIRON: Final = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY, "GEMINI_API_KEY": KEY}


@dataclass(frozen=True)
class Provider:
    """`model` has a known price; `key_header` and `key_value` are where and how the key travels."""

    name: str
    model: str
    serve: Callable[[Script], AbstractAsyncContextManager[WireServer]]
    key_header: str
    key_value: str | None

    def settings(self, server: WireServer, **settings: Any) -> ModelSettings:
        return ModelSettings(**{"provider": self.name, "model": self.model, "api_base": server.url, **settings})


OPENAI: Final = Provider("openai", "gpt-4o-mini", openai_server, "authorization", f"Bearer {KEY}")
ANTHROPIC: Final = Provider("anthropic", "claude-sonnet-4-5", anthropic_server, "x-api-key", KEY)
GOOGLE: Final = Provider("google", "gemini-2.5-flash", gemini_server, "x-goog-api-key", KEY)
OLLAMA: Final = Provider("ollama", "llama3.2", ollama_server, "authorization", None)
PROVIDERS: Final = (OPENAI, ANTHROPIC, GOOGLE, OLLAMA)
