"""Values as text that other systems can store."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_ESCAPES: Final = re.compile(r"\\(\\|u0000)")


def clean(text: str) -> str:
    """Without U+0000 and halves of surrogate pairs, which Postgres and protobuf refuse."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def as_json(value: Any, *, most: int) -> str:
    """As JSON of about `most` characters: of a longer one the beginning, as one JSON string."""
    text = json.dumps(value, ensure_ascii=False)
    if "\\u0000" in text:
        text = _ESCAPES.sub(lambda found: "\ufffd" if found[1] == "u0000" else found[0], text)
    return clean(text) if len(text) <= most else json.dumps(shortened(clean(text), most=most), ensure_ascii=False)


def shortened(text: str, *, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
