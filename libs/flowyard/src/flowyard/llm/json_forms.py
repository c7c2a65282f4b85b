"""How a model is asked for JSON: by what the schema, the provider and the server can do. Pure.

From the form that binds the model most to the one that binds it least: `strict`, a schema that the provider enforces;
`schema`, one that it heeds; `object`, any JSON object; `prompt`, nothing but the words. In each form the prompt has the
schema, too.

Strict mode: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from flowyard.errors.steps import ModelNeverRan, ModelRefused
from flowyard.language.nodes import JsonForm, ModelSettings
from flowyard.language.values.json_schema import property_names
from flowyard.llm.calls import JsonSchema, ModelCall
from flowyard.llm.messages import with_text

Forms: TypeAlias = tuple[JsonForm, ...]

_CLOSED_ONLY: Final[Forms] = ("strict", "prompt")
"""For a provider that makes less of an open schema: of `dict` an object without any key, so that `{}` is the reply."""
_ALL: Final[Forms] = ("strict", "schema", "object", "prompt")
_BY_PROVIDER: Final[Mapping[str, Forms]] = {
    **dict.fromkeys((
        "azure", "cerebras", "custom_openai", "deepinfra", "docker_model_runner", "fireworks_ai", "groq", "hosted_vllm",
        "hyperbolic", "lemonade", "llamafile", "lm_studio", "mistral", "nebius", "novita", "nvidia_nim",
        "openai", "openai_like", "openrouter", "sambanova", "together_ai", "vllm", "xai", "xinference",
    ), _ALL),
    **dict.fromkeys(("dashscope", "deepseek", "moonshot"), ("object", "prompt")),
    # Strict or not, they enforce the schema, so the same request would be sent twice.
    **dict.fromkeys(("ollama", "ollama_chat"), ("schema", "object", "prompt")),
    **dict.fromkeys(("gemini", "google"), ("strict", "object", "prompt")),
    "local": ("strict", "schema"),
    "perplexity": ("strict", "schema", "prompt"),
}  # fmt: skip

_BINDS_WITH_TOOLS: Final = frozenset({"azure", "openai"})

_LIMITS: Final = frozenset({
    "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems", "maximum", "maxLength", "minItems", "minimum",
    "minLength", "multipleOf", "pattern",
})  # fmt: skip
"""Keys of a schema that only narrow a value: what a strict mode doesn't take is left to the prompt and to our check."""
_NUMBERS_AND_LISTS: Final = frozenset(
    {"exclusiveMaximum", "exclusiveMinimum", "format", "maxItems", "maximum", "minItems", "minimum"}
)
_LIMITS_TAKEN: Final[Mapping[str, frozenset[str]]] = {
    "azure": frozenset(),
    "google": _NUMBERS_AND_LISTS,
    "gemini": _NUMBERS_AND_LISTS,
    "local": _LIMITS,
    "ollama": _LIMITS,
    "ollama_chat": _LIMITS,
    "openai": _NUMBERS_AND_LISTS | {"multipleOf", "pattern"},
}
_DEEPEST: Final = 10
_MOST_PROPERTIES: Final = 5000

_ABOUT_FORM: Final = re.compile(
    r"(?:response|output)[_ ]?(?:format|config|mime)|schema|json.?(?:mode|object)|structured|grammar|invalid format",
    re.IGNORECASE,
)
_ABOUT_FORM_IN_500: Final = re.compile(r"json schema|grammar|required for format", re.IGNORECASE)
"""Words of Ollama and llama.cpp. A 500 has other reasons, too, so fewer words count."""
_STATUSES: Final = frozenset({400, 404, 422, 501})
_MOST_ADDRESSES: Final = 1000


def forms_of(settings: ModelSettings, schema: JsonSchema) -> Forms:
    """The forms in which this model may be asked for this schema, the best first. Never empty."""
    if settings.json_form is not None:
        return (settings.json_form,)
    forms = _BY_PROVIDER.get(settings.provider, _CLOSED_ONLY)
    return forms if _is_closed(schema) else tuple(form for form in forms if form != "strict")


def response_format(call: ModelCall) -> dict[str, Any] | None:
    """OpenAI's parameter, which LiteLLM translates for other providers. None: nothing but the prompt asks for JSON."""
    if call.schema is None:
        return None
    form = call.json_form or forms_of(call.settings, call.schema)[0]
    if form == "prompt":
        return None
    if form == "object":
        return {"type": "json_object"}
    is_strict = form == "strict"
    schema = _within_subset(call.schema, call.settings.provider) if is_strict else dict(call.schema)
    return {"type": "json_schema", "json_schema": {"name": "reply", "strict": is_strict, "schema": schema}}


def with_schema(call: ModelCall) -> ModelCall:
    """The call with its schema in its last message. Not for models that have no use for it."""
    if call.schema is None or call.settings.provider in ("local", "scripted"):
        return call
    text = json.dumps(call.schema, ensure_ascii=False)
    *before, last = call.messages
    if isinstance(last.content, str) and text in last.content:
        return call
    wish = f"Reply with nothing but JSON that fits this schema:\n{text}"
    return replace(call, messages=(*before, *with_text(last, wish)))


@dataclass(slots=True)
class RefusedForms:
    """What servers didn't take, by address and model, for as long as the process calls them."""

    _refused: dict[tuple[str, str | None, str], set[JsonForm]] = field(default_factory=dict)

    def best(self, call: ModelCall, schema: JsonSchema) -> JsonForm:
        """The form for the next call. Most providers can't both bind the reply and let the model call tools."""
        settings = call.settings
        if call.offer is not None and settings.json_form is None and settings.provider not in _BINDS_WITH_TOOLS:
            return "prompt"
        forms = forms_of(settings, schema)
        refused = self._refused.get(_address(settings), set())
        return next((form for form in forms if form not in refused), forms[-1])

    def add(self, call: ModelCall, error: ModelRefused | ModelNeverRan) -> bool:
        """Remembers that the server refused the call's form, if that is what the error says.

        Returns whether another form is worth a call.
        """
        form = call.json_form
        if call.schema is None or form is None or form == forms_of(call.settings, call.schema)[-1]:
            return False
        if not _is_about_form(error):
            return False
        if len(self._refused) >= _MOST_ADDRESSES:
            self._refused.clear()
        self._refused.setdefault(_address(call.settings), set()).add(form)
        return True


def _is_about_form(error: ModelRefused | ModelNeverRan) -> bool:
    words = _ABOUT_FORM if error.answered in _STATUSES else _ABOUT_FORM_IN_500 if error.answered == 500 else None
    return words is not None and words.search(error.detail) is not None


def _address(settings: ModelSettings) -> tuple[str, str | None, str]:
    return settings.provider, settings.api_base, settings.model


def _is_closed(schema: JsonSchema) -> bool:
    """Whether strict modes take the schema: all objects are closed, and all of their fields required."""
    properties = sum(1 for _ in property_names(schema))
    return properties <= _MOST_PROPERTIES and _has_closed_objects(schema, 1)


def _has_closed_objects(schema: Any, depth: int) -> bool:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return False
    if "anyOf" in schema:
        return all(_has_closed_objects(each, depth) for each in schema["anyOf"])
    match schema.get("type"):
        case "object":
            fields = schema.get("properties") or {}
            is_closed = schema.get("additionalProperties") is False and set(schema.get("required") or ()) == set(fields)
            return is_closed and all(_has_closed_objects(each, depth + 1) for each in fields.values())
        case "array":
            return _has_closed_objects(schema.get("items"), depth + 1)
        case kind:
            return kind is not None or "enum" in schema or "const" in schema


def _within_subset(schema: JsonSchema, provider: str) -> dict[str, Any]:
    left_out = _LIMITS - _LIMITS_TAKEN.get(provider, frozenset())
    return _without(schema, left_out) if left_out else dict(schema)


def _without(schema: JsonSchema, keys: frozenset[str]) -> dict[str, Any]:
    """The schema without these keys. `properties` has names of fields, which may be anything."""
    kept = {name: value for name, value in schema.items() if name not in keys}
    if "properties" in kept:
        kept["properties"] = {name: _without(each, keys) for name, each in kept["properties"].items()}
    if "items" in kept:
        kept["items"] = _without(kept["items"], keys)
    if "anyOf" in kept:
        kept["anyOf"] = [_without(each, keys) for each in kept["anyOf"]]
    return kept
