"""Which paths belong to OpenAI's API, also those that we don't have: their clients read errors in their form alone."""

from __future__ import annotations

from typing import Final

_CHAT: Final = "/v1/chat/completions"
_NOUNS: Final = frozenset({
    "models", "responses", "completions", "embeddings", "audio", "images", "videos", "moderations", "files", "uploads",
    "batches", "fine_tuning", "evals", "vector_stores", "containers", "conversations", "assistants", "threads",
    "realtime", "chatkit", "organization", "rerank", "engines", "edits",
})  # fmt: skip
"""As in https://platform.openai.com/docs/api-reference; and `rerank`, which clients of other servers call."""


def is_of_openai(path: str) -> bool:
    version, _, rest = path.removeprefix("/").partition("/")
    return version == "v1" and (rest.partition("/")[0] in _NOUNS or path == _CHAT or path.startswith(f"{_CHAT}/"))
