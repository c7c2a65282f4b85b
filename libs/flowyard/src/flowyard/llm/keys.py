"""API keys: the environment variable of each provider's key, and the texts that are secret in a call. Pure.

The variables are those that LiteLLM reads: https://docs.litellm.ai/docs/providers, checked against litellm 1.106.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from flowyard.errors.steps import InvalidApiKey, MissingApiKey
from flowyard.language.nodes import ModelSettings
from flowyard.language.secret_references import HEADERS
from flowyard.llm.providers import DIRECT

Place: TypeAlias = tuple[object, ...]
NO_KEY: Final = "no-key"
"""The key for a server on this machine that needs none: most clients refuse to call without any key."""

_SECRET_SUFFIXES: Final = ("_KEY", "_TOKEN", "_SECRET", "_TOKEN_BEDROCK")
_MIN_LENGTH: Final = 8
"""Characters. Shorter values are ordinary words of many texts, so they aren't masked."""
_MIN_LENGTH_IN_REPLIES: Final = 16
"""The same for variables that may not be the call's key at all: a reply is more text than an error."""
_KEY_HEADERS: Final = frozenset({"api-key", "authorization", "x-api-key", "x-goog-api-key"})
_SECRET_HEADER: Final = re.compile(r"auth|cookie|credential|key|password|secret|token", re.IGNORECASE)

_PLAIN_QUOTES: Final = frozenset("\"'`")
_TYPOGRAPHIC_QUOTES: Final = frozenset("\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b\u00ab\u00bb\u2039\u203a")

KEYLESS: Final = frozenset((
    *(name for name, provider in DIRECT.items() if not provider.keys and name != "openai_like"),
    "local", "ollama_chat", "oobabooga", "petals", "scripted", "triton", "xinference",
))  # fmt: skip
_NAMED_BY_PROVIDER: Final = (
    "ai21", "anthropic", "azure", "azure_ai", "codestral", "cohere", "databricks", "replicate", "voyage",
)  # fmt: skip
KEY_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: provider.keys for name, provider in DIRECT.items() if provider.keys},
    **{provider: (f"{provider.upper()}_API_KEY",) for provider in _NAMED_BY_PROVIDER},
    "cohere_chat": ("COHERE_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "google": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "huggingface": ("HUGGINGFACE_API_KEY", "HF_TOKEN"),
}


@dataclass(frozen=True, slots=True)
class Access:
    """How a call gets access to its provider. `key`: None if it needs none. `secrets`: texts to mask in its errors."""

    key: str | None = field(repr=False)
    secrets: frozenset[str] = field(repr=False)


def covers(provider: str) -> bool:
    """Whether these tables know the provider, so that `find_key` finds out if its key is missing."""
    return provider in KEYLESS or provider in KEY_VARIABLES


def key_variable(settings: ModelSettings) -> str | None:
    """The variable that a user should set. None: the provider needs no key, or LiteLLM finds it by itself."""
    if settings.api_key_env:
        return settings.api_key_env
    names = KEY_VARIABLES.get(settings.provider)
    return names[0] if names else None


def place_of(settings: ModelSettings) -> Place:
    """What decides where a call goes and with which key and headers: the same place, the same access."""
    return settings.provider, settings.model, settings.api_base, settings.api_key_env, headers_of(settings)


def headers_of(settings: ModelSettings) -> tuple[tuple[str, str], ...]:
    """The names and values of the headers in a document. Of a name that is there twice, the last one is sent."""
    if not settings.extra:
        return ()
    given = (settings.extra.get(name) for name in HEADERS)
    return tuple((name, str(value)) for each in given if isinstance(each, Mapping) for name, value in each.items())


def key_header(settings: ModelSettings) -> str | None:
    """The document's header that is sent in place of the key, if it has one."""
    return next((header for header, _ in headers_of(settings) if header.lower() in _KEY_HEADERS), None)


def find_key(settings: ModelSettings, environ: Mapping[str, str]) -> str | None:
    """The key to send, or None if none is needed (or if LiteLLM reads the environment itself).

    White space around it is dropped: it comes with a copy, or with a file. A server on this machine (`api_base` is a
    loopback address) needs no key unless `api_key_env` is set. Raises MissingApiKey or InvalidApiKey.
    """
    names = _variables(settings)
    name = next((name for name in names if environ.get(name, "").strip()), None)
    if name is not None:
        key = environ[name].strip()
        if (why := _fault(key)) is not None:
            raise InvalidApiKey(provider=settings.provider, model=settings.model, variable=name, why=why)
        return key
    if not names or (settings.api_key_env is None and settings.provider in KEYLESS):
        return None
    if settings.api_key_env is None and is_loopback(settings.api_base):
        return NO_KEY
    blank = next((name for name in names if environ.get(name)), None)
    if blank is not None:
        raise InvalidApiKey(provider=settings.provider, model=settings.model, variable=blank, why="is blank")
    raise MissingApiKey(provider=settings.provider, model=settings.model, variable=names[0])


def check_value(settings: ModelSettings, variable: str, environ: Mapping[str, str]) -> None:
    """For a variable that LiteLLM reads by itself, as it is. Raises InvalidApiKey."""
    if (why := _fault(environ.get(variable, ""))) is not None:
        raise InvalidApiKey(provider=settings.provider, model=settings.model, variable=variable, why=why)


def _fault(key: str) -> str | None:
    """Why it can't be a key, or None. Only the character itself is shown."""
    wrong = next((c for c in key if not "!" <= c <= "~" or c in _PLAIN_QUOTES), None)
    if wrong is None:
        return None
    if wrong in _PLAIN_QUOTES:
        return f"contains the quote {wrong}"
    if wrong in _TYPOGRAPHIC_QUOTES:
        return f"contains the typographic quote {wrong}"
    if wrong == " ":
        return "contains a blank"
    kind = "control character" if wrong < " " or wrong == "\x7f" else "character"
    return f"contains the {kind} U+{ord(wrong):04X}"


def reply_secrets(settings: ModelSettings, environ: Mapping[str, str], referenced: frozenset[str]) -> frozenset[str]:
    """Secrets that are sent with a call and must not come back in its reply: the key, and those in headers.

    `referenced`: the values that headers refer to. Of the other headers, those whose name sounds secret count.
    """
    names = _variables(settings)
    values = [environ.get(name, "") for name in names]
    if not names and not covers(settings.provider):
        # LiteLLM finds the key by itself, so it may be any of them.
        values += [value for value in _secrets_in(environ) if len(value) >= _MIN_LENGTH_IN_REPLIES]
    values += [value for header, value in headers_of(settings) if _SECRET_HEADER.search(header)]
    return _with_words([*values, *referenced]) | referenced


def access_to(settings: ModelSettings, *environments: Mapping[str, str]) -> Access:
    """The key from the first environment, and what no error of the call may contain. Raises MissingApiKey.

    Those are the secrets of all environments, whichever of them was sent, and the values of all headers.
    """
    key = find_key(settings, environments[0])
    values = [value for environ in environments for value in _secrets_in(environ)]
    values += [value for _, value in headers_of(settings)]
    return Access(key, _with_words(values) | ({key} if key and key != NO_KEY else set()))


@lru_cache(256)
def is_loopback(api_base: str | None) -> bool:
    """Whether the address is on this machine. False for a malformed address: the call itself will report it."""
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


def _variables(settings: ModelSettings) -> tuple[str, ...]:
    if settings.api_key_env:
        return (settings.api_key_env,)
    # A server on this machine may be protected all the same.
    own = (f"{settings.provider.upper()}_API_KEY",) if settings.provider in DIRECT else ()
    return KEY_VARIABLES.get(settings.provider, own)


def _secrets_in(environ: Mapping[str, str]) -> list[str]:
    return [value for name, value in environ.items() if name.upper().endswith(_SECRET_SUFFIXES)]


def _with_words(values: Iterable[str]) -> frozenset[str]:
    """The values, and the words in them: of `Bearer abc`, a server may repeat `abc` alone."""
    return frozenset(text for value in values for text in (value.strip(), *value.split()) if len(text) >= _MIN_LENGTH)
