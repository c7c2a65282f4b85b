"""Which images and files are sent to which models. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from flowyard.errors.steps import ContentRefused, ModelError, ModelNeverRan, ModelRefused
from flowyard.language.nodes import ModelSettings
from flowyard.llm import failures
from flowyard.llm.calls import ChatMessage, ModelCall
from flowyard.llm.providers import DIRECT, base_url


def refuse_unsendable(settings: ModelSettings, messages: Iterable[ChatMessage], *, is_direct: bool) -> None:
    """Raises ContentRefused for what this model can't get. `settings`: those `located`.

    A caller chooses the address of an image. A server in the installation's own network, or LiteLLM in this process,
    would fetch it from inside of that network.
    """
    for part in _attachments(messages) if settings.provider != "scripted" else ():
        if settings.provider == "local":
            raise _refused(settings, f"the local model takes texts alone, and no {_KINDS[part['type']]}")
        kind, taken = _KINDS[part["type"]], _TAKEN_BY[part["type"]]
        if not is_direct and settings.provider not in taken:
            raise _refused(settings, f"{settings.provider} takes no {kind} here: they would be left out")
        if _is_address(part) and not (is_direct and _is_at_its_own_address(settings)):
            raise _refused(
                settings, "the image has to be sent itself, as data:image/…: its address is for hosted providers alone"
            )


_STATUSES: Final = frozenset({400, 413, 415, 422})
_ABOUT_KEYS: Final = frozenset({401, 402, 403})
_ABOUT_CONTENT: Final = re.compile(r"image|vision|audio|multi-?modal|\b(?:files?|pdf|tools?|function)\b", re.IGNORECASE)
"""In an answer with another status: llama.cpp has 500, a router 404."""
_KINDS: Final = {"image_url": "images", "file": "files", "input_audio": "audio"}
_AS_THEY_ARE: Final = frozenset({"azure", "custom_openai", *DIRECT}) - {"ollama"}
"""Providers with OpenAI's format, to which LiteLLM passes all parts on."""
_TAKEN_BY: Final[Mapping[str, frozenset[str]]] = {
    "image_url": _AS_THEY_ARE
    | {"anthropic", "azure_ai", "bedrock", "gemini", "google", "ollama", "ollama_chat", "vertex_ai"},
    "file": _AS_THEY_ARE | {"anthropic", "gemini", "google"},
    "input_audio": _AS_THEY_ARE | {"gemini", "google"},
}
"""For all others, LiteLLM leaves such a part out, or nobody knows."""


def _attachments(messages: Iterable[ChatMessage]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        if isinstance(message.content, tuple):
            yield from (part for part in message.content if part["type"] != "text")


def _is_address(part: Mapping[str, Any]) -> bool:
    return part["type"] == "image_url" and str(part["image_url"]["url"])[:5].lower() != "data:"


def _is_at_its_own_address(settings: ModelSettings) -> bool:
    base = DIRECT[settings.provider].base
    return base is not None and base.startswith("https://") and base_url(settings) == base


def _refused(settings: ModelSettings, detail: str) -> ContentRefused:
    return ContentRefused(failures.brief(detail), provider=settings.provider, model=settings.model)


def _has_extras(call: ModelCall) -> bool:
    return call.offer is not None or next(_attachments(call.messages), None) is not None


def as_refused_content(error: ModelError, call: ModelCall) -> ContentRefused | None:
    """The error of a provider as one about images, files, audio or tools, if the call had any and they can be meant."""
    if type(error) not in (ModelRefused, ModelNeverRan) or error.answered is None:
        return None
    has_words = error.answered not in _ABOUT_KEYS and _ABOUT_CONTENT.search(error.detail) is not None
    if not (has_words or error.answered in _STATUSES) or not _has_extras(call):
        return None
    return ContentRefused(error.detail, provider=error.provider, model=error.model, answered=error.answered)
