"""Formats values as text that other systems can store."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_ESCAPES: Final = re.compile(r"\\(\\|u0000)")


def clean(text: str) -> str:
    """Replaces U+0000 and halves of surrogate pairs, which Postgres and protobuf refuse."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def as_json(value: Any, *, max_length: int) -> str:
    """The value as JSON of about `max_length` characters; if it is longer, its beginning as one JSON string."""
    text = json.dumps(value, ensure_ascii=False)
    if "\\u0000" in text:
        text = _ESCAPES.sub(lambda match: "\ufffd" if match[1] == "u0000" else match[0], text)
    if len(text) <= max_length:
        return clean(text)
    return json.dumps(shortened(clean(text), max_length=max_length), ensure_ascii=False)


def shortened(text: str, *, max_length: int) -> str:
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
