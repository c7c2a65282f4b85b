"""What stands in place of a secret, in a text or a value. Pure; what seals secrets is in `sealing`."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"
SEALED: Final = "flowyard-sealed:1:"
"""How a sealed value begins, wherever it is stored."""
SHORTEST: Final = 4
"""Characters that a secret has at least to be looked for in texts: shorter ones are parts of many words."""
_LINE: Final = 8
"""Characters of a line that is looked for by itself, where a secret has several."""


def is_sealed(value: object) -> bool:
    return isinstance(value, str) and value.startswith(SEALED)


def shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with each sealed one hidden: what may be shown to people."""
    return {name: MASK if is_sealed(value) else value for name, value in values.items()}


class Masker:
    """Replaces secrets by `***`: as they are, and as JSON, URLs, Base64 and hexadecimal digits spell them."""

    __slots__ = ("_forms", "_longest")

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: one secret may be a part of another.
        self._forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
        self._longest = len(self._forms[0]) if self._forms else 0

    def __bool__(self) -> bool:
        return bool(self._forms)

    def text(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def value(self, value: Any) -> Any:
        """JSON with every text in it masked, keys included."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.value(each) for each in value]
            case dict():
                return {self.text(name): self.value(each) for name, each in value.items()}
            case _:
                return value

    def settled(self, text: str) -> int:
        """How many of the text's first characters are no part of a secret that only begins in it."""
        cut = len(text) - self._begun(text)
        for form in self._forms:
            at = text.find(form, max(0, cut - len(form) + 1))
            # What is a secret already doesn't wait for what might begin in the middle of it.
            if 0 <= at < cut:
                cut = max(cut, at + len(form))
        return cut

    def _begun(self, text: str) -> int:
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            end = text[-length:]
            if any(len(form) > length and form.startswith(end) for form in self._forms):
                return length
        return 0


class Stream:
    """A text that comes piece by piece, masked across the pieces: what may be a secret's beginning is held back."""

    def __init__(self, masker: Masker, tell: Callable[[str], None]) -> None:
        self._masker = masker
        self._tell = tell
        self._held = ""

    def add(self, piece: str) -> None:
        text = self._held + piece
        cut = self._masker.settled(text)
        self._held = text[cut:]
        self._say(text[:cut])

    def end(self) -> None:
        """No more comes."""
        held, self._held = self._held, ""
        self._say(held)

    def _say(self, text: str) -> None:
        if text:
            self._tell(self._masker.text(text))


def _forms(secret: str) -> Iterator[str]:
    lines = [line.strip() for line in secret.splitlines()]
    own = {secret, secret.strip(), " ".join(secret.split()), *(line for line in lines if len(line) >= _LINE)}
    for text in own:
        if len(text) >= SHORTEST:
            yield from _spellings(text)


def _spellings(text: str) -> Iterator[str]:
    data = text.encode(errors="surrogatepass")
    yield text
    yield from (json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    yield from (quote(data), quote(data, safe=""), quote_plus(data))
    yield from (encode(data).decode().rstrip("=") for encode in (base64.b64encode, base64.urlsafe_b64encode))
    yield from (data.hex(), data.hex().upper())
