"""The providers that speak OpenAI's chat format, one line each: they are called directly, without LiteLLM. Pure.

Sources: the providers' own documentation, and the tables of LiteLLM 1.106.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from flowyard.errors.steps import ModelRefused
from flowyard.language.addresses import address_fault
from flowyard.language.nodes import ModelSettings
from flowyard.language.providers import PROVIDERS

ALL: Final = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """`base`: the address of the API; None: the document has to name it. `keys`: variables of its key; (): none needed.

    `bases`: variables with another address, besides `{PROVIDER}_API_BASE`. `reasons`: matches the models that take
    `max_completion_tokens` in place of `max_tokens`. `elsewhere`: matches models and names in `extra` that this format
    doesn't have, so that LiteLLM calls them. `counts_always`: it sends token counts in streams, and the option that
    asks for them is unknown to it. `prefix`: of the name of a model that is no path.
    """

    base: str | None = None
    keys: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    reasons: str = r"(?!)"
    elsewhere: str = r"(?!)"
    counts_always: bool = False
    prefix: str = ""


_OLLAMA_ONLY: Final = (
    r"^(options|keep_alive|think|num_ctx|num_predict|num_gpu|num_thread|mirostat.*|repeat_.*|min_p|tfs_z|top_k)$"
)
"""What only Ollama's own API has: its other one ignores them in silence."""

_VERSIONED: Final = frozenset({"anthropic", "ollama", "ollama_chat"})
_GOOGLES_PATH: Final = "/v1beta"

_NO_OWN_ADDRESS: Final = frozenset({"azure", "azure_ai", "azure_text", "openai_like"})
"""Each customer has another address, so that somebody has to name it."""

_BASES: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic": ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
    "azure": ("AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT"),
    "google": ("GEMINI_API_BASE",),
    "ollama_chat": ("OLLAMA_API_BASE",),
    "vertex_ai": ("VERTEXAI_API_BASE", "VERTEX_API_BASE"),
}
"""Variables of addresses as LiteLLM names them, where it isn't `{PROVIDER}_API_BASE` alone."""

DIRECT: Final[Mapping[str, Provider]] = {
    "cerebras": Provider(base="https://api.cerebras.ai/v1", keys=("CEREBRAS_API_KEY",), counts_always=True),
    "dashscope": Provider(base="https://dashscope.aliyuncs.com/compatible-mode/v1", keys=("DASHSCOPE_API_KEY",)),
    "deepinfra": Provider(base="https://api.deepinfra.com/v1/openai", keys=("DEEPINFRA_API_KEY",)),
    "deepseek": Provider(base="https://api.deepseek.com", keys=("DEEPSEEK_API_KEY",)),
    "docker_model_runner": Provider(base="http://localhost:12434/engines/v1"),
    "fireworks_ai": Provider(
        base="https://api.fireworks.ai/inference/v1",
        keys=("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
        prefix="accounts/fireworks/models/",
    ),
    "groq": Provider(base="https://api.groq.com/openai/v1", keys=("GROQ_API_KEY",)),
    "hosted_vllm": Provider(base="http://localhost:8000/v1"),
    "hyperbolic": Provider(base="https://api.hyperbolic.xyz/v1", keys=("HYPERBOLIC_API_KEY",), counts_always=True),
    "lemonade": Provider(base="http://localhost:8000/api/v1"),
    "llamafile": Provider(base="http://localhost:8080/v1"),
    "lm_studio": Provider(base="http://localhost:1234/v1"),
    "mistral": Provider(base="https://api.mistral.ai/v1", keys=("MISTRAL_API_KEY",), counts_always=True),
    "moonshot": Provider(base="https://api.moonshot.ai/v1", keys=("MOONSHOT_API_KEY",)),
    "nebius": Provider(base="https://api.studio.nebius.ai/v1", keys=("NEBIUS_API_KEY",)),
    "novita": Provider(base="https://api.novita.ai/v3/openai", keys=("NOVITA_API_KEY",)),
    "nvidia_nim": Provider(base="https://integrate.api.nvidia.com/v1", keys=("NVIDIA_NIM_API_KEY",)),
    "ollama": Provider(base="http://localhost:11434/v1", elsewhere=_OLLAMA_ONLY),
    "openai": Provider(
        base="https://api.openai.com/v1",
        keys=("OPENAI_API_KEY",),
        bases=("OPENAI_BASE_URL",),
        reasons=r"^(o\d|gpt-[5-9])",
        elsewhere=r"codex|-pro\b|deep-research|daybreak|computer-use|-instruct",
    ),
    "openai_like": Provider(),
    "openrouter": Provider(base="https://openrouter.ai/api/v1", keys=("OPENROUTER_API_KEY",)),
    "perplexity": Provider(
        base="https://api.perplexity.ai",
        keys=("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
        elsewhere="/",
        counts_always=True,
    ),
    "sambanova": Provider(base="https://api.sambanova.ai/v1", keys=("SAMBANOVA_API_KEY",)),
    "together_ai": Provider(
        base="https://api.together.ai/v1", keys=("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY")
    ),
    "vllm": Provider(base="http://localhost:8000/v1"),
    "xai": Provider(base="https://api.x.ai/v1", keys=("XAI_API_KEY",), elsewhere="multi-agent"),
}


def read_litellm_providers(text: str | Collection[str]) -> frozenset[str]:
    """The providers of `FLOWYARD_LITELLM`, such as `openai, groq`, or `all`. Raises ValueError."""
    names = frozenset(text.replace(",", " ").split()) if isinstance(text, str) else frozenset(text)
    unknown = sorted(names - PROVIDERS - {ALL})
    if unknown:
        raise ValueError(f"no such provider: {', '.join(unknown)}. Write names of providers, or {ALL}")
    return names


def is_direct(settings: ModelSettings, litellm: Collection[str]) -> bool:
    """Whether the model is called without LiteLLM. `litellm`: the providers that a setting takes away."""
    provider = DIRECT.get(settings.provider)
    if provider is None or settings.provider in litellm or ALL in litellm:
        return False
    if any(re.search(provider.elsewhere, name) for name in settings.extra):
        return False
    # At another address, the name of a model means whatever its server wants.
    return settings.api_base is not None or not re.search(provider.elsewhere, settings.model)


def base_variables(provider: str) -> tuple[str, ...]:
    """The variables that name another address of the provider's API, in the order in which they count."""
    own = f"{provider.upper()}_API_BASE"
    return (*DIRECT[provider].bases, own) if provider in DIRECT else _BASES.get(provider, (own,))


def located(settings: ModelSettings, environ: Mapping[str, str]) -> ModelSettings:
    """The settings with the address that counts: that of the document, or of a variable. Raises ModelRefused."""
    if settings.provider in ("local", "scripted"):
        return settings
    where, address = "its api_base", settings.api_base
    if address is None:
        names = base_variables(settings.provider)
        name = next((name for name in names if environ.get(name, "").strip()), None)
        if name is None and settings.provider in _NO_OWN_ADDRESS:
            detail = f"its api_base is missing: write it into the document, or set {names[0]}"
            raise ModelRefused(detail, provider=settings.provider, model=settings.model)
        if name is None:
            return settings
        where, address = f"the variable {name}", environ[name].strip()
    if (fault := address_fault(address)) is not None:
        raise ModelRefused(f"{where} {fault}", provider=settings.provider, model=settings.model)
    return settings if address == settings.api_base else replace(settings, api_base=address)


def base_url(settings: ModelSettings) -> str:
    """Where the provider's API is, without a slash at its end. `settings`: those `located`.

    An address without a path gets that of the provider's own address: `/v1` for most.
    """
    provider = DIRECT[settings.provider]
    given = settings.api_base
    if given is None:
        return provider.base or ""
    url = given.strip().rstrip("/").removesuffix("/chat/completions")
    try:
        has_path = bool(urlsplit(url).path)
    except ValueError:
        # The call itself reports what is wrong with it.
        return url
    return url if has_path else f"{url}{urlsplit(provider.base or '/v1').path}"


def litellm_base(settings: ModelSettings) -> str | None:
    """The same for a call through LiteLLM. None: LiteLLM knows it."""
    if settings.api_base is None:
        return None
    if settings.provider in DIRECT and settings.provider != "ollama":
        return base_url(settings)
    url = settings.api_base.rstrip("/")
    if settings.provider in ("gemini", "google"):
        return url if urlsplit(url).path else f"{url}{_GOOGLES_PATH}"
    # LiteLLM adds them by itself.
    if settings.provider == "azure":
        return url.removesuffix("/v1").removesuffix("/openai")
    return url.removesuffix("/v1") if settings.provider in _VERSIONED else url


def name_of_model(settings: ModelSettings) -> str:
    """The provider's name of the model."""
    prefix = DIRECT[settings.provider].prefix
    return settings.model if "/" in settings.model else f"{prefix}{settings.model}"


def limit_parameter(settings: ModelSettings) -> str:
    """What the provider calls the limit of a reply's tokens."""
    reasons = re.search(DIRECT[settings.provider].reasons, settings.model)
    return "max_completion_tokens" if reasons else "max_tokens"
