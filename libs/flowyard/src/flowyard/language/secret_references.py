"""`${env:NAME}` and `${file:NAME}`: references to secrets outside of a document, resolved by `llm.references`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

OWN_PREFIX: Final = "FLOWYARD_"
HEADERS: Final = ("headers", "extra_headers")
"""The keys of `extra` whose values may contain references."""
_REFERENCE: Final = re.compile(r"\$\{([a-z]*):([^{}]*)\}")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_HEADER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def has_reference(text: object) -> bool:
    return isinstance(text, str) and _REFERENCE.search(text) is not None


def reference_fault(text: str) -> str | None:
    """The first mistake in the references of a text; None if there is none."""
    for kind, name in _REFERENCE.findall(text):
        if kind not in ("env", "file"):
            return f"no reference '${{{kind}:…}}'"
        if not name.strip() or (kind == "env" and not _VARIABLE.fullmatch(name)):
            return f"'{name}' can't be the name of a {'variable' if kind == 'env' else 'file'}"
        if kind == "env" and name.upper().startswith(OWN_PREFIX):
            return f"'{name}' is a variable of Flowyard, which no document may name"
    return None


def header_fault(name: str, value: object) -> str | None:
    """Why HTTP can't carry such a header, or None. The value isn't shown."""
    if not _HEADER_NAME.fullmatch(name):
        return f"{name[:100]!r} can't be the name of a header"
    if (wrong := _NOT_IN_A_HEADER.search(str(value))) is not None:
        return f"the header '{name}' contains the character U+{ord(wrong[0]):04X}, which no header can have"
    return None


def variables_in(text: str) -> list[str]:
    """The environment variables that a text refers to."""
    return [name for kind, name in _REFERENCE.findall(text) if kind == "env"]


def replace_references(text: str, look_up: Callable[[str, str], str]) -> str:
    """The text with each reference replaced by `look_up(kind, name)`. `kind`: `env` or `file`."""
    return _REFERENCE.sub(lambda match: look_up(match[1], match[2]), text)


def contains_reference(value: Any) -> bool:
    """Whether `has_reference` is true of the value, or of a text inside of its lists and mappings."""
    match value:
        case dict():
            return any(contains_reference(inner) for inner in value.values())
        case list():
            return any(contains_reference(inner) for inner in value)
        case _:
            return has_reference(value)
