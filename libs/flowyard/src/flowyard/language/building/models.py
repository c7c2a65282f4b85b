"""`config.llm` and a node's `llm` → ModelSettings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flowyard.language import secret_references
from flowyard.language.addresses import address_fault, normal_address
from flowyard.language.building.model_parameters import parameter_faults
from flowyard.language.installation import Installation
from flowyard.language.nodes import ModelSettings, TokenPrice
from flowyard.language.problems import KeyPath, did_you_mean
from flowyard.language.providers import DEFAULT_MODELS, PROVIDERS, UNPAID
from flowyard.language.reading.document import LlmShape, ModelShape
from flowyard.language.reading.source_document import SourceDocument

DEFAULT_PROVIDER: Final = "local"
_SHARED: Final = ("config", "llm")
_FAMILIES: Final = {
    "gpt-": "openai", "o1": "openai", "o3": "openai", "o4": "openai", "chatgpt": "openai", "claude": "anthropic",
    "gemini": "google", "smollm2": "local",
}  # fmt: skip
_PROVIDER_KEYS: Final = ("api_base", "api_key_env", "concurrency", "extra", "json_form", "model", "price", "provider")
_MAIN_PROVIDERS: Final = frozenset({"openai", "anthropic", "google", "ollama", "local", "scripted"})


class ModelReader:
    """Reads model settings: a node's own, completed by those of the document. `shared`: `config.llm`."""

    def __init__(self, shared: LlmShape | None, document: SourceDocument, installation: Installation) -> None:
        self.document = document
        self.installation = installation
        self.shared = self._values_of(shared, _SHARED)
        self.shared_fallbacks = self._fallbacks(shared, _SHARED)
        self.default = self._settings({**self.shared, "fallbacks": self.shared_fallbacks}, _SHARED)
        self.used: list[tuple[KeyPath, ModelSettings]] = []
        """The models of nodes, and where the document names them."""

    def read(self, own: LlmShape | None, path: KeyPath) -> ModelSettings:
        """The settings of a node. `own`: its key `llm`, at `path`."""
        settings = self._read(own, path) if own is not None else self.default
        where = path if own is not None else _SHARED
        self.used.append(((*where, "model"), settings))
        fallbacks_at = path if own is not None and own.fallbacks is not None else _SHARED
        self.used += [((*fallbacks_at, "fallbacks", i, "model"), each) for i, each in enumerate(settings.fallbacks)]
        return settings

    def check_prices(self, budget: str, instead: str) -> None:
        """Reports models whose calls can't be paid from a budget, because nobody knows what they cost.

        `budget`: the words for it in messages; `instead`: what to do about it, if there is no price.
        """
        for path, settings in self.used:
            if settings.provider in PROVIDERS and not self.installation.has_price(settings):
                message = f"the price of {settings} isn't known, so {budget} can't be enforced"
                hint = f"add price: {{input: …, output: …}}, US dollars per million tokens, or {instead}"
                self.document.error("unknown-price", path, message, hint)

    def _read(self, own: LlmShape, path: KeyPath) -> ModelSettings:
        own_values = self._values_of(own, path)
        shared = self.shared
        if "provider" not in own_values and _names_another_provider(own_values.get("model", ""), self.default.provider):
            own_values["provider"], own_values["model"] = self._provider_of(own_values["model"], path)
        if own_values.get("provider", self.default.provider) != self.default.provider:
            # An address and a key belong to their provider, and must never be sent to another provider.
            shared = {key: value for key, value in shared.items() if key not in _PROVIDER_KEYS}
        elif own_values.get("model", self.default.model) != self.default.model:
            shared = {key: value for key, value in shared.items() if key != "price"}
        fallbacks = self.shared_fallbacks if own.fallbacks is None else self._fallbacks(own, path)
        return self._settings({**shared, **own_values, "fallbacks": fallbacks}, path)

    def _fallbacks(self, shape: LlmShape | None, path: KeyPath) -> tuple[ModelSettings, ...]:
        given = (shape.fallbacks if shape else None) or ()
        at = ((*path, "fallbacks", i) for i in range(len(given)))
        return tuple(self._settings(self._values_of(f, where), where) for f, where in zip(given, at, strict=True))

    def _values_of(self, shape: ModelShape | None, path: KeyPath) -> dict[str, Any]:
        if shape is None:
            return {}
        values = shape.model_dump(exclude={"fallbacks"}, exclude_none=True)
        if "price" in values:
            at = (*path, "price")
            amounts = {name: self.document.amount((*at, name), usd) for name, usd in values["price"].items()}
            values["price"] = TokenPrice(**amounts)
        return values

    def _settings(self, given: dict[str, Any], path: KeyPath) -> ModelSettings:
        given = dict(given)
        provider, model = given.pop("provider", None), given.pop("model", None)
        if provider is None and model is not None:
            provider, model = self._provider_of(model, path)
        provider = provider or DEFAULT_PROVIDER
        self._check_provider(provider, path)
        model = model or DEFAULT_MODELS.get(provider)
        if model is None and "config" not in self.document.incomplete and not self.document.has_removed_key(path):
            message = f"provider '{provider}' needs the key 'model'"
            self.document.error("missing-key", path, message, "add 'model:'", key=True)
        if provider in UNPAID and "price" in given and self.document.has((*path, "price")):
            hint = "remove it; a server that costs something is provider: openai, with its api_base"
            message = f"calls of '{provider}' cost nothing"
            self.document.error("reserved-name", (*path, "price"), message, hint, key=True)
        if "api_base" in given:
            given["api_base"] = normal_address(given["api_base"])
            self._check_address(given["api_base"], path)
        if (key := given.get("api_key_env")) is not None:
            self._check_variable(key, (*path, "api_key_env"))
        self._check_extra(given.get("extra", {}), path)
        self._check_parameters(provider, model or "", given, path)
        return ModelSettings(provider, model or "unknown", **given)

    def _check_address(self, address: str, path: KeyPath) -> None:
        where = (*path, "api_base")
        fault = address_fault(address) if self.document.has(where) else None
        if fault is not None:
            self.document.error("invalid-value", where, f"'api_base' {fault}", "write http://HOST:PORT or https://HOST")

    def _check_parameters(self, provider: str, model: str, given: Mapping[str, Any], path: KeyPath) -> None:
        for name, fault in parameter_faults(provider, model, given.get("temperature"), given.get("extra", {})):
            own = (*path, "temperature") if name == "temperature" else (*path, "extra", name)
            where = next((each for each in (own, (*path, "model")) if self.document.has(each)), None)
            if where is not None:
                self.document.warn("not-taken", where, fault)

    def _check_extra(self, extra: Mapping[str, Any], path: KeyPath) -> None:
        for name in extra:
            where, hint = (*path, "extra", name), _PRICE_HINT if "cost_per_" in name else _RESERVED_EXTRAS.get(name)
            if hint is not None and self.document.has(where):
                self.document.error("reserved-name", where, f"'{name}' isn't allowed in extra", hint, key=True)
        for name, value in extra.items():
            if name in secret_references.HEADERS and isinstance(value, Mapping):
                self._check_headers(value, (*path, "extra", name))
            elif secret_references.contains_reference(value) and self.document.has((*path, "extra", name)):
                message = f"references are resolved in headers only, not in '{name}'"
                hint = "write it into extra.headers, or name the key's variable in api_key_env"
                self.document.error("bad-reference", (*path, "extra", name), message, hint)

    def _check_headers(self, headers: Mapping[str, Any], path: KeyPath) -> None:
        for header, value in headers.items():
            malformed = secret_references.header_fault(header, value)
            if malformed is not None and self.document.has((*path, header)):
                self.document.error("invalid-value", (*path, header), malformed, "write it in one line")
            fault = secret_references.reference_fault(value) if isinstance(value, str) else None
            if fault is not None and self.document.has((*path, header)):
                self.document.error("bad-reference", (*path, header), fault, "write ${env:NAME} or ${file:NAME}")
            elif isinstance(value, str):
                for name in secret_references.variables_in(value):
                    self._check_variable(name, (*path, header))

    def _check_variable(self, name: str, path: KeyPath) -> None:
        variables = self.installation.variables
        if not variables.allow(name) and self.document.has(path):
            hint = f"name another, or set FLOWYARD_DOCUMENT_VARIABLES={variables.with_name(name)}"
            self.document.error("variable-not-allowed", path, f"documents may not name the variable {name}", hint)

    def _provider_of(self, model: str, path: KeyPath) -> tuple[str, str]:
        head, slash, tail = model.partition("/")
        if slash and head in PROVIDERS:
            return head, tail
        family = _family(model)
        if family is None and not self.document.has_removed_key(path):
            message = f"the provider of the model '{model}' is unknown"
            self.document.error("missing-key", (*path, "model"), message, "add 'provider:'")
        return family or DEFAULT_PROVIDER, model

    def _check_provider(self, provider: str, path: KeyPath) -> None:
        if provider not in PROVIDERS:
            hint = did_you_mean(provider, PROVIDERS)
            hint = hint or "providers: openai, anthropic, google, ollama, local, scripted, or any of LiteLLM's"
            self.document.error("unknown-provider", (*path, "provider"), f"no provider '{provider}'", hint)


_PRICE_HINT: Final = "write price: {input: …, output: …} next to extra, in US dollars per million tokens"
_RESERVED_EXTRAS: Final = {
    "api_key": "name its variable in api_key_env", "api_base": "write it next to extra", "base_url": "write api_base",
    "model": "write it next to extra", "temperature": "write it next to extra", "max_tokens": "write it next to extra",
    "timeout": "write it next to extra", "messages": "write prompt, system and examples", "stream": "leave it out",
    "stream_options": "leave it out", "response_format": "it follows from the outputs", "num_retries": "write retry",
    "max_retries": "write retry", "fallbacks": "write it next to extra", "mock_response": "write provider: scripted",
    "custom_llm_provider": "write provider next to extra", "deployment_id": "write model next to extra",
    **dict.fromkeys(("aws_bedrock_runtime_endpoint", "azure_endpoint"), "write api_base next to extra"),
    **dict.fromkeys((
        "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_sts_endpoint", "aws_web_identity_token",
        "azure_ad_token", "azure_password", "client_secret", "vertex_ai_credentials", "vertex_credentials",
    ), "credentials belong to the environment of the executors"),
}  # fmt: skip
"""Keys that have another place in a document: in `extra` they would be ignored, or put a secret into the document."""


def _names_another_provider(model: str, provider: str) -> bool:
    """Whether the model's name shows that it belongs to another provider than `provider`: `claude-…`, `anthropic/…`.

    False for routers, whose names of models contain other providers (`openrouter` with `anthropic/claude-…`).
    """
    family = _family(model) if "/" not in model else model.partition("/")[0]
    return family in _MAIN_PROVIDERS and provider in _MAIN_PROVIDERS and family != provider


def _family(model: str) -> str | None:
    return next((provider for prefix, provider in _FAMILIES.items() if model.startswith(prefix)), None)
