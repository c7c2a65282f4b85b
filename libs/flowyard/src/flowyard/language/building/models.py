"""`config.llm` and a node's `llm` → ModelSettings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from flowyard.language import outside
from flowyard.language.nodes import ModelSettings
from flowyard.language.problems import did_you_mean
from flowyard.language.providers import DEFAULT_MODELS, PROVIDERS
from flowyard.language.reading.document import LlmShape, ModelShape
from flowyard.language.reading.places import Path, Places

DEFAULT_PROVIDER: Final = "local"
_FAMILIES: Final = {
    "gpt-": "openai", "o1": "openai", "o3": "openai", "o4": "openai", "chatgpt": "openai", "claude": "anthropic",
    "gemini": "google", "smollm2": "local",
}  # fmt: skip
_OF_ITS_PROVIDER: Final = ("api_base", "api_key_env", "extra", "model", "provider")
_MAIN_PROVIDERS: Final = frozenset({"openai", "anthropic", "google", "ollama", "local", "scripted"})


class Models:
    """Merges a node's model settings with those of the document."""

    def __init__(self, shared: LlmShape | None, places: Places) -> None:
        self.shared = shared
        self.places = places
        self.shared_fallbacks = self._fallbacks(shared, ("config", "llm"))
        self.default = self._one({**_given(shared), "fallbacks": self.shared_fallbacks}, ("config", "llm"))

    def of(self, own: LlmShape | None, path: Path) -> ModelSettings:
        if own is None:
            return self.default
        mine = _given(own)
        shared = _given(self.shared)
        if "provider" not in mine and _names_another_provider(mine.get("model", ""), self.default.provider):
            mine["provider"], mine["model"] = self._provider_of(mine["model"], path)
        if mine.get("provider", self.default.provider) != self.default.provider:
            # An address and a key belong to their provider: another one must never be sent them.
            shared = {key: value for key, value in shared.items() if key not in _OF_ITS_PROVIDER}
        fallbacks = self.shared_fallbacks if own.fallbacks is None else self._fallbacks(own, path)
        return self._one({**shared, **mine, "fallbacks": fallbacks}, path)

    def _fallbacks(self, shape: LlmShape | None, path: Path) -> tuple[ModelSettings, ...]:
        given = (shape.fallbacks if shape else None) or ()
        return tuple(self._one(_given(f), (*path, "fallbacks", i)) for i, f in enumerate(given))

    def _one(self, given: dict[str, Any], path: Path) -> ModelSettings:
        given = dict(given)
        provider, model = given.pop("provider", None), given.pop("model", None)
        if provider is None and model is not None:
            provider, model = self._provider_of(model, path)
        provider = provider or DEFAULT_PROVIDER
        self._check_provider(provider, path)
        model = model or DEFAULT_MODELS.get(provider)
        if model is None and "config" not in self.places.damaged and not self.places.lost_a_key(path):
            self.places.error(
                "missing-key", path, f"provider '{provider}' needs the key 'model'", "add 'model:'", key=True
            )
        self._check_address(given.get("api_base"), path)
        self._check_extra(given.get("extra", {}), path)
        return ModelSettings(provider, model or "unknown", **given)

    def _check_address(self, address: str | None, path: Path) -> None:
        where = (*path, "api_base")
        if address is not None and self.places.has(where) and not _has_host(address):
            message = f"'api_base' must be an address, not '{address}'"
            self.places.error("invalid-value", where, message, "write http://HOST:PORT or https://HOST")

    def _check_extra(self, extra: Mapping[str, Any], path: Path) -> None:
        for name in extra:
            where, hint = (*path, "extra", name), _PRICE if "cost_per_" in name else _OWN_EXTRAS.get(name)
            if hint is not None and self.places.has(where):
                self.places.error("reserved-name", where, f"'{name}' can't stand in extra", hint, key=True)
        for name, value in extra.items():
            if name in outside.HEADERS and isinstance(value, Mapping):
                self._check_headers(value, (*path, "extra", name))
            elif outside.contains_reference(value) and self.places.has((*path, "extra", name)):
                message = f"references are resolved in headers only, not in '{name}'"
                hint = "write it into extra.headers, or name the key's variable in api_key_env"
                self.places.error("bad-reference", (*path, "extra", name), message, hint)

    def _check_headers(self, headers: Mapping[str, Any], path: Path) -> None:
        for header, value in headers.items():
            wrong = outside.reference_fault(value) if isinstance(value, str) else None
            if wrong is not None and self.places.has((*path, header)):
                self.places.error("bad-reference", (*path, header), wrong, "write ${env:NAME} or ${file:NAME}")

    def _provider_of(self, model: str, path: Path) -> tuple[str, str]:
        head, slash, tail = model.partition("/")
        if slash and head in PROVIDERS:
            return head, tail
        family = _family(model)
        if family is None and not self.places.lost_a_key(path):
            message = f"the provider of the model '{model}' isn't known"
            self.places.error("missing-key", (*path, "model"), message, "add 'provider:'")
        return family or DEFAULT_PROVIDER, model

    def _check_provider(self, provider: str, path: Path) -> None:
        if provider not in PROVIDERS:
            hint = did_you_mean(provider, PROVIDERS)
            hint = hint or "providers: openai, anthropic, google, ollama, local, scripted, or any of LiteLLM's"
            self.places.error("unknown-provider", (*path, "provider"), f"no provider '{provider}'", hint)


_PRICE: Final = "prices are those of LiteLLM's list"
_OWN_EXTRAS: Final = {
    "api_key": "name its variable in api_key_env", "api_base": "write it beside extra", "base_url": "write api_base",
    "model": "write it beside extra", "temperature": "write it beside extra", "max_tokens": "write it beside extra",
    "timeout": "write it beside extra", "messages": "write prompt, system and examples", "stream": "leave it out",
    "stream_options": "leave it out", "response_format": "it follows from the outputs", "num_retries": "write retry",
    "max_retries": "write retry", "fallbacks": "write it beside extra", "mock_response": "write provider: scripted",
    "custom_llm_provider": "write provider beside extra", "deployment_id": "write model beside extra",
}  # fmt: skip
"""What a call gets from elsewhere: in `extra` it would be ignored, or a key would stand in a document."""


def _names_another_provider(model: str, provider: str) -> bool:
    """Whether a model's name alone says that it isn't one of `provider`: `claude-…`, or `anthropic/…`.

    A router's names hold other providers' names (`openrouter` with `anthropic/claude-…`), so there they say nothing.
    """
    family = _family(model) if "/" not in model else model.partition("/")[0]
    return family in _MAIN_PROVIDERS and provider in _MAIN_PROVIDERS and family != provider


def _has_host(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _family(model: str) -> str | None:
    return next((provider for prefix, provider in _FAMILIES.items() if model.startswith(prefix)), None)


def _given(shape: ModelShape | None) -> dict[str, Any]:
    if shape is None:
        return {}
    return shape.model_dump(exclude={"fallbacks"}, exclude_none=True)
