"""Which environment variable holds a provider's key. Pure tables; the names are those that LiteLLM reads.

Source: https://docs.litellm.ai/docs/providers, checked against litellm 1.106.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from flowyard.language.nodes import ModelSettings
from flowyard.language.outside import HEADERS
from flowyard.step_errors import MissingApiKey

NO_KEY: Final = "no-key"
"""Sent to a keyless server on this machine: most clients refuse to call without any key."""

_SECRET: Final = ("_KEY", "_TOKEN", "_SECRET")
_SHORTEST: Final = 8
_LONG: Final = 16
_TELLING: Final = re.compile(r"auth|cookie|credential|key|password|secret|token", re.IGNORECASE)

KEYLESS: Final = frozenset(
    {
        "docker_model_runner",
        "hosted_vllm",
        "lemonade",
        "llamafile",
        "lm_studio",
        "local",
        "ollama",
        "ollama_chat",
        "oobabooga",
        "petals",
        "scripted",
        "triton",
        "vllm",
        "xinference",
    }
)
KEY_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "ai21": ("AI21_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "azure": ("AZURE_API_KEY",),
    "azure_ai": ("AZURE_AI_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "codestral": ("CODESTRAL_API_KEY",),
    "cohere": ("COHERE_API_KEY",),
    "cohere_chat": ("COHERE_API_KEY",),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "databricks": ("DATABRICKS_API_KEY",),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks_ai": ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "google": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "huggingface": ("HUGGINGFACE_API_KEY", "HF_TOKEN"),
    "hyperbolic": ("HYPERBOLIC_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshot": ("MOONSHOT_API_KEY",),
    "nebius": ("NEBIUS_API_KEY",),
    "novita": ("NOVITA_API_KEY",),
    "nvidia_nim": ("NVIDIA_NIM_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "replicate": ("REPLICATE_API_KEY",),
    "sambanova": ("SAMBANOVA_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"),
    "voyage": ("VOYAGE_API_KEY",),
    "xai": ("XAI_API_KEY",),
}


DIRECT: Final = frozenset(
    {"docker_model_runner", "hosted_vllm", "lemonade", "llamafile", "lm_studio", "openai_like", "vllm"}
)
"""Providers that speak OpenAI's format and nothing else, and whose prices nobody knows."""


def is_direct(settings: ModelSettings) -> bool:
    """Whether the document itself says where the server is. Otherwise LiteLLM knows a default."""
    return settings.provider in DIRECT and settings.api_base is not None


def is_known(provider: str) -> bool:
    """Whether `find_key` can tell by itself if a key is missing."""
    return provider in KEYLESS or provider in KEY_VARIABLES


def key_variable(settings: ModelSettings) -> str | None:
    """The variable that a person should set. None: the provider needs none, or LiteLLM finds its own."""
    if settings.api_key_env:
        return settings.api_key_env
    names = KEY_VARIABLES.get(settings.provider)
    return names[0] if names else None


def find_key(settings: ModelSettings, environ: Mapping[str, str]) -> str | None:
    """The key to send, or None where none is needed (or where LiteLLM reads the environment itself).

    A server on this machine (`api_base` is a loopback address) may do without one, unless `api_key_env` names it.
    Raises MissingApiKey.
    """
    names = (settings.api_key_env,) if settings.api_key_env else KEY_VARIABLES.get(settings.provider, ())
    found = next((environ[name] for name in names if environ.get(name)), None)
    if found or not names:
        return found
    if settings.api_key_env is None and is_loopback(settings.api_base):
        return NO_KEY
    raise MissingApiKey(provider=settings.provider, model=settings.model, variable=names[0])


def sent(settings: ModelSettings, environ: Mapping[str, str], referred: frozenset[str]) -> frozenset[str]:
    """What goes to the provider with a call and must not come back in its reply: the key, and secrets in headers.

    `referred`: what headers refer to. Of others, those count whose name tells that they are secret.
    """
    names = (settings.api_key_env,) if settings.api_key_env else KEY_VARIABLES.get(settings.provider, ())
    told = [environ.get(name, "") for name in names]
    if not names and not is_known(settings.provider):
        # LiteLLM finds its key by itself. Only long values: a short one may be a word of any reply.
        told += [value for value in _secrets_in(environ) if len(value) >= _LONG]
    for name in HEADERS:
        headers = settings.extra.get(name)
        if isinstance(headers, Mapping):
            told += [str(value) for header, value in headers.items() if _TELLING.search(header)]
    return _parts([*told, *referred]) | referred


def is_loopback(api_base: str | None) -> bool:
    """Whether the address is on this machine. One that can't be read isn't: the call itself will tell."""
    try:
        host = urlsplit(api_base).hostname if api_base else None
    except ValueError:
        return False
    if host is None:
        return False
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def secrets_of(settings: ModelSettings, *environments: Mapping[str, str]) -> frozenset[str]:
    """What no error may spell: all secrets of the environments, whichever of them was sent, and the own headers.

    Only values of 8 characters and more: shorter ones are words of any sentence.
    """
    told = [value for environ in environments for value in _secrets_in(environ)]
    for name in HEADERS:
        headers = settings.extra.get(name)
        if isinstance(headers, Mapping):
            told += [str(value) for value in headers.values()]
    return _parts(told)


def _secrets_in(environ: Mapping[str, str]) -> list[str]:
    return [value for name, value in environ.items() if name.upper().endswith(_SECRET)]


def _parts(told: Iterable[str]) -> frozenset[str]:
    # The word alone as well: of `Bearer abc`, a server repeats `abc`.
    return frozenset(part for value in told for part in (value.strip(), *value.split()) if len(part) >= _SHORTEST)
