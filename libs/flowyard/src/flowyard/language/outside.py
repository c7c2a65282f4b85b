"""`${env:NAME}` and `${file:NAME}`: what a document refers to and must not hold. Resolved where it is used."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

OWN_PREFIX: Final = "FLOWYARD_"
HEADERS: Final = ("headers", "extra_headers")
"""The keys of `extra` whose values may refer to something."""
_REFERENCE: Final = re.compile(r"\$\{([a-z]*):([^{}]*)\}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def refers(text: object) -> bool:
    return isinstance(text, str) and _REFERENCE.search(text) is not None


def fault(text: str) -> str | None:
    """What is wrong with the references in a text."""
    for kind, name in _REFERENCE.findall(text):
        if kind not in ("env", "file"):
            return f"no reference '${{{kind}:…}}'"
        if not name.strip() or (kind == "env" and not _VARIABLE.fullmatch(name)):
            return f"'{name}' can't be the name of a {'variable' if kind == 'env' else 'file'}"
        if kind == "env" and name.upper().startswith(OWN_PREFIX):
            return f"'{name}' is Flowyard's own, and is never handed to others"
    return None


def replaced(text: str, look_up: Callable[[str, str], str]) -> str:
    """`look_up` is told `env` or `file`, and the name."""
    return _REFERENCE.sub(lambda found: look_up(found[1], found[2]), text)


def anywhere(value: Any) -> bool:
    """Whether a value, or one inside of it, holds a reference."""
    match value:
        case dict():
            return any(anywhere(each) for each in value.values())
        case list():
            return any(anywhere(each) for each in value)
        case _:
            return refers(value)
